"""Compares a checkpoint, stage by stage, with its reference implementation.

    trine verify MODEL                     # a table; exit code 1 where a stage differs
    trine verify MODEL --against ORIGINAL  # the library on MODEL, the reference on ORIGINAL
    trine verify MODEL --write-golden      # keeps the reference's values in MODEL/verify.safetensors
    python -m trine.verify ...             # the same

Pixels, token ids, mel or samples, features of the towers, final vectors and scores of pairs or labels are compared on
pictures, texts and clips that are made here. The reference is the installed transformers; timm for its own layout
(EfficientNet, the Perception Encoder), open_clip for OpenCLIP's, and sentence-transformers for a folder with modules.json.
ImageBind is in no package that goes with this torch. Where a reference is not installed, the values that --write-golden stored
next to the model take its place. Windows, levelling and our own heads have no reference; `describe()` tells of them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from . import _hub, _inputs, _trine, fetch
from ._command import Parser, run
from .embedder import Embedder
from .fetch import _sync, _Tensor, write_safetensors

__all__ = ["Report", "Row", "verify", "write_golden"]

GOLDEN = "verify.safetensors"
OPEN_CLIP = "open_clip_config.json"

# {stage: {name of the input: value}}
Values = dict[str, dict[str, torch.Tensor]]


# --- the inputs: whole numbers only, so that every machine makes the same ---------------------------------------------


def pictures() -> dict[str, np.ndarray]:
    """Pictures of several shapes, uint8 (H, W, 3): gradients, edges and grain."""
    sizes = {"gradient": (64, 48), "odd": (91, 37), "tall": (29, 131), "small": (9, 7), "large": (421, 300)}
    made = {}
    for number, (name, (width, height)) in enumerate(sizes.items()):
        x, y = np.meshgrid(np.arange(width), np.arange(height))
        channels = [(x * 255 // width * (3 - c) + y * 255 // height * (1 + c)) // 4 for c in range(3)]
        picture = np.stack(channels, -1)
        picture[(x // 7 + y // 5 + number) % 4 == 0] = [255, 16 * number, 0]
        grain = (x * 7919 + y * 104729 + x * y * 13) % 31 - 15
        made[name] = np.clip(picture + grain[..., None], 0, 255).astype(np.uint8)
    return made


def texts() -> dict[str, str]:
    return {
        "plain": "a photo of a red bicycle beside the old wooden door",
        "empty": "",
        "accents": "Un café crème, s'il vous plaît — 3,50 €!",
        "cyrillic": "Красный велосипед стоит у двери.",
        "greek": "ένα κόκκινο ποδήλατο",
        "arabic": "دراجة حمراء بجانب الباب",
        "hindi": "दरवाज़े के पास लाल साइकिल",
        "japanese": "赤い自転車がドアの横にあります。",
        "emoji": "\U0001f6b2 \U0001f468\u200d\U0001f469\u200d\U0001f467 ok\u2764\ufe0f",
        "long": "She bought two pairs of running shoes and a rain jacket, 42 in all. " * 60,
    }


def clips(rate: int, longest: float) -> dict[str, np.ndarray]:
    """Clips at the network's rate, float32 (n): a tone, noise of an odd length, and one that fills the window."""

    def tone(count: int, period: int) -> np.ndarray:
        t = np.arange(count)
        triangle = np.abs(t % period * 4 - 2 * period) - period  # -period to period
        return triangle * 8000 // period * (4 + (t * 8 // max(rate, 1)) % 5) // 8

    def noise(count: int) -> np.ndarray:
        t = np.arange(count, dtype=np.uint64)
        h = (t + 77) * 2654435761 & 0xFFFFFFFF
        h = ((h ^ (h >> np.uint64(15))) * 2246822519) & 0xFFFFFFFF
        return (h >> np.uint64(17)).astype(np.int64) % 8192 - 4096

    window = int(min(longest, 30.0) * rate)
    made = {
        "tone": tone(min(rate, window), 73),
        "noise": noise(min(rate * 73 // 100, window - 1) | 1),
        "window": tone(window, 101) + noise(window) // 4,
    }
    return {name: (samples / 32768).astype(np.float32) for name, samples in made.items()}


# --- what the library makes of them -----------------------------------------------------------------------------------


def _ours(directory: Path) -> Values:
    encoder = _trine.load_encoder(directory)
    image, text, audio = _towers(encoder)
    config = {} if _is_open_clip(directory) else _config(directory)
    values: Values = {}
    if image:
        values["image pixels"] = {n: image.preprocess(p) for n, p in pictures().items()}
        values["image features"] = {n: image.encode(p[None])[0] for n, p in values["image pixels"].items()}
    if text:
        tokenizer = _trine.Tokenizer.load(directory)
        window = text.max_tokens
        ids = {n: tokenizer.encode(t, max_length=window).ids for n, t in texts().items()}
        values["text ids"] = {n: torch.tensor(i, dtype=torch.int64) for n, i in ids.items()}
        values["text features"] = {n: text.encode([t])[0] for n, t in texts().items()}
    if audio:
        mel = config.get("model_type") == "whisper"
        stage = {}
        for name, clip in clips(audio.sample_rate, audio.max_seconds).items():
            stage[name] = _mel(clip, config) if mel else audio.preprocess((clip, audio.sample_rate))
            values.setdefault("audio features", {})[name] = audio.encode((clip, audio.sample_rate))
        values["audio mel" if mel else "audio input"] = stage
    model = Embedder(directory)
    if image:
        values["image vectors"] = {n: model.embed_image(p) for n, p in pictures().items()}
    if text:
        short = {n: t for n, t in texts().items() if text.count_tokens(t) <= text.max_tokens}  # windows are our own
        values["text vectors"] = {n: model.embed_text(t, prompt="") for n, t in short.items()}
    if (image or audio) and text and (similarity := encoder.similarity):
        values["scores of pairs"] = _pairs(values, similarity.scale, similarity.bias, similarity.kind)
    if _is_classifier(config):
        classifier = _trine.Classifier.load(directory)
        if image:
            scored = {n: classifier.image_scores([_inputs.image(p)]) for n, p in pictures().items()}
        elif audio:
            given = clips(audio.sample_rate, audio.max_seconds)
            scored = {n: classifier.audio_scores([_inputs.audio((c, audio.sample_rate), 0)]) for n, c in given.items()}
        else:
            scored = {n: classifier.text_scores([_inputs.text(t)]) for n, t in texts().items()}
        values["scores of labels"] = {n: row[0] for n, row in scored.items()}
    return values


def _towers(encoder: Any) -> tuple[Any, Any, Any]:
    if isinstance(encoder, _trine.Encoders):
        return encoder.image, encoder.text, encoder.audio
    kinds = (_trine.ImageEncoder, _trine.TextEncoder, _trine.AudioEncoder)
    return tuple(encoder if isinstance(encoder, kind) else None for kind in kinds)


def _mel(clip: np.ndarray, config: dict[str, Any]) -> torch.Tensor:
    return torch.from_numpy(_trine.whisper_mel(clip, config.get("num_mel_bins", 80)))


def _pairs(values: Values, scale: Any, bias: Any, kind: str) -> dict[str, torch.Tensor]:
    """Of every picture, or clip where there are none, with every text; a clip has one vector."""
    given = values.get("image features") or values["audio features"]
    a, b = (torch.stack(list(v.values())).flatten(1) for v in (given, values["text features"]))
    cosines = torch.nn.functional.normalize(a) @ torch.nn.functional.normalize(b).T
    return dict(zip(given, _scores(scale * cosines + bias, kind)))


def _scores(logits: torch.Tensor, kind: str) -> torch.Tensor:
    return logits.softmax(-1) if kind == "softmax" else logits.sigmoid()


def _config(directory: Path) -> dict[str, Any]:
    try:
        config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise RuntimeError(f"[verify] {directory / 'config.json'} is not valid JSON: {error}.") from error
    if not isinstance(config, dict):
        raise RuntimeError(f"[verify] {directory / 'config.json'} is not an object.")
    return config


def _is_open_clip(directory: Path) -> bool:
    """As the library decides it: no config.json, or no other weights."""
    there = lambda name: (directory / name).is_file()
    others = there("model.safetensors") or there("model.safetensors.index.json")
    return there(OPEN_CLIP) and (not there("config.json") or there("open_clip_model.safetensors") and not others)


def _is_classifier(config: dict[str, Any]) -> bool:
    named = config.get("architectures") or [""]
    return str(named[0]).endswith(_HEADS) and FAMILIES.get(config.get("model_type"), Reference(_load)).labels


# --- what the reference makes of them ---------------------------------------------------------------------------------


class Reference(NamedTuple):
    """How transformers gives a family's features, before any normalisation; None for a tower that it lacks."""

    load: Callable[[Any, Path, dict[str, Any]], Any]  # (transformers, folder, config) -> the network
    image: Callable[[Any, Any], torch.Tensor] | None = None  # (network, processed picture) -> (N, D)
    frame: Callable[[Any, torch.Tensor], torch.Tensor] | None = None  # (network, frames (T, 3, H, W)) -> (1, D)
    text: Callable[[Any, torch.Tensor], torch.Tensor] | None = None  # (network, ids (1, T)) -> (1, D)
    audio: Callable[[Any, Any], torch.Tensor] | None = None  # (network, extracted clip) -> (T, D)
    padded: bool = False  # texts are padded to the network's length, and it sees the padding
    scores: str | None = None  # what makes scores of pairs: softmax or sigmoid
    scale: str = "logit_scale"  # where the network keeps what pairs are multiplied with, as a logarithm
    labels: bool = False  # whether the library has its classifiers


def _load(tf: Any, directory: Path, config: dict[str, Any]) -> Any:
    """The network that the checkpoint names, without a head for a task."""
    named = str((config.get("architectures") or [""])[0])
    kind = getattr(tf, named, tf.AutoModel) if "For" not in named else tf.AutoModel
    network, info = kind.from_pretrained(
        directory, dtype=torch.float32, local_files_only=True, output_loading_info=True
    )
    network.no_pooler = any("pooler" in key for key in info["missing_keys"])
    return network.eval()


def _pooled(output: Any) -> torch.Tensor:
    for name in ("image_embeds", "text_embeds", "audio_embeds", "pooler_output"):
        if getattr(output, name, None) is not None:
            return getattr(output, name)
    return output


def _load_wrapper(tf: Any, directory: Path, config: dict[str, Any]) -> Any:
    """With the last layer where it was saved with one."""
    with_head = str((config.get("architectures") or [""])[0]).endswith("ForImageClassification")
    kind = tf.TimmWrapperForImageClassification if with_head else tf.TimmWrapperModel
    return kind.from_pretrained(directory, dtype=torch.float32, local_files_only=True).eval()


def _wrapped(network: Any, batch: Any) -> torch.Tensor:
    output = network(batch["pixel_values"])
    return output.logits if hasattr(output, "logits") else output.pooler_output


def _pooled_or_first(network: Any, batch: Any) -> torch.Tensor:
    output = network(**batch)
    return output.last_hidden_state[:, 0] if network.no_pooler else output.pooler_output


def _pe_audio(network: Any, batch: Any) -> torch.Tensor:
    network = getattr(network, "audio_model", network)
    states = network.audio_encoder(batch["input_values"], padding_mask=batch["padding_mask"])
    return network.audio_head(states.pooler_output)


def _pe_video(network: Any, pixels: torch.Tensor) -> torch.Tensor:
    network = getattr(network, "video_model", network)
    return network.video_head(network.video_encoder(pixels[None]).pooler_output)


def _pe_text(network: Any, ids: torch.Tensor, head: str) -> torch.Tensor:
    heads = getattr(network, "video_model", network)
    return getattr(heads, head)(network.text_model(input_ids=ids).last_hidden_state[:, 0])


def _load_pe_audio_video(tf: Any, directory: Path, config: dict[str, Any]) -> Any:
    """Built and filled: from_pretrained of 5.12.1 also ties buffers that timm 1.0.31 has, and stops."""
    from safetensors.torch import load_file

    network = tf.PeAudioVideoModel(tf.PeAudioVideoConfig.from_dict(config))
    names = set()
    for file in sorted(directory.glob("model*.safetensors")):
        stored = {name: tensor.float() for name, tensor in load_file(file).items()}
        network.load_state_dict(stored, strict=False)
        names |= set(stored)
    network.tie_weights()
    filled = {id(p) for name, p in network.named_parameters(remove_duplicate=False) if name in names}
    missing = [name for name, p in network.named_parameters() if id(p) not in filled]
    if missing:
        raise RuntimeError(f"[verify] {directory} has no {missing[0]}, which the reference wants.")
    return network.eval()


def _mean(network: Any, ids: torch.Tensor) -> torch.Tensor:
    return network(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state.mean(1)


def _pooled_clip(network: Any, batch: Any) -> torch.Tensor:
    return _pooled(network(**batch))


def _clap(network: Any, batch: Any) -> torch.Tensor:
    return _pooled(network.get_audio_features(batch["input_features"].float(), is_longer=batch["is_longer"]))


def _clap_audio(network: Any, batch: Any) -> torch.Tensor:
    return _pooled(network(batch["input_features"].float(), is_longer=batch["is_longer"]))


def _hidden(network: Any, batch: Any) -> torch.Tensor:
    """For families that take a clip as it is: wav2vec 2.0 and its like."""
    return network(**batch).last_hidden_state[0]


def _whisper(network: Any, batch: Any) -> torch.Tensor:
    """The encoder on the clip's own length, as the library runs it; transformers wants 30 s, so the table is cut."""
    mel, encoder = batch["input_features"], network.get_encoder()
    positions, frames = encoder.embed_positions, mel.shape[-1]
    object.__setattr__(encoder.config, "max_source_positions", frames / 2)  # half a position for odd frames
    encoder.embed_positions = torch.nn.Embedding.from_pretrained(positions.weight[: (frames + 1) // 2].clone())
    try:
        return encoder(mel).last_hidden_state[0]
    finally:
        encoder.embed_positions = positions


_TEXT = Reference(_load, text=_mean, labels=True)
_IMAGE = Reference(_load, image=lambda network, batch: _pooled(network(**batch)))
_TEXT_TOWER = Reference(_load, text=lambda network, ids: _pooled(network(input_ids=ids)))
_PAIR = Reference(
    _load,
    image=lambda network, batch: _pooled(network.get_image_features(**batch)),
    text=lambda network, ids: _pooled(network.get_text_features(input_ids=ids)),
)

_PE_VIDEO_TEXT = functools.partial(_pe_text, head="text_video_head")
_WAVES = Reference(_load, audio=_hidden, labels=True)

# How the names of classes with a head for labels end.
_HEADS = ("ForSequenceClassification", "ForImageClassification", "ForAudioClassification")
# By model_type; a new family is a line.
FAMILIES: dict[str, Reference] = {
    "bert": _TEXT,
    "distilbert": _TEXT,
    "modernbert": _TEXT,
    "mpnet": _TEXT,
    "roberta": _TEXT,
    "xlm-roberta": _TEXT,
    "clip": _PAIR._replace(scores="softmax"),
    "clip_vision_model": _IMAGE,
    "clip_text_model": _TEXT_TOWER,
    "siglip": _PAIR._replace(padded=True, scores="sigmoid"),
    "siglip_vision_model": _IMAGE,
    "siglip_text_model": _TEXT_TOWER._replace(padded=True),
    "siglip2": _PAIR._replace(padded=True, scores="sigmoid"),
    "siglip2_vision_model": _IMAGE,
    "siglip2_text_model": _TEXT_TOWER._replace(padded=True),
    "vit": Reference(_load, image=_pooled_or_first, labels=True),
    "dinov2": _IMAGE._replace(labels=True),
    "dinov2_with_registers": _IMAGE._replace(labels=True),
    "whisper": Reference(_load, audio=_whisper),
    "audio-spectrogram-transformer": Reference(_load, audio=_pooled_clip, labels=True),
    "wav2vec2": _WAVES,
    "hubert": _WAVES,
    "wavlm": _WAVES,
    "clap": Reference(_load, text=_PAIR.text, audio=_clap, scores="softmax", scale="logit_scale_a"),
    "clap_audio_model": Reference(_load, audio=_clap_audio),
    "clap_text_model": _TEXT_TOWER,
    "timm_wrapper": Reference(_load_wrapper, image=_wrapped),
    "pe_audio": Reference(_load, text=functools.partial(_pe_text, head="text_audio_head"), audio=_pe_audio),
    "pe_video": Reference(_load, text=_PE_VIDEO_TEXT, frame=_pe_video),
    "pe_audio_video": Reference(_load_pe_audio_video, text=_PE_VIDEO_TEXT, audio=_pe_audio, frame=_pe_video),
}


def _reference(directory: Path, window: int, audio: tuple[int, float] | None) -> tuple[Values, str, dict[str, str]]:
    """Values, the name of what made them, and stages that cannot be compared with the reason.

    `window`: tokens that are used of a text. `audio`: rate and longest clip of the network.
    """
    if _is_open_clip(directory):
        return (*_open_clip(directory, window), {})
    config = _config(directory)
    if "architecture" in config and "model_type" not in config:
        return (*_timm(directory, config), {})
    name = config.get("model_type")
    if name == "imagebind":
        raise RuntimeError(
            "[verify] no package that goes with this torch has ImageBind, so there is nothing to compare with; "
            "tests/python/test_pe.py of the sources compares with imagebind-packaged 0.1.2."
        )
    if name not in FAMILIES:
        raise RuntimeError(f"[verify] there is no reference for the model_type {name!r}; known are {', '.join(FAMILIES)}.")
    import transformers as tf

    family, values, skipped = FAMILIES[name], {}, {}
    with _quiet(tf), torch.no_grad():
        network = family.load(tf, directory, config)
        if family.image:
            _reference_images(tf, directory, family, network, values)
        if family.frame:
            _reference_frames(directory, family, network, values)
            skipped["image pixels"] = "the reference resizes by torch, we by Pillow: a byte may differ by 1"
        if family.text:
            ids = _ids(tf, directory, window)
            values["text ids"] = ids
            if (directory / "modules.json").is_file():
                _sentences(directory, values, skipped)
            else:
                padding = _padding(tf, directory, network) if family.padded else None
                values["text features"] = {n: family.text(network, _padded(i, padding))[0] for n, i in ids.items()}
                short = {n: v for n, v in values["text features"].items() if n != "long"}
                values["text vectors"] = {n: torch.nn.functional.normalize(v, dim=0) for n, v in short.items()}
        if family.audio:
            _reference_clips(tf, directory, family, network, audio, values)
            skipped["audio vectors"] = "trimming, levelling and pooling are the library's own"
        if family.scores:
            bias = getattr(network, "logit_bias", torch.zeros(1))
            values["scores of pairs"] = _pairs(values, getattr(network, family.scale).exp(), bias, family.scores)
        if _is_classifier(config):
            values["scores of labels"] = _label_scores(tf, directory, config, values)
    return values, f"transformers {tf.__version__}", skipped


def _reference_images(tf: Any, directory: Path, family: Reference, network: Any, values: Values) -> None:
    from PIL import Image

    processor = _image_processor(tf, directory)
    for name, picture in pictures().items():
        batch = processor(Image.fromarray(picture), return_tensors="pt")
        values.setdefault("image pixels", {})[name] = _pixels(batch)
        features = family.image(network, batch)[0]
        values.setdefault("image features", {})[name] = features
        values.setdefault("image vectors", {})[name] = torch.nn.functional.normalize(features, dim=0)


def _reference_frames(directory: Path, family: Reference, network: Any, values: Values) -> None:
    """Pictures as videos of one frame, over our pixels."""
    encoder = _towers(_trine.load_encoder(directory))[0]
    processor = _video_processor(directory)
    copies = processor.get("num_frames") or 1 if processor.get("do_sample_frames") else 1
    for name, picture in pictures().items():
        features = family.frame(network, encoder.preprocess(picture)[None].expand(copies, -1, -1, -1))[0]
        values.setdefault("image features", {})[name] = features
        values.setdefault("image vectors", {})[name] = torch.nn.functional.normalize(features, dim=0)


def _video_processor(directory: Path) -> dict[str, Any]:
    newer = directory / "processor_config.json"
    nested = json.loads(newer.read_text(encoding="utf-8")).get("video_processor") if newer.is_file() else None
    return nested or json.loads((directory / "video_preprocessor_config.json").read_text(encoding="utf-8"))


def _image_processor(tf: Any, directory: Path) -> Any:
    """The one over Pillow, whose pixels are the measure."""
    if _config(directory).get("model_type") == "timm_wrapper":
        return tf.TimmWrapperImageProcessor(pretrained_cfg=_config(directory)["pretrained_cfg"])
    config, _ = tf.image_processing_base.ImageProcessingMixin.get_image_processor_dict(directory, local_files_only=True)
    name = config.get("image_processor_type") or config.get("feature_extractor_type") or "ViTImageProcessor"
    name = name.replace("FeatureExtractor", "ImageProcessor").removesuffix("Fast").removesuffix("Pil")
    return (getattr(tf, name + "Pil", None) or getattr(tf, name)).from_dict(config)


def _pixels(batch: Any) -> torch.Tensor:
    """-> (3, H, W); naflex gives patches (N, P * P * 3) and how many there are each way."""
    pixels = batch["pixel_values"][0].float()
    if pixels.ndim == 3:
        return pixels
    rows, columns = (int(n) for n in batch["spatial_shapes"][0])
    side = int((pixels.shape[1] // 3) ** 0.5)
    patches = pixels[: rows * columns].reshape(rows, columns, side, side, 3)
    return patches.permute(4, 0, 2, 1, 3).reshape(3, rows * side, columns * side)


def _tokenizer(tf: Any, directory: Path) -> Any:
    """The file itself where there is one: classes for a family may rebuild what it says."""
    kind = tf.PreTrainedTokenizerFast if (directory / "tokenizer.json").is_file() else tf.AutoTokenizer
    return kind.from_pretrained(directory, local_files_only=True)


def _ids(tf: Any, directory: Path, window: int) -> dict[str, torch.Tensor]:
    tokenizer = _tokenizer(tf, directory)
    encode = lambda text: tokenizer(text, truncation=True, max_length=window).input_ids
    return {name: torch.tensor(encode(text), dtype=torch.int64) for name, text in texts().items()}


def _padding(tf: Any, directory: Path, network: Any) -> tuple[int, int]:
    """The id that texts are padded with, and the length."""
    id = _tokenizer(tf, directory).pad_token_id
    if id is None:
        id = json.loads((directory / "tokenizer.json").read_text(encoding="utf-8"))["padding"]["pad_id"]
    text_config = getattr(network.config, "text_config", network.config)
    return id, text_config.max_position_embeddings


def _padded(ids: torch.Tensor, padding: tuple[int, int] | None) -> torch.Tensor:
    if padding is None:
        return ids[None]
    return torch.nn.functional.pad(ids, (0, padding[1] - len(ids)), value=padding[0])[None]


def _sentences(directory: Path, values: Values, skipped: dict[str, str]) -> None:
    """Vectors of a folder with modules.json, by sentence-transformers."""
    try:
        import sentence_transformers
    except ImportError:
        skipped["text vectors"] = "pooling and dense layers need sentence-transformers: pip install sentence-transformers"
        return
    model = sentence_transformers.SentenceTransformer(str(directory), device="cpu", local_files_only=True)
    given = {n: t for n, t in texts().items() if n != "long"}
    vectors = [model.encode(t, prompt="", convert_to_tensor=True, show_progress_bar=False) for t in given.values()]
    values["text vectors"] = {n: torch.nn.functional.normalize(v.float(), dim=0) for n, v in zip(given, vectors)}


def _reference_clips(
    tf: Any, directory: Path, family: Reference, network: Any, audio: tuple[int, float] | None, values: Values
) -> None:
    rate, longest = audio or (16_000, 30.0)
    mel = network.config.model_type == "whisper"
    if any((directory / f"{name}_config.json").is_file() for name in ("preprocessor", "processor")):
        extractor = tf.AutoFeatureExtractor.from_pretrained(directory, local_files_only=True)
    elif mel:
        extractor = tf.WhisperFeatureExtractor(feature_size=network.config.num_mel_bins)
    else:
        raise RuntimeError(f"[verify] {directory} has no preprocessor_config.json, which says how clips are prepared.")
    options = {"padding": False, "truncation": False} if mel else {}
    for name, clip in clips(rate, longest).items():
        batch = extractor(clip, sampling_rate=rate, return_tensors="pt", **options)
        given = batch["input_values" if "input_values" in batch else "input_features"][0].float()
        values.setdefault("audio mel" if mel else "audio input", {})[name] = given[0] if given.shape[:-1] == (1,) else given
        values.setdefault("audio features", {})[name] = family.audio(network, batch)


def _label_scores(tf: Any, directory: Path, config: dict[str, Any], values: Values) -> dict[str, torch.Tensor]:
    """Of the inputs as the network takes them, by the function that the text-classification pipeline decides for."""
    kind = getattr(tf, config["architectures"][0])
    model = kind.from_pretrained(directory, dtype=torch.float32, local_files_only=True).eval()
    stage = next(s for s in ("text ids", "image pixels", "audio input") if s in values)
    problem, scored = model.config.problem_type, {}
    for name, row in values[stage].items():
        logits = model(row[None]).logits[0]
        if problem == "regression":
            scored[name] = logits
        else:
            several = problem == "multi_label_classification" or model.config.num_labels == 1
            scored[name] = _scores(logits, "sigmoid" if several else "softmax")
    return scored


def _timm(directory: Path, config: dict[str, Any]) -> tuple[Values, str]:
    import timm
    from PIL import Image
    from safetensors.torch import load_file

    if config["architecture"].startswith("vit_pe_"):  # what its last layer gives, where it has one
        network = timm.create_model(f"local-dir:{directory}", pretrained=True).float().eval()
        features = lambda pixels: network(pixels[None])[0]
        transform = timm.data.create_transform(**timm.data.resolve_data_config(model=network))
    else:
        network = timm.create_model(config["architecture"], num_classes=config.get("num_classes", 1000)).eval()
        network.load_state_dict(load_file(directory / "model.safetensors"), strict=False)
        features = lambda pixels: network.forward_head(network.forward_features(pixels[None]), pre_logits=True)[0]
        given = config["pretrained_cfg"]
        options = {key: given[key] for key in ("interpolation", "crop_pct", "crop_mode", "mean", "std") if key in given}
        transform = timm.data.create_transform(input_size=tuple(given["input_size"]), is_training=False, **options)
    values: Values = {}
    with torch.no_grad():
        values["image pixels"] = {n: transform(Image.fromarray(p)) for n, p in pictures().items()}
        values["image features"] = {n: features(p) for n, p in values["image pixels"].items()}
    values["image vectors"] = {n: torch.nn.functional.normalize(f, dim=0) for n, f in values["image features"].items()}
    return values, f"timm {timm.__version__}"


def _open_clip(directory: Path, window: int) -> tuple[Values, str]:
    """The towers by open_clip; ids by transformers, of the tokenizer in the folder."""
    import open_clip
    import transformers as tf
    from PIL import Image

    model, transform = open_clip.create_model_from_pretrained(f"local-dir:{directory}")
    model = model.float().eval()
    values: Values = {}
    with _quiet(tf), torch.no_grad():
        values["image pixels"] = {n: transform(Image.fromarray(p)) for n, p in pictures().items()}
        values["image features"] = {n: model.encode_image(p[None])[0] for n, p in values["image pixels"].items()}
        values["text ids"] = _ids(tf, directory, window)
        padding = (_tokenizer(tf, directory).pad_token_id or 0, window)
        values["text features"] = {n: model.encode_text(_padded(i, padding))[0] for n, i in values["text ids"].items()}
        bias = getattr(model, "logit_bias", None)
        kind = "softmax" if bias is None else "sigmoid"
        values["scores of pairs"] = _pairs(values, model.logit_scale.exp(), 0.0 if bias is None else bias, kind)
    for stage in ("image", "text"):
        found = values[f"{stage} features"].items()
        values[f"{stage} vectors"] = {n: torch.nn.functional.normalize(f, dim=0) for n, f in found if n != "long"}
    return values, f"open_clip {open_clip.__version__}"


@contextlib.contextmanager
def _quiet(tf: Any) -> Iterator[None]:
    """Without transformers' remarks on heads that it leaves out, and its progress bars."""
    before = tf.logging.get_verbosity()
    tf.logging.set_verbosity_error()
    tf.logging.disable_progress_bar()
    try:
        yield
    finally:
        tf.logging.set_verbosity(before)
        tf.logging.enable_progress_bar()


# --- differences ------------------------------------------------------------------------------------------------------


def _largest(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.double() - b.double()).abs().max()) if b.numel() else 0.0


def _relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return _largest(a, b) / max(float(b.abs().max()), 1e-12)


def _angle(a: torch.Tensor, b: torch.Tensor) -> float:
    return max(0.0, 1 - float(torch.cosine_similarity(a.double(), b.double(), 0)))


class _Measure(NamedTuple):
    of: Callable[[torch.Tensor, torch.Tensor], float]
    what: str
    limit: float


_MEASURES = {
    "ids": _Measure(lambda a, b: float((a != b).sum()), "ids that differ", 0.0),
    "pixels": _Measure(_largest, "largest difference", 0.0),
    "mel": _Measure(_relative, "of the largest value", 1e-4),
    "input": _Measure(_relative, "of the largest value", 1e-4),
    "features": _Measure(_relative, "of the largest value", 1e-4),
    "vectors": _Measure(_angle, "1 - cosine", 1e-5),
    "pairs": _Measure(_largest, "largest difference", 1e-4),
    "labels": _Measure(_largest, "largest difference", 1e-4),
}


@dataclasses.dataclass
class Row:
    """One stage."""

    stage: str  # "image pixels"
    difference: float | None  # the largest of all inputs; None: not compared
    limit: float
    measure: str  # what the difference is
    worst: str  # the input that it belongs to
    inputs: dict[str, float]  # the difference of each
    note: str = ""  # why it was not compared, or what is wrong beside numbers

    @property
    def passed(self) -> bool | None:
        """None where it was not compared."""
        return None if self.difference is None else self.difference <= self.limit


@dataclasses.dataclass
class Report:
    """What `verify` found; print it to read the table."""

    directory: Path
    reference: str  # "transformers 5.12.1"
    rows: list[Row]

    @property
    def passed(self) -> bool:
        """Whether something was compared and nothing differs."""
        verdicts = [row.passed for row in self.rows]
        return True in verdicts and False not in verdicts

    def to_dict(self) -> dict[str, Any]:
        rows = [dataclasses.asdict(row) | {"passed": row.passed} for row in self.rows]
        for row in rows:  # JSON has no infinity
            row["inputs"] = {n: d if d < float("inf") else None for n, d in row["inputs"].items()}
            row["difference"] = row["difference"] if row["difference"] != float("inf") else None
        return {"directory": str(self.directory), "reference": self.reference, "passed": self.passed, "rows": rows}

    def __str__(self) -> str:
        words = {True: "same", False: "DIFFERS", None: "not compared"}
        table = [("stage", "inputs", "difference", "limit", "verdict", "")]
        for row in self.rows:
            found = "-" if row.difference is None else f"{row.difference:.1e}" if row.difference else "0"
            limit = "-" if row.difference is None else f"{row.limit:.0e}" if row.limit else "0"
            remark = row.note or (f"{row.measure}, worst: {row.worst}" if row.difference else row.measure)
            table.append((row.stage, str(len(row.inputs)), found, limit, words[row.passed], remark))
        widths = [max(len(line[i]) for line in table) for i in range(5)]
        lines = ["  ".join([*(cell.ljust(width) for cell, width in zip(line, widths)), line[5]]).rstrip() for line in table]
        return "\n".join([f"{self.directory} against {self.reference}", "", *lines])


def _compare(directory: Path, ours: Values, wanted: Values, reference: str, skipped: dict[str, str]) -> Report:
    rows = []
    for stage, values in wanted.items():
        measure = _MEASURES[stage.split()[-1]]
        found, inputs, note = ours.get(stage, {}), {}, ""
        for name, value in values.items():
            if stage.endswith("vectors") and name not in found:
                continue  # longer than the window
            if name not in found or found[name].shape != value.shape:
                shape = tuple(found[name].shape) if name in found else "nothing"
                note = f"{name}: {shape}, wanted {tuple(value.shape)}"
                inputs[name] = float("inf")
                continue
            difference = measure.of(found[name], value)
            inputs[name] = difference if difference == difference else float("inf")  # NaN is no value to agree on
        worst = max(inputs, key=inputs.get, default="")
        rows.append(Row(stage, inputs.get(worst, float("inf")), measure.limit, measure.what, worst, inputs, note))
    for stage, why in skipped.items():
        rows.append(Row(stage, None, 0.0, "", "", {}, why))
    return Report(directory, reference, rows)


# --- golden values ----------------------------------------------------------------------------------------------------


def _stored(tensor: torch.Tensor) -> _Tensor:
    array = tensor.detach().contiguous().cpu()
    array = array if array.dtype == torch.int64 else array.float()
    return _Tensor("I64" if array.dtype == torch.int64 else "F32", tuple(array.shape), array.numpy().tobytes())


def _read_golden(file: Path) -> tuple[Values, str]:
    raw = file.read_bytes()
    try:
        start = 8 + struct.unpack("<Q", raw[:8])[0]
        header = json.loads(raw[8:start])
        metadata, values = header.pop("__metadata__"), {}
        for key, entry in header.items():
            begin, end = entry["data_offsets"]
            dtype = {"F32": torch.float32, "I64": torch.int64}[entry["dtype"]]
            data = bytearray(raw[start + begin : start + end])
            tensor = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
            stage, name = key.split("/")
            values.setdefault(stage, {})[name] = tensor.reshape(entry["shape"])
        return values, metadata["reference"]
    except (struct.error, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise RuntimeError(f"[verify] {file} holds no golden values ({type(error).__name__}: {error}).") from error


def write_golden(directory: _inputs.PathLike) -> Path:
    """Stores what the installed reference makes of the inputs in `directory`/verify.safetensors, and returns its path.

    ImportError without the reference; the file appears whole or not at all.

    >>> from trine.verify import write_golden
    >>> write_golden("clip-vit-base-patch32")                       # doctest: +SKIP
    PosixPath('clip-vit-base-patch32/verify.safetensors')
    """
    directory = Path(_inputs.path(directory))
    values, reference, _ = _reference(directory, *_limits(directory))
    tensors = {f"{stage}/{name}": _stored(v) for stage, named in values.items() for name, v in named.items()}
    handle, partial = tempfile.mkstemp(prefix=".trine-verify-", dir=directory)
    os.close(handle)
    try:
        write_safetensors(Path(partial), tensors, {"reference": reference})
        os.chmod(partial, 0o644)
        _sync(Path(partial))
        os.replace(partial, directory / GOLDEN)
        _sync(directory)
    finally:
        Path(partial).unlink(missing_ok=True)
    return directory / GOLDEN


# --- all of it --------------------------------------------------------------------------------------------------------


def _limits(directory: Path) -> tuple[int, tuple[int, float] | None]:
    """Tokens of a text; rate and seconds of a clip."""
    _, text, audio = _towers(_trine.load_encoder(directory))
    return text.max_tokens if text else 0, (audio.sample_rate, audio.max_seconds) if audio else None


def verify(
    model: _inputs.PathLike, *, against: _inputs.PathLike | None = None, golden: bool = False, revision: str | None = None
) -> Report:
    """Compares every stage of a checkpoint with its reference implementation.

    `model`: a directory, or "org/name" on the Hugging Face Hub at `revision`. A model of ours is compared encoder by
    encoder. `against`: a directory that the reference reads instead, such as the original of a converted checkpoint.
    `golden`: the values stored next to the model, even where the reference is installed.

    RuntimeError where there is neither the reference nor stored values.

    >>> report = trine.verify.verify("clip-vit-base-patch32")       # doctest: +SKIP
    >>> report.passed                                               # doctest: +SKIP
    True
    """
    directory = _hub.locate(_inputs.path(model), revision=revision)
    if not directory.is_dir():
        raise FileNotFoundError(f"[verify] There is no folder {directory}.")
    if not _is_open_clip(directory) and _config(directory).get("model_type") == "trine":
        return _verify_parts(directory)
    other = Path(_inputs.path(against)) if against is not None else directory
    if golden:
        wanted, reference, skipped = (*_stored_values(other), {})
    else:
        try:
            wanted, reference, skipped = _reference(other, *_limits(directory))
        except ImportError as error:
            if not (other / GOLDEN).is_file():
                raise RuntimeError(
                    f"[verify] {error.name or error} is not installed and {other} has no {GOLDEN}: pip install transformers "
                    "(timm for its own layout, open_clip_torch for OpenCLIP's), or `trine verify --write-golden` where it "
                    "is installed."
                ) from error
            wanted, reference, skipped = (*_stored_values(other), {})
    if other != directory:
        reference += f" on {other}"
    return _compare(directory, _ours(directory), wanted, reference, skipped)


def _stored_values(directory: Path) -> tuple[Values, str]:
    if not (directory / GOLDEN).is_file():
        raise FileNotFoundError(f"[verify] {directory} has no {GOLDEN}: `trine verify --write-golden` makes it.")
    values, reference = _read_golden(directory / GOLDEN)
    return values, f"values of {reference} in {GOLDEN}"


def _verify_parts(directory: Path) -> Report:
    """The encoders of a model of ours; its heads are trained here and have no reference."""
    rows, references = [], []
    for modality in ("image", "text", "audio"):
        tower = _config(directory).get(modality)
        if tower is None:
            continue
        folder = directory / tower["encoder"]
        if not folder.is_dir():
            folder = fetch.cache_directory() / "encoders" / tower["encoder"]
        try:
            report = verify(folder)
        except RuntimeError as error:
            rows.append(Row(f"{modality} encoder", None, 0.0, "", "", {}, str(error)))
            continue
        rows += report.rows
        references.append(report.reference)
        if "weights" in tower:
            rows.append(Row(f"{modality} head", None, 0.0, "", "", {}, f"{tower['weights']} is our own"))
    return Report(directory, " and ".join(dict.fromkeys(references)) or "nothing", rows)


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(
        "trine verify MODEL", description="Compares a checkpoint, stage by stage, with its reference implementation."
    )
    parser.add_argument("model", metavar="MODEL", help="a folder, or org/name on the Hugging Face Hub")
    parser.add_argument("--revision", help="branch, tag or commit on the Hub")
    parser.add_argument("--against", metavar="DIR", help="let the reference read this folder instead")
    parser.add_argument("--golden", action="store_true", help=f"compare with the values in {GOLDEN}")
    parser.add_argument("--write-golden", action="store_true", help=f"store the reference's values in MODEL/{GOLDEN}")
    parser.add_argument("--json", action="store_true", help="print the table as JSON, with the difference of each input")
    options = parser.parse_args(arguments)
    if options.write_golden and (options.golden or options.against or options.revision):
        parser.error("--write-golden takes no other option but --json")

    def work() -> int:
        if options.write_golden:
            path = write_golden(options.model)
            print(json.dumps({"golden": str(path)}) if options.json else path)
            return 0
        report = verify(options.model, against=options.against, golden=options.golden, revision=options.revision)
        print(json.dumps(report.to_dict()) if options.json else report)
        if not any(row.passed is not None for row in report.rows):
            raise RuntimeError("[verify] Nothing was compared.")
        return 0 if report.passed else 1

    return run("verify", work)


if __name__ == "__main__":
    sys.exit(main())
