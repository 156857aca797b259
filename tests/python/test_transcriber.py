"""Transcripts: tokens, segments and text as transformers' `generate` gives them."""

import json
import shutil

import numpy as np
import pytest
import trine
from conftest import GOLDEN, import_maker, make_voice

TRANSCRIPTS = GOLDEN / "transcripts"


@pytest.fixture(scope="module")
def english():
    return trine.Transcriber(TRANSCRIPTS / "english")


@pytest.fixture(scope="module")
def multilingual():
    return trine.Transcriber(TRANSCRIPTS / "multilingual")


def test_a_transcript(english):
    voice = make_voice(1.0)
    found = english.transcribe((voice, 16_000))
    assert isinstance(found, trine.Transcript) and str(found) == found.text and "confidence" in repr(found)
    assert 0 < found.confidence < 1 and 0 < found.no_speech < 1 and found.language == "" and found.tokens
    assert [s.text for s in found.segments] == [found.text] and found.segments[0].end == pytest.approx(1.0)
    assert repr(found.segments[0]).startswith("Segment(0.00, 1.00, ")
    assert english.transcribe([voice, voice])[1].tokens == found.tokens
    assert len(english.transcribe(voice, max_tokens=3).tokens) == 3
    assert not english.multilingual and english.languages == [] and english.window_seconds == pytest.approx(1.2)
    assert english.describe()["model_type"] == "whisper" and "one language" in repr(english)


def test_several_languages(multilingual, capsys):
    voice = make_voice(1.0)
    assert multilingual.languages == ["de", "en", "fr", "haw"]
    assert multilingual.transcribe(voice, language="de").language == "de"
    detected = multilingual.transcribe(voice)
    assert detected.tokens == multilingual.transcribe(voice, language=detected.language, show_progress_bar=True).tokens
    assert "transcribed 1 / 1" in capsys.readouterr().err
    long = multilingual.transcribe(make_voice(4.0))
    assert all(0 <= s.start <= s.end <= 4 for s in long.segments)


def test_nothing_is_said(english):
    silent = english.transcribe(np.zeros(16_000, np.float32))
    assert (silent.text, silent.segments, silent.tokens, silent.no_speech, silent.confidence) == ("", [], [], 1, 0)


def test_bad_input(english, multilingual, tmp_path):
    voice = make_voice(1.0)
    with pytest.raises(RuntimeError, match="at least 0.1 s"):
        english.transcribe(np.full(1, 0.5, np.float32))
    with pytest.raises(ValueError, match="NaN"):
        english.transcribe(np.where(np.arange(16_000) == 7, np.nan, voice).astype(np.float32))
    with pytest.raises(FileNotFoundError):
        english.transcribe(tmp_path / "missing.wav")
    with pytest.raises(ValueError, match="one language"):
        english.transcribe(voice, language="de")
    with pytest.raises(ValueError, match="does not translate"):
        english.transcribe(voice, task="translate")
    with pytest.raises(ValueError, match="transcribe or translate"):
        multilingual.transcribe(voice, task="sing")
    with pytest.raises(ValueError, match="max_tokens"):
        english.transcribe(voice, max_tokens=0)
    with pytest.raises(RuntimeError, match="wanted whisper"):
        trine.Transcriber(GOLDEN / "encoders/bert")
    with pytest.raises(FileNotFoundError, match="tokenizer"):
        trine.Transcriber(GOLDEN / "encoders/whisper")


def test_decoding_ids(tmp_path):
    tokenizer = trine.Tokenizer.load(TRANSCRIPTS / "multilingual")
    ids = tokenizer.encode("the café<|endoftext|>").ids
    assert tokenizer.decode(ids) == "the café"
    assert tokenizer.decode(ids, skip_special_tokens=False) == "the café<|endoftext|>"
    with pytest.raises(RuntimeError, match="ByteLevel"):
        trine.Tokenizer.load(GOLDEN / "text").decode([1])


# --- other configurations than the stored ones, where transformers is installed ----------------------------------------


@pytest.fixture(scope="module")
def maker():
    """make_transcripts.py as a module."""
    torch = pytest.importorskip("torch")
    made = import_maker("make_transcripts", "transformers")
    with torch.no_grad():
        yield made


@pytest.mark.parametrize("seed", range(12))
def test_other_configurations(maker, seed, tmp_path, one_thread):
    random = np.random.default_rng(seed)
    heads = int(random.choice([1, 2, 3]))
    config = {
        "d_model": heads * int(random.choice([8, 10, 16])),
        "encoder_attention_heads": heads,
        "decoder_attention_heads": heads,
        "decoder_layers": int(random.integers(1, 4)),
        "num_mel_bins": int(random.choice([16, 80, 128])),
        "max_target_positions": int(random.integers(16, 60)),
    }
    length = int(random.integers(12, config["max_target_positions"] + 1))
    generation = {"max_length": length, "max_initial_timestamp_index": int(random.integers(0, 50))}
    languages = maker.LANGUAGES[: int(random.integers(1, 5))] if seed % 2 else []
    positions = int(random.integers(40, 90))
    model, backend = maker.make_whisper(tmp_path, seed, languages, positions, config, generation)
    transcriber = trine.Transcriber(tmp_path)
    options = {"language": str(random.choice(languages)), "task": "translate"} if seed % 4 == 1 else {}
    asked = options or ({"task": "transcribe"} if languages else {})
    for name, clip in maker.clips(model).items():
        if name == "short":  # whose padding the reference goes on to decode
            continue
        for stamps in {True, name == "long"}:
            wanted = maker.reference(model, backend, clip, return_timestamps=stamps, **asked)
            found = transcriber.transcribe(clip, timestamps=stamps, **options)
            if found.repeated:
                continue
            assert found.tokens == wanted["tokens"], name
            assert found.text == wanted["text"]
            texts = [s["text"] for s in wanted["segments"] if s["text"]]
            assert [s.text for s in found.segments] == texts


