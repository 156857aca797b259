"""Towers that are trained with a task's model: `fit(tune=...)`, `trine train --tune`, `Embedder.weights` and `save`."""

import json
import random
import subprocess
import time

import pytest
import torch
from conftest import GOLDEN, load_safetensors, make_picture, refused
from test_fit import arguments_of, same_files, save_manifest

import trine
from trine.train import Dataset, FeatureStore, Fit, fit, read_manifest

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = {"hidden_dim": 16, "num_heads": 2, "ff_dim": 16, "batch_size": 8, "learning_rate": 1e-3, "epochs": 5}
FRUITS, WORDS = ("lemon", "leek", "milk"), ("sour", "ripe", "green", "cold", "fresh", "big", "old", "new")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    rows = [
        {"text": [f"{word} {label}", f"a {label}"], "label": label, "split": ("train", "val")[i > 5]}
        for label in FRUITS
        for i, word in enumerate(WORDS)
    ]
    return save_manifest(tmp_path_factory.mktemp("manifest") / "m.jsonl", rows)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def tuned(tiny, manifest, store, tmp_path_factory):
    """A training of the whole text tower, and where its folder is."""
    folder = tmp_path_factory.mktemp("tuned")
    return fit(manifest, embedder=tiny, features=store, folder=folder, tune="text", tower_learning_rate=2e-3, **SMALL)


def weights_of(directory):
    return load_safetensors(directory / "model.safetensors")[0]


# --- weights, gradients, save -----------------------------------------------------------------------------------------


def test_gradients_are_recorded_only_where_they_are_wanted(tiny_directory):
    model = trine.Embedder(tiny_directory)
    before = model.embed_text("a sour lemon")
    weights = model.weights("text")
    assert weights.keys() == weights_of(tiny_directory).keys()
    assert not model.embed_text("a sour lemon").requires_grad
    with trine.RecordGradients():
        with trine.RecordGradients():
            pass
        recorded = model.embed_text(["a sour lemon", "leek " * 200])  # the second in windows
    assert recorded.requires_grad and not model.embed_text("a").requires_grad
    assert (recorded[0].detach() - before).abs().max() < 1e-6  # torch's own layers, not the packed ones
    recorded.sum().backward()
    assert all(w.grad is not None and w.grad.isfinite().all() for w in weights.values())


def test_a_gradient_is_the_quotient_of_differences(tiny_directory):
    model = trine.Embedder(tiny_directory)
    weight = model.weights("text")["encoder.layer.0.attention.self.query.weight"]
    direction = torch.randn(32, generator=torch.Generator().manual_seed(1))

    def value():
        return model.embed_text(["a sour lemon", "milk"]).double() @ direction.double()

    with trine.RecordGradients():
        (model.embed_text(["a sour lemon", "milk"]) @ direction).sum().backward()
    step = weight.grad / weight.grad.norm() * 1e-2
    with torch.no_grad():
        weight += step
        after = value().sum()
        weight -= 2 * step
        before = value().sum()
        weight += step
    assert float(after - before) / 2e-2 == pytest.approx(float(weight.grad.norm()), rel=1e-2)


def test_saved_weights_are_loaded(tiny_directory, tmp_path):
    model = trine.Embedder(tiny_directory)
    print_before = model.fingerprint
    with torch.no_grad():
        for weight in model.weights("text").values():
            weight *= 1.01
    assert model.fingerprint != print_before
    model.save(tmp_path / "new" / "model")
    other = trine.Embedder(tmp_path / "new" / "model")
    assert torch.equal(other.embed_text("ripe"), model.embed_text("ripe"))
    assert not torch.equal(other.embed_text("ripe"), trine.Embedder(tiny_directory).embed_text("ripe"))
    assert {p.name for p in other.directory.iterdir()} == {p.name for p in tiny_directory.iterdir()}
    with pytest.raises(ValueError, match="is the folder that the model was loaded from"):
        other.save(other.directory)


def test_what_cannot_be_trained_is_a_sentence(tiny):
    with pytest.raises(ValueError, match="has no image tower, it has text"):
        tiny.weights("image")


# --- fit --------------------------------------------------------------------------------------------------------------


def test_tuning_learns_more_and_leaves_the_callers_model(tiny, tiny_directory, manifest, store, tuned):
    before = (tiny_directory / "model.safetensors").read_bytes()
    frozen = fit(manifest, embedder=tiny, features=store, **SMALL)
    assert tuned.history[-1]["loss"] < 0.8 * frozen.history[-1]["loss"]
    assert frozen.embedder is None and tuned.embedder.modalities == ["text"]
    assert (tiny_directory / "model.safetensors").read_bytes() == before
    assert torch.equal(tiny.embed_text("ripe"), trine.Embedder(tiny_directory).embed_text("ripe"))
    old, new = weights_of(tiny_directory), weights_of(tuned.embedder.directory)
    assert old.keys() == new.keys()
    changed = [name for name in old if not torch.equal(old[name], new[name])]
    assert len(changed) == len(old)


