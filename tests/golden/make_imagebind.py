"""Writes tests/golden/imagebind: small checkpoints with random weights under the names of the published imagebind_huge.pth,
made into the library's layout by trine's converter, and what a reader of the paper makes of pictures, texts and clips.

    python tests/golden/make_imagebind.py

ImageBind is in no package that goes with this torch, and its code may not be copied here: `features` below is written from the
description of the network (Girdhar et al. 2023) and the names of its weights, with torch's own attention and torchaudio's
filter bank. The pictures are those of tests/golden/vision, the clips the first samples of tests/golden/spectrograms/clip.safetensors at 16 kHz.
Each folder has `expected.safetensors`: `pixels.*` (one) and `features.*` of pictures, `text_features` of the texts
in its metadata, `mels.N` (every eighth band and frame) and `vector.N` of the first N samples.
"""

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from make_pe import pictures, stages, token_ids
from make_vision import PLAIN, TEXTS, WORDS, save, write_tokenizer
from safetensors.torch import load_file, save_file
from torchaudio.compliance.kaldi import fbank
from torchvision import transforms

FOLDER = Path(__file__).parent / "imagebind"
CLIP = Path(__file__).parent / "spectrograms/clip.safetensors"
CONVERTER = Path(__file__).parents[2] / "python/trine/_imagebind.py"

RATE = 16_000
PIECE = 2 * RATE
HEADS = {"vision": 2, "text": 4, "audio": 1}
LENGTHS = [400, 7_000, 18_000]  # samples of the clip
LONG = [32_001, 33_333, 75_000, 160_001]  # of the clip again and again


