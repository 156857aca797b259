"""Adaptive inference and advice, from Python and at the terminal."""

import json
import math
import xml.etree.ElementTree as ET

import pytest
import torch
from conftest import make_picture, refused
from test_cli import make_index

import trine

DIM, COUNT = 32, 10


@pytest.fixture(scope="module")
def search(tiny, one_thread):
    titles = ("Banana", "Lemon", "Milk", "Leek", "Onion", "Yoghurt", "Juice", "Potato", "Pepper", "Melon")
    return trine.ProductSearch.build(tiny, [{"id": title.lower(), "title": title} for title in titles])


@pytest.fixture(scope="module")
def vectors(tiny, search):
    """{id: the vector of its title}"""
    ids = [f"{name}" for name in ("banana", "lemon", "milk", "leek", "onion", "yoghurt", "juice", "potato", "pepper")]
    return {id: tiny.embed(text=search.product(id).title) for id in ids}


def sample(vectors, count=200, seed=1):
    random = torch.Generator().manual_seed(seed)
    rows, ids = [], list(vectors)
    for i in range(count):
        id = ids[i % len(ids)]
        noisy = {
            modality: torch.nn.functional.normalize(
                vectors[id] + strength * torch.randn(DIM, generator=random) / math.sqrt(DIM), dim=0
            )
            for modality, strength in (("text", 1.0), ("image", 0.1))
        }
        rows.append({"id": id, "vectors": noisy, "milliseconds": {"text": 5.0, "image": 45.0}})
    return rows


def test_a_file_that_is_not_needed_is_not_opened(search):
    adaptive = trine.AdaptiveInference(search)
    answer = adaptive.search(text="Lemon", k=3)
    assert isinstance(answer, trine.AdaptiveAnswer) and answer.route == "simple"
    assert answer.computed == ["text"] and answer.skipped == [] and answer.agreement is None
    assert list(answer.milliseconds) == ["text", "search"] and len(answer.hits) == 3
    assert 0 < answer.confidence < 1
    told = json.loads(json.dumps(answer.to_dict()))
    assert told["route"] == "simple" and told["hits"][0]["id"] == answer.hits[0].id
    assert repr(answer).startswith("AdaptiveAnswer(route='simple'")
    with pytest.raises(ValueError, match="there is none"):
        adaptive.search()
    with pytest.raises(ValueError, match="has no"):
        adaptive.search(image=torch.zeros(8, 8, 3, dtype=torch.uint8))


def test_what_the_text_settles_leaves_the_photo_unread(model, tmp_path):
    titles = ("a banana", "a carton of milk", "a red pepper")
    search = trine.ProductSearch.build(model, [{"id": title, "title": title} for title in titles])
    adaptive = trine.AdaptiveInference(search)
    answer = adaptive.search(text="a banana", image=tmp_path / "missing.jpg")
    assert (answer.route, answer.skipped, answer.hits[0].id) == ("simple", ["image"], "a banana")
    with pytest.raises(FileNotFoundError):
        adaptive.search(text="zq", image=tmp_path / "missing.jpg")


def test_a_fit_saves_and_a_saved_one_does_the_same(search, vectors, tmp_path):
    adaptive = trine.AdaptiveInference(search)
    rows = sample(vectors, 400)
    curve = adaptive.fit(rows, wanted=0.95)
    assert curve["count"] == 400 and set(curve) == {"points", "always_simple", "always_complex", "chosen", "count"}
    qualities = [point["quality"] for point in curve["points"]]
    assert qualities == sorted(qualities)
    assert curve["always_simple"]["simple"] == 1 and curve["always_complex"]["complex"] == 1
    assert curve["chosen"]["quality"] >= 0.95 * curve["always_complex"]["quality"]
    assert adaptive.policy["towers"]["image"] == 45 and adaptive.policy["confidence"] == curve["chosen"]["confidence"]

    adaptive.save(tmp_path / "adaptive")
    loaded = trine.AdaptiveInference.load(tmp_path / "adaptive", search=search)
    assert loaded.policy == adaptive.policy and loaded.curve(rows) == curve
    points = loaded.measure(rows, [(0, 0), (1, 1)])
    assert points[0]["right"] == curve["always_simple"]["right"]
    assert points[1]["right"] == curve["always_complex"]["right"]
    assert "10 products" in repr(loaded) and loaded.products is search
    with pytest.raises(FileNotFoundError):
        trine.AdaptiveInference.load(tmp_path / "absent", search=search)


def test_queries_are_embedded_and_timed(search):
    adaptive = trine.AdaptiveInference(search)
    curve = adaptive.fit([{"id": "lemon", "text": "Lemon"}, {"id": "milk", "text": "Milk"}])
    assert curve["always_simple"]["quality"] == 1 and adaptive.policy["towers"]["text"] > 0


