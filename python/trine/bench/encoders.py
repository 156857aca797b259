"""Encoders of images, texts and sounds, ours in each precision and the peers'.

The works by name: `minilm`, `whisper-tiny` and `efficientnet` have published weights (`python -m trine.fetch` gets them);
`bert` (BERT-base), `vit` (ViT-B/32) and `whisper` (Whisper-base) have random weights of the true size, written here.
Texts count from str to vector, photos of `efficientnet` from JPEG to vector, clips from samples to vector; `vit` counts
the network alone. A batch of n is n texts, pictures or clips in one call.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import fetch, verify
from ..embedder import Embedder
from ..encoder import load_encoder
from . import inputs
from .peers import Exported, Move, Peers, placed, quiet, types
from .race import Ceilings, Race, ratio, spread
from .report import Report

PRECISIONS = ("fp32", "bf16", "int8", "auto")
PRECISIONS_THERE = ("fp32", "bf16", "fp16")  # on another device; auto is one of them
Run = Callable[[Any], Any]  # inputs of a batch -> (n, D)


@dataclasses.dataclass
class Work:
    title: str
    contestants: dict[str, Run]  # the first is the reference for accuracy
    batch: Callable[[int], Any]  # n -> the inputs of a batch
    flop: Callable[[Any], float]  # multiplications and additions that a batch needs, without padding
    pool: list | None = None  # inputs whose nearest neighbours are compared, where weights are real
    largest: int = 32  # batch


# --- texts ------------------------------------------------------------------------------------------------------------


def _texts(title: str, directory: Path, options: Namespace, folder: Path, *, real: bool) -> Iterator[Work]:
    sentences = _sentences(options)
    pool = sentences[:: max(1, len(sentences) // 300)][:300] if real else None
    if "transformers" not in options.peers:
        yield Work(title, dict(_ours_texts(directory, options)), inputs.repeated(sentences), lambda batch: 0.0, pool)
        return
    with quiet():
        from transformers import AutoModel, AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(directory)
        network = AutoModel.from_pretrained(directory, attn_implementation="sdpa").eval()
    names = ["input_ids", "attention_mask", "token_type_ids"]

    def tokens(texts: list[str], kind: str) -> dict[str, Any]:
        made = tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors=kind)
        return {key: made[key] for key in names}

    def torch_run(model: Any, there: Move) -> Run:
        def run(texts: list[str]) -> np.ndarray:
            batch = {name: there(x) for name, x in tokens(texts, "pt").items()}
            with torch.inference_mode():
                return _pooled(model(**batch).last_hidden_state, batch["attention_mask"])

        return run

    def exported_run(session: Any) -> Run:
        def run(texts: list[str]) -> np.ndarray:
            batch = {key: value.astype(np.int64) for key, value in tokens(texts, "np").items()}
            return _pooled(torch.from_numpy(session(**batch)), torch.from_numpy(batch["attention_mask"]))

        return run

    theirs = placed("transformers", network, options.peers, options.device)
    contestants: dict[str, Run] = {name: torch_run(model, there) for name, model, there in theirs}
    if real and "sentence-transformers" in options.peers:
        with quiet():
            from sentence_transformers import SentenceTransformer

            models = {
                suffix: SentenceTransformer(str(directory), device=str(options.device)).to(dtype)
                for suffix, dtype in types(options.device).items()
            }
        for suffix, model in models.items():
            contestants[f"sentence-transformers{suffix}"] = lambda texts, model=model: model.encode(
                texts, batch_size=len(texts), show_progress_bar=False
            )
    if _wants_onnx(options.peers):
        with quiet():
            eager = AutoModel.from_pretrained(directory, attn_implementation="eager").eval()
        kind = ("bert", network.config.num_attention_heads, network.config.hidden_size)
        exported = Exported(folder, _Hidden(eager, names), tokens(sentences[:2], "pt"), options.threads, kind=kind)
        contestants |= {name: exported_run(session) for name, session in exported.contestants(options.peers).items()}
    contestants |= _ours_texts(directory, options)

    lengths = [len(ids) for ids in tokenizer(sentences, truncation=True, max_length=256)["input_ids"]]
    known = dict(zip(sentences, lengths))
    needed: dict[int, float] = {}  # by length

    def flop(texts: list[str]) -> float:
        for text in texts:
            if known[text] not in needed:
                needed[known[text]] = _flop(lambda: network(**tokens([text], "pt")))
        return sum(needed[known[text]] for text in texts)

    usual = statistics.mode(lengths)
    same = [text for text, length in zip(sentences, lengths) if length == usual]
    yield Work(f"{title}, {usual} tokens each", contestants, inputs.repeated(same), flop, pool)
    mixed = f"{title}, mixed lengths ({min(lengths)} to {max(lengths)} tokens)"
    yield Work(mixed, contestants, inputs.repeated(sentences), flop, pool)


def _ours_texts(directory: Path, options: Namespace) -> Iterator[tuple[str, Run]]:
    for precision in _precisions(directory, options.device):
        ours = Embedder(directory, precision=precision, device=options.device)
        yield f"trine {precision}", lambda texts, ours=ours: ours.embed_text(
            texts, batch_size=len(texts), convert_to_numpy=True
        )


class _Hidden(torch.nn.Module):
    """A network whose only output is the last hidden state."""

    def __init__(self, network: torch.nn.Module, names: list[str]) -> None:
        super().__init__()
        self.network, self.names = network, names

    def forward(self, *values: torch.Tensor) -> torch.Tensor:
        return self.network(**dict(zip(self.names, values)), return_dict=True).last_hidden_state


def _pooled(hidden: torch.Tensor, mask: torch.Tensor) -> np.ndarray:
    """Mean over real tokens, of unit length."""
    mask = mask.to(hidden.dtype).unsqueeze(-1)
    return _unit((hidden * mask).sum(1) / mask.sum(1))


def minilm(options: Namespace, folder: Path) -> Iterator[Work]:
    yield from _texts("MiniLM-L6", cached("all-MiniLM-L6-v2"), options, folder, real=True)


def bert(options: Namespace, folder: Path) -> Iterator[Work]:
    """Under MiniLM's tokenizer, which is BERT's."""
    with quiet():
        from transformers import AutoTokenizer, BertConfig, BertModel

        torch.manual_seed(0)
        BertModel(BertConfig()).save_pretrained(folder)
        AutoTokenizer.from_pretrained(cached("all-MiniLM-L6-v2")).save_pretrained(folder)
    yield from _texts("BERT-base", folder, options, folder, real=False)


# --- pictures ---------------------------------------------------------------------------------------------------------


def vit(options: Namespace, folder: Path) -> Iterator[Work]:
    with quiet():
        from transformers import ViTConfig, ViTModel

        torch.manual_seed(0)
        network = ViTModel(ViTConfig(patch_size=32), add_pooling_layer=False).eval()
        network.save_pretrained(folder)
        size, half = {"height": 224, "width": 224}, [0.5] * 3
        processor = {"image_processor_type": "ViTImageProcessor", "size": size, "image_mean": half, "image_std": half}
        (folder / "preprocessor_config.json").write_text(json.dumps(processor))
        eager = ViTModel.from_pretrained(folder, add_pooling_layer=False, attn_implementation="eager").eval()
    pixels = torch.randn(64, 3, 224, 224)

    def torch_run(model: Any, there: Move) -> Run:
        def run(batch: torch.Tensor) -> np.ndarray:
            with torch.inference_mode():
                return _unit(model(pixel_values=there(batch)).last_hidden_state[:, 0])

        return run

    theirs = placed("transformers", network, options.peers, options.device)
    contestants: dict[str, Run] = {name: torch_run(model, there) for name, model, there in theirs}
    if _wants_onnx(options.peers):
        exported = Exported(
            folder, _Hidden(eager, ["pixel_values"]), {"pixel_values": pixels[:2]}, options.threads, kind=("vit", 12, 768)
        )
        for name, session in exported.contestants(options.peers).items():
            contestants[name] = lambda batch, session=session: _unit(session(pixel_values=batch.numpy())[:, 0])
    for precision in _precisions(folder, options.device):
        ours = load_encoder(folder, precision=precision, device=options.device)
        contestants[f"trine {precision}"] = lambda batch, ours=ours: _unit(ours.encode(batch))
    yield Work("ViT-B/32, pixels to vector", contestants, lambda n: pixels[:n], lambda b: _flop(lambda: network(b)))


def efficientnet(options: Namespace, folder: Path) -> Iterator[Work]:
    directory = cached("tf_efficientnet_lite0")
    paths = inputs.photos(options.photos, folder, 64)
    contestants: dict[str, Run] = {}
    flop = lambda batch: 0.0
    if timm := _timm(options.peers):
        from PIL import Image

        weights = str(directory / "model.safetensors")
        network = timm.create_model("tf_efficientnet_lite0", checkpoint_path=weights).eval()
        network.reset_classifier(0)  # the vector before the labels
        transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=network))

        def pixels(batch: list[Path]) -> torch.Tensor:
            return torch.stack([transform(Image.open(path).convert("RGB")) for path in batch])

        def torch_run(model: Any, there: Move) -> Run:
            def run(batch: list[Path]) -> np.ndarray:
                with torch.inference_mode():
                    return _unit(model(there(pixels(batch))))

            return run

        theirs = placed("timm", network, options.peers, options.device)
        contestants |= {name: torch_run(model, there) for name, model, there in theirs}
        if _wants_onnx(options.peers):
            static = [{"pixels": pixels([path]).numpy()} for path in paths[:32]]
            exported = Exported(folder, network, {"pixels": pixels(paths[:2])}, options.threads, static=static)
            for name, session in exported.contestants(options.peers).items():
                contestants[name] = lambda batch, session=session: _unit(session(pixels=pixels(batch).numpy()))
        one = _flop(lambda: network(pixels(paths[:1])))
        flop = lambda batch: one * len(batch)
    for precision in _precisions(directory, options.device):
        ours = Embedder(directory, precision=precision, device=options.device)
        contestants[f"trine {precision}"] = lambda batch, ours=ours: ours.embed_image(
            batch, batch_size=len(batch), convert_to_numpy=True
        )
    yield Work("EfficientNet-Lite0, JPEG to vector", contestants, inputs.repeated(paths), flop, paths)


def _timm(peers: Peers) -> Any:
    """None where it is not there, or torchvision, which it needs, does not fit this torch."""
    if "timm" not in peers or "pillow" not in peers:
        return None
    try:
        import timm
    except (ImportError, RuntimeError) as error:
        print(f"[bench] timm is left out: {error}", file=sys.stderr)
        return None
    return timm


# --- sounds -----------------------------------------------------------------------------------------------------------


def whisper(options: Namespace, folder: Path) -> Iterator[Work]:
    with quiet():
        from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

        torch.manual_seed(0)
        config = WhisperConfig(
            d_model=512, encoder_layers=6, encoder_attention_heads=8, encoder_ffn_dim=2048,
            decoder_layers=1, decoder_attention_heads=8, decoder_ffn_dim=64,
        )  # fmt: skip
        WhisperModel(config).save_pretrained(folder)
        WhisperFeatureExtractor().save_pretrained(folder)
    yield from _clips("Whisper-base, 30 s", folder, options, folder, real=False)


def whisper_tiny(options: Namespace, folder: Path) -> Iterator[Work]:
    yield from _clips("Whisper-tiny.en, 30 s", cached("whisper-tiny.en"), options, folder, real=True)


def _clips(title: str, directory: Path, options: Namespace, folder: Path, *, real: bool) -> Iterator[Work]:
    """Mean over time of what the encoder makes of 30 s; ours gets them filled up as the reference does it."""
    rate = 16_000
    clips = [np.resize(clip, 30 * rate) for clip in inputs.clips(options.clips, 24, rate)]
    contestants: dict[str, Run] = {}
    flop = lambda batch: 0.0
    if "transformers" in options.peers:
        with quiet():
            from transformers import WhisperFeatureExtractor, WhisperModel

            extractor = WhisperFeatureExtractor()
            network = WhisperModel.from_pretrained(directory).encoder.eval()
            eager = WhisperModel.from_pretrained(directory, attn_implementation="eager").encoder.eval()

        def mel(batch: list[np.ndarray]) -> np.ndarray:
            return np.asarray(extractor(batch, sampling_rate=rate, return_tensors="np")["input_features"])

        def torch_run(model: Any, there: Move) -> Run:
            def run(batch: list[np.ndarray]) -> np.ndarray:
                with torch.inference_mode():
                    return _unit(model(there(torch.from_numpy(mel(batch)))).last_hidden_state.mean(1))

            return run

        theirs = placed("transformers", network, options.peers, options.device, dynamic=None)
        contestants |= {name: torch_run(model, there) for name, model, there in theirs}
        if _wants_onnx(options.peers):
            example = {"input_features": torch.from_numpy(mel(clips[:2]))}
            hidden = _Hidden(eager, ["input_features"])
            kind = ("bart", eager.config.encoder_attention_heads, eager.config.d_model)
            exported = Exported(folder, hidden, example, options.threads, kind=kind)
            for name, session in exported.contestants(options.peers).items():
                contestants[name] = lambda batch, session=session: _unit(session(input_features=mel(batch)).mean(1))
        one = _flop(lambda: network(torch.from_numpy(mel(clips[:1]))))
        flop = lambda batch: one * len(batch)
    for precision in _precisions(directory, options.device):
        ours = load_encoder(directory, precision=precision, device=options.device)
        contestants[f"trine {precision}"] = lambda batch, ours=ours: _unit(
            torch.stack([ours.encode((clip, rate)).mean(0) for clip in batch])
        )
    yield Work(title, contestants, inputs.repeated(clips), flop, clips if real else None, largest=8)


# --- a checkpoint of the user -----------------------------------------------------------------------------------------


def own(options: Namespace) -> Iterator[Work]:
    """A checkpoint's towers in each precision against transformers: prepared pixels, texts of one length, or a clip."""
    directory = options.model
    device = options.device
    loaded = {name: load_encoder(directory, precision=name, device=device) for name in _precisions(directory, device)}
    _, text, audio = verify._towers(loaded["fp32"])
    window, rate = getattr(text, "max_tokens", 0), getattr(audio, "sample_rate", 0)
    references = _references(directory, options, window, rate)
    for position, modality in enumerate(("image", "text", "audio")):
        towers = {precision: verify._towers(encoder)[position] for precision, encoder in loaded.items()}
        if towers["fp32"] is None:
            continue
        batch = _own_batch(modality, towers["fp32"], options)
        contestants: dict[str, Run] = {}
        if modality in references:
            contestants["transformers"] = references[modality]
        contestants |= {f"trine {name}": _own_run(modality, tower) for name, tower in towers.items()}

        def flop(given: Any, run: Run | None = contestants.get("transformers")) -> float:
            try:
                return _flop(lambda: run(given)) if run else 0.0
            except (AttributeError, RuntimeError):  # some networks do not run under torch's counter
                return 0.0

        yield Work(f"{directory.name}, {modality}", contestants, batch, flop, largest=1 if modality == "audio" else 32)


