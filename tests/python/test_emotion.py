"""Emotions in texts and voices, and sounds. The arithmetic is tested in C++; here the Python form and the default model."""

import numpy as np
import pytest
import trine
from conftest import make_voice


@pytest.fixture(scope="module")
def emotion(default_model):
    try:
        return trine.EmotionRecognizer(default_model)
    except RuntimeError as error:
        pytest.skip(str(error))


def likeliest_first(scores):
    return [s.probability for s in scores] == sorted((s.probability for s in scores), reverse=True)


def test_seven_groups_and_28_labels(emotion):
    groups, labels = emotion.text("I am so happy, thank you!"), emotion.text_labels("I am so happy, thank you!")
    assert {s.label for s in groups} == {"anger", "disgust", "fear", "joy", "sadness", "surprise", "neutral"}
    assert len({s.label for s in labels}) == 28
    assert likeliest_first(groups) and likeliest_first(labels)
    assert all(0 <= s.probability <= 1 for s in groups + labels)


@pytest.mark.parametrize(
    "text, group",
    [
        ("Thank you so much, this is wonderful!", "joy"),
        ("I hate this, you idiots make me furious.", "anger"),
        ("I'm so sorry, that is really sad news.", "sadness"),
        ("Wow, I did not expect that at all!", "surprise"),
    ],
)
def test_plain_cases(emotion, text, group):
    assert emotion.text(text)[0].label == group


def test_voices(emotion):
    scores = emotion.voice((make_voice(1.5), 16_000))
    assert {s.label for s in scores} == {"angry", "happy", "neutral", "sad"}
    assert likeliest_first(scores) and sum(s.probability for s in scores) == pytest.approx(1, abs=1e-4)
    assert "German acted speech" in emotion.describe()["voice.trained_on"]


def test_sounds(default_model):
    try:
        sounds = trine.SoundRecognizer(default_model)
    except RuntimeError as error:
        pytest.skip(str(error))
    scores = sounds.recognize((np.random.default_rng(1).normal(0, 0.1, 32_000).astype(np.float32), 16_000))
    assert len(scores) == 10 and likeliest_first(scores)
    assert sum(s.probability for s in scores) == pytest.approx(1, abs=1e-4)


def test_what_is_refused(emotion, tiny):
    with pytest.raises(ValueError, match="text is wanted"):
        emotion.text("  ")
    with pytest.raises(RuntimeError, match="silent"):
        emotion.voice((np.zeros(16_000, np.float32), 16_000))
    with pytest.raises(RuntimeError, match="config.json: emotion"):
        trine.EmotionRecognizer(tiny)
    with pytest.raises(RuntimeError, match="config.json: sound"):
        trine.SoundRecognizer(tiny)
    with pytest.raises(TypeError, match="trine.Embedder"):
        trine.EmotionRecognizer("models/default")
