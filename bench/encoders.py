"""How fast encoders are, ours and the peers' in one interleaved run: a Markdown table, and JSON with --json.

    PYTHONPATH=build/release/python python bench/encoders.py minilm bert --batches 1,8,32 --json encoders.json

Works: minilm (real weights, real sentences of --data, of one length and of mixed lengths), bert (BERT-base), vit
(ViT-B/32), whisper (Whisper-base, 30 s), all three with random weights of the true size, and efficientnet (real
weights, JPEG to vector). Peers where they are installed: transformers or timm eager, torch.compile (--compile),
sentence-transformers, ONNX Runtime in fp32 (optimised for transformers where that applies) and dynamic int8.

Every round runs every contender once, each round in another order; a figure is the median over the rounds, with the
least and the most. Before the table stands what the machine does in large products of matrices. Beside each figure: its
ratio to ours in fp32, the least cosine of its vectors to the eager reference's, and for real sentences how many of the
ten nearest neighbours stay. --clock cpu counts the process's CPU time instead, for a machine that others use; take it
with --threads 1.
"""

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import trine

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
PRECISIONS = ("fp32", "bf16", "int8", "auto")


# --- peers -------------------------------------------------------------------------------------------------------------


class Onnx:
    """ONNX Runtime as its users set it up: exported, optimised, and quantised for int8. Arrays by name -> the output."""

    def __init__(self, folder, model, example, threads, *, int8, heads=None):
        import onnxruntime

        path = folder / "model.onnx"
        if not path.exists():
            self._export(model, example, path)
            if heads is not None:
                self._fuse(path, *heads)
        if int8:
            path = self._quantised(path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    @staticmethod
    def _export(model, example, path):
        axes = {name: {0: "batch"} | ({1: "steps"} if value.ndim == 2 else {}) for name, value in example.items()}
        with contextlib.redirect_stdout(sys.stderr):
            torch.onnx.export(
                model, tuple(example.values()), str(path), input_names=list(example), output_names=["out"],
                dynamic_axes=axes | {"out": {0: "batch"}}, opset_version=17, dynamo=False,
            )  # fmt: skip

    @staticmethod
    def _fuse(path, heads, width):
        from onnxruntime.transformers import optimizer

        fused = optimizer.optimize_model(str(path), model_type="bert", num_heads=heads, hidden_size=width, opt_level=1)
        fused.save_model_to_file(str(path))

    @staticmethod
    def _quantised(path):
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic

        made = path.with_name("int8.onnx")
        if not made.exists():
            quantize_dynamic(
                path, made, per_channel=True, weight_type=QuantType.QInt8,
                extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},  # of operators that only ONNX Runtime knows
            )  # fmt: skip
        return made

    def __call__(self, **arrays):
        return self._session.run(None, arrays)[0]


class Output(torch.nn.Module):
    """A network whose only output is the last hidden state."""

    def __init__(self, network, names):
        super().__init__()
        self.network, self.names = network, names

    def forward(self, *inputs):
        return self.network(**dict(zip(self.names, inputs)), return_dict=True).last_hidden_state


def pooled(hidden, mask):
    """Mean over real tokens, of unit length."""
    mask = np.asarray(mask, np.float32)[..., None]
    return unit((np.asarray(hidden) * mask).sum(1) / mask.sum(1))


