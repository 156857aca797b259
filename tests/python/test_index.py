"""The index, combined queries and ranking by agreement."""

import gc
import pickle
import re
import sys
import threading

import numpy as np
import pytest
import torch

import trine

DIM = 8


@pytest.fixture
def vectors():
    values = np.random.default_rng(0).normal(size=(50, DIM)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


@pytest.fixture
def index(vectors):
    index = trine.Index(DIM)
    index.add([f"id{i:02}" for i in range(50)], vectors)
    return index


def test_search_equals_numpy(index, vectors):
    scores = vectors @ vectors[7]
    best = np.argsort(-scores)[:5]
    found = index.search(vectors[7], k=5)
    assert [m.id for m in found] == [f"id{i:02}" for i in best]
    assert np.allclose([m.score for m in found], scores[best], atol=1e-6)
    assert found[0] == ("id07", found[0].score)


@pytest.mark.parametrize("form", [list, np.float64, torch.from_numpy, lambda v: torch.from_numpy(v).half()])
def test_queries_may_be_anything_that_holds_numbers(index, vectors, form):
    assert index.search(form(vectors[3]), k=1)[0].id == "id03"


def test_matches_are_named_tuples(index, vectors):
    for query in (vectors[7], vectors[7:8]):
        found = index.search(query, k=3)
        for match in found if query.ndim == 1 else found[0]:
            assert type(match) is trine.Match and match == (match.id, match.score) and gc.is_tracked(match)
            assert pickle.loads(pickle.dumps(match)) == match and match._replace(id="x").id == "x"
            assert type(match.id) is str and type(match.score) is float
    before = sys.getrefcount(trine.Match)
    many = [index.search(vectors, k=3) for _ in range(10)]
    held = sys.getrefcount(trine.Match)
    del many
    after = sys.getrefcount(trine.Match)
    assert (held - before, after - before) == (10 * 50 * 3, 0)  # each holds its class, and lets it go
    assert index.search(vectors[:0]) == []


def test_the_shape_of_queries_is_checked(index, vectors):
    for bad, wanted, got in [
        (np.ones(DIM - 1), f"({DIM},)", f"({DIM - 1},)"),
        (np.ones((4, 3)), f"(4, {DIM})", "(4, 3)"),
        (np.ones((2, 2, DIM)), f"({DIM},)", f"(2, 2, {DIM})"),
        (np.ones(0), f"({DIM},)", "(0,)"),
        (np.float32(1), f"({DIM},)", "(1,)"),
    ]:
        for query in (bad, np.asarray(bad, np.float32)):
            with pytest.raises(ValueError, match=re.escape(f"Wanted the shape {wanted}, got {got}.")):
                index.search(query)


def test_many_queries_give_many_lists(index, vectors):
    assert [found[0].id for found in index.search(vectors[:4], k=2)] == ["id00", "id01", "id02", "id03"]


def test_only_what_is_allowed_is_found(index, vectors):
    assert {m.id for m in index.search(vectors[7], 10, ids=["id01", "id02", "nowhere"])} == {"id01", "id02"}
    assert {m.id for m in index.search(vectors[7], 50, keep=lambda id: id.endswith("3"))} == {
        f"id{i}3" for i in range(5)
    }
    assert [m.id for m in index.search(vectors[7], ids=["id13", "id14"], keep=lambda id: id < "id14")] == ["id13"]
    assert index.search(vectors[7], ids=[]) == []
    with pytest.raises(ZeroDivisionError):
        index.search(vectors[7], keep=lambda id: 1 / 0)


def test_records_change(index, vectors):
    assert len(index) == 50 and "id00" in index and index.contains("id00") and 7 not in index
    index.remove("id00")
    assert "id00" not in index and len(index) == 49
    index.update("id01", vectors[0])
    assert np.array_equal(index.vector("id01"), vectors[0])
    index.add("new é", torch.ones(DIM))
    assert index.ids() == list(index) == sorted([f"id{i:02}" for i in range(1, 50)] + ["new é"])
    assert repr(index) == "Index(dim=8, size=50)"


def test_a_batch_is_added_wholly_or_not_at_all(index):
    before = index.ids()
    for ids in (["a", "b", "a"], ["a", "id07"], ["a", ""]):
        with pytest.raises(ValueError):
            index.add(ids, np.ones((len(ids), DIM)))
        assert index.ids() == before
    index.add([], np.ones((0, DIM)))
    assert index.ids() == before


@pytest.mark.parametrize("bad", [np.ones(DIM - 1), np.ones((1, DIM)), [np.nan] * DIM, [1e300] * DIM, 1.0])
def test_bad_vectors_are_refused(index, bad):
    with pytest.raises(ValueError) if not isinstance(bad, float) else pytest.raises(TypeError):
        index.add("new", bad)
    assert "new" not in index


def test_other_bad_arguments_are_refused(index, vectors):
    for call in (
        lambda: index.add("id07", vectors[0]),
        lambda: index.add("", vectors[0]),
        lambda: index.add("\ud800", vectors[0]),
        lambda: index.remove("nowhere"),
        lambda: index.update("nowhere", vectors[0]),
        lambda: index.vector("nowhere"),
        lambda: index.search(vectors[0], k=0),
        lambda: index.search(np.ones(DIM + 1)),
        lambda: index.search(np.full(DIM, np.inf)),
        lambda: trine.Index(0),
    ):
        with pytest.raises(ValueError):
            call()
    for call in (lambda: index.add(b"bytes", vectors[0]), lambda: index.remove(7), lambda: index.search(["a"] * DIM)):
        with pytest.raises(TypeError):
            call()


def test_metadata_is_a_dict_that_travels(index, tmp_path):
    index.metadata["model"] = "some é"
    index.metadata.update(catalogue="{}", gone="x")
    del index.metadata["gone"]
    with pytest.raises(KeyError):
        index.metadata["gone"]
    with pytest.raises(KeyError):
        del index.metadata["gone"]
    with pytest.raises(TypeError):
        index.metadata["number"] = 7
    index.save(tmp_path / "index.trine")
    loaded = trine.Index.load(tmp_path / "index.trine")
    assert dict(loaded.metadata) == {"model": "some é", "catalogue": "{}"} == dict(index.metadata)
    assert loaded.metadata.get("gone") is None and len(loaded.metadata) == 2


def test_a_file_gives_the_same_index(index, vectors, tmp_path):
    path = tmp_path / "index.trine"
    index.save(path)
    loaded = trine.Index.load(str(path))
    assert loaded.ids() == index.ids() and loaded.dim == DIM
    assert loaded.search(vectors[9], k=50) == index.search(vectors[9], k=50)


def test_a_file_that_is_cut_or_changed_is_refused(tmp_path):
    index = trine.Index(2)
    index.add("a", [1, 0])
    index.metadata["model"] = "m"
    path = tmp_path / "index.trine"
    index.save(path)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(RuntimeError):
            trine.Index.load(path)
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x40]) + whole[position + 1 :])
        with pytest.raises(RuntimeError):
            trine.Index.load(path)
    with pytest.raises(FileNotFoundError):
        trine.Index.load(tmp_path / "missing.trine")