def _own_batch(modality: str, tower: Any, options: Namespace) -> Callable[[int], Any]:
    if modality == "text":
        sentences = _sentences(options)
        counts = [min(tower.count_tokens(text), tower.max_tokens) for text in sentences]
        usual = statistics.mode(counts)
        return inputs.repeated([text for text, count in zip(sentences, counts) if count == usual])
    if modality == "audio":
        count, rate = int(min(tower.max_seconds or 10.0, 30.0) * tower.sample_rate), tower.sample_rate
        return inputs.repeated([np.resize(clip, count) for clip in inputs.clips(options.clips, 2, rate)])
    pixels = [tower.preprocess(inputs.picture(seed, 320, 240)) for seed in range(32)]
    return lambda n: torch.stack(pixels[:n])


def _own_run(modality: str, tower: Any) -> Run:
    if modality == "audio":
        rate = tower.sample_rate
        return lambda clips: _unit(torch.stack([tower.encode((clip, rate)).mean(0) for clip in clips]))
    return lambda batch: _unit(tower.encode(batch))


def _references(directory: Path, options: Namespace, window: int, rate: int) -> dict[str, Run]:
    """Of the towers that `trine verify` has a reference for in transformers, in fp32. `window`: tokens of a text; `rate`:
    in Hz."""
    config = verify._config(directory) if (directory / "config.json").is_file() else {}
    family = verify.FAMILIES.get(config.get("model_type"))
    if family is None or "transformers" not in options.peers:
        return {}
    found: dict[str, Run] = {}
    with quiet():
        import transformers as tf

        network = family.load(tf, directory, config).to(options.device)
        tokenizer = verify._tokenizer(tf, directory) if family.text else None
        padding = verify._padding(tf, directory, network) if family.text and family.padded else None
        extractor = tf.AutoFeatureExtractor.from_pretrained(directory) if family.audio else None

    def texts(batch: list[str]) -> np.ndarray:
        ids = [torch.tensor(tokens) for tokens in tokenizer(batch, truncation=True, max_length=window).input_ids]
        with torch.inference_mode():
            padded = torch.cat([verify._padded(i, padding) for i in ids])
            return _unit(family.text(network, padded.to(options.device)))

    def pictures(batch: torch.Tensor) -> np.ndarray:
        with torch.inference_mode():
            return _unit(family.image(network, {"pixel_values": batch.to(options.device)}))

    def clips(batch: list[np.ndarray]) -> np.ndarray:
        prepared = [extractor(clip, sampling_rate=rate, return_tensors="pt").to(options.device) for clip in batch]
        with torch.inference_mode():
            return _unit(torch.stack([family.audio(network, p).mean(0) for p in prepared]))

    for modality, run in {"image": pictures, "text": texts, "audio": clips}.items():
        if getattr(family, modality) is not None:
            found[modality] = run
    return found


