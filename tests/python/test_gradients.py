"""Towers of every family against transformers' autograd, and saved ones that transformers reads."""

import shutil

import pytest
import torch
from conftest import GOLDEN

import trine
from trine import verify

pytestmark = pytest.mark.usefixtures("one_thread")
CASES = {
    "vision/clip": ["image", "text"],
    "vision/clip_vision": ["image"],
    "vision/clip_text": ["text"],
    "vision/siglip": ["image", "text"],
    "vision/siglip2": ["image", "text"],
    "vision/vit": ["image"],
    "vision/dinov2": ["image"],
    "vision/dinov2_registers": ["image"],
    "vision/dinov2_swiglu": ["image"],
    "texts/bert": ["text"],
    "texts/distilbert": ["text"],
    "texts/modernbert": ["text"],
    "texts/mpnet": ["text"],
    "texts/roberta": ["text"],
    "encoders/whisper": ["audio"],
    "spectrograms/ast": ["audio"],
    "spectrograms/clap_fused": ["text", "audio"],
    "spectrograms/clap_unfused": ["text", "audio"],
    "waves/wav2vec2": ["audio"],
    "waves/wav2vec2_stable": ["audio"],
    "waves/hubert": ["audio"],
    "waves/hubert_batch_norm": ["audio"],
    "waves/wavlm": ["audio"],
    "pe_audio/small": ["text", "audio"],
    "pe_video/small": ["image", "text"],
    "pe_video/both": ["image", "text", "audio"],
}
CLIP = "noise"  # of verify's
NAMES = {"image": ["gradient", "odd"], "text": ["plain", "empty"], "audio": [CLIP]}


@pytest.fixture
def transformers():
    return pytest.importorskip("transformers", reason="needs transformers, the reference")


@pytest.fixture
def folder(request, tmp_path):
    """A golden checkpoint; texts/* have their tokenizer elsewhere, and pool by files of their own."""
    directory = tmp_path / "golden"
    shutil.copytree(GOLDEN / request.param, directory)
    (directory / "modules.json").unlink(missing_ok=True)
    if request.param.startswith("texts/"):
        shutil.copy(GOLDEN / "text/tokenizer.json", directory)
    if request.param.startswith("pe_video/"):
        pytest.importorskip("timm", reason="needs timm, a part of the reference")
        pytest.importorskip("torchvision", reason="needs torchvision, a part of the reference")
    return directory


def vectors_of(model, modality, clips):
    """What the library makes of some of verify's inputs; `clips`: rate and seconds of the longest. -> (N, D)"""
    if modality == "image":
        made = [model.embed_image(verify.pictures()[name]) for name in NAMES[modality]]
    elif modality == "text":
        made = [model.embed_text(verify.texts()[name], prompt="", long_input="truncate") for name in NAMES[modality]]
    else:
        made = [model.embed_audio((verify.clips(*clips)[name], clips[0]), long_input="truncate") for name in NAMES[modality]]
    return torch.stack(made)


def reference_vectors(transformers, directory, network, modality):
    family, window_and_clip = verify.FAMILIES[verify._config(directory)["model_type"]], verify._limits(directory)
    values = {}
    if modality == "image" and family.image:
        verify._reference_images(transformers, directory, family, network, values)
    elif modality == "image":
        verify._reference_frames(directory, family, network, values)
    elif modality == "text":
        padding = verify._padding(transformers, directory, network) if family.padded else None
        ids = verify._ids(transformers, directory, window_and_clip[0])
        values["text features"] = {n: family.text(network, verify._padded(ids[n], padding))[0] for n in NAMES["text"]}
    else:
        verify._reference_clips(transformers, directory, family, network, window_and_clip[1], values)
    rows = [values[f"{modality} features"][name] for name in NAMES[modality]]
    pooled = [row.mean(0) if row.ndim == 2 else row for row in rows]
    return torch.nn.functional.normalize(torch.stack(pooled), dim=1)


def partner(name, weight, parameters):
    """The reference's parameter of a checkpoint's name: heads for a task put a prefix before it, or take one away."""
    found = [n for n in parameters if n == name or n.endswith("." + name) or name.endswith("." + n)]
    found = found or [n for n, p in parameters.items() if torch.equal(p, weight)]  # newer names than the checkpoint's
    return parameters[max(found, key=lambda n: (n == name, len(n)))]


@pytest.mark.parametrize("folder", CASES, indirect=True)
def test_gradients_are_those_of_transformers(folder, request, transformers):
    case = request.node.callspec.params["folder"]
    clips = verify._limits(folder)[1]
    family = verify.FAMILIES[verify._config(folder)["model_type"]]
    for modality in CASES[case]:
        model = trine.Embedder(folder)
        weights = model.weights(modality)
        with trine.RecordGradients():
            ours = vectors_of(model, modality, clips)
        with verify._quiet(transformers):
            network = family.load(transformers, folder, verify._config(folder))
            theirs = reference_vectors(transformers, folder, network, modality)
        assert float((ours - theirs).detach().abs().max()) < 1e-4
        direction = torch.randn(ours.shape, generator=torch.Generator().manual_seed(7))
        (ours * direction).sum().backward()
        (theirs * direction).sum().backward()
        parameters = dict(network.named_parameters(remove_duplicate=False))
        pairs = {name: (weight.grad, partner(name, weight, parameters).grad) for name, weight in weights.items()}
        largest = max(float(reference.abs().max()) for _, reference in pairs.values() if reference is not None)
        compared = 0
        for name, (mine, reference) in pairs.items():
            if mine is None:  # of another task: a pooler
                assert reference is None or not reference.any(), name
                continue
            reference = torch.zeros_like(mine) if reference is None else reference
            scale = max(float(reference.abs().max()), 1e-3 * largest)
            assert float((mine - reference).abs().max()) < 2e-3 * scale, name
            compared += 1
        assert compared > 4


@pytest.mark.parametrize("folder", CASES, indirect=True)
def test_what_is_saved_transformers_reads(folder, request, transformers, tmp_path):
    modalities = CASES[request.node.callspec.params["folder"]]
    clips = verify._limits(folder)[1]
    model = trine.Embedder(folder)
    before = {m: vectors_of(model, m, clips) for m in modalities}
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for modality in modalities:
            for weight in model.weights(modality).values():
                weight += 0.05 * weight.std(correction=0) * torch.randn(weight.shape, generator=generator)
    model.save(tmp_path / "saved")
    loaded = trine.Embedder(tmp_path / "saved")
    for modality in modalities:
        vectors = vectors_of(loaded, modality, clips)
        assert float((vectors - vectors_of(model, modality, clips)).abs().max()) < 1e-5
        assert float((vectors - before[modality]).abs().max()) > 1e-4
    report = verify.verify(tmp_path / "saved")
    assert report.passed, str(report)