def unit(vectors):
    vectors = np.asarray(vectors, np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def compiled(model, arguments):
    return torch.compile(model) if arguments.compile else None


# --- works: a name, contenders by name, and what makes the inputs of a batch --------------------------------------------


def text_works(name, directory, sentences, arguments, folder, *, real):
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(directory)
    network = AutoModel.from_pretrained(directory, attn_implementation="sdpa").eval()
    names = ["input_ids", "attention_mask", "token_type_ids"]
    example = dict(tokenizer(sentences[:2], padding=True, return_tensors="pt"))
    example = {key: example.get(key, torch.zeros_like(example["input_ids"])) for key in names}
    eager_network = AutoModel.from_pretrained(directory, attn_implementation="eager").eval()

    def tokens(texts, kind):
        made = tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors=kind)
        return {key: made[key] for key in names}

    def torch_run(model):
        def run(texts):
            batch = tokens(texts, "pt")
            with torch.inference_mode():
                return pooled(model(**batch).last_hidden_state, batch["attention_mask"])

        return run

    def onnx_run(int8):
        heads = (network.config.num_attention_heads, network.config.hidden_size)
        session = Onnx(folder, Output(eager_network, names), example, arguments.threads, int8=int8, heads=heads)

        def run(texts):
            batch = {key: value.astype(np.int64) for key, value in tokens(texts, "np").items()}
            return pooled(session(**batch), batch["attention_mask"])

        return run

    contenders = {"transformers eager": torch_run(network)}
    if arguments.compile:
        contenders["torch.compile"] = torch_run(torch.compile(network, dynamic=True))
    if real:
        with contextlib.suppress(ImportError):
            from sentence_transformers import SentenceTransformer

            model = SentenceTransformer(str(directory), device="cpu")
            contenders["sentence-transformers"] = lambda texts: model.encode(texts, batch_size=len(texts))
    with contextlib.suppress(ImportError):
        contenders |= {"ONNX Runtime fp32": onnx_run(False), "ONNX Runtime int8": onnx_run(True)}
    for precision in ours_in(directory):
        ours = trine.Embedder(directory, precision=precision)
        contenders[f"ours {precision}"] = lambda texts, ours=ours: ours.embed_text(
            texts, batch_size=len(texts), convert_to_numpy=True
        )

    lengths = [len(ids) for ids in tokenizer(sentences)["input_ids"]]
    usual = statistics.mode(lengths)
    same = [text for text, length in zip(sentences, lengths) if length == usual]
    yield f"{name}, {usual} tokens each", contenders, lambda n: [same[i % len(same)] for i in range(n)], sentences
    low, high = min(lengths), max(lengths)
    yield f"{name}, mixed ({low} to {high} tokens)", contenders, lambda n: [sentences[i % len(sentences)] for i in range(n)], sentences


def ours_in(directory):
    for precision in PRECISIONS:
        try:
            trine.load_encoder(directory, precision=precision)
            yield precision
        except RuntimeError as error:
            print(f"{precision} is left out: {error}", file=sys.stderr)


def minilm(arguments, folder):
    yield from text_works("MiniLM-L6", cached("all-MiniLM-L6-v2"), sentences_of(arguments), arguments, folder, real=True)


def bert(arguments, folder):
    """BERT-base with random weights under MiniLM's tokenizer, which is BERT's."""
    from transformers import AutoTokenizer, BertConfig, BertModel

    torch.manual_seed(0)
    BertModel(BertConfig()).save_pretrained(folder)
    AutoTokenizer.from_pretrained(cached("all-MiniLM-L6-v2")).save_pretrained(folder)
    yield from text_works("BERT-base", folder, sentences_of(arguments), arguments, folder, real=False)


def vit(arguments, folder):
    from transformers import ViTConfig, ViTImageProcessor, ViTModel

    torch.manual_seed(0)
    network = ViTModel(ViTConfig(patch_size=32), add_pooling_layer=False).eval()
    network.save_pretrained(folder)
    ViTImageProcessor().save_pretrained(folder)
    pixels = torch.randn(64, 3, 224, 224)

    def torch_run(model):
        def run(batch):
            with torch.inference_mode():
                return unit(model(pixel_values=batch).last_hidden_state[:, 0])

        return run

    contenders = {"transformers eager": torch_run(network)}
    if arguments.compile:
        contenders["torch.compile"] = torch_run(torch.compile(network, dynamic=True))
    with contextlib.suppress(ImportError):
        for int8 in (False, True):
            session = Onnx(
                folder, Output(ViTModel.from_pretrained(folder, add_pooling_layer=False, attn_implementation="eager").eval(), ["pixel_values"]),
                {"pixel_values": pixels[:2]}, arguments.threads, int8=int8, heads=(12, 768),
            )  # fmt: skip
            contenders[f"ONNX Runtime {'int8' if int8 else 'fp32'}"] = lambda batch, session=session: unit(
                session(pixel_values=batch.numpy())[:, 0]
            )
    for precision in ours_in(folder):
        ours = trine.load_encoder(folder, precision=precision)
        contenders[f"ours {precision}"] = lambda batch, ours=ours: unit(ours.encode(batch))
    yield "ViT-B/32, pixels", contenders, lambda n: pixels[:n], None