# --- what they share --------------------------------------------------------------------------------------------------

WORKS = {
    "minilm": minilm,
    "bert": bert,
    "vit": vit,
    "whisper": whisper,
    "whisper-tiny": whisper_tiny,
    "efficientnet": efficientnet,
}


def cached(name: str) -> Path:
    folder = fetch.cache_directory() / "encoders" / name
    if not (folder / "model.safetensors").is_file():
        raise FileNotFoundError(f"[bench] There is no {name} in {folder}: python -m trine.fetch gets it.")
    return folder


def _sentences(options: Namespace) -> list[str]:
    return inputs.read_sentences(options.sentences) if options.sentences else inputs.sentences()


def _wants_onnx(peers: Peers) -> bool:
    return "onnxruntime" in peers or "openvino" in peers


def _precisions(directory: Path, device: torch.device) -> Iterator[str]:
    """Those that this machine computes in."""
    for precision in PRECISIONS if device.type == "cpu" else PRECISIONS_THERE:
        try:
            load_encoder(directory, precision=precision, device=device)
        except RuntimeError:
            if precision == "fp32":
                raise
            continue
        yield precision


def _unit(vectors: Any) -> np.ndarray:
    if isinstance(vectors, torch.Tensor):
        vectors = vectors.float().cpu()
    vectors = np.asarray(vectors, np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _flop(forward: Callable[[], Any]) -> float:
    """Of products of matrices, convolutions and attention, as torch counts them."""
    from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

    def attention(query: Any, key: Any, value: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
        return sdpa_flop_count(query, key, value)

    mapping = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention}
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        forward()
    return float(counter.get_total_flops())


# --- measuring --------------------------------------------------------------------------------------------------------


def _overlap(vectors: np.ndarray, wanted: np.ndarray) -> float:
    """Share of the ten nearest neighbours that stay."""

    def nearest(v: np.ndarray) -> np.ndarray:
        scores = v @ v.T
        np.fill_diagonal(scores, -2)
        return np.argsort(-scores, axis=1)[:, :10]

    return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(nearest(vectors), nearest(wanted))]))


