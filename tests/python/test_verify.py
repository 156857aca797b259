"""trine.verify: what equals the reference passes, and whatever is changed on one side does not."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
from conftest import GOLDEN, load_safetensors, save_safetensors

import trine
from trine.verify import FAMILIES, clips, pictures, texts, verify, write_golden

VISION = GOLDEN / "vision"


def copy_of(folder, target):
    """A checkpoint of the golden cases; texts/* have their tokenizer elsewhere."""
    shutil.copytree(folder, target)
    if folder.parent.name == "texts":
        shutil.copy(GOLDEN / "text/tokenizer.json", target)
    return target


def perturbed(folder, target, part, by=3.0):
    """A copy in which one row of one tensor, the first whose name holds `part`, is another: a cosine sees no scale."""
    copy_of(folder, target)
    tensors = load_safetensors(target / "model.safetensors")[0]
    name = next(name for name in sorted(tensors) if part in name and tensors[name].ndim > 1)
    tensors[name] = torch.cat([tensors[name][:1] * by, tensors[name][1:]])
    save_safetensors(target / "model.safetensors", {n: t.numpy() for n, t in tensors.items() if t.is_floating_point()})
    return target


def verdicts(report):
    return {row.stage: row.passed for row in report.rows}


def test_the_inputs_are_what_they_were():
    """Golden values stay good only as long as the inputs do."""
    sums = {name: int(p.astype("int64").sum()) for name, p in pictures().items()}
    assert sums == json.loads((GOLDEN / "verify/inputs.json").read_text())
    assert all(p.dtype == "uint8" and p.shape[2] == 3 for p in pictures().values())
    made = clips(16_000, 30.0)
    assert {n: len(c) for n, c in made.items()} == {"tone": 16_000, "noise": 11_681, "window": 480_000}
    assert all(c.dtype == "float32" and 0.1 < abs(c).max() < 1 for c in made.values())
    assert len(texts()) == 10 and texts()["empty"] == ""


@pytest.fixture
def transformers(one_thread):
    return pytest.importorskip("transformers", reason="needs transformers, the reference")


AUDIO, LABELS = ["audio input", "audio features"], "scores of labels"
IMAGE, TEXT = ["image pixels", "image features", "image vectors"], ["text ids", "text features", "text vectors"]
CASES = {
    "vision/clip": [*IMAGE, *TEXT, "scores of pairs"],
    "vision/clip_gelu": [*IMAGE, *TEXT, "scores of pairs"],
    "vision/clip_vision": IMAGE,
    "vision/clip_vision_pooled": IMAGE,
    "vision/clip_text": TEXT,
    "vision/siglip": [*IMAGE, *TEXT, "scores of pairs"],
    "vision/siglip2": [*IMAGE, *TEXT, "scores of pairs"],
    "vision/siglip_vision": IMAGE,
    "vision/siglip_text": TEXT,
    "vision/vit": IMAGE,
    "vision/vit_classifier": [*IMAGE, LABELS],
    "vision/dinov2": IMAGE,
    "vision/dinov2_classifier": [*IMAGE, LABELS],
    "vision/dinov2_registers": IMAGE,
    "vision/dinov2_swiglu": IMAGE,
    "encoders/whisper": ["audio mel", "audio features"],
    "spectrograms/ast": AUDIO,
    "spectrograms/ast_classifier": [*AUDIO, LABELS],
    "spectrograms/clap_fused": [*TEXT, *AUDIO, "scores of pairs"],
    "spectrograms/clap_unfused": [*TEXT, *AUDIO, "scores of pairs"],
    "spectrograms/clap_audio": AUDIO,
    "spectrograms/clap_text": TEXT,
    "waves/wav2vec2": AUDIO,
    "waves/wav2vec2_stable": AUDIO,
    "waves/hubert": AUDIO,
    "waves/hubert_batch_norm": AUDIO,
    "waves/wavlm": AUDIO,
    "waves/wavlm_stable": AUDIO,
    "waves/wav2vec2_classifier": [*AUDIO, LABELS],
    "waves/hubert_classifier": [*AUDIO, LABELS],
    "waves/wavlm_classifier": [*AUDIO, LABELS],
    "pe_audio/small": [*TEXT, *AUDIO],
}


@pytest.mark.parametrize("case", CASES)
def test_every_family_equals_its_reference(case, transformers):
    report = verify(GOLDEN / case)
    assert report.passed, str(report)
    assert {s for s, passed in verdicts(report).items() if passed} == set(CASES[case])
    assert report.reference == f"transformers {transformers.__version__}"


@pytest.mark.parametrize("name", ["bert", "distilbert", "modernbert", "mpnet", "roberta", "xlm-roberta"])
def test_texts_and_labels_equal_their_reference(name, transformers, tmp_path):
    directory = copy_of(GOLDEN / "texts" / name, tmp_path / "model")
    (directory / "modules.json").unlink(missing_ok=True)  # the network alone
    report = trine.Classifier(directory).verify()
    assert report.passed and set(verdicts(report)) == {*TEXT, "scores of labels"}, str(report)


def test_a_folder_of_sentence_transformers(transformers, tmp_path):
    directory = copy_of(GOLDEN / "encoders/bert", tmp_path / "model")
    report = trine.Embedder(directory).verify()
    assert report.passed and verdicts(report)["text ids"] is True, str(report)
    vectors = next(row for row in report.rows if row.stage == "text vectors")
    try:
        import sentence_transformers  # noqa: F401
    except ImportError:
        assert vectors.passed is None and "pip install sentence-transformers" in vectors.note
        return
    assert vectors.passed
    other = perturbed(GOLDEN / "encoders/bert", tmp_path / "other", "layer.1.output.dense")
    assert verdicts(verify(other, against=directory))["text vectors"] is False


@pytest.mark.parametrize(("case", "stages"), [("small", TEXT), ("both", [*TEXT, *AUDIO])])
def test_pe_videos_equal_transformers(case, stages, transformers):
    pytest.importorskip("timm", reason="needs timm, a part of the reference")
    pytest.importorskip("torchvision", reason="needs torchvision, a part of the reference")
    report = verify(GOLDEN / "pe_video" / case)
    assert report.passed, str(report)
    found = verdicts(report)
    assert {s for s, passed in found.items() if passed} == {"image features", "image vectors", *stages}
    assert found["image pixels"] is None and "resizes by torch" in str(report)


@pytest.mark.parametrize("case", ["core", "giant", "lang", "spatial"])
def test_perception_encoders_equal_timm(case, tmp_path, one_thread):
    timm = pytest.importorskip("timm", reason="needs timm, the reference")
    pytest.importorskip("torchvision", reason="needs torchvision, which timm needs")
    report = verify(GOLDEN / "pe" / case)
    assert report.passed and set(verdicts(report)) == set(IMAGE), str(report)
    assert report.reference == f"timm {timm.__version__}"
    other = perturbed(GOLDEN / "pe" / case, tmp_path / "other", "blocks.1.mlp.fc1.weight")
    assert verdicts(verify(other, against=GOLDEN / "pe" / case))["image features"] is False


def test_a_wrapped_perception_encoder_equals_transformers(transformers, tmp_path):
    pytest.importorskip("timm", reason="needs timm, a part of the reference")
    pytest.importorskip("torchvision", reason="needs torchvision, which timm needs")
    folder = GOLDEN / "pe/core"
    original = json.loads((folder / "config.json").read_text())
    width = load_safetensors(folder / "expected.safetensors")[0]["features.photo"].shape[0]
    args = {key: value for key, value in original["model_args"].items() if key != "num_classes"}
    config = transformers.TimmWrapperConfig(architecture=original["architecture"], model_args=args, num_labels=width)
    for kind in (transformers.TimmWrapperModel, transformers.TimmWrapperForImageClassification):
        target = tmp_path / kind.__name__
        model = kind(config)
        model.load_state_dict(load_safetensors(folder / "model.safetensors")[0], strict=False)
        model.save_pretrained(target)
        written = json.loads((target / "config.json").read_text())
        (target / "config.json").write_text(json.dumps(written | {"pretrained_cfg": original["pretrained_cfg"]}))
        report = verify(target)
        assert report.passed and set(verdicts(report)) == set(IMAGE), str(report)
        assert (trine.load_encoder(target).dim == width) == (kind is not transformers.TimmWrapperModel)


@pytest.mark.parametrize("case", ["open_clip", "open_clip_custom"])
def test_open_clip_folders_equal_open_clip(case, transformers, tmp_path):
    open_clip = pytest.importorskip("open_clip", reason="needs open_clip_torch, the reference")
    pytest.importorskip("torchvision", reason="needs torchvision, which open_clip needs")
    report = verify(GOLDEN / "pe" / case)
    assert report.passed and set(verdicts(report)) == {*IMAGE, *TEXT, "scores of pairs"}, str(report)
    assert report.reference == f"open_clip {open_clip.__version__}"
    other = shutil.copytree(GOLDEN / "pe" / case, tmp_path / "other")
    tensors = load_safetensors(other / "open_clip_model.safetensors")[0]
    name = next(n for n in sorted(tensors) if n.endswith("text_projection"))
    tensors[name] = torch.cat([tensors[name][:1] * 3, tensors[name][1:]])
    save_safetensors(other / "open_clip_model.safetensors", {n: t.numpy() for n, t in tensors.items()})
    found = verdicts(verify(other, against=GOLDEN / "pe" / case))
    assert found["image features"] and found["text ids"] and not found["text features"]


def test_every_family_has_a_reference_or_says_why_not(tmp_path):
    with pytest.raises(RuntimeError, match="no package that goes with this torch has ImageBind"):
        verify(GOLDEN / "imagebind/small")
    (tmp_path / "config.json").write_text('{"model_type": "another"}')
    with pytest.raises(RuntimeError, match="known are ") as error:
        trine.load_encoder(tmp_path)
    known = str(error.value).split("known are ")[1].rstrip(".").split(", ")
    compared_by_timm = {n for n in known if n.startswith(("vit_pe_", "tf_efficientnet_lite"))}
    assert len(known) > 30 and set(known) - compared_by_timm - {"imagebind"} == set(FAMILIES) - {"timm_wrapper"}


def test_efficientnet_equals_timm(encoders, one_thread):
    pytest.importorskip("timm", reason="needs timm and torchvision, the reference")
    pytest.importorskip("torchvision", reason="needs timm and torchvision, the reference")
    report = verify(encoders / "tf_efficientnet_lite0")
    assert report.passed and set(verdicts(report)) == set(IMAGE), str(report)


@pytest.mark.parametrize(
    ("case", "part", "same"),
    [
        ("vision/clip", "vision_model.encoder.layers.1.mlp.fc1", ["image pixels", *TEXT]),
        ("vision/clip", "text_projection", [*IMAGE, "text ids"]),
        ("vision/vit", "attention.attention.query", ["image pixels"]),
        ("encoders/whisper", "encoder.layers.0.fc1", ["audio mel"]),
        ("spectrograms/clap_unfused", "audio_projection.linear1", [*TEXT, "audio input"]),
        ("waves/wavlm", "gru_rel_pos_linear", ["audio input"]),
        ("waves/wav2vec2_classifier", "projector", AUDIO),
        ("texts/bert", "classifier", TEXT),
    ],
)
def test_one_other_tensor_is_found(case, part, same, transformers, tmp_path):
    original = copy_of(GOLDEN / case, tmp_path / "original")
    (original / "modules.json").unlink(missing_ok=True)
    other = perturbed(GOLDEN / case, tmp_path / "other", part)
    found = verdicts(verify(other, against=original))
    assert {stage for stage, passed in found.items() if passed} == set(same)
    assert False in found.values()


def test_another_filter_or_word_is_found(transformers, tmp_path):
    other = copy_of(VISION / "vit", tmp_path / "filter")
    config = json.loads((other / "preprocessor_config.json").read_text())
    config["resample"] = 3 if config.get("resample", 2) != 3 else 2
    (other / "preprocessor_config.json").write_text(json.dumps(config))
    report = verify(other, against=VISION / "vit")
    assert verdicts(report)["image pixels"] is False and not report.passed
    assert "image pixels" in str(report) and "DIFFERS" in str(report)
    other = copy_of(VISION / "siglip_text", tmp_path / "word")
    file = json.loads((other / "tokenizer.json").read_text())
    vocabulary = file["model"]["vocab"]
    vocabulary["red"], vocabulary["blue"] = vocabulary["blue"], vocabulary["red"]
    (other / "tokenizer.json").write_text(json.dumps(file))
    found = next(row for row in verify(other, against=VISION / "siglip_text").rows if row.stage == "text ids")
    assert found.passed is False and found.worst == "plain" and found.inputs["empty"] == 0


def test_another_shape_and_nan_are_differences(transformers, tmp_path):
    small = verify(VISION / "clip_vision", against=VISION / "clip_vision_pooled")
    row = next(row for row in small.rows if row.stage == "image features")
    assert row.passed is False and "wanted (" in row.note
    broken = perturbed(VISION / "vit", tmp_path / "nan", "attention.output.dense", float("nan"))
    report = verify(broken, against=VISION / "vit")
    assert verdicts(report)["image features"] is False
    told = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert told["passed"] is False and told["rows"][1]["difference"] is None


# --- golden values, which need no reference ----------------------------------------------------------------------------


@pytest.fixture
def stored(tmp_path):
    """A checkpoint with the values that make_verify.py stored."""
    directory = copy_of(VISION / "siglip_text", tmp_path / "model")
    shutil.copy(GOLDEN / "verify/siglip_text.safetensors", directory / "verify.safetensors")
    return directory


def test_stored_values_take_the_references_place(stored, tmp_path):
    report = verify(stored, golden=True)
    assert report.passed and set(verdicts(report)) == set(TEXT)
    assert report.reference == "values of transformers 5.12.1 in verify.safetensors"
    other = perturbed(stored, tmp_path / "other", "mlp.fc1")
    assert verdicts(verify(other, golden=True)) == {"text ids": True, "text features": False, "text vectors": False}


def without_transformers(*arguments):
    program = "import sys; sys.modules['transformers'] = None; from trine.verify import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.run([sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True)


def test_without_the_reference(stored, tmp_path):
    done = without_transformers(stored)
    assert done.returncode == 0 and "values of transformers 5.12.1" in done.stdout
    done = without_transformers(VISION / "siglip_text")
    assert done.returncode == 1 and done.stdout == ""
    assert "transformers is not installed and" in done.stderr and "--write-golden" in done.stderr
    assert without_transformers(VISION / "siglip_text", "--write-golden").returncode == 1
    (stored / "verify.safetensors").write_bytes(b"12345678{}")
    done = without_transformers(stored)
    assert done.returncode == 1 and "holds no golden values" in done.stderr and len(done.stderr.splitlines()) == 1


def test_writing_them(transformers, tmp_path):
    directory = copy_of(VISION / "siglip_text", tmp_path / "model")
    path = write_golden(directory)
    assert path == directory / "verify.safetensors" and len(list(directory.glob("*verify*"))) == 1
    assert verify(directory, golden=True).passed
    stored, now = (load_safetensors(f)[0] for f in (GOLDEN / "verify/siglip_text.safetensors", path))
    assert stored.keys() == now.keys() and all(torch.allclose(stored[k], now[k], atol=1e-5) for k in now)


def test_what_it_refuses(tmp_path, tiny_directory):
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        verify(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match="has no verify.safetensors"):
        verify(tiny_directory, golden=True)
    for content, sentence in (("{", "is not valid JSON"), ("[]", "is not an object")):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(RuntimeError, match=sentence):
            verify(tmp_path)


def test_the_command(transformers):
    def run(*arguments):
        return subprocess.run([sys.executable, "-m", "trine.verify", *map(str, arguments)], capture_output=True, text=True)

    done = run(VISION / "vit", "--json")
    told = json.loads(done.stdout)
    assert done.returncode == 0 and told["passed"] and set(told["rows"][0]["inputs"]) == set(pictures())
    done = run(VISION / "clip_vision", "--against", VISION / "clip_vision_pooled")
    assert done.returncode == 1 and "DIFFERS" in done.stdout and done.stderr == ""
    assert run("--help").stdout.startswith("  trine verify MODEL")
