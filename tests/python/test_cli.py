"""The `trine` program: what it prints, where, and how it ends. Files it must refuse get a sentence, never more."""

import base64
import json
import shutil
import struct
import subprocess
import time
import zlib
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from conftest import GOLDEN, make_picture, make_voice, refused, save_wav

import trine

COMMANDS = (
    "embed",
    "transcribe",
    "index",
    "search",
    "ask",
    "video",
    "classify",
    "describe",
    "train",
    "evaluate",
    "advise",
    "convert",
    "verify",
    "bench",
)
CATALOGUE = [
    {"id": "lemon", "title": "Lemon", "attributes": {"price": 0.5, "currency": "EUR", "category": "fruit"}},
    {"id": "milk", "title": "Milk", "description": "White and from a cow.", "keywords": ["drink"]},
    {"id": "leek", "title": "Leek"},
]


@pytest.fixture(scope="session")
def catalogue(tmp_path_factory):
    path = tmp_path_factory.mktemp("catalogue") / "catalogue.jsonl"
    path.write_text("".join(json.dumps(product) + "\n" for product in CATALOGUE))
    return path


def make_index(run, model, catalogue, out):
    done = run("index", catalogue, "--model", model, "--out", out, "--threads", "1")
    assert done.returncode == 0, done.said
    return out


@pytest.fixture(scope="session")
def index(run, tiny_directory, catalogue, tmp_path_factory):
    return make_index(run, tiny_directory, catalogue, tmp_path_factory.mktemp("index") / "tiny.trine")


@pytest.fixture(scope="session")
def three_index(run, model_directory, catalogue, tmp_path_factory):
    """Of the model with all three towers."""
    return make_index(run, model_directory, catalogue, tmp_path_factory.mktemp("index") / "three.trine")


@pytest.fixture(scope="session")
def picture(tmp_path_factory):
    from PIL import Image

    path = tmp_path_factory.mktemp("pictures") / "picture.png"
    Image.fromarray(make_picture()).save(path)
    return path


