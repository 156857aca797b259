"""Product search: catalogues, hits with reasons, files."""

import json

import pytest
from conftest import make_picture, make_voice, save_wav, short_side

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
VERDICTS = ("supports", "neutral", "contradicts")


@pytest.fixture(scope="module")
def search(tiny):
    return trine.ProductSearch.build(tiny, FRUIT)


def test_a_title_finds_its_product(search):
    hits = search.search(text="something sour", k=3)
    assert isinstance(hits, trine.SearchResult) and [type(hit) for hit in hits] == [trine.Hit] * 3
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
        "avoided",
        "reasons",
        "sentence",
        "product",
    }
    assert told["reasons"][0]["modality"] == "text" and told["reasons"][0]["verdict"] in VERDICTS
    found = search.search(text="Banana")
    assert json.loads(json.dumps(found.to_dict()))["confidence"] == found.confidence
    assert 0 <= found.confidence <= 1 and found.nothing_matches is False


def test_products(search):
    product = search.product("banana")
    assert product.attributes["price"] == 2.49 and product.keywords == ["something yellow to eat"]
    assert repr(product) == "Product(id='banana', title='Banana')"
    assert product.to_dict() == FRUIT[0] | {"images": [], "audio": [], "videos": []}
    assert [p.id for p in search.products] == ["banana", "lemon", "milk"]
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
    return {"description": "", "attributes": {}, "keywords": [], "images": [], "audio": [], "videos": []} | row