def _accuracy(work: Work) -> dict[str, dict[str, float]]:
    """Least and mean cosine to the first contestant's vectors; with real weights the neighbours that stay."""
    found = {}
    for name, run in work.contestants.items():
        if work.pool:
            parts = [_unit(run(work.pool[i : i + 8])) for i in range(0, len(work.pool), 8)]
            found[name] = np.concatenate(parts)
        else:
            found[name] = _unit(run(work.batch(min(8, work.largest))))
    wanted = next(iter(found.values()))
    result = {}
    for name, vectors in found.items():
        cosines = (vectors * wanted).sum(-1)
        result[name] = {"cosine": float(cosines.min()), "mean cosine": float(cosines.mean())}
        if work.pool and len(work.pool) >= 20:
            result[name]["overlap@10"] = _overlap(vectors, wanted)
    return result


def measure(report: Report, race: Race, works: Iterator[Work], batches: list[int]) -> None:
    """Adds a table for each work."""
    head = ["contestant", "batch", "ms", "items/s", "of fp32 ceiling"]
    head += ["x trine fp32", "x trine int8", "cosine", "overlap@10"]
    ceilings = Ceilings(race.device)
    ceilings.measure(race.clock, 3)
    known: dict[int, dict] = {}
    for work in works:
        pool = id(work.contestants)
        if pool not in known:
            known[pool] = _accuracy(work)
        table = report.table(work.title, head, chart="items/s")
        for size in sorted({min(size, work.largest) for size in batches}):
            batch = work.batch(size)
            runs = {name: lambda run=run: run(batch) for name, run in work.contestants.items()}
            seconds = race.run(f"{work.title} x {size}", runs | {"(ceiling)": ceilings.fp32})
            ceiling = [ceilings.rate(s) for s in seconds.pop("(ceiling)")]
            flop = work.flop(batch) / 1e9
            for name, of in seconds.items():
                share = [flop / s / c for s, c in zip(of, ceiling)]
                accurate = known[pool][name]
                table.row(
                    name, size, spread(of, 1e3), f"{size / statistics.median(of):.1f}",
                    f"{statistics.median(share):.2f}" if flop else "",
                    f"{ratio(of, seconds['trine fp32']):.2f}",
                    f"{ratio(of, seconds['trine int8']):.2f}" if "trine int8" in seconds else "",
                    f"{accurate['cosine']:.5f}", f"{accurate['overlap@10']:.3f}" if "overlap@10" in accurate else "",
                    raw={"seconds": of, "GF": flop, "ceiling": ceiling, **accurate},
                )  # fmt: skip
        report.show(table)
