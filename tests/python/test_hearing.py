"""Speech by two paths. What trust is made of is tested in C++; here the Python form and the default model."""

import numpy as np
import pytest
import torch
import trine
from conftest import make_voice, save_wav


@pytest.fixture(scope="module")
def hearing(default_model):
    if not trine.Hearing.available(default_model):
        pytest.skip("the default model has no weights for its transcripts")
    return trine.Hearing(default_model)


def test_both_paths_of_a_clip(hearing, tmp_path):
    path = tmp_path / "voice.wav"
    save_wav(path, make_voice(1.5))
    heard = hearing.hear(path)
    assert isinstance(heard, trine.Heard) and isinstance(heard.transcript, trine.Transcript)
    assert torch.equal(heard.direct, hearing.embedder.embed_audio(path))
    assert 0 <= heard.trust <= 1 and str(heard) == heard.transcript.text
    mixed = heard.direct
    if heard.transcript.text:
        assert torch.allclose(heard.written, hearing.embedder.embed_text(heard.transcript.text), atol=1e-5)
        mixed = torch.nn.functional.normalize(heard.trust * heard.written + (1 - heard.trust) * heard.direct, dim=0)
    else:
        assert heard.written is None and heard.trust == 0
    assert torch.allclose(heard.vector, mixed, atol=1e-5)


def test_samples_and_files_are_heard_alike(hearing, tmp_path):
    samples = np.round(make_voice(1.0) * 32767) / 32768  # what 16 bits keep
    save_wav(tmp_path / "voice.wav", samples * 32768 / 32767)
    from_file, from_memory = hearing.hear(tmp_path / "voice.wav"), hearing.hear((samples.astype(np.float32), 16_000))
    assert from_file.transcript.tokens == from_memory.transcript.tokens
    assert torch.allclose(from_file.vector, from_memory.vector, atol=1e-4)


def test_describes_the_trust(hearing):
    lines = hearing.describe()
    assert lines["trust"].startswith("sigmoid of ") and "confidence" in lines["trust"]
    assert lines["trust.source"] == "config.json: audio.hearing"


def test_what_cannot_be_heard(hearing, tmp_path):
    with pytest.raises(RuntimeError, match="silent"):
        hearing.hear((np.zeros(16_000, np.float32), 16_000))
    with pytest.raises(RuntimeError, match="0.1 s"):
        hearing.hear((np.ones(100, np.float32), 16_000))
    with pytest.raises(ValueError):
        hearing.hear((np.full(16_000, np.nan, np.float32), 16_000))
    with pytest.raises(FileNotFoundError):
        hearing.hear(tmp_path / "missing.wav")


def test_models_without_speech_are_refused(tiny):
    assert not trine.Hearing.available(tiny)
    with pytest.raises((ValueError, RuntimeError)):
        trine.Hearing(tiny)
    with pytest.raises(TypeError, match="trine.Embedder"):
        trine.Hearing("models/default")
