"""Training on the vectors of frozen encoders: `trine.train.fit`, `trine train`, and what is left when they are killed.

    TRINE_KILLS=20 python -m pytest tests/python/test_fit.py -k killed      # the long form of the last test
"""

import copy
import json
import os
import pickle
import random
import subprocess
import time
import xml.etree.ElementTree as ET

import pytest
import torch
from conftest import assert_close, load_safetensors, refused

import trine
from trine.train import Dataset, FeatureStore, Fit, ModalityDropout, TaskModel, fit, read_manifest

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = {"hidden_dim": 16, "num_heads": 2, "ff_dim": 16, "batch_size": 16, "learning_rate": 5e-3, "epochs": 6}
FRUITS = {
    "lemon": ["a sour lemon", "the yellow lemon", "lemon juice", "two lemons", "lemon peel"],
    "leek": ["a green leek", "leek soup", "the leek", "three leeks", "leek and potato"],
    "milk": ["fresh milk", "a glass of milk", "milk from a cow", "cold milk", "the milk"],
}


def labelled(count=60, noise=0.5):
    """Three labels that image and text each show; every fifth sample lacks its text."""
    generator = torch.Generator().manual_seed(3)
    centres = {"image": torch.randn(3, 10, generator=generator), "text": torch.randn(3, 6, generator=generator)}
    numbers = torch.arange(count) % 3
    features = {
        m: (c[numbers] + noise * torch.randn(count, c.shape[1], generator=generator)) for m, c in centres.items()
    }
    masks = {"text": torch.arange(count) % 5 != 4}
    labels = ["abc"[i] for i in numbers]
    splits = [("train", "train", "train", "val", "test")[i // 3 % 5] for i in range(count)]
    return Dataset(features, masks, labels, splits=splits)


def save_manifest(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    rows = []
    for label, texts in FRUITS.items():
        for i, text in enumerate(texts):
            split = ("train", "train", "val", "train", "test")[i]
            rows.append({"text": [text, f"please, {text}"] if i % 2 else text, "label": label, "split": split})
    return save_manifest(tmp_path_factory.mktemp("manifest") / "samples.jsonl", rows)


def same(one, other):
    left, right = one.state_dict(), other.state_dict()
    assert left.keys() == right.keys()
    return all(torch.equal(left[name], right[name]) for name in left)


# --- fit --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fusion", ["early", "late", "hybrid", "attention"])
def test_classify_with_every_fusion(fusion):
    data = labelled()
    result = fit(data, fusion=fusion, **SMALL)
    assert result.history[-1]["val_top1"] >= 0.8 and len(result.history) == 6
    prediction = result(data.features, data.masks)
    assert prediction.scores.shape == (60, 3) and result.model.labels == ["a", "b", "c"]
    assert_close(sum(prediction.weights.values()), torch.ones(60))
    assert (prediction.weights["text"][~data.masks["text"]] == 0).all()


def test_rank_and_align():
    data = labelled()
    ranked = fit(data, task="rank", label_vectors=torch.eye(3, 5), temperature=0.2, **SMALL)
    scores = ranked(data.features, data.masks).scores
    assert (scores.abs() <= 1.0001).all() and ranked.history[-1]["val_top1"] >= 0.8
    data.ids, data.labels = data.labels, None
    aligned = fit(data, task="align", out_dim=8, **SMALL | {"epochs": 30})
    vectors = aligned(data.features, data.masks).vectors
    assert vectors["image"].shape == (60, 8) and aligned.history[-1]["val_top1"] >= 0.8
    assert aligned.model.labels == [] and aligned.model.task == "align"


def test_seed_decides_and_torchs_own_numbers_stay():
    torch.manual_seed(1)
    first = fit(labelled(), **SMALL)
    drawn = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(3))
    assert same(first.model, fit(labelled(), **SMALL).model)
    assert not same(first.model, fit(labelled(), seed=1, **SMALL).model)


def test_saved_loaded_pickled(tmp_path):
    data = labelled()
    result = fit(data, folder=tmp_path / "run", **SMALL)
    wanted = result(data.features, data.masks).scores
    result.save(tmp_path / "again")
    for folder in ("run", "again"):
        other = Fit.load(tmp_path / folder)
        assert torch.equal(other(data.features, data.masks).scores, wanted)
        assert other.history == result.history and other.best_epoch == result.best_epoch
    for other in (copy.deepcopy(result.model), pickle.loads(pickle.dumps(result.model))):
        with torch.no_grad():  # as `result` computes; norms sum in another order where gradients are recorded
            assert torch.equal(other(data.features, data.masks).scores, wanted)
    tensors, metadata = load_safetensors(tmp_path / "run" / "model.safetensors")
    assert tensors.keys() == result.model.state_dict().keys()
    assert json.loads(metadata["config"])["labels"] == ["a", "b", "c"]


def test_a_model_trained_in_python_is_loaded(tmp_path):
    torch.manual_seed(2)
    data = labelled()
    model = TaskModel("classify", {"image": 10, "text": 6}, ["a", "b", "c"], hidden_dim=16, num_heads=2, ff_dim=16)
    optimiser = torch.optim.AdamW(model.parameters(), 5e-3)
    targets = torch.arange(60) % 3
    losses = []
    for _ in range(20):
        loss = torch.nn.functional.cross_entropy(model(data.features, data.masks).scores, targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    model.eval().save(tmp_path)
    with torch.no_grad():
        assert torch.equal(TaskModel.load(tmp_path).eval()(data.features).scores, model(data.features).scores)


def test_stops_early():
    data = labelled()
    generator = random.Random(1)
    data.labels = [generator.choice("abc") if s == "val" else label for s, label in zip(data.splits, data.labels)]
    result = fit(data, **SMALL | {"epochs": 80, "patience": 3})
    assert result.stopped_early and len(result.history) == result.best_epoch + 3 < 80


def test_without_a_validation_split():
    data = labelled()
    data.splits = None
    result = fit(data, **SMALL)
    assert "val_top1" not in result.history[0] and result.best_epoch == 6


def test_ctrl_c_ends_it():
    program = (
        "import os, signal, sys, threading, torch, trine; x = torch.randn(64, 8);"
        "data = trine.train.Dataset({'a': x}, labels=['x', 'y'] * 32);"
        "threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start();"
        "trine.train.fit(data, epochs=10**7)"
    )
    done = subprocess.run([os.sys.executable, "-c", program], capture_output=True, timeout=120, env=os.environ)
    assert done.returncode != 0 and b"KeyboardInterrupt" in done.stderr


@pytest.mark.parametrize(
    "change, message",
    [
        ({"labels": ["a"] * 60}, "two labels at least"),
        ({"labels": None}, "sample 0 has no label"),
        ({"labels": ["new" if i == 12 else "abc"[i % 3] for i in range(60)]}, r"'new' of sample 12 \(test\) is not in"),
        ({"splits": ["val"] * 60}, "no train sample"),
        ({"splits": ["dev"] * 60}, "not 'dev'"),
        ({"features": {"image": torch.full((60, 4), float("nan"))}, "masks": None}, "sample 0 are not finite"),
        ({"features": {"image": torch.ones(60, 4), "text": torch.ones(30, 4)}, "masks": None}, r"must be floats \(60"),
        ({"masks": {"text": torch.zeros(60).bool()}}, "no train sample has the modality 'text'"),
        ({"masks": {m: torch.arange(60) != 7 for m in ("image", "text")}}, "sample 7 has no modality"),
        ({"features": {}, "masks": None}, "got none"),
    ],
)
def test_data_that_do_not_fit_are_sentences(change, message):
    data = labelled()
    for key, value in change.items():
        setattr(data, key, value)
    with pytest.raises(ValueError, match=message):
        fit(data, **SMALL)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"epochs": 0}, "epochs"),
        ({"batch_size": 0}, "batch_size"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"task": "guess"}, "not 'guess'"),
        ({"fusion": "sum"}, "not 'sum'"),
        ({"balance": "sideways"}, "not 'sideways'"),
        ({"modality_dropout": 1.5}, "0 to 1"),
        ({"task": "rank"}, "label_vectors"),
        ({"num_heads": 3}, "num_heads 3"),
    ],
)
def test_options_out_of_range_are_sentences(change, message):
    with pytest.raises(ValueError, match=message):
        fit(labelled(), **SMALL | change)


