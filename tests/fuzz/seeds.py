"""Writes the files that a fuzzer starts from: python tests/fuzz/seeds.py NAME FOLDER"""

import base64
import json
import sys
from pathlib import Path

GOLDEN = Path(__file__).parents[1] / "golden"
CATALOGUES = {
    "comma": b"\0id,title,price,images,keywords\n7,Lemon,0.5,lemon.jpg|lemon-2.jpg,something sour\n8,\"A \"\"ripe\"\"\none\",,,\n",
    "semicolon": b"\0id;title;organic\r\n007;Lemon;true\r\n",
    "tab": b"\1\xef\xbb\xbfid\ttitle\tattributes\na\tb\t{\"price\": 2}\n",
    "lines": b'\2{"id": "7", "title": "Lemon", "price": 0.5, "images": ["lemon.jpg"], "attributes": {"a": [1]}}\n',
}
FILTERS = [
    "price < 30 and category in (\"fruit\", 'vegetable') and not organic == true",
    "tags contains 'red' or (`unit price` >= -1.5e3 and a != \"\\\"\")",
]
SUBTITLES = [
    "1\n00:00:01,000 --> 00:00:02,500\n<i>\u00c4</i> ripe &amp; red banana\n\n2\n00:00:03,000 --> 00:00:04,000\n{\\an8}two\nlines\n",
    "WEBVTT\n\nSTYLE\n::cue {}\n\nNOTE a\n\nid\n00:01.000 --> 00:02.000 line:1\n<v Ann>Hello <00:01.500>&lt;there\n",
]
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
    if name == "catalogue":
        return CATALOGUES
    if name in ("filter", "subtitles"):
        texts = FILTERS if name == "filter" else SUBTITLES
        return {str(number): text.encode() for number, text in enumerate(texts)}
    if name == "image":
        files = sorted(path for path in (GOLDEN / "image").iterdir() if path.suffix not in (".json", ".bin"))
        return {path.name: bytes([number % 4]) + path.read_bytes() for number, path in enumerate(files)}
    if name == "video":
        files = sorted((GOLDEN / "video").iterdir())
        return {path.name: path.read_bytes() for path in files if path.suffix not in (".png", ".txt")}
    families = json.loads((GOLDEN / "text" / "families.json").read_text())
    return {family: small(case["file"]) for family, case in families.items()}


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in seeds(name).items():
        (folder / file).write_bytes(content)


if __name__ == "__main__":
    main()