def whisper(arguments, folder):
    """30 s of noise from samples on: the mel counts."""
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    torch.manual_seed(0)
    config = WhisperConfig(
        d_model=512, encoder_layers=6, encoder_attention_heads=8, encoder_ffn_dim=2048,
        decoder_layers=1, decoder_attention_heads=8, decoder_ffn_dim=64,
    )  # fmt: skip
    model = WhisperModel(config).eval()
    model.save_pretrained(folder)
    extractor = WhisperFeatureExtractor()
    extractor.save_pretrained(folder)
    network = model.encoder
    assert isinstance(network, WhisperEncoder)
    clips = [0.1 * np.random.default_rng(i).standard_normal(480_000).astype(np.float32) for i in range(8)]

    def mel(batch):
        return torch.from_numpy(np.asarray(extractor(batch, sampling_rate=16_000, return_tensors="np")["input_features"]))

    def torch_run(run_network):
        def run(batch):
            with torch.inference_mode():
                return unit(run_network(mel(batch)).last_hidden_state.mean(1))

        return run

    contenders = {"transformers eager": torch_run(network)}
    if arguments.compile:
        contenders["torch.compile"] = torch_run(torch.compile(network))
    with contextlib.suppress(ImportError):
        eager = WhisperModel.from_pretrained(folder, attn_implementation="eager").encoder.eval()
        for int8 in (False, True):
            session = Onnx(folder, Output(eager, ["input_features"]), {"input_features": mel(clips[:2])}, arguments.threads, int8=int8)
            contenders[f"ONNX Runtime {'int8' if int8 else 'fp32'}"] = lambda batch, session=session: unit(
                session(input_features=mel(batch).numpy()).mean(1)
            )
    for precision in ours_in(folder):
        ours = trine.load_encoder(folder, precision=precision)
        contenders[f"ours {precision}"] = lambda batch, ours=ours: unit(
            torch.stack([ours.encode(trine.Audio(clip, 16_000)).mean(0) for clip in batch])
        )
    yield "Whisper-base, 30 s", contenders, lambda n: [clips[i % len(clips)] for i in range(n)], None


def efficientnet(arguments, folder):
    """Photos from JPEG to vector."""
    import timm
    from PIL import Image

    directory = cached("tf_efficientnet_lite0")
    paths = sorted((arguments.data / "grocery").rglob("*.jpg"))[:64] or sorted(arguments.data.rglob("*.jpg"))[:64]
    if not paths:
        raise SystemExit(f"no *.jpg under {arguments.data}: name a folder of photos with --data")
    network = timm.create_model("tf_efficientnet_lite0", num_classes=0, checkpoint_path=str(directory / "model.safetensors")).eval()
    transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=network))

    def pixels(batch):
        return torch.stack([transform(Image.open(path).convert("RGB")) for path in batch])

    def eager(batch):
        with torch.inference_mode():
            return unit(network(pixels(batch)))

    contenders = {"timm eager": eager}
    with contextlib.suppress(ImportError):
        for int8 in (False, True):
            session = Onnx(folder, network, {"pixels": pixels(paths[:2])}, arguments.threads, int8=int8)
            contenders[f"ONNX Runtime {'int8' if int8 else 'fp32'}"] = lambda batch, session=session: unit(
                session(pixels=pixels(batch).numpy())
            )
    for precision in ours_in(directory):
        ours = trine.Embedder(directory, precision=precision)
        contenders[f"ours {precision}"] = lambda batch, ours=ours: ours.embed_image(
            batch, batch_size=len(batch), convert_to_numpy=True
        )
    yield "EfficientNet-Lite0, JPEG", contenders, lambda n: [paths[i % len(paths)] for i in range(n)], None


WORKS = {"minilm": minilm, "bert": bert, "vit": vit, "whisper": whisper, "efficientnet": efficientnet}


def cached(name):
    return Path(trine.fetch.cache_directory()) / "encoders" / name


def sentences_of(arguments):
    """Of customers, from the intents; every seventeenth, so that neighbours differ."""
    import csv

    path = arguments.data / "intents" / "banking77" / "train.csv"
    if not path.exists():
        raise SystemExit(f"no sentences in {path}: name the folder of the data with --data")
    with open(path, encoding="utf-8", newline="") as file:
        rows = [row[0] for row in csv.reader(file)][1:]
    return rows[::17]


# --- measuring -----------------------------------------------------------------------------------------------------------