def test_the_models_predictions_are_of_the_tuned_vectors(manifest, tuned, store):
    samples = [s for s in read_manifest(manifest) if s.split == "val"]
    data, _ = FeatureStore(tuned.embedder, folder=store).load(samples)
    right = [tuned.model.labels[i] for i in tuned(data.features, data.masks).scores.argmax(1)]
    found = sum(a == b for a, b in zip(right, data.labels)) / len(samples)
    assert found == pytest.approx(tuned.history[tuned.best_epoch - 1]["val_top1"])
    assert tuned.model._module.options["embedder"] == tuned.embedder.fingerprint


def test_saved_and_loaded(manifest, tuned, tmp_path):
    folder = tuned.embedder.directory.parent
    tuned.save(folder)
    tuned.save(tmp_path / "again")
    for other in (Fit.load(folder), Fit.load(tmp_path / "again")):
        assert torch.equal(other.embedder.embed_text("ripe"), tuned.embedder.embed_text("ripe"))


def test_few_activations_give_the_same_training(tiny, manifest, store, tuned, tmp_path):
    few = fit(manifest, embedder=tiny, features=store, folder=tmp_path, tune=["text"], tower_batch=3,
              tower_learning_rate=2e-3, **SMALL)  # fmt: skip
    for one, other in zip(few.history, tuned.history):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-2)


def test_last_blocks_only(tiny, tiny_directory, manifest, store, tmp_path):
    options = {"embedder": tiny, "features": store, "tune": "text", "tower_learning_rate": 2e-3} | SMALL
    result = fit(manifest, folder=tmp_path / "one", tune_blocks=1, **options)
    old, new = weights_of(tiny_directory), weights_of(result.embedder.directory)
    for name in old:
        assert torch.equal(old[name], new[name]) == name.startswith("embeddings."), name
    with pytest.raises(ValueError, match="tune_blocks is 2, the text tower has 1 blocks"):
        fit(manifest, folder=tmp_path / "two", tune_blocks=2, **options)


def test_rank_and_align_tune_too(manifest, store, tmp_path):
    clip = trine.Embedder(GOLDEN / "vision" / "clip")
    from PIL import Image

    rows = []
    for i, label in enumerate(FRUITS * 4):
        Image.fromarray(make_picture(i % 3)).save(tmp_path / f"{i}.png")
        rows.append({"image": f"{i}.png", "text": f"{WORDS[i % 8]} {label}", "label": label, "id": label})
    path = save_manifest(tmp_path / "m.jsonl", rows)
    for task, towers in (("rank", ["image"]), ("align", ["text", "image"])):
        result = fit(path, task=task, embedder=clip, features=store, folder=tmp_path / task, tune=towers,
                     tower_learning_rate=1e-4, out_dim=8, **SMALL | {"epochs": 20, "learning_rate": 5e-3})  # fmt: skip
        assert result.history[-1]["loss"] < result.history[0]["loss"]
        same = torch.equal(result.embedder.embed_text("ripe"), clip.embed_text("ripe"))
        assert same == ("text" not in towers)
        assert not torch.equal(result.embedder.embed_image(make_picture()), clip.embed_image(make_picture()))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"tune": "smell"}, "smell"),
        ({"tune": "image"}, "has no image tower"),
        ({"folder": None}, "a folder is wanted"),
        ({"tower_learning_rate": 0.0}, "tower_learning_rate must be above 0"),
        ({"tower_batch": 0}, "tower_batch must be at least 1"),
        ({"tune_blocks": -1}, "tune_blocks must be at least 0"),
    ],
)
def test_options_that_do_not_fit_are_sentences(tiny, manifest, store, tmp_path, change, message):
    options = {"tune": "text", "folder": tmp_path} | SMALL | change
    with pytest.raises(ValueError, match=message):
        fit(manifest, embedder=tiny, features=store, **options)


def test_vectors_and_absent_modalities_cannot_be_tuned(manifest, store, tmp_path):
    data = Dataset({"text": torch.eye(2).repeat(4, 1)}, labels=["a", "b"] * 4)
    with pytest.raises(ValueError, match="tuned by samples"):
        fit(data, tune="text", folder=tmp_path, **SMALL)
    with pytest.raises(ValueError, match="tune names image, which no sample has"):
        fit(manifest, embedder=trine.Embedder(GOLDEN / "vision" / "clip"), features=store, tune="image",
            folder=tmp_path, **SMALL)  # fmt: skip


