"""`trine bench`: what it measures with, what it prints and writes, and how it refuses. No test asserts a time."""

import json
import statistics
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from conftest import GOLDEN

from trine import _trine, bench
from trine.bench import encoders, inputs, peers, race, report

TINY = ["--rounds", "1", "--threads", "1", "--clock", "cpu"]
NOBODY = ["--peers", "torch.compile"]  # names none that the parts below would run


@pytest.fixture
def no_ceilings(monkeypatch):
    """Large products of matrices are no part of what is tested."""
    monkeypatch.setattr(race.Ceilings, "SIZE", 32)
    monkeypatch.setattr(race, "bandwidth", lambda clock: 10.0)
    monkeypatch.setattr(race, "LONG_ENOUGH", 0.001)
    monkeypatch.setattr(peers, "_importable", lambda module: module in ("torch", "PIL"))


def table_of(printed, title):
    return next(t for t in json.loads(printed)["tables"] if t["title"].startswith(title))


# --- inputs -----------------------------------------------------------------------------------------------------------


def test_sentences_are_the_same_everywhere_and_of_many_lengths():
    made = inputs.sentences(200)
    assert made == inputs.sentences(200) and len(set(made)) == 200
    words = [len(text.split()) for text in made]
    assert min(words) <= 6 and max(words) >= 50 and len(set(words)) > 20


def test_reads_sentences_from_lines_and_from_the_first_column_of_a_csv(tmp_path):
    lines = tmp_path / "lines.txt"
    lines.write_text("\n".join(f"sentence {i}" for i in range(50)) + "\n\nsentence 1\n", encoding="utf-8")
    assert inputs.read_sentences(lines) == [f"sentence {i}" for i in range(50)]
    assert inputs.read_sentences(lines, 25) == [f"sentence {i}" for i in range(0, 50, 2)]
    table = tmp_path / "table.csv"
    table.write_text("text,label\n" + "".join(f'"where, {i}?",{i}\n' for i in range(30)), encoding="utf-8")
    assert inputs.read_sentences(table)[:2] == ["where, 0?", "where, 1?"]


@pytest.mark.parametrize("content", [b"", b"one\ntwo\n", b"\xff\xfe\x00"], ids=["empty", "few", "not UTF-8"])
def test_refuses_files_without_sentences(tmp_path, content):
    (tmp_path / "s.txt").write_bytes(content)
    with pytest.raises(ValueError, match=r"^\[bench\] .*s\.txt"):
        inputs.read_sentences(tmp_path / "s.txt")


def test_draws_photos_that_decode(tmp_path):
    paths = inputs.photos(None, tmp_path, 2)
    first, second = (_trine.read_image(str(path)) for path in paths)
    assert first.shape == (480, 640, 3) and not np.array_equal(first, second)
    assert np.abs(first.astype(float) - inputs.picture(0)).mean() < 6  # of 255: what JPEG loses
    with pytest.raises(FileNotFoundError, match="no \\*.jpg"):
        inputs.photos(tmp_path / "none", tmp_path)


def test_makes_clips():
    clip = inputs.clip(0, 2.0)
    assert clip.shape == (32_000,) and clip.dtype == np.float32 and 0.1 < np.abs(clip).max() <= 1
    assert np.array_equal(clip, inputs.clip(0, 2.0))


# --- measuring --------------------------------------------------------------------------------------------------------


def test_a_race_runs_everyone_equally_often_and_turns_the_order():
    calls = []
    seconds = race.Race(3, "cpu", 1).run("test", {n: lambda n=n: calls.append(n) or sum(range(60_000)) for n in "abc"})
    assert set(seconds) == set("abc") and all(len(of) == 3 for of in seconds.values())
    assert len({calls.count(name) for name in "abc"}) == 1
    order = [calls[i] for i in range(1, len(calls)) if calls[i] != calls[i - 1]]
    assert "".join(order[-8:]).endswith("bcacab"[-3:])  # the third round begins with the third


