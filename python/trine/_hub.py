"""Models by name: "org/name" on the Hugging Face Hub, through huggingface_hub where it is installed.

Its cache, its token and its switches hold: HF_HOME, HF_HUB_CACHE, HF_TOKEN, HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE.
"""

from __future__ import annotations

import re
from pathlib import Path

# What the library reads: weights under the names it looks for, configs, tokenizers; no second copy in another format.
FILES = ["*.json", "*.txt", "*.model", "model.safetensors", "model-*.safetensors", "[0-9]*_*/model.safetensors"]
# What OpenCLIP keeps its weights in; not asked for where there is a model.safetensors, which then holds the same.
OPEN_CLIP = ["open_clip_model.safetensors"]
_IGNORED = ["onnx/*", "openvino/*", "coreml/*"]


def is_name(model: str) -> bool:
    """Whether it has the form of a name on the Hub."""
    return re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", model, re.ASCII) is not None


def locate(model: str, *, revision: str | None = None, local_files_only: bool = False) -> Path:
    """A folder as it is, else the files of "org/name"; FileNotFoundError with a sentence that says what is missing."""
    directory = Path(model)
    if directory.exists() or not is_name(model):
        return directory
    found = download(model, revision=revision, local_files_only=local_files_only)
    if not _has_weights(found) and (found / "open_clip_config.json").is_file():
        found = download(model, revision=revision, local_files_only=local_files_only, patterns=[*FILES, *OPEN_CLIP])
    if not _has_weights(found) and not (found / OPEN_CLIP[0]).is_file():
        raise FileNotFoundError(
            f"{model} on the Hugging Face Hub has no model.safetensors. Where it has weights in another format, this "
            f"makes one of them: trine convert {model} {model.split('/')[1]}"
        )
    return found


def download(
    model: str, *, revision: str | None = None, local_files_only: bool = False, patterns: list[str] = FILES
) -> Path:
    """The folder in huggingface_hub's cache, with the files of "org/name" that match; those there are not fetched again."""
    try:
        import huggingface_hub
    except ImportError:
        raise FileNotFoundError(
            f"There is no folder {model!r}; for the Hugging Face Hub's models: python3 -m pip install huggingface_hub"
        ) from None
    why = "local_files_only is set" if local_files_only else "HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set"
    local = local_files_only or _is_offline(huggingface_hub)
    options = {"allow_patterns": patterns, "ignore_patterns": _IGNORED, "local_files_only": local}
    try:
        return Path(huggingface_hub.snapshot_download(model, revision=revision, **options))
    except Exception as error:  # its errors derive from requests', httpx's or the standard library's, by version
        at = f"{model} at {revision}" if revision else model
        if local:
            raise FileNotFoundError(
                f"There is no folder {model!r}, {at} is not in the Hugging Face cache, and nothing is downloaded because "
                f"{why}."
            ) from error
        reason = " ".join(str(error).split())[:300]
        raise FileNotFoundError(f"There is no folder {model!r}, and the Hugging Face Hub gave no {at}: {reason}") from error


def _has_weights(directory: Path) -> bool:
    return any(directory.glob("model*.safetensors")) or any(directory.glob("*/model.safetensors"))


def _is_offline(huggingface_hub) -> bool:
    return bool(getattr(getattr(huggingface_hub, "constants", None), "HF_HUB_OFFLINE", False))