@pytest.mark.parametrize(
    "bad, error",
    [
        ([{"id": "a"}], ValueError),
        ([{"id": "", "title": "x"}], ValueError),
        ([{"id": "a", "title": "x", "colour": "red", "attributes": {"colour": "blue"}}], ValueError),
        ([{"id": "a", "title": "x", "price": float("nan")}], ValueError),
        ([{"id": "a\nb", "title": "x"}], ValueError),
        ([{"id": "a", "title": "x", "audio": [7]}], TypeError),
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
    for query in (
        {},
        {"text": []},
        {"text": "a", "k": 0},
        {"text": "a", "weights": {"text": 0}},
        {"text": "a", "weights": {"x": 1}},
        {"text": "a", "filter": "price <"},
        {"text": "a", "filter": "price = 3"},
        {"text": "a", "mixing": "often"},
        {"text": "a", "without": "\ud800"},
    ):
        with pytest.raises(ValueError):
            search.search(**query)
    with pytest.raises(TypeError):
        search.search(text="a", without=[7])
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
    save_wav(tmp_path / "voice.wav", make_voice())
    rows[0]["audio"] = [str(tmp_path / "voice.wav"), str(tmp_path / "0.png")]
    with pytest.warns(UserWarning, match="skipped: 2, the first .*0.png"):
        search = trine.ProductSearch.build(model, rows)
    assert search.report["vectors"] == 7
    assert [(one["product"], one["file"][-11:]) for one in search.report["skipped"]][1] == ("2", "missing.png")
    assert search.search(audio=make_voice(), k=1)[0].reasons[0].nearest == "clip 1"
    hit = search.search(image=make_picture(5, 120, 100), k=1)[0]
    assert hit.id == "1" and hit.reasons[0].nearest.startswith("picture")
    query = {"image": make_picture(5, 120, 100), "text": "Product 1", "audio": make_voice()}
    hit = search.search(**query, weights={"audio": 0.1}, rerank=False, k=1)[0]  # the clip is of another product
    assert hit.id == "1" and [r.modality for r in hit.reasons] == ["image", "text", "audio"]
    plain = search.search(image=make_picture(5, 120, 100), text="Product 1", rerank=False)
    assert all(h.score == h.similarity for h in plain)


def test_an_index_changes_without_being_made_anew(tiny, tmp_path):
    search = trine.ProductSearch.build(tiny, FRUIT[:2])
    assert search.add([FRUIT[2]])["embedded"] == 1 and len(search) == 3
    changed = [FRUIT[0] | {"attributes": {"price": 1}}, FRUIT[1] | {"description": "Yellow."}]
    assert search.update(changed)["embedded"] == 1  # a price is not embedded
    assert search.product("banana").attributes == {"price": 1} and search.report["vectors"] == 7
    search.remove("milk")
    search.remove(["banana"])
    search.save(tmp_path / "a.trine")
    trine.ProductSearch.build(tiny, changed[1:]).save(tmp_path / "b.trine")
    assert (tmp_path / "a.trine").read_bytes() == (tmp_path / "b.trine").read_bytes()
    with pytest.raises(ValueError, match="already"):
        search.add([FRUIT[1]])
    with pytest.raises(ValueError, match="no product"):
        search.remove("milk")


def test_killed_work_goes_on(tiny, tmp_path):
    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    part = tmp_path / "fruit.part"
    with pytest.raises(KeyboardInterrupt):
        trine.ProductSearch.build(tiny, FRUIT, progress=stop, partial=part)
    search = trine.ProductSearch.build(tiny, FRUIT, partial=part)
    assert search.report["embedded"] == 1 and part.is_file()


def test_tables(tiny, tmp_path):
    path = tmp_path / "fruit.csv"
    path.write_bytes(b"\xef\xbb\xbfid,title,price,organic,keywords\r\nlemon,\"Lemon, sour\",0.5,true,a|b c\r\n")
    product = trine.read_catalogue(path)[0]
    assert (product.title, product.keywords) == ("Lemon, sour", ["a", "b c"])
    assert product.attributes == {"price": 0.5, "organic": True}
    assert len(trine.ProductSearch.build(tiny, path)) == 1
    path.write_text('id,title\n1,"a\n')
    with pytest.raises(RuntimeError, match="line 2, column 2"):
        trine.read_catalogue(path)


def test_filters(search):
    found = search.search(text="something", filter="price < 3 and colour contains 'é'")
    assert [hit.id for hit in found] == ["banana"]
    assert len(search.search(text="something", filter="not price < 3")) == 2
    none = search.search(text="something", filter="price > 3")
    assert len(none) == 0 and none.nothing_matches and none.confidence == 0
    cheap = trine.Filter("price < 30 and category in ('fruit', \"nuts\")")
    assert cheap.matches({"price": 2, "category": "fruit"}) and not cheap.matches({"price": 2})
    assert cheap.names == ["category", "price"]
    with pytest.raises(ValueError, match="column 9"):
        trine.Filter("price < x")


def test_several_texts_and_what_is_not_wanted(search, tiny):
    one = search.search(text=["something sour", "Lemon"], k=3)
    swapped = search.search(text=["Lemon", "something sour"], k=3)
    assert [hit.score for hit in one] == pytest.approx([hit.score for hit in swapped], abs=1e-5)
    twice, once = search.search(text=["Lemon", "Lemon"], k=3), search.search(text="Lemon", k=3)
    assert [hit.score for hit in twice] == pytest.approx([hit.score for hit in once], abs=1e-5)
    assert [hit.score for hit in one] != pytest.approx([hit.score for hit in once], abs=1e-3)
    away = search.search(text="something sour", without="something sour", k=3)
    lemon = next(hit for hit in away if hit.id == "lemon")
    assert 0 < lemon.avoided <= 1 and lemon.avoided == max(hit.avoided for hit in away)
    assert lemon.score <= search.search(text="something sour")[0].score
    assert max(hit.avoided for hit in one) == 0
    far = search.search(text="something sour", weights={"text": -1}, k=3)
    assert far[-1].id == "lemon" and far[0].reasons == [] and far[0].sentence() == "Nothing speaks for it."


def test_a_graph_and_what_a_file_holds(tiny, tmp_path):
    search = trine.ProductSearch.build(tiny, [{"id": str(i), "title": f"the {i} one"} for i in range(40)])
    assert search.graph is None
    search.build_graph(m=4, ef_construction=30)
    assert search.graph == {"m": 4, "ef_construction": 30}
    search.remove(["3"])
    search.update([{"id": "7", "title": "a red bicycle", "keywords": ["two wheels"]}])
    found = [hit.id for hit in search.search(text="a red bicycle", k=3, ef=100)]
    assert found[0] == "7" and found == [hit.id for hit in search.search(text="a red bicycle", k=3, exact=True)]
    search.save(tmp_path / "graph.trine")

    told = trine.describe_index(tmp_path / "graph.trine")
    assert told["graph"] == {"m": 4, "ef_construction": 30} and told["records"] == 40 and told["products"] == 39
    assert told["vectors"] == {"keyword": 1, "title": 39} and told["draft"] is False and told["precision"] == "fp32"
    assert told["model"] == tiny.name and told["fingerprint"] == tiny.fingerprint
    loaded = trine.ProductSearch(tmp_path / "graph.trine", embedder=tiny)
    assert loaded.graph == search.graph
    loaded.drop_graph()
    assert loaded.graph is None
    with pytest.raises(ValueError, match="m must be"):
        loaded.build_graph(m=1)
    with pytest.raises(ValueError, match="ef"):
        search.search(text="a red bicycle", ef=-1)
    with pytest.raises(FileNotFoundError):
        trine.describe_index(tmp_path / "absent.trine")
    with pytest.raises(RuntimeError, match="not a Trine index"):
        (tmp_path / "text.trine").write_text("no index of anything, only words")
        trine.describe_index(tmp_path / "text.trine")


def test_an_index_of_drafts_remembers_it(model, tmp_path):
    image = pytest.importorskip("PIL.Image", reason="needs Pillow")
    side = short_side(model)
    image.fromarray(make_picture(width=9 * side, height=8 * side)).save(tmp_path / "large.jpg")
    large = {"id": "a", "title": "Large", "images": [str(tmp_path / "large.jpg")]}
    exact = trine.ProductSearch.build(model, [large])
    draft = trine.ProductSearch.build(model, [large], draft=True)
    draft.save(tmp_path / "draft.trine")
    assert trine.describe_index(tmp_path / "draft.trine")["draft"] is True
    again = trine.ProductSearch(tmp_path / "draft.trine", embedder=model)
    assert again.update([large])["embedded"] == 0
    assert exact.update([large])["embedded"] == 0
    picture = {"image": str(tmp_path / "large.jpg")}
    assert exact.search(**picture)[0].similarity > draft.search(**picture)[0].similarity > 0.9


def test_the_default_catalogue(default_model):
    if not (default_model.directory / "catalogue.trine").is_file():
        pytest.skip("the default model has no catalogue.trine yet")
    search = trine.ProductSearch(embedder=default_model)
    hits = search.search(text="a ripe banana", k=3)
    assert "banana" in hits[0].title.lower() and not hits.nothing_matches and hits.confidence > 0.5
    assert search.search(text="how do I reset my password").nothing_matches