def test_ratios_are_of_the_same_round():
    assert race.ratio([2.0, 40.0, 6.0], [1.0, 10.0, 2.0]) == 3.0
    assert race.spread([0.002, 0.001, 0.004], 1e3) == "2.0 [1.0, 4.0]"


def test_memory_is_what_the_process_holds(tmp_path):
    size, slack = 64 << 20, 8 << 20
    start = race.resident()
    held = np.ones(size, np.uint8)
    assert abs(race.resident() - start - size) < slack
    held.tofile(tmp_path / "file")
    del held
    assert abs(race.resident() - start) < slack
    mapped = np.memmap(tmp_path / "file", np.uint8, "r")
    assert mapped.sum() == size and abs(race.resident() - start) < slack  # pages of a file are not the process's own


def test_counts_the_arithmetic():
    linear = torch.nn.Linear(8, 16)
    assert encoders._flop(lambda: linear(torch.zeros(4, 8))) == 2 * 4 * 8 * 16
    q = torch.zeros(1, 2, 5, 4)
    attention = encoders._flop(lambda: torch.nn.functional.scaled_dot_product_attention(q, q, q))
    assert attention == 2 * 2 * (2 * 5 * 5 * 4)


def test_neighbours_that_stay():
    vectors = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
    assert encoders._overlap(vectors, vectors) == 1.0
    assert encoders._overlap(vectors[::-1].copy(), vectors) < 0.6


def test_a_report_as_markdown_json_and_chart():
    made = report.Report({"threads": 1}, "A machine & its <peers>.", quiet=True)
    table = made.table("Some work", ["contestant", "batch", "items/s"], chart="items/s")
    table.row("trine fp32", 1, "20", raw={"seconds": [0.1]})
    table.row("another <one>", 1, "10", raw={"seconds": [0.2]})
    assert "| trine fp32 | 1 | 20 |" in made.markdown()
    rows = json.loads(json.dumps(made.to_dict()))["tables"][0]["rows"]
    assert rows[0] == {"contestant": "trine fp32", "batch": "1", "items/s": "20", "seconds": [0.1]}
    drawn = ElementTree.fromstring(made.svg())
    bars = [float(r.get("width")) for r in drawn.iter("{http://www.w3.org/2000/svg}rect") if r.get("rx")]
    assert len(bars) == 2 and bars[0] == pytest.approx(2 * bars[1], rel=0.01)


# --- the command ------------------------------------------------------------------------------------------------------


def test_pictures_beside_pillow(no_ceilings, tmp_path, capsys):
    pytest.importorskip("PIL", reason="needs pillow, the measure")
    assert bench.main(["pictures", *TINY, "--json", "--peers", "pillow", "--out", str(tmp_path / "made")]) == 0
    printed = capsys.readouterr().out
    for part in ("JPEG to pixels", "pixels to 224", "JPEG to tensor"):
        rows = {row["contestant"]: row for row in table_of(printed, part)["rows"]}
        assert rows["trine"]["most"] == 0 and rows["trine"]["most levels from Pillow"] == "0, equal"
        assert statistics.median(rows["Pillow"]["seconds"]) > 0
    assert json.loads((tmp_path / "made" / "bench.json").read_text()) == json.loads(printed)
    assert "## JPEG to tensor" in (tmp_path / "made" / "bench.md").read_text()
    ElementTree.parse(tmp_path / "made" / "bench.svg")


def test_search_finds_what_is_there_without_peers(no_ceilings, capsys):
    assert bench.main(["search", *TINY, *NOBODY, "--json", "--count", "1500", "--dim", "16"]) == 0
    printed = capsys.readouterr().out
    exact = table_of(printed, "Exact search")["rows"]
    assert {row["queries"] for row in exact} == {"1", "64"}
    assert all(row["overlap@10"] == "1.0000" for row in exact if row["contestant"] in ("trine fp32", "trine fp16 + fp32"))
    graphs = table_of(printed, "Graphs at recall@10 of 0.98")["rows"]
    assert [row["contestant"] for row in graphs if row["queries"] == "1"] == ["trine", "trine int8 + fp16"]
    assert all(float(row["recall@10"]) >= 0.98 for row in graphs if row["contestant"] == "trine")