def ceilings(clock, size=1536):
    """GF/s of square products: fp32, bf16 and int8, the best of a few interleaved runs."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(size, size, generator=generator) for _ in range(2))
    half = (a.bfloat16(), b.bfloat16())
    whole = tuple(torch.randint(-99, 99, (size, size), generator=generator, dtype=torch.int8) for _ in range(2))
    works = {"fp32": lambda: a @ b, "bf16": lambda: half[0] @ half[1], "int8": lambda: torch._int_mm(*whole)}
    best = dict.fromkeys(works, 0.0)
    for _ in range(6):
        for name, work in works.items():
            start = clock()
            work()
            best[name] = max(best[name], 2 * size**3 / (clock() - start) / 1e9)
    return best


def measure(contenders, batch, rounds, clock):
    """Seconds of each round, every round in another order, after one round that does not count."""
    seconds = {name: [] for name in contenders}
    names = list(contenders)
    for i in range(rounds + 1):
        for j in range(len(names)):
            name = names[(i + j) % len(names)]
            time.sleep(0.02)  # threads of the one before that still spin
            start = clock()
            contenders[name](batch)
            if i > 0:
                seconds[name].append(clock() - start)
    return seconds


def overlap_at_10(vectors, wanted):
    """Share of the ten nearest neighbours that stay."""
    def nearest(v):
        scores = v @ v.T
        np.fill_diagonal(scores, -2)
        return np.argsort(-scores, axis=1)[:, :10]

    return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(nearest(vectors), nearest(wanted))]))


def accuracy(contenders, work, batch, sentences):
    """Least cosine to the reference, the first contender; with real sentences the neighbours that stay."""
    reference = next(iter(contenders))
    found = {name: unit(run(batch)) for name, run in contenders.items()}
    result = {name: {"cosine": float((v * found[reference]).sum(-1).min())} for name, v in found.items()}
    if sentences is not None and work.startswith("MiniLM"):
        found = {name: np.concatenate([unit(run(sentences[i : i + 32])) for i in range(0, len(sentences), 32)]) for name, run in contenders.items()}
        for name, vectors in found.items():
            result[name] = {
                "cosine": float((vectors * found[reference]).sum(-1).min()),
                "overlap@10": overlap_at_10(vectors, found[reference]),
            }
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("works", nargs="*", default=list(WORKS), metavar="WORK", help=", ".join(WORKS))
    parser.add_argument("--batches", default="1,8,32")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--compile", action="store_true", help="torch.compile too, which needs a C++ compiler")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    if unknown := set(arguments.works) - set(WORKS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known are {', '.join(WORKS)}")
    clock = CLOCKS[arguments.clock]
    torch.set_num_threads(arguments.threads)

    best = ceilings(clock)
    line = ", ".join(f"{name} {value:.0f}" for name, value in best.items())
    print(f"\n{arguments.threads} threads, {arguments.clock} time, {arguments.rounds} rounds; ceilings in GF/s: {line}\n")
    report = {"threads": arguments.threads, "clock": arguments.clock, "ceilings": best, "results": []}
    for name in arguments.works:
        with tempfile.TemporaryDirectory() as folder:
            for work, contenders, inputs, sentences in WORKS[name](arguments, Path(folder)):
                exact = None
                print(f"**{work}**\n\n| contender | batch | ms (least to most) | items/s | x ours fp32 | cosine | overlap@10 |")
                print("|---|---:|---:|---:|---:|---:|---:|")
                for size in map(int, arguments.batches.split(",")):
                    batch = inputs(size)
                    exact = exact or accuracy(contenders, work, batch, sentences)
                    seconds = measure(contenders, batch, arguments.rounds, clock)
                    ours = statistics.median(seconds["ours fp32"])
                    for contender, times in seconds.items():
                        middle = statistics.median(times)
                        row = {
                            "work": work, "contender": contender, "batch": size, "seconds": times, "median": middle,
                            "speed_to_ours_fp32": ours / middle, **exact[contender],
                        }  # fmt: skip
                        report["results"].append(row)
                        kept = f"{row['overlap@10']:.3f}" if "overlap@10" in row else ""
                        print(
                            f"| {contender} | {size} | {1e3 * middle:.1f} ({1e3 * min(times):.1f} to {1e3 * max(times):.1f}) "
                            f"| {size / middle:.1f} | {ours / middle:.2f} | {row['cosine']:.5f} | {kept} |"
                        )  # fmt: skip
                print(flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