def test_a_folder_of_another_training_is_refused(tmp_path):
    fit(labelled(), folder=tmp_path, **SMALL)
    with pytest.raises(RuntimeError, match="other data or options"):
        fit(labelled(), folder=tmp_path, seed=5, **SMALL)


def test_dropout_is_pickled_with_its_draws():
    features = {m: torch.ones(50, 3) for m in ("image", "text")}
    dropout = ModalityDropout(0.5, seed=4)
    dropout(features)
    for other in (pickle.loads(pickle.dumps(dropout)), copy.deepcopy(dropout)):
        wanted, found = copy.deepcopy(dropout)(features)[1], other(features)[1]
        assert all(torch.equal(found[m], wanted[m]) for m in features)
    resting = pickle.loads(pickle.dumps(dropout.eval()))
    assert not resting.training and all(x.all() for x in resting(features)[1].values())


# --- manifests and the store ------------------------------------------------------------------------------------------


def test_store_computes_each_input_once(tiny, manifest, tmp_path):
    samples = read_manifest(manifest)
    assert samples[0].inputs == {"text": ["a sour lemon"]} and samples[2].split == "val" and samples[3].line == 4
    store = FeatureStore(tiny, folder=tmp_path)
    data, skipped = store.load(manifest)
    assert skipped == [] and store.computed == 15 + 6
    assert data.features["text"].shape == (15, 2, 32) and data.masks["text"].sum() == 21
    assert_close(data.features["text"][1, 1], tiny.encode("please, the yellow lemon"))
    again = FeatureStore(tiny, folder=tmp_path)
    assert torch.equal(again.load(samples)[0].features["text"], data.features["text"]) and again.computed == 0
    assert [p.suffix for p in store.folder.iterdir()] == [".safetensors"]