def test_an_own_checkpoint_beside_transformers(no_ceilings, monkeypatch, tiny_directory, capsys):
    pytest.importorskip("transformers", reason="needs transformers, the reference")
    monkeypatch.setattr(peers, "_importable", lambda module: module == "transformers")
    assert bench.main(["encoders", *TINY, "--json", "--model", str(tiny_directory), "--batches", "1,2"]) == 0
    rows = table_of(capsys.readouterr().out, f"{tiny_directory.name}, text")["rows"]
    assert [row["batch"] for row in rows] == ["1"] * (len(rows) // 2) + ["2"] * (len(rows) // 2)
    assert rows[0]["contestant"] == "transformers" and rows[0]["GF"] > 0
    cosines = {row["contestant"]: row["cosine"] for row in rows}
    assert float(cosines["trine fp32"]) > 0.99999


def test_an_own_checkpoint_without_transformers(no_ceilings, tiny_directory, capsys):
    assert bench.main([*TINY, *NOBODY, "--json", "--model", str(tiny_directory), "--batches", "1"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [t["title"] for t in found["tables"]] == [f"{tiny_directory.name}, text"]
    assert found["tables"][0]["rows"][0]["contestant"] == "trine fp32"
    assert "transformers" in found["conditions"]["missing"]


def test_a_tower_of_pictures(no_ceilings, capsys):
    folder = GOLDEN / "vision" / "vit"
    assert bench.main(["encoders", *TINY, *NOBODY, "--json", "--model", str(folder), "--batches", "2"]) == 0
    assert table_of(capsys.readouterr().out, "vit, image")["rows"][0]["batch"] == "2"


def test_growth(no_ceilings, encoders, capsys):  # noqa: F811: the fixture
    assert bench.main(["growth", *TINY, *NOBODY, "--json", "--items", "300", "--records", "2000"]) == 0
    printed = capsys.readouterr().out
    assert [row["tokens"] for row in table_of(printed, "Texts of 8 to 512")["rows"]] == "8 16 32 64 128 256 512".split()
    assert table_of(printed, "Additions")["rows"][0]["records"] == "1,000"


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["encoders", "nonsense"],
        ["search", "minilm"],
        ["encoders", "minilm", "--model", "folder"],
        ["search", "--model", "folder"],
        ["--rounds", "0"],
        ["--rounds", "x"],
        ["--batches", "1,,2"],
        ["--batches", "-1"],
        ["--count", "9" * 30],
        ["--clock", "moon"],
        ["--clock", "cpu", "--threads", "2"],
        ["--recall", "2"],
        ["--dim", "0"],
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        bench.main(arguments)
    assert ended.value.code == 2 and capsys.readouterr().err.startswith("usage: trine bench")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["pictures", "--photos", "there/is/none"], "[bench] There are no *.jpg in there/is/none."),
        (["search", "--sentences", "there/is/none.txt"], "there/is/none.txt"),
        (["encoders", "--model", "there/is/none"], "there/is/none"),
        (["search", "--peers", "nobody"], "[bench] There is no peer 'nobody'; known are transformers,"),
        (["search", "--peers", "faiss"], "[bench] faiss is not installed: pip install faiss-cpu."),
        (["pictures", "--out", "/dev/null/x"], "/dev/null/x"),
    ],
    ids=["photos", "sentences", "model", "unknown peer", "missing peer", "out"],
)
def test_what_goes_wrong_is_a_sentence(no_ceilings, arguments, sentence, capsys):
    assert bench.main([*arguments, *TINY]) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("[") and sentence in said


def test_help_begins_with_a_command(capsys):
    with pytest.raises(SystemExit) as ended:
        bench.main(["--help"])
    assert ended.value.code == 0 and capsys.readouterr().out.strip().startswith("trine bench encoders minilm --quick")