def test_threads_may_share_an_index(index, vectors):
    errors = []

    def work(number):
        try:
            for i in range(200):
                index.add(f"t{number}-{i}", vectors[number])
                index.search(vectors[number], k=3, keep=None if i % 20 else lambda id: id.startswith("id"))
                index.metadata["last"] = str(i)
                index.remove(f"t{number}-{i}")
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors and len(index) == 50


def test_precisions(vectors):
    scores = vectors @ vectors[7]
    best = [f"id{i:02}" for i in np.argsort(-scores)[:5]]
    for precision, rescore in (("fp32", None), ("fp16", None), ("fp16", "fp32"), ("int8", "fp16"), ("int8", "fp32")):
        index = trine.Index(DIM, precision=precision, rescore=rescore)
        index.add([f"id{i:02}" for i in range(50)], vectors)
        assert (index.precision, index.rescore) == (precision, rescore)
        assert [m.id for m in index.search(vectors[7], k=5)] == best
        kept = np.float16 if "fp16" in (rescore or precision) else np.float32
        assert np.array_equal(index.vector("id07"), vectors[7].astype(kept).astype(np.float32))
    coarse = trine.Index(DIM, precision="int8")
    coarse.add([f"id{i:02}" for i in range(50)], vectors)
    assert np.abs(coarse.vector("id07") - vectors[7]).max() < 0.005
    for bad in ({"precision": "fp64"}, {"rescore": "fp32"}, {"precision": "fp16", "rescore": "int8"}):
        with pytest.raises(ValueError):
            trine.Index(DIM, **bad)
    with pytest.raises(ValueError, match="65504"):
        trine.Index(2, precision="fp16").add("a", [1e6, 0])


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_batches_and_threads_change_nothing(precision):
    values = np.random.default_rng(1).normal(size=(3000, 33)).astype(np.float32)
    index = trine.Index(33, precision=precision)
    index.add([str(i) for i in range(3000)], values)
    one_by_one = [index.search(row, k=7, threads=1) for row in values[:40]]
    for threads in (None, 1, 3):
        assert index.search(values[:40], k=7, threads=threads) == one_by_one
    assert index.search(values[:0], k=7) == []
    assert index.search(values[:2], k=5000)[1][0].id == "1" and len(index.search(values[0], k=5000)) == 3000


