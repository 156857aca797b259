"""Product search: catalogues, hits with reasons, files."""

import json

import pytest
from conftest import make_picture, make_voice

import trine

FRUIT = [
    {
        "id": "banana",
        "title": "Banana",
        "description": "A yellow tropical fruit.",
        "attributes": {"price": 2.49, "organic": True, "colour": "gelb é"},
        "keywords": ["something yellow to eat"],
    },
    {"id": "lemon", "title": "Lemon", "keywords": ["something sour"]},
    {"id": "milk", "title": "Milk"},
]


@pytest.fixture(scope="module")
def search(tiny):
    return trine.ProductSearch.build(tiny, FRUIT)


def test_a_title_finds_its_product(search):
    hits = search.search(text="something sour", k=3)
    assert [type(hit) for hit in hits] == [trine.Hit] * 3
    hit = hits[0]
    assert (hit.id, hit.title) == ("lemon", "Lemon")
    assert hit.reasons[0].modality == "text" and hit.reasons[0].nearest == "keyword: something sour"
    assert hit.similarity == pytest.approx(0.95, abs=1e-4)  # the same words, less the margin of a keyword
    assert 0 <= hit.reasons[0].support <= 1
    assert hit.sentence().endswith(".") and repr(hit).startswith("Hit(id='lemon', title='Lemon', score=")
    assert [h.score for h in hits] == sorted((h.score for h in hits), reverse=True)
    assert len(search.search(text="milk", k=1)) == 1 and len(search.search(text="milk", k=99)) == 3


def test_a_hit_is_json(search):
    told = json.loads(json.dumps(search.search(text="Banana", k=1)[0].to_dict()))
    assert told["product"]["attributes"] == {"price": 2.49, "organic": True, "colour": "gelb é"}
    assert set(told) == {
        "id",
        "title",
        "score",
        "similarity",
        "consistency",
        "disagreement",
        "reasons",
        "sentence",
        "product",
    }
    assert told["reasons"][0]["modality"] == "text"


def test_products(search):
    product = search.product("banana")
    assert product.attributes["price"] == 2.49 and product.keywords == ["something yellow to eat"]
    assert repr(product) == "Product(id='banana', title='Banana')"
    assert product.to_dict() == FRUIT[0] | {"images": []}
    assert len(search) == 3 and search.report["products"] == 3 and search.report["vectors"] == 6
    with pytest.raises(ValueError):
        search.product("nowhere")


def test_a_file_gives_the_same_hits(search, tiny, tmp_path):
    path = tmp_path / "fruit.trine"
    search.save(path)
    loaded = trine.ProductSearch(path, embedder=tiny)
    wanted, got = search.search(text="a yellow one"), loaded.search(text="a yellow one")
    assert [hit.to_dict() for hit in got] == [hit.to_dict() for hit in wanted]
    assert loaded.report is None and loaded.embedder is tiny and "3 products" in repr(loaded)
    whole = path.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(RuntimeError):
            trine.ProductSearch(path, embedder=tiny)
    with pytest.raises(FileNotFoundError):
        trine.ProductSearch(tmp_path / "missing.trine", embedder=tiny)


def test_an_index_of_another_model_is_refused(tiny, tmp_path):
    plain = trine.Index(tiny.dim)
    plain.save(tmp_path / "plain.trine")
    with pytest.raises(RuntimeError, match="catalogue"):
        trine.ProductSearch(tmp_path / "plain.trine", embedder=tiny)
    plain.metadata.update(model="another", catalogue="[]")
    plain.save(tmp_path / "plain.trine")
    with pytest.raises(RuntimeError, match="another"):
        trine.ProductSearch(tmp_path / "plain.trine", embedder=tiny)


