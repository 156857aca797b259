"""Makes a safetensors checkpoint of one whose weights are pickled.

    trine convert MODEL              # model.safetensors beside pytorch_model.bin
    trine convert MODEL OUT          # a new folder, with the config and tokenizer files
    python -m trine.convert ...      # the same

MODEL is a folder with `pytorch_model.bin`, `pytorch_model.bin.index.json` and its shards, or one .bin, .pt, .pth or .ckpt
file; such a file; or "org/name" on the Hugging Face Hub. The Dense modules of a sentence-transformers folder are converted
too. Pickles are read by torch.load(weights_only=True): one that needs code is refused and runs none.

Names, types and values stay as they are; ImageBind's and Meta's own PE-Core's get the names that are read here, and a config.
Tied weights are written under each of their names, so that every reader finds
them. Files appear whole or not at all, and a second run changes nothing.
"""

from __future__ import annotations

import dataclasses
import filecmp
import json
import os
import re
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from . import _hub, _imagebind, _inputs, _pe_core
from ._command import Parser, run
from .fetch import _sync, _Tensor, write_safetensors

__all__ = ["Conversion", "ConvertError", "convert"]

MAX_SHARD_SIZE = 5 * 10**9  # bytes

_PICKLES = (".bin", ".pt", ".pth", ".ckpt")
# What trainers leave beside the weights, under the same suffixes.
_NOT_WEIGHTS = re.compile(r"(training_args|optimizer|scheduler|scaler|rng_state|random_states)")
_KEPT = (".json", ".txt", ".model", ".md")  # config, tokenizer and card files
_KEPT_NAMES = ("LICENSE", "LICENCE", "NOTICE")
_INDEX = "pytorch_model.bin.index.json"
_WEIGHTS = re.compile(r"model(-.*)?\.safetensors(\.index\.json)?")

_DTYPES = {
    torch.uint64: "U64",
    torch.int64: "I64",
    torch.float64: "F64",
    torch.float32: "F32",
    torch.uint32: "U32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.uint16: "U16",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


class ConvertError(RuntimeError):
    """A checkpoint could not be converted; the message is a sentence that says why and what helps."""


class _Weights(NamedTuple):
    files: list[Path]  # pickles that together are one network's weights; none where a folder has no pickles
    names: set[str] | None = None  # what an index says of their tensors


class Layout(NamedTuple):
    """How weights of one origin become the checkpoint that the library reads."""

    name: str
    fits: Callable[[set[str]], bool]  # by the names of the tensors
    # (tensors) -> tensors under the names that the library knows, and files to write beside them as {name: JSON value}
    convert: Callable[[dict[str, torch.Tensor]], tuple[dict[str, torch.Tensor], dict[str, Any]]]


# The first that fits; "plain" is transformers', timm's and everybody's whose names are the library's already.
LAYOUTS = [
    Layout("imagebind", _imagebind.fits, _imagebind.convert),
    Layout("pe-core", _pe_core.fits, _pe_core.convert),
    Layout("plain", lambda names: True, lambda tensors: (tensors, {})),
]


@dataclasses.dataclass
class Conversion:
    """What `convert` did."""

    directory: Path
    layout: str  # the name of one of LAYOUTS
    tensors: int
    bytes: int  # of tensors
    written: list[str]  # files below `directory`
    unchanged: list[str]  # files that were there already, byte for byte
    left_out: list[str]  # entries of the pickles that are no tensors

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"directory": str(self.directory)}