def test_each_set_of_a_sample_must_show_it(search, vectors):
    adaptive = trine.AdaptiveInference(search)
    rows = sample(vectors, 400)
    adaptive.fit(rows, wanted=0.9)
    assert adaptive.policy["confidence"] < 1
    adaptive.fit([row | {"set": "rare" if i < 5 else "usual"} for i, row in enumerate(rows)], wanted=0.9)
    assert adaptive.policy["confidence"] == 1  # five queries show nothing


def test_a_fusion_may_be_given(search, vectors, tmp_path):
    fusion = trine.fusion.AttentionFusion(["image", "text"], hidden_dim=DIM, num_heads=4, ff_dim=32)
    fusion.save(tmp_path / "fusion")
    for given in (fusion, tmp_path / "fusion"):
        adaptive = trine.AdaptiveInference(search, fusion=given)
        adaptive.fit(sample(vectors, 60))
        assert 0 <= adaptive.policy["fusion_share"] <= 1
    assert not fusion.training
    with pytest.raises(ValueError, match="dimensions"):
        trine.AdaptiveInference(search, fusion=trine.fusion.LateFusion(["image", "text"], hidden_dim=16))


def test_bad_samples_are_refused(search, vectors):
    adaptive = trine.AdaptiveInference(search)
    rows = sample(vectors, 10)
    for bad, part in (
        ([], "no query"),
        ([{"text": "x"}], "must be a dict with the id"),
        ([{"id": "lemon", "smell": "x"}], "smell"),
        ([{"id": "lemon"}], "no modality"),
        ([{"id": "lemon", "text": "x", "set": "\ud800"}], "valid Unicode"),
        ([*rows, {"id": "gold", "vectors": rows[0]["vectors"]}], "query 10"),
        ([*rows, {"id": "lemon", "vectors": {"text": torch.full((DIM,), math.nan)}}], "finite"),
        ([rows[0], rows[0]], "two products"),
    ):
        with pytest.raises(ValueError, match=part):
            adaptive.fit(bad)
    with pytest.raises(ValueError, match="wanted"):
        adaptive.fit(rows, wanted=2)
    with pytest.raises(TypeError):
        trine.AdaptiveInference("products.trine")


# --- advice -----------------------------------------------------------------------------------------------------------


def labelled(count=300, text=0.0, seed=1):
    random = torch.Generator().manual_seed(seed)
    classes = torch.arange(count) % 3
    centres = torch.eye(6)[classes]
    image = centres + 0.45 * torch.randn(count, 6, generator=random)
    words = text * centres + 0.45 * torch.randn(count, 6, generator=random)
    return {"image": image, "text": words}, [f"c{int(c)}" for c in classes]


@pytest.mark.parametrize("text, verdict", [(0.0, "does not pay"), (1.0, "pays")])
def test_advice_says_whether_the_text_pays(text, verdict):
    features, labels = labelled(600, text)
    advice = trine.train.advise(features, labels, milliseconds={"image": 40, "text": 4})
    [beside_image] = [c for c in advice["comparisons"] if c["added"] == "text"]
    assert beside_image["verdict"] == verdict
    assert (len(advice["recommended"]) == 2) == (verdict == "pays")
    assert any("pay" in sentence for sentence in advice["sentences"])
    assert [s["modalities"] for s in advice["subsets"]] == [["image"], ["text"], ["image", "text"]]
    json.dumps(advice)
    assert trine.train.advise(features, labels, milliseconds={"image": 40, "text": 4}) == advice


def test_bad_samples_get_no_advice():
    features, labels = labelled(30)
    for arguments, part in (
        (({}, labels), "at least one"),
        ((features, []), "empty"),
        ((features, labels[:-1]), "one row for each label"),
        ((features, ["same"] * 30), "two are wanted"),
        (({"image": torch.full((30, 2), math.nan)}, labels), "not finite"),
    ):
        with pytest.raises(ValueError, match=part):
            trine.train.advise(*arguments)
    with pytest.raises(ValueError, match="31 folds"):
        trine.train.advise(features, labels, folds=31)
    with pytest.raises(ValueError, match="different ids"):
        trine.train.advise(features, labels, ids=[1] * 30)


# --- at the terminal ----------------------------------------------------------------------------------------------------

WORDS = {"lemon": ("sour", "yellow", "squeezed"), "milk": ("white", "cold", "a glass"), "leek": ("green", "long", "soup")}