def write_older_files(folder, layout, languages):
    """tokenizer.json as the files that were there before it; fine-tuned checkpoints often have no others."""
    file = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    (folder / "tokenizer.json").unlink()
    vocab = file["model"]["vocab"]
    added = {t["content"]: t["id"] for t in file["added_tokens"]}
    if layout != "added tokens apart":  # English checkpoints have <|endoftext|> among the others
        vocab["<|endoftext|>"] = added.pop("<|endoftext|>")
    merges = "#version: 0.2\n" + "".join(f"{left} {right}\n" for left, right in file["model"]["merges"])
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_text(merges, encoding="utf-8")
    config = {"tokenizer_class": "WhisperTokenizer", "model_max_length": 1024, "unk_token": "<|endoftext|>"}
    if layout == "added_tokens_decoder":
        flags = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": True}
        config["added_tokens_decoder"] = {str(id): {"content": token, **flags} for token, id in added.items()}
        config |= {"language": "English", "task": "translate"} if languages else {"predict_timestamps": True}
    else:
        (folder / "added_tokens.json").write_text(json.dumps(added))
        special = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
        special["additional_special_tokens"] = [*added]
        (folder / "special_tokens_map.json").write_text(json.dumps(special))
    if layout != "no config":
        (folder / "tokenizer_config.json").write_text(json.dumps(config))


OLDER = ["added_tokens_decoder", "added tokens", "added tokens apart", "no config"]


@pytest.mark.parametrize("layout", OLDER)
@pytest.mark.parametrize("seed", [0, 1])
def test_without_a_tokenizer_json(maker, layout, seed, tmp_path, one_thread):
    import transformers

    languages = maker.LANGUAGES if seed else []
    model, backend = maker.make_whisper(tmp_path, seed, languages)
    clip, asked = maker.clips(model)["long"], {"task": "transcribe"} if languages else {}
    newer = trine.Transcriber(tmp_path).transcribe(clip)
    write_older_files(tmp_path, layout, languages)
    reference = transformers.WhisperTokenizer.from_pretrained(tmp_path)
    ours = trine.Tokenizer.load(tmp_path)
    random = np.random.default_rng(seed)
    texts = ["the café in Ĺ", "", " hello", "naïve — 東京 👍🏽\n\t", "a <|en|> b<|endoftext|>", "<|notimestamps|>  x"]
    texts += ["".join(map(chr, random.integers(32, 0x2FFF, 40))) for _ in range(200)]
    for text in texts:
        assert ours.encode(text).ids == reference(text).input_ids, text
    ids = random.integers(0, ours.vocab_size, (50, 20)).tolist()
    for row in ids:
        for skip in (True, False):
            wanted = reference.backend_tokenizer.decode(row, skip_special_tokens=skip)
            assert ours.decode(row, skip_special_tokens=skip) == wanted
    found = trine.Transcriber(tmp_path).transcribe(clip)
    assert found.tokens == newer.tokens and found.text == newer.text and found.tokens
    wanted = maker.reference(model, backend, clip, return_timestamps=True, **asked)
    assert found.repeated or found.tokens == wanted["tokens"]


def test_older_files_that_are_refused(tmp_path):
    for change, words in [
        ({"language": "klingon"}, "none of Whisper's"),
        ({"language": "yue"}, "no token has the id"),
        ({"task": "sing"}, "neither transcribe nor translate"),
    ]:
        folder = shutil.copytree(TRANSCRIPTS / "multilingual", tmp_path / words)
        write_older_files(folder, "added tokens", True)
        config = json.loads((folder / "tokenizer_config.json").read_text())
        (folder / "tokenizer_config.json").write_text(json.dumps(config | change))
        with pytest.raises(RuntimeError, match=words):
            trine.Transcriber(folder)
    for content in ("[]", '{"a": "b"}', '{"a": 1.5}'):
        (folder / "tokenizer_config.json").unlink(missing_ok=True)
        (folder / "added_tokens.json").write_text(content)
        with pytest.raises(RuntimeError, match="added_tokens.json"):
            trine.Transcriber(folder)


# --- the default model ------------------------------------------------------------------------------------------------


def test_the_default_model_equals_transformers(encoders):
    """A hum holds no speech: the probability of that, from encoder and decoder with their real weights."""
    transformers = pytest.importorskip("transformers", reason="needs transformers, the reference")
    torch = pytest.importorskip("torch")
    folder = encoders / "whisper-tiny.en"
    model = transformers.WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    voice = make_voice(3.0)
    mel = transformers.WhisperFeatureExtractor.from_pretrained(folder)(voice, sampling_rate=16_000, return_tensors="pt")
    start, no_speech = 50257, 50361
    with torch.no_grad():
        logits = model(mel.input_features, decoder_input_ids=torch.tensor([[start]])).logits[0, 0]
    found = trine.Transcriber(folder).transcribe(voice)
    assert found.no_speech == pytest.approx(float(logits.softmax(0)[no_speech]), abs=1e-4)
    assert found.no_speech > 0.6 and found.text == ""