def convert(
    source: _inputs.PathLike,
    directory: _inputs.PathLike | None = None,
    *,
    revision: str | None = None,
    overwrite: bool = False,
    max_shard_size: int = MAX_SHARD_SIZE,
) -> Conversion:
    """Writes `model.safetensors`, above `max_shard_size` bytes in shards with their index, and says what it did.

    `source`: a folder, a file, or "org/name" on the Hugging Face Hub at `revision`. `directory`: where to, by default
    beside the pickle; elsewhere the config and tokenizer files are copied too. A file that is there with another content
    is an error, unless `overwrite`.

    ConvertError for what cannot be converted, FileNotFoundError for what is not there.

    >>> from trine.convert import convert
    >>> convert("model", "model-safetensors").written           # doctest: +SKIP
    ['config.json', 'tokenizer.json', 'model.safetensors']
    """
    path = Path(_inputs.path(source))
    if not path.exists() and _hub.is_name(str(path)):
        if directory is None:
            raise ValueError(f"[convert] {path} is a name on the Hugging Face Hub: say which folder to write to.")
        path = _hub.download(str(path), revision=revision, patterns=_hub.FILES + [f"*{s}" for s in _PICKLES])
    if not path.exists():
        raise FileNotFoundError(f"[convert] There is no {path}.")
    folder = path if path.is_dir() else path.parent
    target = Path(_inputs.path(directory)) if directory is not None else folder

    parts = {"": _weights_of(folder) if path.is_dir() else _Weights([path])}
    if path.is_dir():
        parts |= {name: _weights_of(folder / name) for name in _modules_of(folder)}
    if not any(weights.files for weights in parts.values()):
        raise ConvertError(_nothing_to_convert(path))

    target.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(prefix=".trine-convert-", dir=target))
    try:
        result = Conversion(target, "plain", 0, 0, [], [], [])
        for name, weights in parts.items():
            (staged / name).mkdir(exist_ok=True)
            if not _same(folder, target):
                _copy_kept(folder / name, staged / name)
            if weights.files:
                _write(weights, staged / name, max_shard_size, result)
        _place(staged, target, list(parts), overwrite, result)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return result


# --- what there is to convert -----------------------------------------------------------------------------------------


def _weights_of(folder: Path) -> _Weights:
    if (folder / "pytorch_model.bin").is_file():
        return _Weights([folder / "pytorch_model.bin"])
    if (folder / _INDEX).is_file():
        return _shards_of(folder / _INDEX)
    if not folder.is_dir():
        return _Weights([])
    found = [f for f in sorted(folder.iterdir()) if f.suffix in _PICKLES and not _NOT_WEIGHTS.match(f.name)]
    if len(found) > 1:
        names = ", ".join(f.name for f in found[:5])
        raise ConvertError(f"[convert] {folder} holds {len(found)} pickles ({names}): name the file to convert.")
    return _Weights(found)


