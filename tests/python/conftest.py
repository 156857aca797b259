"""Models to test with: a tiny text encoder made here, and the real encoders where trine.fetch has put them."""

import importlib
import importlib.util
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
DIM = 32  # of the tiny model
BUILT = Path(__file__).resolve().parents[2] / "build" / "release" / "bin" / "trine"


def _load_torchvision():
    """torchvision as it is installed, also beside a torch that it was not built for: its transforms, which are what the
    references need, are in Python, but without its own operators it stops at their shapes. Known to work: torch 2.13 for
    CPUs with `pip install --no-deps torchvision==0.28.0`."""
    if importlib.util.find_spec("torchvision") is None:
        return
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        _load_torchvision.operators = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            _load_torchvision.operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision  # noqa: F401


_load_torchvision()  # before transformers or timm look for it


def import_maker(name, *packages):
    """tests/golden/NAME.py as a module; skips where a reference that it needs is absent."""
    for package in packages:
        pytest.importorskip(package, reason=f"needs {package}, the reference")
    sys.path.insert(0, str(GOLDEN))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(GOLDEN))


def save_safetensors(path, tensors):
    header, data = {}, b""
    for name, values in tensors.items():
        raw = np.ascontiguousarray(values, dtype="<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    Path(path).write_bytes(struct.pack("<Q", len(head)) + head + data)


DTYPES = {"F32": torch.float32, "F16": torch.float16, "U8": torch.uint8, "I16": torch.int16, "I64": torch.int64,
          "BOOL": torch.bool}  # fmt: skip


def load_safetensors(path):
    """Tensors by name, and the metadata."""
    raw = Path(path).read_bytes()
    start = 8 + struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8:start])
    metadata, tensors = header.pop("__metadata__", {}), {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        data = bytearray(raw[start + begin : start + end])
        tensors[name] = torch.frombuffer(data, dtype=DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return tensors, metadata


def below(tensors, prefix):
    """The tensors whose names begin with a prefix, by the rest of their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def reference_cases(module):
    """Paths of the cases that the reference made of a module, see golden/make_fusion.py."""
    paths = sorted((GOLDEN / "fusion").glob(f"{module}-*.safetensors"))
    assert paths
    return paths


def assert_close(found, wanted, tolerance=1e-5):
    """Within `tolerance` of the largest magnitude wanted, at least 1."""
    assert found.shape == wanted.shape
    if wanted.numel():
        found, wanted = found.detach(), wanted.detach()
        assert float((found - wanted).abs().max()) <= tolerance * max(1.0, float(wanted.abs().max()))


def save_wav(path, samples, rate=16_000):
    """samples: (n) or (channels, n) in -1 to 1, written as int16."""
    samples = np.atleast_2d(samples)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(len(samples))
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.rint(samples.T * 32767).astype("<i2").tobytes())


def make_picture(seed=0, width=60, height=40):
    """A smooth gradient with noise, uint8 (height, width, 3)."""
    y, x = np.mgrid[:height, :width]
    waves = [127 + 100 * np.sin(x / (7 + c + seed) + y / (11 - c)) for c in range(3)]
    noise = np.random.default_rng(seed).integers(-20, 21, (height, width, 3))
    return np.clip(np.stack(waves, axis=2) + noise, 0, 255).astype(np.uint8)


def short_side(model):
    """Pixels to which a model resizes the short side of a picture, and that a draft must keep."""
    return int(re.search(r"short side to (\d+) px", str(model.describe())).group(1))


def make_voice(seconds=1.0, rate=16_000, pitch=140.0):
    """A hum with overtones that rises and falls, float32 (n)."""
    t = np.arange(int(seconds * rate)) / rate
    hum = sum(np.sin(2 * np.pi * pitch * k * t) / k for k in range(1, 12))
    return (0.2 * hum * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * t))).astype(np.float32)


def make_tiny_bert(directory):
    """A BERT of one layer with random weights and the tokenizer of the golden cases."""
    random = np.random.default_rng(1)
    tokenizer = (GOLDEN / "text" / "tokenizer.json").read_text(encoding="utf-8")
    vocabulary, positions = len(json.loads(tokenizer)["model"]["vocab"]), 64
    config = {
        "model_type": "bert",
        "vocab_size": vocabulary,
        "hidden_size": DIM,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 2 * DIM,
        "hidden_act": "gelu",
        "max_position_embeddings": positions,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
    }
    linear = {
        "attention.self.query": (DIM, DIM),
        "attention.self.key": (DIM, DIM),
        "attention.self.value": (DIM, DIM),
        "attention.output.dense": (DIM, DIM),
        "intermediate.dense": (2 * DIM, DIM),
        "output.dense": (DIM, 2 * DIM),
    }
    shapes = {
        "embeddings.word_embeddings.weight": (vocabulary, DIM),
        "embeddings.position_embeddings.weight": (positions, DIM),
        "embeddings.token_type_embeddings.weight": (2, DIM),
    }
    for name, (rows, columns) in linear.items():
        shapes[f"encoder.layer.0.{name}.weight"] = (rows, columns)
        shapes[f"encoder.layer.0.{name}.bias"] = (rows,)
    tensors = {name: random.normal(0, 0.3, shape) for name, shape in shapes.items()}
    for norm in ("embeddings", "encoder.layer.0.attention.output", "encoder.layer.0.output"):
        tensors[f"{norm}.LayerNorm.weight"], tensors[f"{norm}.LayerNorm.bias"] = np.ones(DIM), np.zeros(DIM)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config))
    (directory / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
    save_safetensors(directory / "model.safetensors", tensors)
    return directory


class Devices(TorchDispatchMode):
    """While one lives: the operators that got tensors of two devices, and how many got one of the meta device."""

    MOVES = (torch.ops.aten._to_copy, torch.ops.aten.to, torch.ops.aten.copy_)

    def __init__(self):
        super().__init__()
        self.mixed, self.count = set(), 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor) and x.dim() > 0]
        devices = {x.device.type for x in given}  # a number may come from the CPU
        self.count += "meta" in devices
        if len(devices) > 1 and func.overloadpacket not in self.MOVES:
            self.mixed.add(str(func))
        return func(*args, **(kwargs or {}))


class Elsewhere(Devices):
    """The meta device as one that holds ones: what is read from it lets a training go on."""

    COPIES = (torch.ops.aten._to_copy, torch.ops.aten.to)

    def __init__(self, most=None):
        """`most`: operators after which Stop is raised."""
        super().__init__()
        self.most = most

    class Stop(Exception):
        pass

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if self.most is not None and self.count >= self.most:
            raise Elsewhere.Stop
        x = next((x for x in args if isinstance(x, torch.Tensor)), torch.empty(0))
        if func is torch.ops.aten.all.default and x.is_meta:
            return torch.tensor(True)
        if func is torch.ops.aten._local_scalar_dense.default and x.is_meta:
            return {torch.bool: False, torch.int64: 4}.get(x.dtype, 1.0)
        wanted = (*args, (kwargs or {}).get("device"))
        if func.overloadpacket in self.COPIES and x.is_meta and torch.device("cpu") in wanted:
            return torch.ones(x.shape, dtype=(kwargs or {}).get("dtype") or x.dtype)
        if func is torch.ops.aten.copy_.default and args[1].is_meta and not x.is_meta:
            return x.fill_(1)
        if func is torch.ops.aten.nonzero.default and x.is_meta:
            return torch.empty((x.numel(), x.ndim), dtype=torch.int64, device="meta")
        return super().__torch_dispatch__(func, types, args, kwargs)


@pytest.fixture(scope="module")
def one_thread():
    """For small tensors: threads that wait for a core cost more than they bring."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def reference():
    """The reference modules in plain PyTorch, where their folder lies beside the checkout."""
    path = Path(__file__).resolve().parents[3] / "shared" / "reference" / "modules.py"
    if not path.is_file():
        pytest.skip(f"needs the reference modules in {path}")
    spec = importlib.util.spec_from_file_location("reference_modules", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def tiny_directory(tmp_path_factory):
    return make_tiny_bert(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def tiny(tiny_directory):
    """A model of texts only, 32 dimensions, random weights."""
    import trine

    return trine.Embedder(tiny_directory)


@pytest.fixture(scope="session")
def encoders():
    """The folder of the real encoders."""
    from trine import fetch

    folder = fetch.cache_directory() / "encoders"
    for name in ("all-MiniLM-L6-v2", "tf_efficientnet_lite0", "whisper-tiny.en"):
        if not (folder / name / "model.safetensors").is_file():
            pytest.skip(f"needs the encoder {name}: python -m trine.fetch")
    return folder


@pytest.fixture(scope="session")
def model_directory(encoders, tmp_path_factory):
    """A model of ours with the real encoders: pictures randomly projected, clips as their mean over time."""
    directory = tmp_path_factory.mktemp("models") / "three"
    directory.mkdir()
    projection = np.random.default_rng(2).normal(0, 0.03, (384, 1280))
    save_safetensors(
        directory / "image.safetensors", {"projection.weight": projection, "projection.bias": np.zeros(384)}
    )
    config = {
        "model_type": "trine",
        "name": "three",
        "dim": 384,
        "image": {"encoder": "tf_efficientnet_lite0", "weights": "image.safetensors"},
        "text": {"encoder": "all-MiniLM-L6-v2"},
        "audio": {"encoder": "whisper-tiny.en"},
        "calibration": {"text": {"temperature": 0.05, "gain": 1.0}},
    }
    (directory / "config.json").write_text(json.dumps(config))
    return directory


@pytest.fixture(scope="session")
def model(model_directory):
    """A model of pictures, texts and clips."""
    import trine

    return trine.Embedder(model_directory)


@pytest.fixture(scope="session")
def default_model(encoders):
    """The default model, where its heads and encoders are there."""
    import trine
    from trine import _trine

    directory = Path(_trine.default_model_directory())
    for name in ("config.json", "image.safetensors", "audio.safetensors"):
        if not (directory / name).is_file():
            pytest.skip(f"the default model has no {name} yet")
    return trine.Embedder()


@pytest.fixture(scope="session")
def trine_program():
    for candidate in (os.environ.get("TRINE_BIN"), BUILT, shutil.which("trine")):
        if candidate and os.access(candidate, os.X_OK):
            return str(candidate)
    pytest.skip("the trine program is not built; TRINE_BIN names another one")


@pytest.fixture(scope="session")
def run(trine_program):
    def run(*arguments, stdin=b""):
        done = subprocess.run([trine_program, *arguments], input=stdin, capture_output=True, timeout=300)
        done.said = done.stderr.decode(errors="replace")
        return done

    return run


def refused(done, *words):
    """Exit 1, one sentence on stderr, nothing on stdout."""
    assert done.returncode == 1, done.said
    assert done.stdout == b""
    assert done.said.strip() and len(done.said.strip().splitlines()) == 1, done.said
    assert "Exception raised from" not in done.said and "frame #" not in done.said
    for word in words:
        assert word in done.said
