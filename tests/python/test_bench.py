"""`trine bench`: what it measures with, what it prints and writes, and how it refuses. No test asserts a time."""

import json
import statistics
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from conftest import GOLDEN, Elsewhere

from trine import _trine, bench
from trine.bench import encoders, growth, inputs, peers, race, report

TINY = ["--rounds", "1", "--threads", "1", "--clock", "cpu"]
NOBODY = ["--peers", "torch.compile"]  # names none that the parts below would run


@pytest.fixture
def no_ceilings(monkeypatch):
    """Large products of matrices are no part of what is tested."""
    monkeypatch.setattr(race.Ceilings, "SIZE", 32)
    monkeypatch.setattr(race, "bandwidth", lambda clock, device: 10.0)
    monkeypatch.setattr(race, "LONG_ENOUGH", 0.001)
    monkeypatch.setattr(peers, "_importable", lambda module: module in ("torch", "PIL"))


CPU = torch.device("cpu")
META = torch.device("meta")


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


def test_the_clock_waits_for_a_gpu(monkeypatch):
    waits = []
    monkeypatch.setattr(torch.cuda, "synchronize", waits.append)
    gpu = torch.device("cuda", 1)
    seconds = race.Race(2, "wall", 1, gpu).run("test", {n: lambda: waits.append("call") for n in "ab"})
    assert all(len(of) == 2 for of in seconds.values())
    read = [i for i, what in enumerate(waits) if what == gpu]
    assert read[0] == 2 and read[-1] == len(waits) - 1  # after the two first calls, which no clock sees
    for begin, end in zip(read[::2], read[1::2]):
        assert set(waits[begin + 1 : end]) == {"call"}
    with pytest.raises(ValueError, match=r"^\[bench\] wanted --clock wall on cuda:1, got cpu"):
        race.Race(2, "cpu", 1, gpu)
    waits.clear()
    race.Race(1, "wall", 1).run("test", {"a": lambda: None})
    assert waits == []


def test_ceilings_of_a_device():
    ceilings = race.Ceilings(META)
    assert ceilings.size > race.Ceilings.SIZE and list(ceilings.ways) == ["fp32", "bf16", "fp16"]
    assert [way().dtype for (way,) in ceilings.ways.values()] == [torch.float32, torch.bfloat16, torch.float16]
    assert ceilings.rate(1.0) == pytest.approx(2e-9 * ceilings.size**3)


def test_networks_of_theirs_are_placed():
    network = torch.nn.Linear(3, 2)
    wanted = peers.Peers(["torch.compile"])
    (name, here, move), (compiled, *_) = peers.placed("theirs", network, wanted, CPU)
    assert (name, compiled) == ("theirs", "torch.compile") and here is network
    assert move(torch.ones(1)).dtype == torch.float32
    placed = list(peers.placed("theirs", network, wanted, META))
    kinds = {"": torch.float32, " bf16": torch.bfloat16, " fp16": torch.float16}
    assert [name for name, *_ in placed] == [n + kind for kind in kinds for n in ("theirs", "torch.compile")]
    for (_, there, move), dtype in zip(placed[::2], kinds.values()):
        x = there(move(torch.ones(1, 3)))
        assert x.is_meta and x.dtype == dtype and move(torch.ones(1, dtype=torch.int64)).dtype == torch.int64
    assert network.weight.device == CPU and network.weight.dtype == torch.float32


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


def test_encoders_on_a_device(no_ceilings, monkeypatch, tiny_directory, capsys):
    """On torch's meta device, which has no values: nothing is made on the CPU that should be there."""
    pytest.importorskip("transformers", reason="needs transformers, the reference")
    known = ("transformers", "onnxruntime", "onnx", "openvino")
    monkeypatch.setattr(peers, "_importable", lambda module: module in known)
    options = ["--device", "meta", "--rounds", "1", "--threads", "1", "--json", "--batches", "1,2"]
    vit = GOLDEN / "vision" / "vit"
    for title, folder in ((f"{tiny_directory.name}, text", tiny_directory), ("vit, image", vit)):
        with Elsewhere() as devices:
            assert bench.main(["encoders", *options, "--model", str(folder)]) == 0
        assert devices.mixed == set() and devices.count > 100
        printed = capsys.readouterr().out
        found = json.loads(printed)["conditions"]
        assert found["device"] == "meta" and list(found["left out"]) == ["onnxruntime", "openvino"]
        assert "on the CPU here, not on meta" in found["left out"]["openvino"]
        names = [row["contestant"] for row in table_of(printed, title)["rows"] if row["batch"] == "2"]
        assert names == ["transformers", "trine fp32", "trine bf16", "trine fp16"]


def test_growth_on_a_device(no_ceilings, monkeypatch, tiny_directory, capsys):
    monkeypatch.setattr(growth, "cached", lambda name: tiny_directory)
    monkeypatch.setattr(peers, "_importable", lambda module: False)
    options = ["--device", "meta", "--rounds", "1", "--threads", "1", "--json", "--items", "300"]
    assert bench.main(["growth", *options]) == 0
    titles = [table["title"] for table in json.loads(capsys.readouterr().out)["tables"]]
    assert len(titles) == 2 and titles[0].startswith("Texts embedded") and titles[1].startswith("Texts of 8 to 512")


def test_a_quick_run_compiles_only_what_is_named(no_ceilings, tiny_directory, monkeypatch, capsys):
    monkeypatch.setattr(encoders, "measure", lambda *_: None)
    quick = ["encoders", *TINY, "--json", "--quick", "--model", str(tiny_directory)]
    for named, left_out in (([], True), (NOBODY, False)):
        assert bench.main([*quick, *named]) == 0
        assert ("torch.compile" in json.loads(capsys.readouterr().out)["conditions"]["left out"]) == left_out


def test_growth(no_ceilings, encoders, capsys):  # noqa: F811: the fixture
    options = ["--items", "300", "--records", "2000", "--precision", "int8"]
    assert bench.main(["growth", *TINY, *NOBODY, "--json", *options]) == 0
    printed = capsys.readouterr().out
    assert table_of(printed, "Texts embedded")["title"].endswith("all-MiniLM-L6-v2 in int8")
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
        ["search", "--device", "cpu"],
        ["pictures", "--device", "auto"],
        ["growth", "records", "--device", "cuda"],
        ["--recall", "2"],
        ["--precision", "int4"],
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
        (["encoders", "--device", "gpu"], "wanted auto, cpu, cuda or cuda: and a number, got"),
        (["encoders", "--device", "meta"], "[bench] wanted --clock wall on meta, got cpu"),
    ],
    ids=["photos", "sentences", "model", "unknown peer", "missing peer", "out", "device", "clock"],
)
def test_what_goes_wrong_is_a_sentence(no_ceilings, arguments, sentence, capsys):
    assert bench.main([*arguments, *TINY]) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("[") and sentence in said


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_no_cuda_is_a_sentence_and_auto_is_the_cpu(no_ceilings, tiny_directory, capsys):
    command = ["encoders", *TINY, *NOBODY, "--json", "--batches", "1", "--model", str(tiny_directory)]
    assert bench.main([*command, "--device", "cuda"]) == 1
    assert "this LibTorch finds no CUDA device" in capsys.readouterr().err
    assert bench.main([*command, "--device", "auto"]) == 0
    assert json.loads(capsys.readouterr().out)["conditions"]["device"] == "cpu"


def test_help_begins_with_a_command(capsys):
    with pytest.raises(SystemExit) as ended:
        bench.main(["--help"])
    assert ended.value.code == 0 and capsys.readouterr().out.strip().startswith("trine bench encoders minilm --quick")