def test_unreadable_inputs_are_skipped_where_others_are_there(model, picture_file, tmp_path):
    (tmp_path / "broken.png").write_text("no picture")
    rows = [
        {"image": "broken.png", "text": "a lemon"},
        {"image": [str(picture_file), "missing.png"]},
    ]
    path = save_manifest(tmp_path / "m.jsonl", rows)
    store = FeatureStore(model, folder=tmp_path / "store")
    data, skipped = store.load(path)
    assert [(s[0], s[1]) for s in skipped] == [(0, "image"), (1, "image")] and "missing.png" in skipped[1][3]
    assert data.masks["image"].tolist() == [[False], [True]] and data.masks["text"].tolist() == [[True], [False]]
    save_manifest(path, [*rows, {"image": "broken.png"}])
    with pytest.raises(RuntimeError, match="line 3 has no input that can be read"):
        store.load(path)


@pytest.fixture(scope="module")
def picture_file(tmp_path_factory):
    from conftest import make_picture
    from PIL import Image

    path = tmp_path_factory.mktemp("pictures") / "one.png"
    Image.fromarray(make_picture()).save(path)
    return path


def test_fit_of_a_manifest(tiny, manifest, tmp_path):
    result = fit(manifest, embedder=tiny, features=tmp_path / "store", **SMALL)
    assert result.model.labels == sorted(FRUITS) and result.skipped == []
    ranked = fit(manifest, task="rank", embedder=tiny, features=tmp_path / "store", **SMALL)
    assert_close(ranked.model.state_dict()["label_vectors"], tiny.encode(sorted(FRUITS)))


def test_a_modality_that_the_model_lacks(tiny, tmp_path):
    path = save_manifest(tmp_path / "m.jsonl", [{"image": "a.png", "text": "a"}])
    with pytest.raises(ValueError, match="image inputs and the model .* has no such tower"):
        FeatureStore(tiny, folder=tmp_path / "store").load(path)


# --- the program ------------------------------------------------------------------------------------------------------


def arguments_of(manifest, model, store, out):
    return ["train", manifest, "--model", model, "--features", store, "--out", out, "--threads", "1",
            "--hidden-dim", "16", "--heads", "2", "--ff-dim", "16", "--batch-size", "8", "--rate", "0.005"]  # fmt: skip


