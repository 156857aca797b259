"""Damage in photos: heads of one's own, and the one for synthetic damage that comes with the default model."""

import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import make_picture

import trine

TRAIN = Path(__file__).resolve().parents[2] / "models" / "default" / "train"


def spotted(seed, side=14):
    """A picture with a black square."""
    picture = make_picture(seed, 64, 48)
    left, top = np.random.default_rng(seed).integers(4, 28, 2)
    picture[top : top + side, left : left + side] = 0
    return picture


@pytest.fixture(scope="module")
def detector(model):
    photos = [make_picture(seed, 64, 48) for seed in range(8)] + [spotted(seed) for seed in range(8)]
    labels = ["intact"] * 8 + [("hole", 0.5)] * 4 + ["hole"] * 4
    steps = []
    fitted = trine.DamageDetector.fit(
        photos, labels, embedder=model, epochs=40, trained_on="squares", progress=lambda *step: steps.append(step)
    )
    assert steps[-1][0] == steps[-1][1]
    return fitted


def test_it_finds_what_it_learned(detector):
    found = [detector.inspect(spotted(seed)) for seed in range(50, 54)]
    assert sum(damage.probability > 0.5 for damage in found) >= 3
    assert sum(detector.inspect(make_picture(seed, 64, 48)).probability < 0.5 for seed in range(60, 64)) >= 3
    for damage in found:
        assert type(damage) is trine.Damage and damage.trained_on == "squares"
        assert bool(damage.types) == (damage.probability > 0.7) == bool(damage.severity_name)
        if damage.types:
            assert damage.types[0].label == "hole" and repr(damage).endswith(f", hole, {damage.severity_name})")
    assert detector.types == ["hole"] and "squares" in str(detector.describe())


def test_a_file_says_the_same(detector, model, tmp_path):
    detector.save(tmp_path / "head.safetensors")
    loaded = trine.DamageDetector(tmp_path / "head.safetensors", embedder=model)
    photo = spotted(70)
    assert loaded.inspect(photo).probability == pytest.approx(detector.inspect(photo).probability, abs=5e-3)
    with pytest.raises(FileNotFoundError):
        trine.DamageDetector(tmp_path / "nowhere.safetensors", embedder=model)
    with pytest.raises(RuntimeError, match="has no head for damage"):
        trine.DamageDetector(embedder=model)
    with pytest.raises(FileNotFoundError):
        detector.inspect(tmp_path / "nowhere.jpg")


def test_bad_labels(model, tiny):
    photos = [make_picture(seed, 8, 8) for seed in range(4)]
    for labels in (["intact"] * 4, ["intact"] * 3, ["intact", "intact", "a", "b"], ["intact", "intact", ("a", 2.0), "a"]):
        with pytest.raises(ValueError):
            trine.DamageDetector.fit(photos, labels, embedder=model)
    with pytest.raises(RuntimeError, match="EfficientNet-Lite"):
        trine.DamageDetector.fit(photos, ["intact", "intact", "a", "a"], embedder=tiny)


def test_renderers_of_the_splits_differ():
    sys.path.insert(0, str(TRAIN))
    try:
        import damage_pictures as pictures
    finally:
        sys.path.remove(str(TRAIN))
    names = {split: set() for split in ("train", "val", "test")}
    photo = make_picture(3, 160, 120) / np.float32(255)
    for (split, kind), renderers in pictures.RENDERERS.items():
        for renderer in renderers:
            assert renderer not in names[split]
            names[split].add(renderer)
            one = pictures.draw(photo, kind, split, np.random.default_rng(4), renderer)
            two = pictures.draw(photo, kind, split, np.random.default_rng(4), renderer)
            assert np.array_equal(one.pixels, two.pixels), renderer.__name__  # all follows from the seed
            assert one.pixels.shape == photo.shape and 0 <= one.pixels.min() and one.pixels.max() <= 1
            assert min(abs(one.pixels - photo).max(), abs(one.pixels - photo[:, ::-1]).max()) > 0.05, renderer.__name__
            assert one.type == kind and (one.severity > 0) == (kind != pictures.INTACT)
    assert not names["train"] & names["test"] and not names["val"] & (names["train"] | names["test"])
    for split in names:
        assert {kind for part, kind in pictures.RENDERERS if part == split} == {*pictures.TYPES, pictures.INTACT}


def test_the_default_head_knows_synthetic_damage_only(default_model):
    if not (default_model.directory / "damage.safetensors").is_file():
        pytest.skip("the default model has no damage.safetensors yet")
    detector = trine.DamageDetector(embedder=default_model)
    assert detector.types == ["crushed corner", "dent", "mould", "stain", "tear"]
    assert "synthetic" in str(detector.describe())
    assert "synthetic" in detector.inspect(make_picture(1, 300, 400)).trained_on
