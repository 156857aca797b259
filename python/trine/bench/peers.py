"""The libraries that we are compared with, set up as their users do, where they are installed."""

from __future__ import annotations

import contextlib
import copy
import importlib.metadata
import importlib.util
import logging
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

# {name: what has to be importable}; the names of --peers.
PEERS = {
    "transformers": ("transformers",),
    "torch.compile": ("torch",),
    "sentence-transformers": ("sentence_transformers",),
    "onnxruntime": ("onnxruntime", "onnx"),
    "openvino": ("openvino", "onnx"),
    "timm": ("timm",),
    "pillow": ("PIL",),
    "opencv": ("cv2",),
    "faiss": ("faiss",),
    "usearch": ("usearch",),
    "hnswlib": ("hnswlib",),
}
_DISTRIBUTIONS = {"opencv": "opencv-python-headless opencv-python", "faiss": "faiss-cpu", "torch.compile": "torch"}


class Peers:
    """Which are installed and wanted."""

    def __init__(self, wanted: list[str] | None = None) -> None:
        """`wanted`: None for all that are installed; of a list all must be."""
        self.missing = [name for name, modules in PEERS.items() if not all(map(_importable, modules))]
        if shutil.which("g++") is None and shutil.which("clang++") is None:
            self.missing.append("torch.compile")  # which builds C++
        for name in wanted or []:
            if name not in PEERS:
                raise ValueError(f"[bench] There is no peer {name!r}; known are {', '.join(PEERS)}.")
            if name in self.missing:
                raise ImportError(f"[bench] {name} is not installed: pip install {_distribution(name)}.")
        self._here = [n for n in PEERS if n not in self.missing and (wanted is None or n in wanted)]
        self.left_out: dict[str, str] = {}  # with the reason

    def __contains__(self, name: str) -> bool:
        return name in self._here

    def leave_out(self, name: str, why: str) -> None:
        if name in self._here:
            self._here.remove(name)
            self.left_out[name] = why

    def versions(self) -> str:
        return ", ".join(f"{name} {_version(name)}" for name in self._here if name != "torch.compile")


def _importable(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _distribution(name: str) -> str:
    return _DISTRIBUTIONS.get(name, name).split()[0]


def _version(name: str) -> str:
    for distribution in _DISTRIBUTIONS.get(name, name).split():
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(distribution)
    return "?"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what exporting, quantising and loading say; a line on stdout would end in the table."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    with contextlib.suppress(ImportError):
        import transformers

        transformers.utils.logging.disable_progress_bar()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


# --- networks of torch ------------------------------------------------------------------------------------------------

Move = Callable[[torch.Tensor], torch.Tensor]


def types(device: torch.device) -> dict[str, torch.dtype]:
    """What a user of theirs computes in, by what is added to the name: fp32, on a GPU bf16 and fp16 too."""
    fp32 = {"": torch.float32}
    return fp32 if device.type == "cpu" else fp32 | {" bf16": torch.bfloat16, " fp16": torch.float16}


def placed(
    name: str, network: torch.nn.Module, peers: Peers, device: torch.device, *, dynamic: bool | None = True
) -> Iterator[tuple[str, Any, Move]]:
    """(the contestant, its network on the device, what brings an input there): as it is and, where wanted, compiled.

    `dynamic`: torch.compile's. True compiles once for all sizes (and once more for a batch of one), None for the sizes
    that come, and again when a second one comes. Whatever it compiles, it compiles in a call that no race counts.
    """
    for suffix, dtype in types(device).items():
        there = network if device.type == "cpu" else copy.deepcopy(network).to(device, dtype)

        def move(x: torch.Tensor, dtype: torch.dtype = dtype) -> torch.Tensor:
            return x.to(device, dtype if x.is_floating_point() else x.dtype)

        yield name + suffix, there, move
        if "torch.compile" in peers:
            yield "torch.compile" + suffix, torch.compile(there, dynamic=dynamic), move


# --- networks as an ONNX file -----------------------------------------------------------------------------------------

Arrays = dict[str, np.ndarray]
Network = Callable[..., np.ndarray]  # (**arrays) -> the output


class Exported:
    """A network as an ONNX file, and what runs it: arrays by name -> the output.

    `kind`: "bert", "vit" or "bart" and the numbers of heads and of values, for ONNX Runtime's fusion of transformers;
    None for other networks.
    `static`: calibrates int8 on these inputs, which convolutions need; None quantises activations as they come.
    """

    def __init__(
        self,
        folder: Path,
        network: torch.nn.Module,
        example: dict[str, torch.Tensor],
        threads: int,
        *,
        kind: tuple[str, int, int] | None = None,
        static: list[Arrays] | None = None,
    ) -> None:
        self._path, self._threads, self._kind, self._static = folder / "exported.onnx", threads, kind, static
        axes = {name: {0: "batch"} | ({1: "steps"} if value.ndim == 2 else {}) for name, value in example.items()}
        with quiet():
            torch.onnx.export(
                network, tuple(example.values()), str(self._path), input_names=list(example), output_names=["out"],
                dynamic_axes=axes | {"out": {0: "batch"}}, opset_version=17, dynamo=False,
            )  # fmt: skip

    def contestants(self, peers: Peers) -> dict[str, Network]:
        found: dict[str, Network] = {}
        if "onnxruntime" in peers:
            with quiet():
                fused = self._fused()
                found["ONNX Runtime fp32"] = self._session(fused)
                found["ONNX Runtime int8"] = self._session(self._quantised(fused))
        if "openvino" in peers:
            found["OpenVINO fp32"] = self._openvino()
        return found

    def _session(self, path: Path) -> Network:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self._threads, 1
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return lambda **arrays: session.run(None, arrays)[0]

    def _fused(self) -> Path:
        if self._kind is None:
            return self._path
        from onnxruntime.transformers import optimizer

        name, heads, width = self._kind
        made = self._path.with_name("fused.onnx")
        fused = optimizer.optimize_model(
            str(self._path), model_type=name, num_heads=heads, hidden_size=width, opt_level=1
        )
        fused.save_model_to_file(str(made))
        return made

    def _quantised(self, path: Path) -> Path:
        import onnx
        from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType
        from onnxruntime.quantization import quantize_dynamic, quantize_static

        made = path.with_name("int8.onnx")
        if self._static is None:
            quantize_dynamic(
                path, made, per_channel=True, weight_type=QuantType.QInt8,
                extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},  # of operators that only ONNX Runtime knows
            )  # fmt: skip
            return made

        class Reader(CalibrationDataReader):
            def __init__(self, inputs: list[Arrays]) -> None:
                self._inputs = iter(inputs)

            def get_next(self) -> Arrays | None:
                return next(self._inputs, None)

        quantize_static(
            path, made, Reader(self._static), per_channel=True, quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        )  # fmt: skip
        return made

    def _openvino(self) -> Network:
        import openvino

        core = openvino.Core()
        settings = {
            "INFERENCE_NUM_THREADS": self._threads,
            "INFERENCE_PRECISION_HINT": "f32",  # else bf16 where the processor has it
            "PERFORMANCE_HINT": "LATENCY",
        }
        compiled = core.compile_model(core.read_model(str(self._path)), "CPU", settings)
        request = compiled.create_infer_request()
        return lambda **arrays: request.infer(arrays)[compiled.output(0)]