def published(seed, width=16, out=12, blocks=2, image_size=16, patch=4, frames=2, vocabulary=28, context=16, kernel=16):
    """Random weights of three modalities, and of one that is left out, as the published file names them."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}

    def weight(name, *shape):
        tensors[name] = torch.randn(shape, generator=generator) * 1.2 / (torch.Size(shape).numel() / shape[0]) ** 0.5

    def table(name, *shape):
        tensors[name] = torch.randn(shape, generator=generator) * 0.5

    def norm(name, size):
        tensors[name + ".weight"] = 1 + 0.2 * torch.randn(size, generator=generator)
        tensors[name + ".bias"] = 0.2 * torch.randn(size, generator=generator)

    def linear(name, size_in, size_out):
        weight(name + ".weight", size_out, size_in)
        tensors[name + ".bias"] = 0.2 * torch.randn(size_out, generator=generator)

    rows, columns = (128 - kernel) // 10 + 1, (204 - kernel) // 10 + 1
    places = {"vision": (image_size // patch) ** 2 + 1, "audio": rows * columns + 1}
    for modality in ("vision", "text", "audio", "depth"):
        own, trunk = f"modality_preprocessors.{modality}", f"modality_trunks.{modality}"
        if modality == "text":
            table(f"{own}.token_embedding.weight", vocabulary, width)
            table(f"{own}.pos_embed", 1, context, width)
            tensors[f"{own}.mask"] = torch.full((context, context), float("-inf")).triu(1)
        else:
            table(f"{own}.cls_token", 1, 1, width)
            table(f"{own}.pos_embedding_helper.pos_embed", 1, places.get(modality, 5), width)
        if modality == "vision":
            weight(f"{own}.rgbt_stem.proj.1.weight", width, 3, frames, patch, patch)
            norm(f"{trunk}.pre_transformer_layer.0", width)
        elif modality != "text":
            stem = "rgbt_stem" if modality == "audio" else "depth_stem"
            weight(f"{own}.{stem}.proj.weight", width, 1, kernel, kernel)
            norm(f"{own}.{stem}.norm_layer", width)
        for block in range(blocks):
            name = f"{trunk}.blocks.{block}"
            weight(f"{name}.attn.in_proj_weight", 3 * width, width)
            tensors[f"{name}.attn.in_proj_bias"] = 0.2 * torch.randn(3 * width, generator=generator)
            if modality in ("audio", "depth"):
                table(f"{name}.attn.bias_k", 1, 1, width)
                table(f"{name}.attn.bias_v", 1, 1, width)
            linear(f"{name}.attn.out_proj", width, width)
            norm(f"{name}.norm_1", width)
            linear(f"{name}.mlp.fc1", width, 4 * width)
            linear(f"{name}.mlp.fc2", 4 * width, width)
            norm(f"{name}.norm_2", width)
        head = f"modality_heads.{modality}" + (".proj" if modality == "text" else "")
        norm(f"{head}.0", width)
        weight(f"{head}.{1 if modality == 'text' else 2}.weight", out, width)
        if modality != "vision":
            scale = torch.tensor({"text": 4.0}.get(modality, 3.0))
            tensors[f"modality_postprocessors.{modality}.1.log_logit_scale"] = scale
    return tensors


def features(tensors, modality, given, heads):
    """Before anything is normalised. given: pixels (N, 3, S, S), ids (N, T) or mels (N, 1, 128, 204)"""
    own, trunk = f"modality_preprocessors.{modality}.", f"modality_trunks.{modality}."
    norm = lambda x, name, eps=1e-6: F.layer_norm(
        x, x.shape[-1:], tensors[name + ".weight"], tensors[name + ".bias"], eps)
    linear = lambda x, name: F.linear(x, tensors[name + ".weight"], tensors[name + ".bias"])
    mask = None
    if modality == "text":
        x = tensors[own + "token_embedding.weight"][given] + tensors[own + "pos_embed"][:, : given.shape[1]]
        mask = torch.full((given.shape[1],) * 2, float("-inf")).triu(1)
    else:
        if modality == "vision":
            kernel = tensors[own + "rgbt_stem.proj.1.weight"]
            video = given[:, :, None].expand(-1, -1, kernel.shape[2], -1, -1)  # the picture, again and again
            patches = F.conv3d(video, kernel, stride=kernel.shape[2:])
        else:
            patches = F.conv2d(given, tensors[own + "rgbt_stem.proj.weight"], stride=10)
        patches = patches.flatten(2).mT
        if modality == "audio":
            patches = norm(patches, own + "rgbt_stem.norm_layer", 1e-5)
        token = tensors[own + "cls_token"].expand(len(given), -1, -1)
        x = torch.cat([token, patches], 1) + tensors[own + "pos_embedding_helper.pos_embed"]
    if modality == "vision":
        x = norm(x, trunk + "pre_transformer_layer.0")
    blocks = {name.split(".")[3] for name in tensors if name.startswith(trunk + "blocks.")}
    for block in sorted(blocks, key=int):
        name = f"{trunk}blocks.{block}."
        y = norm(x, name + "norm_1").transpose(0, 1)
        y, _ = F.multi_head_attention_forward(
            y, y, y, y.shape[-1], heads, tensors[name + "attn.in_proj_weight"], tensors[name + "attn.in_proj_bias"],
            tensors.get(name + "attn.bias_k"), tensors.get(name + "attn.bias_v"), False, 0.0,
            tensors[name + "attn.out_proj.weight"], tensors[name + "attn.out_proj.bias"],
            training=False, need_weights=False, attn_mask=mask)  # fmt: skip
        x = x + y.transpose(0, 1)
        x = x + linear(F.gelu(linear(norm(x, name + "norm_2"), name + "mlp.fc1")), name + "mlp.fc2")
    if modality == "text":
        last = x[torch.arange(len(x)), given.argmax(1)]
        return norm(last, "modality_heads.text.proj.0") @ tensors["modality_heads.text.proj.1.weight"].T
    head = f"modality_heads.{modality}."
    return norm(x[:, 0], head + "0") @ tensors[head + "2.weight"].T


def mels_of(samples):
    """Three pieces of 2 s, the first at the start, the last at the end, the other between. (n) -> (3, 1, 128, 204)"""
    samples = torch.from_numpy(samples.copy())
    spare = max(len(samples) / RATE - 2, 0)
    mels = []
    for i in range(3):
        start = int(spare * i / 2 * RATE)
        piece = samples[start : start + PIECE]
        piece -= piece.mean()  # in place: the next piece may overlap this one
        mel = fbank(piece[None], htk_compat=True, sample_frequency=RATE, use_energy=False, window_type="hanning",
                    num_mel_bins=128, dither=0.0, frame_length=25, frame_shift=10).T  # fmt: skip
        mel = F.pad(mel, (0, max(204 - mel.shape[1], 0)))[:, :204]
        mels.append((mel + 4.268) / 9.138)
    return torch.stack(mels)[:, None]


def vector(tensors, mels, heads):
    return F.normalize(features(tensors, "audio", mels, heads), dim=1).mean(0)


def sound(samples):
    clip = load_file(CLIP)
    clip = next(iter(clip.values())).numpy().astype(np.float32) / 2**15
    return np.resize(clip, samples)


def converter():
    spec = importlib.util.spec_from_file_location("trine_imagebind", CONVERTER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make(folder, tensors, heads):
    """The checkpoint and its tokenizer."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    kept, files = converter().convert(tensors, heads=heads)
    save_file({name: tensor.contiguous() for name, tensor in kept.items()}, folder / "model.safetensors")
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=2))
    return write_tokenizer(folder, ["[PAD]", "[UNK]", *WORDS.split(), "[CLS]", "[SEP]"], "[CLS] $A [SEP]", "[PAD]")


def image_transform(size):
    return transforms.Compose([
        transforms.Resize(size, interpolation=transforms.InterpolationMode.BICUBIC),
        transforms.CenterCrop(size),
        transforms.ToTensor(),
        transforms.Normalize((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    ])  # fmt: skip


def write():
    folder, tensors = FOLDER / "small", published(1)
    tokenizer = make(folder, tensors, HEADS)
    look = lambda pixels: features(tensors, "vision", pixels, HEADS["vision"])
    expected = stages(image_transform(16), pictures(), [*PLAIN, "strip"], look)
    expected = {name: tensor for name, tensor in expected.items() if not name.startswith("bytes")}
    ids = token_ids(tokenizer, TEXTS, 16)
    expected["text_features"] = features(tensors, "text", ids, HEADS["text"])
    for length in [*LENGTHS, *LONG]:
        mels = mels_of(sound(length))
        mels = mels if length > PIECE else mels[:1]
        expected[f"mels.{length}"] = mels[:, :, ::8, ::8].contiguous()
        expected[f"vector.{length}"] = vector(tensors, mels, HEADS["audio"])
    save(folder, expected)


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    write()