@pytest.fixture(scope="module")
def sample_manifest(tmp_path_factory):
    """Texts that tell the class; pictures that are the same for all classes."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("sample")
    for number in range(4):
        Image.fromarray(make_picture(number, 64, 64)).save(folder / f"{number}.png")
    lines = [
        {"id": id, "label": id, "text": f"{word} {id} number {number}", "image": f"{number}.png"}
        for number in range(4)
        for id, words in WORDS.items()
        for word in words
    ]
    manifest = folder / "sample.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return manifest


@pytest.fixture(scope="module")
def advice_manifest(sample_manifest):
    """The same, each line a thing of its own."""
    lines = [json.loads(line) for line in sample_manifest.read_text().splitlines()]
    manifest = sample_manifest.with_name("advice.jsonl")
    manifest.write_text("".join(json.dumps(line | {"id": str(n)}) + "\n" for n, line in enumerate(lines)))
    return manifest


def test_advise_at_the_terminal(run, model_directory, advice_manifest, tmp_path):
    options = ("--model", model_directory, "--features", tmp_path, "--folds", "3", "--threads", "1")
    done = run("advise", advice_manifest, *options, "--json")
    assert done.returncode == 0, done.said
    told = json.loads(done.stdout)
    assert (told["samples"], told["classes"]) == (36, 3) and 0.3 < told["chance"] < 0.34
    accuracy = {tuple(subset["modalities"]): subset["accuracy"] for subset in told["subsets"]}
    assert set(accuracy) == {("image",), ("text",), ("image", "text")}
    assert accuracy[("text",)] > 0.9 > 0.7 > accuracy[("image",)]
    assert told["recommended"] == ["text"]
    image = next(c for c in told["comparisons"] if c["added"] == "image" and c["without"] == ["text"])
    assert image["verdict"] != "pays" and image["interval"][0] <= image["gain"] <= image["interval"][1]

    again = run("advise", advice_manifest, *options)
    assert again.returncode == 0, again.said
    table = again.stdout.decode()
    untimed = [sentence for sentence in told["sentences"] if " ms" not in sentence]
    assert "95 % interval" in table and untimed and all(sentence in table for sentence in untimed)


def test_advise_refuses_what_it_cannot_use(run, model_directory, tmp_path):
    manifest = tmp_path / "sample.jsonl"
    manifest.write_text('{"text": "sour", "label": "lemon"}\n{"text": "white"}\n')
    refused(run("advise", manifest, "--model", model_directory), "line 2", '"label" is missing')
    manifest.write_text('{"text": "sour", "label": "lemon", "split": "train"}\n')
    refused(run("advise", manifest, "--model", model_directory, "--split", "val"), "no sample of the split val")
    refused(run("advise", tmp_path / "none.jsonl", "--model", model_directory), "none.jsonl")


@pytest.fixture(scope="module")
def shop(run, model_directory, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    catalogue = folder / "catalogue.jsonl"
    catalogue.write_text("".join(json.dumps({"id": id, "title": id}) + "\n" for id in WORDS))
    return make_index(run, model_directory, catalogue, folder / "shop.trine")


def test_evaluate_adaptive_at_the_terminal(run, model_directory, shop, sample_manifest, tmp_path):
    out = tmp_path / "adaptive"
    command = ("evaluate", sample_manifest, "--adaptive", sample_manifest, "--index", shop, "--model", model_directory)
    done = run(*command, "--out", out, "--threads", "1", "--json")
    assert done.returncode == 0, done.said
    told = json.loads(done.stdout)
    assert told["queries"] == 36 and told["chance"] == pytest.approx(1 / 3)
    named = {row["name"]: row["measured"] for row in told["rows"] if row["name"]}
    assert set(named) == {"always simple", "fitted", "always complex"}
    assert named["always simple"]["towers"] == pytest.approx(0.5)  # one of two for each query
    assert named["always complex"]["towers"] == 1
    assert named["fitted"]["quality"] >= told["wanted"] * named["always complex"]["quality"]
    assert "fitted" in (out / "curve.md").read_text()
    assert ET.parse(out / "curve.svg").getroot().tag.endswith("svg")
    loaded = trine.AdaptiveInference.load(out, search=trine.ProductSearch(shop, embedder=trine.Embedder(model_directory)))
    assert loaded.policy["order"][0] in ("text", "image")


def test_evaluate_adaptive_refuses_what_it_cannot_use(run, model_directory, shop, tmp_path):
    manifest, sample = tmp_path / "queries.jsonl", tmp_path / "sample.jsonl"
    command = ("evaluate", manifest, "--adaptive", sample, "--index", shop, "--model", model_directory)
    sample.write_text('{"id": "lemon", "text": "sour"}\n')
    manifest.write_text('{"text": "sour"}\n')
    refused(run(*command), "queries.jsonl, line 1", '"id" is missing')
    manifest.write_text('{"id": "caviar", "text": "sour"}\n')
    refused(run(*command), "there is no product", "caviar")
    refused(run(*command[:2], "--adaptive", tmp_path / "none.jsonl", *command[4:]), "none.jsonl")