def test_a_graph_finds_what_a_scan_finds(tmp_path):
    generator = np.random.default_rng(2)
    values = generator.normal(size=(60, 24)).repeat(50, axis=0) + generator.normal(size=(3000, 24))
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    index = trine.Index(24)
    index.add([str(i) for i in range(2900)], values[:2900])
    index.build_graph(m=8, ef_construction=60)
    index.add([str(i) for i in range(2900, 3000)], values[2900:])
    for gone in range(0, 3000, 3):
        index.remove(str(gone))
    index.update("1", values[0])
    assert index.has_graph and len(index) == 2000

    def agreement(searched, **how):
        exact, walked = searched.search(values[:200], exact=True, **how), searched.search(values[:200], ef=100, **how)
        return np.mean([len({m.id for m in a} & {m.id for m in b}) / len(a) for a, b in zip(exact, walked)])

    assert agreement(index) > 0.97
    assert agreement(index, keep=lambda id: id.endswith("1")) > 0.97
    assert index.search(values[0], k=1)[0].id == "1"
    index.save(tmp_path / "graph.trine")
    for mapped in (False, True):
        loaded = trine.Index.load(tmp_path / "graph.trine", mapped=mapped)
        assert loaded.has_graph and agreement(loaded) > 0.97
        assert loaded.search(values[:9], exact=True) == index.search(values[:9], exact=True)
        loaded.drop_graph()
        assert not loaded.has_graph and loaded.search(values[:9]) == index.search(values[:9], exact=True)
    for bad in ({"m": 1}, {"ef_construction": 0}, {"threads": -1}):
        with pytest.raises(ValueError):
            index.build_graph(**bad)
    for bad in ({"ef": -1}, {"threads": -1}, {"k": 0}):
        with pytest.raises(ValueError):
            index.search(values[0], **bad)


def test_an_empty_index_finds_nothing():
    for precision in ("fp32", "fp16", "int8"):
        index = trine.Index(3, precision=precision)
        assert index.search([1, 2, 3]) == [] and index.search(np.ones((2, 3))) == [[], []]
        index.build_graph()
        assert index.search([1, 2, 3]) == []
        for bad in ([np.nan, 0, 0], [1, 2], np.ones((2, 2)), np.ones((2, 3, 1))):
            with pytest.raises(ValueError):
                index.search(bad)


# --- queries ----------------------------------------------------------------------------------------------------------


def test_combine_query_is_the_weighted_mean():
    image, text = torch.nn.functional.normalize(torch.randn(2, 3, DIM, generator=torch.manual_seed(0)), dim=-1)
    combined = trine.combine_query({"image": image, "text": text.numpy()}, {"text": -0.5})
    assert torch.allclose(combined, torch.nn.functional.normalize(image - 0.5 * text, dim=-1), atol=1e-6)
    both = trine.combine_query({"image": image[0], "audio": text[0]})
    assert torch.allclose(both, torch.nn.functional.normalize(image[0] + 0.5 * text[0], dim=0), atol=1e-6)


def test_bad_queries_are_refused():
    one = torch.ones(DIM)
    for vectors, weights in (
        ({}, None),
        ({"smell": one}, None),
        ({"image": one, "text": torch.ones(DIM + 1)}, None),
        ({"image": one, "text": one}, {"text": -1}),
        ({"image": one}, {"image": 0}),
        ({"image": one}, {"image": float("nan")}),
        ({"image": one}, {"smell": 1}),
        ({"image": one * float("nan")}, None),
    ):
        with pytest.raises(ValueError):
            trine.combine_query(vectors, weights)
    with pytest.raises(TypeError):
        trine.combine_query({"image": one}, [1])


def test_rerank_score():
    assert trine.rerank_score(0.5, {}).score == trine.rerank_score(0.5, {"text": 0.2}).score == 0.5
    score = trine.rerank_score(0.8, {"image": 0.9, "text": 0.4})
    assert score.consistency == pytest.approx(0.6) and score.disagreement == pytest.approx(0.5)
    assert score.score == pytest.approx(0.8 * 1.6 * 0.75)
    assert trine.rerank_score(-0.3, {"image": 1, "text": 1}).score == 0
    with pytest.raises(ValueError):
        trine.rerank_score(0.5, {"smell": 1})
