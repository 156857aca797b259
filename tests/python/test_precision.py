"""What encoders compute with: chosen, remembered, described, refused."""

import json
import os
import subprocess
import sys

import pytest
from conftest import GOLDEN, make_picture, make_voice

import trine

TEXTS = ["a ripe banana", "two litres of oat milk", "it arrived broken", "x"]

PROGRAM = """
import json, sys, trine
model = trine.Embedder(sys.argv[1], precision=sys.argv[2], accuracy=float(sys.argv[3]))
vectors = model.encode(["a ripe banana", "it arrived broken"])
print(json.dumps({"precision": dict(model.describe())["text.precision"], "vectors": vectors.tolist()}))
"""


def run(directory, precision, accuracy=0.999, **variables):
    """In a process of its own: what a machine can do is asked once."""
    command = [sys.executable, "-c", PROGRAM, str(directory), precision, str(accuracy)]
    return subprocess.run(command, env=os.environ | variables, capture_output=True, text=True)


def load(directory, precision):
    try:
        return trine.Embedder(directory, precision=precision)
    except RuntimeError as error:
        assert f"does not compute in {precision}" in str(error)
        pytest.skip(f"this machine does not compute in {precision}")


@pytest.mark.parametrize("precision, bar", [("bf16", 0.9999), ("int8", 0.999)])
def test_vectors_are_near_those_of_fp32(tiny_directory, precision, bar):
    exact = trine.Embedder(tiny_directory)
    model = load(tiny_directory, precision)
    found, wanted = model.encode(TEXTS), exact.encode(TEXTS)
    assert (found * wanted).sum(1).min() >= bar
    assert not found.equal(wanted)
    assert dict(model.describe())["text.precision"] == precision
    assert dict(exact.describe())["text.precision"] == "fp32"
    assert model._model.fingerprint() != exact._model.fingerprint()


@pytest.mark.parametrize(
    "folder, shapes",
    [
        ("vision/siglip_vision", ["32 x 64 "]),  # keys and values of the pooling
        ("vision/siglip2", ["32 x 64 ", "192 x 32 "]),  # and naflex patches
        ("pe/core", ["16 x 32 ", "16 x 64 "]),  # and its feed-forward part
        ("spectrograms/clap_audio", ["32 x 16 "]),  # from one stage to the next
    ],
)
def test_pooling_and_reductions_compute_in_what_is_asked(folder, shapes):
    chosen = dict(trine.Embedder(GOLDEN / folder, precision="auto").describe())
    modality = "audio" if "clap" in folder else "image"
    assert all(shape in chosen[f"{modality}.precision"] for shape in shapes)
    given = [(make_voice(2.0, 48_000), 48_000)] if modality == "audio" else [make_picture(i, 70, 60) for i in range(3)]
    exact, rough = (
        getattr(model, f"embed_{modality}")(given)
        for model in (trine.Embedder(GOLDEN / folder), load(GOLDEN / folder, "int8"))
    )
    assert (exact * rough).sum(1).min() > 0.99 and not exact.equal(rough)


def test_unknown_names_are_refused(tiny_directory):
    with pytest.raises(ValueError, match=r'precision is "half", wanted auto, fp32, bf16, int8 or fp16'):
        trine.Embedder(tiny_directory, precision="half")
    with pytest.raises(ValueError, match="accuracy is 2"):
        trine.Embedder(tiny_directory, precision="auto", accuracy=2)


def test_auto_measures_and_remembers(tiny_directory, tmp_path):
    first = run(tiny_directory, "auto", TRINE_CACHE=str(tmp_path))
    assert first.returncode == 0, first.stderr
    assert json.loads(first.stdout)["precision"].startswith("auto: ")
    memory = tmp_path / "precision.json"
    known = json.loads(memory.read_text())
    assert known["shapes"] and all("fp32" in shape for shape in known["shapes"].values())

    if any("int8" in shape for shape in known["shapes"].values()):
        for shape in known["shapes"].values():  # what is remembered decides, without another measurement
            shape["int8"] = {"seconds": shape["fp32"]["seconds"] / 100, "cosine": 0.99995}
        memory.write_text(json.dumps(known))
        second = json.loads(run(tiny_directory, "auto", TRINE_CACHE=str(tmp_path)).stdout)["precision"]
        assert "int8" in second and "fp32" not in second and "bf16" not in second
        third = json.loads(run(tiny_directory, "auto", 0.99999, TRINE_CACHE=str(tmp_path)).stdout)["precision"]
        assert "int8" not in third, "less accurate than was asked for"
    assert json.loads(memory.read_text()) == known


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"machine": 3}', '{"machine": "another", "shapes": {"32x96": {}}}'])
def test_a_damaged_memory_is_as_good_as_none(tiny_directory, tmp_path, damage):
    (tmp_path / "precision.json").write_text(damage)
    done = run(tiny_directory, "auto", TRINE_CACHE=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "precision.json").read_text())["shapes"]


def test_a_folder_that_cannot_be_written_is_no_error(tiny_directory, tmp_path):
    (tmp_path / "file").write_text("")
    done = run(tiny_directory, "auto", TRINE_CACHE=str(tmp_path / "file"))
    assert done.returncode == 0, done.stderr


def test_machines_without_the_kernels_compute_in_fp32(tiny_directory, tmp_path):
    """Neither our loops nor oneDNN's, as on a CPU that is no x86."""
    old = {"TRINE_LINEAR_KERNELS": "none", "ONEDNN_MAX_CPU_ISA": "AVX2", "TRINE_CACHE": str(tmp_path)}
    plain = json.loads(run(tiny_directory, "fp32", **old).stdout)["vectors"]
    for vector, wanted in zip(plain, json.loads(run(tiny_directory, "fp32").stdout)["vectors"]):
        assert vector == pytest.approx(wanted, abs=1e-5)
    refused = run(tiny_directory, "int8", **old)
    assert "does not compute in int8: use fp32 or auto" in refused.stderr
    assert json.loads(run(tiny_directory, "auto", **old).stdout)["precision"].count("fp32") >= 1


@pytest.mark.parametrize("kernels", ["avx2", "avxvnni", "avx512", "avx512vnni"])
def test_every_kind_of_machine_computes_the_same(kernels, tiny_directory, tmp_path):
    """Their sums run in one order, so they are equal to the bit but for activations and norms; bytes are exact."""
    kind = {"TRINE_LINEAR_KERNELS": kernels, "TRINE_CACHE": str(tmp_path)}
    found = run(tiny_directory, "fp32", **kind)
    if "where the processor has them" in found.stderr:
        pytest.skip(f"this processor has no {kernels}")
    for precision in ("fp32", "int8") if "vnni" in kernels else ("fp32",):
        vectors = json.loads(run(tiny_directory, precision, **kind).stdout)["vectors"]
        assert vectors == json.loads(run(tiny_directory, precision).stdout)["vectors"]


def test_kernels_of_no_machine(tiny_directory):
    assert "[TRINE_LINEAR_KERNELS] wanted none, or avx2" in run(tiny_directory, "fp32", TRINE_LINEAR_KERNELS="mmx").stderr