def _shards_of(index: Path) -> _Weights:
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        files = sorted(set(weight_map.values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConvertError(f"[convert] {index} is no index of shards ({type(error).__name__}: {error}).") from error
    for name in files:
        if not isinstance(name, str) or not re.fullmatch(r"\w[\w.+-]*\.bin", name, re.ASCII):
            raise ConvertError(f"[convert] {index} names {name!r}, wanted .bin files in the same folder.")
    return _Weights([index.parent / name for name in files], set(weight_map))


def _modules_of(folder: Path) -> list[str]:
    """The subfolders of a sentence-transformers directory's modules."""
    try:
        modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        names = [module["path"] for module in modules]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError) as error:
        raise ConvertError(f"[convert] {folder / 'modules.json'} is no list of modules ({error}).") from error
    for name in names:
        if not isinstance(name, str) or name and not re.fullmatch(r"\w[\w.+-]*", name, re.ASCII):
            raise ConvertError(f"[convert] {folder / 'modules.json'} has the path {name!r}, wanted a subfolder.")
    return [name for name in names if name and (folder / name).is_dir()]


def _nothing_to_convert(path: Path) -> str:
    if any(path.glob("*.safetensors")):
        return f"[convert] {path} holds safetensors and no {', '.join(_PICKLES)}: it can be used as it is."
    return f"[convert] {path} holds no weights: wanted a file that ends with {', '.join(_PICKLES)}."


def _same(a: Path, b: Path) -> bool:
    return b.exists() and os.path.samefile(a, b)


def _copy_kept(source: Path, target: Path) -> None:
    for file in sorted(source.iterdir()):
        kept = file.suffix in _KEPT and not file.name.endswith(".index.json") or file.name.startswith(_KEPT_NAMES)
        if kept and file.is_file():
            shutil.copyfile(file, target / file.name)
            _sync(target / file.name)


# --- reading ----------------------------------------------------------------------------------------------------------


def _read(file: Path) -> Mapping[str, Any]:
    """What a pickle holds, its tensors mapped from the file where its format allows it."""
    with open(file, "rb") as opened:
        is_zip = opened.read(4) == b"PK\x03\x04"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of older pickle protocols
            content = torch.load(file, map_location="cpu", weights_only=True, mmap=is_zip)
    except Exception as error:  # damaged pickles end in errors of every kind
        raise ConvertError(_why_unreadable(file, error)) from None
    for key in ("state_dict", "model_state_dict", "model", "module", "weights"):  # what trainers wrap the weights in
        inner = content.get(key) if isinstance(content, Mapping) else None
        if isinstance(inner, Mapping) and any(isinstance(v, torch.Tensor) for v in inner.values()):
            return inner
    if not isinstance(content, Mapping):
        raise ConvertError(f"[convert] {file} holds a {type(content).__name__}, wanted tensors by name.")
    return content


def _why_unreadable(file: Path, error: Exception) -> str:
    """torch's own sentences tell the reader to run the code."""
    reason = str(error)
    if "TorchScript" in reason:
        return f"[convert] {file} is a TorchScript program, not weights: ask for its state_dict or for safetensors."
    if named := re.search(r"(?:GLOBAL|class) ([\w.]+)", reason):
        return (
            f"[convert] {file} needs code to be read ({named[1]}), and a checkpoint's code is never run: ask its authors for "
            "safetensors, or save its state_dict alone."
        )
    inner = re.search(r"WeightsUnpickler error:\s*(.+)", reason)
    line = (inner[1] if inner else reason.strip().split("\n")[0])[:200].rstrip(". ")
    return f"[convert] {file} cannot be read as a pickle of tensors ({type(error).__name__}: {line})."


def _tensors_of(files: Iterable[Path], left_out: list[str]) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = {}
    for file in files:
        for name, value in _read(file).items():
            if not isinstance(value, torch.Tensor) or not isinstance(name, str):
                if isinstance(value, (Mapping, list, tuple)) and len(value):
                    kind = type(value).__name__
                    raise ConvertError(f"[convert] {file} holds a {kind} under {name!r}, wanted tensors by name.")
                left_out.append(str(name))
                continue
            if name in tensors:
                raise ConvertError(f"[convert] {file} holds {name}, which another shard holds too.")
            if value.layout is not torch.strided or value.dtype not in _DTYPES or value.is_meta:
                kind = "without values" if value.is_meta else f"{value.layout} of {value.dtype}"
                raise ConvertError(f"[convert] {file} holds {name}, which is {kind}: safetensors has no place for it.")
            tensors[name] = value.detach()
    if not tensors:
        raise ConvertError(f"[convert] {', '.join(map(str, files))} holds no tensors by name.")
    return tensors


# --- writing ----------------------------------------------------------------------------------------------------------


def _write(weights: _Weights, folder: Path, max_shard_size: int, result: Conversion) -> None:
    """One folder's weights, staged; adds to what `result` tells."""
    tensors = _tensors_of(weights.files, result.left_out)
    if weights.names is not None and weights.names != set(tensors):
        name = min(weights.names ^ set(tensors))
        here = "its shards hold" if name in tensors else "it names"
        raise ConvertError(f"[convert] {weights.files[0].parent / _INDEX} and its shards do not fit: only {here} {name}.")
    layout = next(layout for layout in LAYOUTS if layout.fits(set(tensors)))
    tensors, extra = layout.convert(tensors)
    result.layout = layout.name
    stored = {name: _stored(tensor) for name, tensor in sorted(tensors.items())}
    sizes = {name: len(tensor.data) for name, tensor in stored.items()}
    result.tensors += len(stored)
    result.bytes += sum(sizes.values())

    shards = _shards(sizes, max_shard_size)
    if len(shards) == 1:
        names = ["model.safetensors"]
    else:
        names = [f"model-{i:05}-of-{len(shards):05}.safetensors" for i in range(1, len(shards) + 1)]
        weight_map = {tensor: file for file, shard in zip(names, shards) for tensor in shard}
        index = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": weight_map}
        extra = extra | {"model.safetensors.index.json": index}
    for name, shard in zip(names, shards):
        write_safetensors(folder / name, {tensor: stored[tensor] for tensor in shard})
        _sync(folder / name)
    for name, value in extra.items():
        (folder / name).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
        _sync(folder / name)


def _stored(tensor: torch.Tensor) -> _Tensor:
    raw = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
    return _Tensor(_DTYPES[tensor.dtype], tuple(tensor.shape), memoryview(raw))


def _shards(sizes: Mapping[str, int], most: int) -> list[list[str]]:
    """The names in order, cut into runs of at most `most` bytes; a tensor larger than that is a run of its own."""
    shards: list[list[str]] = [[]]
    held = 0
    for name, size in sizes.items():
        if shards[-1] and held + size > most:
            shards.append([])
            held = 0
        shards[-1].append(name)
        held += size
    return shards


def _place(staged: Path, target: Path, parts: list[str], overwrite: bool, result: Conversion) -> None:
    """Renames the staged files into place, what readers look for last."""
    names = [f.relative_to(staged).as_posix() for f in sorted(staged.rglob("*")) if f.is_file()]
    names.sort(key=lambda name: (name.endswith("model.safetensors.index.json"), name.endswith(".safetensors")))
    result.unchanged = [n for n in names if (target / n).is_file() and filecmp.cmp(staged / n, target / n, shallow=False)]
    result.written = [n for n in names if n not in result.unchanged]
    # weights of another conversion, which a reader could take for ours
    here = [f for part in parts for f in (target / part).glob("model*") if _WEIGHTS.fullmatch(f.name)]
    stale = [f for f in here if f.relative_to(target).as_posix() not in names] if result.written else []
    in_the_way = [n for n in result.written if (target / n).exists()] + [f.name for f in stale]
    if in_the_way and not overwrite:
        raise ConvertError(
            f"[convert] {target} has another {', '.join(in_the_way[:3])}: --overwrite (overwrite=True) replaces it, or "
            "name another folder."
        )
    for name in result.written:
        (target / name).parent.mkdir(exist_ok=True)
        os.replace(staged / name, target / name)
    for part in parts:
        if (target / part).is_dir():
            _sync(target / part)
    for file in stale:
        file.unlink()


# --- the command ------------------------------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(
        "trine convert MODEL OUT",
        description="Makes safetensors of weights in .bin, .pt, .pth or .ckpt; nothing in them is run.",
    )
    parser.add_argument("source", metavar="MODEL", help="a folder, a file, or org/name on the Hugging Face Hub")
    parser.add_argument("directory", metavar="OUT", nargs="?", help="where to (beside the weights when left out)")
    parser.add_argument("--revision", help="branch, tag or commit on the Hub")
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there with another content")
    parser.add_argument(
        "--max-shard-size", type=int, default=MAX_SHARD_SIZE, metavar="BYTES", help="larger weights become several files"
    )
    parser.add_argument("--json", action="store_true", help="print what was done as JSON instead of the files written")
    options = parser.parse_args(arguments)
    if options.max_shard_size < 1:
        parser.error("--max-shard-size must be at least 1")

    def work() -> int:
        done = convert(
            options.source,
            options.directory,
            revision=options.revision,
            overwrite=options.overwrite,
            max_shard_size=options.max_shard_size,
        )
        if done.left_out:
            print(f"[convert] Left out, being no tensors: {', '.join(done.left_out)}.", file=sys.stderr)
        if options.json:
            print(json.dumps(done.to_dict()))
            return 0
        for name in done.written:
            print(done.directory / name)
        print(
            f"[convert] {done.tensors} tensors, {done.bytes / 1e6:.1f} MB: {len(done.written)} files written, "
            f"{len(done.unchanged)} there already.",
            file=sys.stderr,
        )
        return 0

    return run("convert", work)


if __name__ == "__main__":
    sys.exit(main())