def bomb_png(path, side=30_000):
    """A grey 1-bit PNG of side x side black pixels: 110 kB that would be 2.7 GB as RGB."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = b"\0" * (1 + (side + 7) // 8)
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    )
    return path


def float_wav(path, samples, rate=16_000):
    data = np.asarray(samples, "<f4").tobytes()
    form = struct.pack("<HHIIHH", 3, 1, rate, 4 * rate, 4, 32)
    body = b"WAVE" + b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return path


# --- help and usage ---------------------------------------------------------------------------------------------------


def test_help_begins_with_a_command(run):
    for command in ("", *COMMANDS):
        done = run(*filter(None, [command]), "--help")
        assert done.returncode == 0 and done.said == ""
        assert done.stdout.decode().strip().startswith(f"trine {command}".strip() + " ")
    assert run("--version").stdout.decode().startswith("trine ")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["unknown"],
        ["search"],
        ["search", "--text"],
        ["search", "--text", "a", "-k", "0"],
        ["search", "--text", "a", "-k", "many"],
        ["search", "--text", "a", "--unknown"],
        ["search", "--text", "a", "--threads", "0"],
        ["search", "--text", "a", "--weights", "text"],
        ["search", "--text", "a", "--weights", "words=1"],
        ["search", "--text", "a", "--weights", "text=nan"],
        ["video"],
        ["video", "a.mp4", "--sheet", "a.svg"],
        ["video", "a.mp4", "--find", "a", "--sheet", "a.png"],
        ["video", "a.mp4", "--find", "a", "--fps", "2", "--frames", "3"],
        ["video", "a.mp4", "--find", "a", "--fps", "0"],
        ["search", "--text", "a", "--mixing", "often"],
        ["transcribe"],
        ["transcribe", "a.wav", "--language"],
        ["embed"],
        ["embed", "--together", "--text", "a", "--text", "b"],
        ["embed", "--text", "a", "--long-input", "cut"],
        ["ask"],
        ["ask", "--text"],
        ["ask", "--text", "a", "--chat-model", "small"],
        ["classify"],
        ["classify", "--text", "a"],
        ["classify", "--image", "a.png"],
        ["classify", "--image", "a.png", "--text", "a", "--template", "a photo"],
        ["index"],
        ["index", "catalogue.jsonl"],
        ["index", "catalogue.jsonl", "--out", "a", "--into", "b"],
        ["index", "--into", "a"],
        ["index", "--out", "a", "--remove", "1"],
        ["evaluate"],
        ["convert"],
        ["verify"],
        ["verify", "model", "--write-golden", "--golden"],
        ["evaluate", "a.jsonl", "--retrieval", "b.jsonl"],
    ],
)
def test_usage_errors_end_with_2(run, arguments):
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == b"" and done.said.strip()


# --- what the commands do ---------------------------------------------------------------------------------------------


def test_embed_gives_the_vectors_of_the_library(run, tiny, tiny_directory):
    done = run("embed", "--model", tiny_directory, "--text", "a lemon", "--text", "-", "--json", stdin=b"some milk\n")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["modality"], row["input"]) for row in rows] == [("text", "a lemon"), ("text", "some milk")]
    for row in rows:
        assert np.allclose(row["vector"], tiny.embed_text(row["input"]).numpy(), atol=1e-6)
        assert row["coverage"]["used"] == row["coverage"]["total"]


def test_embed_together_is_the_weighted_mean(run, model, model_directory, picture):
    arguments = ["--image", picture, "--text", "a lemon", "--weights", "text=2,image=0.5", "--together", "--json"]
    row = json.loads(run("embed", "--model", model_directory, *arguments).stdout)
    wanted = model.embed(image=picture, text="a lemon", weights={"text": 2, "image": 0.5})
    assert np.allclose(row["vector"], wanted.numpy(), atol=1e-5)
    assert row["input"] == {"image": str(picture), "text": "a lemon"}


def test_what_becomes_of_long_inputs_is_said(run, tiny, tiny_directory):
    text = "lemon " * 200
    arguments = ["embed", "--model", tiny_directory, "--json", "--text", text]
    done = run(*arguments)
    row = json.loads(done.stdout)
    assert done.returncode == 0 and f"was embedded in {len(row['coverage']['windows'])} windows" in done.said
    vector, coverage = tiny.embed_text(text, return_coverage=True)
    assert np.allclose(row["vector"], vector.numpy(), atol=1e-6)
    assert [tuple(window) for window in row["coverage"]["windows"]] == coverage.windows
    done = run(*arguments, "--long-input", "truncate")
    assert done.returncode == 0 and "was cut at 64 tokens" in done.said
    assert json.loads(done.stdout)["coverage"]["used"] == 64
    refused(run(*arguments, "--long-input", "error"), "the model takes 64")


def test_ten_megabytes_of_text(run, tiny_directory):
    arguments = ["embed", "--model", tiny_directory, "--text", "-", "--json", "--long-input", "truncate"]
    done = run(*arguments, stdin=b"a sour lemon " * 800_000)
    assert done.returncode == 0 and "was cut at" in done.said


def test_classify_finds_the_text_of_a_picture(run, picture):
    clip = GOLDEN / "vision" / "clip"
    labels = ["red door", "green apples", "blue lamp"]
    arguments = ["classify", clip, "--image", picture, "--template", "a {}"]
    arguments += [part for label in labels for part in ("--text", label)]
    row = json.loads(run(*arguments, "--json").stdout)
    wanted = trine.Embedder(clip).probabilities(picture, [f"a {label}" for label in labels]).tolist()
    assert {score["label"]: score["score"] for score in row["scores"]} == pytest.approx(dict(zip(labels, wanted)))
    assert row["label"] == labels[int(np.argmax(wanted))] and row["function"] == "softmax"
    assert sum(score["score"] for score in row["scores"]) == pytest.approx(1)
    lines = run(*arguments, "--image", picture).stdout.decode().splitlines()
    assert len(lines) == 2 * (1 + len(labels)) and lines[1].split(None, 1)[1] == row["label"]
    assert json.loads(run("classify", GOLDEN / "vision/siglip", *arguments[2:], "--json").stdout)["function"] == "sigmoid"


def test_classify_asks_the_head_of_a_text_classifier(run, tmp_path):
    shutil.copytree(GOLDEN / "texts/bert", tmp_path / "model")
    shutil.copy(GOLDEN / "text/tokenizer.json", tmp_path / "model")
    texts = ["hello, world!", "a red door"]
    done = run("classify", tmp_path / "model", "--text", texts[0], "--text", texts[1], "--json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    for row, wanted in zip(rows, trine.Classifier(tmp_path / "model").predict(texts), strict=True):
        assert {score["label"]: score["score"] for score in row["scores"]} == pytest.approx(wanted)
        assert row["label"] == max(wanted, key=wanted.get) and row["modality"] == "text"


def test_classify_refuses_what_has_no_scores(run, tiny_directory, picture):
    refused(run("classify", tiny_directory, "--image", picture, "--text", "a lemon"), "similarity")
    refused(run("classify", tiny_directory, "--text", "a lemon"))
    refused(run("classify", GOLDEN / "vision/clip", "--image", "missing.png", "--text", "a"), "missing.png")


def test_index_says_what_it_holds(run, tiny_directory, catalogue, tmp_path):
    out = tmp_path / "out.trine"
    report = json.loads(run("index", catalogue, "--model", tiny_directory, "--out", out, "--json").stdout)
    assert report["products"] == 3 and report["vectors"] == 5 and report["skipped"] == []
    assert out.is_file()


def test_index_lists_unreadable_pictures(run, model_directory, tmp_path):
    (tmp_path / "catalogue.jsonl").write_text(json.dumps({"id": "1", "title": "Lemon", "images": ["none.jpg"]}))
    done = run("index", tmp_path / "catalogue.jsonl", "--model", model_directory, "--out", tmp_path / "out.trine")
    assert done.returncode == 0 and "none.jpg" in done.said
    assert b"1 files skipped" in done.stdout
    done = run("index", tmp_path / "catalogue.jsonl", "--model", model_directory, "--out", tmp_path / "out.trine", "--json")
    assert json.loads(done.stdout)["skipped"][0]["product"] == "1"


def test_index_changes_an_index(run, tiny_directory, tmp_path):
    out, table = tmp_path / "out.trine", tmp_path / "fruit.csv"

    def index(*arguments):
        done = run("index", *arguments, "--model", tiny_directory, "--json")
        assert done.returncode == 0, done.said
        return json.loads(done.stdout)

    table.write_text("id,title,price\n1,Lemon,0.5\n2,Milk,1\n")
    assert index(table, "--out", out)["embedded"] == 2
    table.write_text("id,title,price\n2,Milk,2\n3,Leek,3\n")
    report = index(table, "--into", out, "--remove", "1")
    assert (report["products"], report["embedded"], report["removed"]) == (2, 1, 1)
    assert index("--into", out, "--remove", "3")["products"] == 1
    refused(run("index", "--into", out, "--remove", "3", "--model", tiny_directory), "no product")
    refused(run("index", table, "--into", tmp_path / "none.trine", "--model", tiny_directory), "none.trine")
    assert sorted(tmp_path.iterdir()) == [table, out]


def test_index_goes_on_after_it_was_killed(trine_program, run, model_directory, tmp_path):
    from PIL import Image

    rows = []
    for i in range(150):
        Image.fromarray(make_picture(i, 200, 150)).save(tmp_path / f"{i}.png")
        rows.append({"id": str(i), "title": f"Product {i}", "images": [f"{i}.png"]})
    catalogue = tmp_path / "catalogue.jsonl"
    catalogue.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ["index", catalogue, "--model", model_directory, "--threads", "1", "--json", "--out"]
    whole, killed, part = tmp_path / "whole.trine", tmp_path / "killed.trine", tmp_path / "killed.trine.part"
    with subprocess.Popen([trine_program, *arguments, killed], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as work:
        while work.poll() is None and not part.is_file():
            time.sleep(0.02)
        work.kill()
    assert not killed.is_file()
    again = json.loads(run(*arguments, killed).stdout)
    assert again["embedded"] < len(rows) and not part.exists()
    assert json.loads(run(*arguments, whole).stdout)["embedded"] == len(rows)
    assert killed.read_bytes() == whole.read_bytes()


def test_a_graph_drafts_and_what_an_index_holds(run, tiny_directory, catalogue, tmp_path):
    index = str(tmp_path / "graph.trine")
    made = run("index", str(catalogue), "--out", index, "--hnsw", "--m", "4", "--model", str(tiny_directory), "--json")
    assert made.returncode == 0 and json.loads(made.stdout)["graph"] is True, made.said
    told = json.loads(run("describe", index, "--json").stdout)
    assert told["graph"] == {"m": 4, "ef_construction": 200} and told["products"] == 3 and told["draft"] is False
    assert told["records"] == sum(told["vectors"].values()) and told["bytes"] == Path(index).stat().st_size
    assert "m 4, ef_construction 200" in run("describe", index).stdout.decode()
    for how in (["--ef", "50"], ["--exact"]):
        found = run("search", index, "--text", "leek", "-k", "1", "--model", str(tiny_directory), "--json", *how)
        assert json.loads(found.stdout)["hits"][0]["id"] == "leek", found.said
        assert list(json.loads(found.stdout)["milliseconds"])[-3:] == ["load", "text", "search"]
    changed = run("index", "--into", index, "--remove", "milk", "--model", str(tiny_directory), "--json")
    assert json.loads(changed.stdout)["graph"] is True
    assert json.loads(run("describe", index, "--json").stdout)["graph"] == told["graph"]
    plain = str(tmp_path / "plain.trine")
    assert run("index", str(catalogue), "--out", plain, "--draft", "--model", str(tiny_directory)).returncode == 0
    assert json.loads(run("describe", plain, "--json").stdout)["draft"] is True
    assert ["graph", "none"] in [line.split() for line in run("describe", plain).stdout.decode().splitlines()]
    assert run("index", "--into", plain, "--hnsw", "--model", str(tiny_directory)).returncode == 0
    assert json.loads(run("describe", plain, "--json").stdout)["graph"]["m"] == 16
    assert run("index", str(catalogue), "--out", plain, "--m", "8", "--model", str(tiny_directory)).returncode == 2
    damaged = tmp_path / "damaged.trine"
    damaged.write_bytes(Path(plain).read_bytes()[:-7])
    refused = run("describe", str(damaged))
    assert refused.returncode == 1 and refused.said.startswith("[") and refused.said.count("\n") == 1


def test_search_ranks_and_gives_reasons(run, tiny_directory, index):
    arguments = ["search", index, "--model", tiny_directory, "--text", "Lemon", "-k", "2"]
    answer = json.loads(run(*arguments, "--json").stdout)
    assert answer["query"] == {"text": "Lemon"} and len(answer["hits"]) == 2
    hit = answer["hits"][0]
    assert set(hit) >= {"id", "title", "score", "similarity", "consistency", "disagreement", "reasons", "attributes"}
    assert set(hit["reasons"][0]) == {"modality", "similarity", "support", "verdict", "nearest"}
    assert 0 <= answer["confidence"] <= 1 and answer["nothing_matches"] is False
    assert set(answer["milliseconds"]) == {"start", "load", "text", "search"}
    assert answer["hits"][0]["score"] >= answer["hits"][1]["score"]

    done = run(*arguments)
    lines = done.stdout.decode().splitlines()
    assert len(lines) == 1 + 2 * 2 and "The text" in lines[2]
    assert "0.5 EUR" in done.stdout.decode() or "Lemon" not in done.stdout.decode()


def test_search_with_a_filter_and_what_is_not_wanted(run, tiny_directory, index):
    arguments = ["search", index, "--model", tiny_directory, "--text", "Lemon", "--json"]
    ids = lambda *more: [hit["id"] for hit in json.loads(run(*arguments, *more).stdout)["hits"]]  # noqa: E731
    assert ids("--filter", "price < 1 and category == 'fruit'") == ["lemon"]
    avoided = {hit["id"]: hit["avoided"] for hit in json.loads(run(*arguments, "--not", "Lemon").stdout)["hits"]}
    assert ids()[0] == "lemon" and max(avoided, key=avoided.get) == "lemon" and avoided["lemon"] > 0
    assert sorted(ids("--text", "Leek", "--mixing", "early", "--no-calibration")) == ["leek", "lemon", "milk"]
    done = run(*arguments, "--filter", "prise < 1")
    assert json.loads(done.stdout)["hits"] == [] and 'no product has the attribute "prise"' in done.said.lower()
    assert "No product fits" in run(*arguments[:-1], "--filter", "price > 9").said
    refused(run(*arguments, "--filter", "price < "), "column 9")


def test_evaluate_queries_for_what_the_catalogue_lacks(run, tiny_directory, index, tmp_path):
    (tmp_path / "queries.jsonl").write_text('{"text": "a tractor", "set": "far"}\n{"id": "lemon", "text": "Lemon"}')
    arguments = ["evaluate", "--lacking", tmp_path / "queries.jsonl", "--index", index, "--model", tiny_directory]
    results = json.loads(run(*arguments, "--json").stdout)["results"]
    assert [(row["set"], row["count"], row["nothing"]) for row in results] == [("all", 1, 0), ("far", 1, 0)]
    assert b"nothing matches" in run(*arguments).stdout


def test_evaluate_counts_ranks(run, tiny_directory, index, tmp_path):
    rows = [{"id": product["id"], "text": product["title"], "set": "titles"} for product in CATALOGUE]
    (tmp_path / "queries.jsonl").write_text("\n".join(map(json.dumps, rows)))
    arguments = ["evaluate", tmp_path / "queries.jsonl", "--index", index, "--model", tiny_directory]
    report = json.loads(run(*arguments, "--json").stdout)
    assert report["products"] == 3 and report["chance"] == pytest.approx(1 / 3)
    assert [row["set"] for row in report["results"]] == ["titles", "all"]
    row = report["results"][0]
    assert row["count"] == 3 and row["top5"] == 1 and row["interval"][0] <= row["top1"] <= row["interval"][1]
    assert b"95 % interval" in run(*arguments).stdout


def test_evaluate_compares_modalities_and_rerank(run, model_directory, three_index, picture, tmp_path):
    (tmp_path / "queries.jsonl").write_text(json.dumps({"id": "lemon", "text": "Lemon", "image": str(picture)}))
    arguments = ["evaluate", tmp_path / "queries.jsonl", "--index", three_index, "--model", model_directory, "--json"]
    results = json.loads(run(*arguments).stdout)["results"]
    kinds = [(row["query"], row["rerank"]) for row in results]
    assert kinds == [("image", ""), ("image + text", "no"), ("image + text", "yes"), ("text", "")]
    picture = tmp_path / "reliability.svg"
    report = json.loads(run(*arguments, "--compare", "--reliability", picture).stdout)
    assert len(report["results"]) == 10 and report["confidence"]["count"] == 1
    assert "share right" in picture.read_text()


def test_evaluate_retrieval(run, model_directory, tmp_path):
    save_wav(tmp_path / "voice.wav", make_voice())
    rows = [{"audio": "voice.wav", "text": text} for text in ("a lemon", "some milk")]
    (tmp_path / "texts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    report = json.loads(
        run("evaluate", "--retrieval", tmp_path / "texts.jsonl", "--model", model_directory, "--json").stdout
    )
    row = report["results"][0]
    assert report["texts"] == 2 and row["count"] == 2 and row["top1"] == 0.5 and row["mrr"] == 0.75


def test_describe(run, tiny_directory):
    facts = json.loads(run("describe", tiny_directory, "--json").stdout)
    assert facts["dimensions"] == "32"
    assert b"text.pooling" in run("describe", tiny_directory).stdout


def test_precision(run, tiny_directory):
    done = run("describe", tiny_directory, "--precision", "fp32", "--json")
    assert json.loads(done.stdout)["text.precision"] == "fp32"
    done = run("embed", "--model", tiny_directory, "--text", "a banana", "--precision", "auto", "--json")
    assert done.returncode == 0, done.said
    done = run("describe", tiny_directory, "--precision", "half")
    assert done.returncode == 2 and "--precision" in done.said


def test_a_reader_that_goes_away_is_no_error(trine_program, tiny_directory):
    command = [trine_program, "describe", tiny_directory]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode == 0 and said == b""


def test_a_full_disk_is_said(trine_program, tiny_directory):
    with open("/dev/full", "w") as full:
        done = subprocess.run([trine_program, "describe", tiny_directory], stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1 and b"stdout" in done.stderr


def test_transcribe(run, tmp_path):
    import trine

    clip = tmp_path / "voice.wav"
    save_wav(clip, make_voice(1.0))
    wanted = trine.Transcriber(GOLDEN / "transcripts/english").transcribe(clip)
    arguments = ["transcribe", clip, "--model", GOLDEN / "transcripts/english"]
    row = json.loads(run(*arguments, "--json").stdout)
    assert (row["text"], row["tokens"], row["repeated"]) == (wanted.text, wanted.tokens, wanted.repeated)
    assert row["confidence"] == pytest.approx(wanted.confidence, abs=1e-5) and "language" not in row
    assert run(*arguments).stdout.count(b"\n") == 1
    assert run(*arguments, clip).stdout.count(b"voice.wav: ") == 2
    assert run(*arguments, "--own-length").returncode == 0

    save_wav(tmp_path / "silent.wav", np.zeros(16_000))
    silent = run("transcribe", tmp_path / "silent.wav", "--model", GOLDEN / "transcripts/english", "--timestamps")
    assert silent.returncode == 0 and silent.stdout == b"" and "Nothing is said" in silent.said
    for more in (["--language", "de"], ["--translate"]):
        done = run(*arguments, *more)
        assert done.returncode == 1 and done.stdout == b"" and len(done.said.strip().splitlines()) == 1
    assert run("transcribe").returncode == 2
    assert run("transcribe", tmp_path / "missing.wav", "--model", GOLDEN / "transcripts/english").returncode == 1


# --- what must be refused ---------------------------------------------------------------------------------------------


def test_bad_pictures(run, model_directory, picture, tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "cut.png").write_bytes(picture.read_bytes()[:200])
    (tmp_path / "text.png").write_text("This is no picture.")
    save_wav(tmp_path / "voice.png", make_voice())
    bomb = bomb_png(tmp_path / "bomb.png")
    assert bomb.stat().st_size < 150_000
    for name in ("missing.png", "empty.png", "cut.png", "text.png", "voice.png", "bomb.png", "."):
        refused(run("embed", "--model", model_directory, "--image", tmp_path / name))


def test_bad_clips(run, model_directory, picture, tmp_path):
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("This is no clip.")
    save_wav(tmp_path / "silent.wav", np.zeros(16_000))
    save_wav(tmp_path / "one.wav", np.full(1, 0.5))
    float_wav(tmp_path / "nan.wav", [0.1] * 8_000 + [np.nan] + [0.1] * 8_000)
    for clip in (*(tmp_path / f"{n}.wav" for n in ("missing", "empty", "text", "silent", "one", "nan")), picture):
        refused(run("embed", "--model", model_directory, "--audio", clip))


def test_invalid_utf8(run, tiny_directory, index):
    refused(run("search", index, "--model", tiny_directory, "--text", b"a \xff lemon"), "UTF-8")
    refused(run("embed", "--model", tiny_directory, "--text", "-", stdin=b"a \xff lemon"), "UTF-8")


def test_skip_unreadable_goes_on_with_the_rest(run, model_directory, three_index, tmp_path):
    save_wav(tmp_path / "silent.wav", np.zeros(16_000))
    query = ["--image", tmp_path / "missing.png", "--audio", tmp_path / "silent.wav"]
    arguments = ["search", three_index, "--model", model_directory, *query]
    refused(run(*arguments, "--text", "Lemon"))
    done = run(*arguments, "--text", "Lemon", "--skip-unreadable", "--json")
    assert done.returncode == 0 and "missing.png" in done.said and "silent" in done.said
    answer = json.loads(done.stdout)
    assert set(answer["skipped"]) == {"image", "audio"}
    assert [reason["modality"] for reason in answer["hits"][0]["reasons"]] == ["text"]

    nothing = run(*arguments, "--skip-unreadable")
    assert nothing.returncode == 1 and nothing.stdout == b""


def test_a_modality_the_model_lacks(run, tiny_directory, picture):
    refused(run("embed", "--model", tiny_directory, "--image", picture), "image")


def test_bad_models(run, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": ')
    refused(run("describe", tmp_path))
    refused(run("describe", tmp_path / "missing"))


def test_cut_indexes(run, tiny_directory, index, tmp_path):
    content, cut = index.read_bytes(), tmp_path / "cut.trine"
    for length in (0, 1, 63, 64, len(content) // 2, len(content) - 1):
        cut.write_bytes(content[:length])
        refused(run("search", cut, "--model", tiny_directory, "--text", "Lemon"))
    refused(run("search", tmp_path / "missing.trine", "--model", tiny_directory, "--text", "Lemon"))


def test_bad_catalogues_leave_no_index(run, tiny_directory, tmp_path):
    path, out = tmp_path / "catalogue.jsonl", tmp_path / "out.trine"
    for content in ("", "{", '{"id": "1"}', '{"id": "1", "title": "a"}\n{"id": "1", "title": "b"}', "\udcff"):
        path.write_text(content, errors="surrogateescape")
        refused(run("index", path, "--model", tiny_directory, "--out", out))
    refused(run("index", tmp_path / "missing.jsonl", "--model", tiny_directory, "--out", out))
    path.write_text(json.dumps(CATALOGUE[0]))
    refused(run("index", path, "--model", tiny_directory, "--out", tmp_path / "no" / "folder.trine"), "folder")
    assert sorted(tmp_path.iterdir()) == [path]


def test_bad_manifests(run, tiny_directory, index, tmp_path):
    path = tmp_path / "queries.jsonl"
    arguments = ["evaluate", path, "--index", index, "--model", tiny_directory]
    refused(run(*arguments), "queries.jsonl")
    for content, word in (
        ("", "no line"),
        ("[]", "line 1"),
        ('\n{"text": "a"}', "line 2"),
        ('{"id": "lemon"}', "line 1"),
        ('{"id": "lemon", "text": 1}', "text"),
        ('{"id": "gold", "text": "a"}', "gold"),
    ):
        path.write_text(content)
        refused(run(*arguments), word)


# --- videos -----------------------------------------------------------------------------------------------------------

WATCHED = GOLDEN / "video" / "h264_aac_text.mp4"


def test_video_finds_moments(run, tmp_path):
    options = ("--model", GOLDEN / "vision" / "clip", "--fps", "5", "--threads", "1")
    sheet = tmp_path / "found.svg"
    done = run("video", WATCHED, "--find", "A <red> apple", "--min-score", "0", "--sheet", sheet, "--json", *options)
    assert done.returncode == 0, done.said
    assert "its sound was left out: the model has no audio" in done.said
    told = json.loads(done.stdout)
    assert told["seconds"] == pytest.approx(1) and len(told["frames"]) == 5 and told["text"] == "A <red> apple"
    assert [s["text"] for s in told["subtitles"]] == ["A red apple", "Milk & honey for two"]
    moment = told["moments"][0]
    assert 0 <= moment["start"] < moment["end"] <= 1.001 and 0 <= float(moment["score"]) <= 1
    picture = ElementTree.parse(sheet).getroot()
    namespace = "{http://www.w3.org/2000/svg}"
    images = picture.findall(f"{namespace}image")
    assert len(images) == len(told["moments"])
    jpeg = base64.b64decode(images[0].get("href").removeprefix("data:image/jpeg;base64,"), validate=True)
    assert trine.read_image(jpeg).shape[1] == 440
    assert "A <red> apple" in [text.text for text in picture.iter(f"{namespace}text")]
    sheet = tmp_path / "found.jpg"
    done = run("video", WATCHED, "--find", "A <red> apple", "--min-score", "0", "--sheet", sheet, "--json", *options)
    assert done.returncode == 0, done.said
    pixels = trine.read_image(sheet).astype(int)
    assert pixels.shape[1] == 4 * 440 + 3 * 16 + 2 * 24
    thumbnail = trine.read_image(jpeg).astype(int)
    rows = range(pixels.shape[0] - len(thumbnail))
    apart = [abs(pixels[row : row + len(thumbnail), 24:464] - thumbnail).mean() for row in rows]
    assert min(apart) < 3 and max(apart) > 20  # the first moment's picture stands on the left
    table = run("video", WATCHED, "--find", "apple", "--min-score", "0", *options).stdout.decode()
    assert table.startswith("#  from") and "0:00.0" in table
    told = run("video", WATCHED, *options).stdout.decode()
    assert "0:01.0, 5 frames looked at, 2 subtitles" in told


def test_a_file_that_is_no_video_gets_a_sentence(run, tmp_path):
    model = ("--model", GOLDEN / "vision" / "clip")
    (tmp_path / "list.m3u8").write_text("#EXTM3U\nhttp://127.0.0.1/a.ts\n")
    refused(run("video", tmp_path / "list.m3u8", "--find", "a", *model), "[read_video]", "a playlist")
    refused(run("video", tmp_path / "missing.mp4", "--find", "a", *model), "missing.mp4")
    refused(run("video", GOLDEN / "video" / "sound_only.m4a", *model), "no picture track")
    (tmp_path / "bad.srt").write_text("no times\n")
    refused(run("video", WATCHED, "--subtitles", tmp_path / "bad.srt", *model), "bad.srt", "line 1")