def test_train_and_evaluate(run, tiny_directory, manifest, tmp_path):
    arguments = arguments_of(manifest, tiny_directory, tmp_path / "store", tmp_path / "out")
    report = json.loads(run(*arguments, "--epochs", "8", "--json").stdout)
    assert report["epochs"] == 8 and len(report["history"]) == 8 and report["skipped"] == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"checkpoint.safetensors", "config.json", "curves.svg", "log.jsonl", "model.safetensors"}
    lines = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, 9)) and lines[0]["seconds"] >= 0
    assert ET.parse(tmp_path / "out" / "curves.svg").getroot().tag == "{http://www.w3.org/2000/svg}svg"

    measure = ["evaluate", manifest, "--model", tiny_directory, "--trained", tmp_path / "out"]
    report = json.loads(run(*measure, "--features", tmp_path / "store", "--split", "train", "--json").stdout)
    row = report["results"][0]
    assert report["task"] == "classify" and row["query"] == "text" and row["count"] == 9
    assert row["chance"] == pytest.approx(1 / 3) and row["top5"] == 1
    assert row["interval"][0] <= row["top1"] <= row["interval"][1] and 0 <= row["macro_f1"] <= 1
    # the same as Python has it
    result = Fit.load(tmp_path / "out")
    data, _ = FeatureStore(trine.Embedder(tiny_directory), folder=tmp_path / "store").load(manifest)
    train = torch.tensor([split == "train" for split in data.splits])
    chosen = result(data.features, data.masks).scores.argmax(1)[train]
    right = [result.model.labels[i] == label for i, label in zip(chosen, [x for x, t in zip(data.labels, train) if t])]
    assert sum(right) / len(right) == pytest.approx(row["top1"])
    assert b"macro-F1" in run(*measure, "--features", tmp_path / "store").stdout
    refused(run(*measure, "--without", "text"), "no sample of the split test")


def test_bad_input_of_train(run, tiny_directory, manifest, tmp_path):
    path = tmp_path / "m.jsonl"
    arguments = arguments_of(path, tiny_directory, tmp_path / "store", tmp_path / "out")
    refused(run(*arguments), "m.jsonl")
    for rows, word in (
        ([], "no line"),
        ([{"text": "a", "label": "x"}], "two labels"),
        ([{"text": "a", "label": "x"}, {"text": "b"}], "sample 1 has no label"),
        ([{"text": t, "label": t, "split": "test" if t == "c" else "train"} for t in "abc"], "'c' of sample 2 (test)"),
    ):
        save_manifest(path, rows)
        done = run(*arguments)  # embedding shows its progress first
        assert done.returncode == 1 and done.stdout == b"" and word in done.said.strip().splitlines()[-1], done.said
    assert run("train", manifest).returncode == 2
    assert run("train", manifest, "--out", "x", "--task", "guess").returncode == 2
    assert run("train", "--help").stdout.decode().strip().startswith("trine train ")
    refused(run("evaluate", manifest, "--model", tiny_directory, "--trained", tmp_path / "none"))


def test_killed_at_any_point_ends_in_the_same_weights(trine_program, tiny_directory, tmp_path):
    kills = int(os.environ.get("TRINE_KILLS", "3"))
    words = ["sour", "ripe", "green", "cold", "fresh", "big", "old", "new"]
    rows = [
        {"text": [f"{word} {label}", f"a {label}"], "label": label, "split": "val" if i == 7 else "train"}
        for label in FRUITS
        for i, word in enumerate(words)
    ]
    manifest = save_manifest(tmp_path / "m.jsonl", rows)

    def start(out):
        arguments = arguments_of(manifest, tiny_directory, tmp_path / "store", out)
        command = [trine_program, *arguments, "--epochs", "120", "--checkpoint-seconds", "0.05"]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def finish(process):
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said.decode()

    finish(start(tmp_path / "warm"))  # the vectors are on disk now
    began = time.monotonic()
    finish(start(tmp_path / "straight"))
    whole = time.monotonic() - began
    generator, killed = random.Random(20), 0
    for _ in range(10 * kills):
        process = start(tmp_path / "killed")
        try:
            process.wait(timeout=generator.uniform(0.2, 0.9) * whole)
        except subprocess.TimeoutExpired:
            process.kill()
            killed += 1
        process.communicate()
        if (tmp_path / "killed" / "model.safetensors").exists():  # it got through: once more from the start
            assert same_files(tmp_path / "killed", tmp_path / "straight")
            for path in (tmp_path / "killed").iterdir():
                path.unlink()
        if killed >= kills:
            break
    finish(start(tmp_path / "killed"))
    assert killed == kills
    assert same_files(tmp_path / "killed", tmp_path / "straight")


def same_files(one, other):
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in ("model.safetensors", "config.json"))