def test_an_embedder_that_was_changed_is_saved_first(tiny_directory, manifest, store, tmp_path):
    model = trine.Embedder(tiny_directory)
    with torch.no_grad():
        next(iter(model.weights("text").values())).mul_(1.5)
    with pytest.raises(ValueError, match="save the model and load it from there"):
        fit(manifest, embedder=model, features=store, tune="text", folder=tmp_path, **SMALL)


def test_the_default_models_image_tower(default_model, tmp_path):
    from PIL import Image

    rows = []
    for i in range(6):
        Image.fromarray(make_picture(i)).save(tmp_path / f"{i}.png")
        rows.append({"image": f"{i}.png", "label": "ab"[i % 2]})
    path = save_manifest(tmp_path / "m.jsonl", rows)
    result = fit(path, embedder=default_model, features=tmp_path / "store", folder=tmp_path / "out", tune="image",
                 tune_blocks=2, tower_batch=2, **SMALL | {"epochs": 2})  # fmt: skip
    new = result.embedder
    assert new.name.startswith("default-") and new.modalities == ["image", "text", "audio"]
    assert torch.equal(new.embed_text("a lemon"), default_model.embed_text("a lemon"))
    cosine = float(new.embed_image(make_picture()) @ default_model.embed_image(make_picture()))
    assert 0.5 < cosine < 1 - 1e-6
    old = weights_of(new.directory / "image")
    assert "conv_head.weight" in old and (new.directory / "audio.safetensors").is_file()
    # untouched, it is saved as it was
    default_model.save(tmp_path / "copy")
    copied = trine.Embedder(tmp_path / "copy")
    assert copied.name == "default" and copied.modalities == default_model.modalities
    assert torch.equal(copied.embed_image(make_picture()), default_model.embed_image(make_picture()))


# --- the program ------------------------------------------------------------------------------------------------------


def test_train_embed_evaluate(run, tiny_directory, manifest, store, tmp_path):
    out = tmp_path / "out"
    plain = arguments_of(manifest, tiny_directory, store, out)[1:]
    arguments = ["train", "--tune", "text", *plain, "--tower-rate", "0.002"]
    report = json.loads(run(*arguments, "--epochs", "4", "--json").stdout)
    assert report["embedder"] == str(out / "embedder")
    assert b"the tuned model is" in run(*arguments, "--epochs", "4").stdout
    measured = json.loads(run("evaluate", manifest, "--trained", out, "--split", "val", "--json").stdout)
    assert measured["results"][0]["top1"] == pytest.approx(report["val_top1"])
    again = json.loads(
        run("evaluate", manifest, "--trained", out, "--model", out / "embedder", "--split", "val", "--json").stdout
    )
    assert again["results"] == measured["results"]
    refused(run("evaluate", manifest, "--trained", out, "--model", tiny_directory, "--split", "val"), "another model")
    vector = json.loads(run("embed", "--model", out / "embedder", "--text", "ripe", "--json").stdout)
    assert vector
    assert run(*arguments, "--tune", "smell").returncode == 2
    refused(run("train", *plain, "--tune", "text,image"), "has no image tower")


def test_killed_and_resumed_gives_the_same_bytes(trine_program, tiny_directory, manifest, store, tmp_path):
    def start(out):
        arguments = arguments_of(manifest, tiny_directory, store, out)
        more = ["--tune", "text", "--tower-rate", "0.001", "--epochs", "60", "--checkpoint-seconds", "0.05"]
        return subprocess.Popen(
            [trine_program, *arguments, *more], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )

    def finish(process):
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said.decode()

    finish(start(tmp_path / "straight"))
    began = time.monotonic()
    finish(start(tmp_path / "again"))
    whole = time.monotonic() - began
    generator, killed = random.Random(7), 0
    for _ in range(20):
        process = start(tmp_path / "killed")
        try:
            process.wait(timeout=generator.uniform(0.2, 0.8) * whole)
            break
        except subprocess.TimeoutExpired:
            process.kill()
            killed += 1
        process.communicate()
        if killed == 2:
            break
    finish(start(tmp_path / "killed"))
    assert killed
    for name in ("again", "killed"):
        assert same_files(tmp_path / name, tmp_path / "straight")
        assert same_files(tmp_path / name / "embedder", tmp_path / "straight" / "embedder")