def test_a_catalogue_file(tiny, tmp_path):
    path = tmp_path / "fruit.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in FRUIT), encoding="utf-8")
    assert [p.to_dict() for p in trine.read_catalogue(path)] == [dict.fromkeys(p) | p for p in map(filled, FRUIT)]
    built = trine.ProductSearch.build(tiny, path)
    assert built.search(text="something sour", k=1)[0].id == "lemon"
    for line in ("{", "[]", '{"id": "a"}', '{"id": 7, "title": "x"}', '{"id": "banana", "title": "twice"}'):
        path.write_text(json.dumps(FRUIT[0]) + "\n" + line + "\n")
        with pytest.raises(RuntimeError, match="line 2"):
            trine.read_catalogue(path)
    with pytest.raises(FileNotFoundError):
        trine.read_catalogue(tmp_path / "missing.jsonl")


def filled(row):
    return {"description": "", "attributes": {}, "keywords": [], "images": []} | row


@pytest.mark.parametrize(
    "bad, error",
    [
        ([{"id": "a"}], ValueError),
        ([{"id": "", "title": "x"}], ValueError),
        ([{"id": "a", "title": "x", "colour": "red"}], ValueError),
        ([{"id": "a", "title": "x"}, {"id": "a", "title": "y"}], ValueError),
        ([{"id": 7, "title": "x"}], TypeError),
        ([{"id": "a", "title": "x", "keywords": [7]}], TypeError),
        ([{"id": "a", "title": "x", "attributes": ["red"]}], TypeError),
        ([{"id": "a", "title": "x", "attributes": {"f": len}}], TypeError),
        ([{"id": "a", "title": "\ud800"}], ValueError),
        (["banana"], TypeError),
    ],
)
def test_bad_products_are_refused(tiny, bad, error):
    with pytest.raises(error):
        trine.ProductSearch.build(tiny, bad)


def test_progress_is_told_and_may_end_the_work(tiny):
    told = []
    trine.ProductSearch.build(tiny, FRUIT, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]

    def stop(done, total):
        raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        trine.ProductSearch.build(tiny, FRUIT, progress=stop)


def test_bad_queries_are_refused(search, tiny):
    for query in ({}, {"text": "a", "k": 0}, {"text": "a", "weights": {"text": 0}}, {"text": "a", "weights": {"x": 1}}):
        with pytest.raises(ValueError):
            search.search(**query)
    with pytest.raises(ValueError, match="has no"):
        search.search(image=make_picture())
    with pytest.raises(TypeError):
        trine.ProductSearch(embedder="tiny")
    assert search.search(text="word " * 100)  # in windows


def test_pictures_words_and_a_clip(model, tmp_path):
    image = pytest.importorskip("PIL.Image", reason="needs Pillow")
    rows = []
    for i in range(3):
        image.fromarray(make_picture(5 * i, 120, 100)).save(tmp_path / f"{i}.png")
        rows.append({"id": str(i), "title": f"Product {i}", "images": [str(tmp_path / f"{i}.png")]})
    rows[2]["images"].append(str(tmp_path / "missing.png"))
    with pytest.warns(UserWarning, match="skipped: 1, the first .*missing.png"):
        search = trine.ProductSearch.build(model, rows)
    assert search.report["vectors"] == 6 and search.report["skipped"][0][0].endswith("missing.png")
    hit = search.search(image=make_picture(5, 120, 100), k=1)[0]
    assert hit.id == "1" and hit.reasons[0].nearest.startswith("picture")
    hit = search.search(
        image=make_picture(5, 120, 100), text="Product 1", audio=make_voice(), weights={"audio": 0.1}, k=1
    )[0]
    assert hit.id == "1" and [r.modality for r in hit.reasons] == ["image", "text", "audio"]
    plain = search.search(image=make_picture(5, 120, 100), text="Product 1", rerank=False)
    assert all(h.score == h.similarity for h in plain)


def test_the_default_catalogue(default_model):
    if not (default_model.directory / "catalogue.trine").is_file():
        pytest.skip("the default model has no catalogue.trine yet")
    search = trine.ProductSearch(embedder=default_model)
    hits = search.search(text="a ripe banana", k=3)
    assert "banana" in hits[0].title.lower()
