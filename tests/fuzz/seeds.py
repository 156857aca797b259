"""Writes the files that a fuzzer starts from: python tests/fuzz/seeds.py NAME FOLDER"""

import base64
import json
import sys
from pathlib import Path

GOLDEN = Path(__file__).parents[1] / "golden"
MODELS = {"older_t5": b"\0", "older_siglip": b"\1", "older_gemma": b"\2", "older_xlm_roberta": b"\3"}


def small(file: dict) -> bytes:
    """A tokenizer.json with the first few merges of its model only."""
    if "merges" in file["model"]:
        file["model"]["merges"] = file["model"]["merges"][:8]
    return json.dumps(file).encode()


def seeds(name: str) -> dict[str, bytes]:
    if name == "safetensors":
        return {path.name: path.read_bytes() for path in sorted((GOLDEN / "checkpoint").rglob("*.safetensors"))}
    if name == "sentencepiece":
        older = json.loads((GOLDEN / "text" / "older.json").read_text())
        out = {}
        for family, kind in MODELS.items():
            for file, content in older[family]["files"].items():
                if file.endswith(".model"):
                    out[family] = kind + base64.b64decode(content)
        return out
    families = json.loads((GOLDEN / "text" / "families.json").read_text())
    return {family: small(case["file"]) for family, case in families.items()}


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in seeds(name).items():
        (folder / file).write_bytes(content)


if __name__ == "__main__":
    main()
