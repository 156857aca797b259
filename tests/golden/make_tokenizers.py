"""Writes tests/golden/text/families.json and older.json: small tokenizers of every family and what `tokenizers` and
`transformers` make of texts with them.

    python tests/golden/make_tokenizers.py

Needs transformers, sentencepiece and protobuf. The trainers break ties by the order of a hash table, so a new run gives
other vocabularies, and the cases that go with them.
"""

import base64
import json
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).parent / "text"
sys.path.insert(0, str(Path(__file__).parents[1] / "tokenizers"))

import families  # noqa: E402

TEXTS = [
    "",
    " ",
    "The red bicycle, please! it's we'LL don'T I'ſ",
    "  two  spaces\t\ttabs\r\n\r\n newline\n\n x   ",
    "café cafe\u0301 Ǆ ﬁ ½ ① \u212b İ ΣΑΣ",
    "12345 3.14 ٣٤٥ x²",
    "한국어 문장 ᄀ\u1161\u11a8 これは赤い本です 红色的自行车",
    "👍🏽 👨\u200d👩\u200d👧\u200d👦 ❤\ufe0f 🇩🇪",
    "zero\u200bwidth nul\0 bell\x07 \x1c nel\u0085 nbsp\u00a0",
    "def f(x):\n\treturn {}  # [1, 2]",
    "a <mask> b<s></s> [CLS] [MASK]<|endoftext|> <eos>",
    "\u0301\u0323x\u0300\u0f9a e\u00a1 \U000e00a1\u0300\u0f9a",
]


def encoded(backend, text: str) -> dict:
    e = backend.encode(text)
    return {"text": text, "ids": e.ids, "offsets": [x for offset in e.offsets for x in offset]}


def family_cases() -> dict:
    out = {}
    for name, make in families.FAMILIES.items():
        backend = make()
        file = json.loads(backend.to_str())
        del file["decoder"]
        out[name] = {"file": file, "texts": [encoded(backend, text) for text in TEXTS]}
    return out


def older_cases() -> dict:
    out = {}
    for name in families.OLDER:
        with tempfile.TemporaryDirectory() as folder:
            tokenizer = families.write_older(name, Path(folder))
            files = {}
            for file in sorted(Path(folder).iterdir()):
                content = file.read_bytes()
                binary = file.suffix == ".model"
                files[file.name] = base64.b64encode(content).decode() if binary else content.decode()
            if tokenizer.is_fast:
                texts = [encoded(tokenizer.backend_tokenizer, text) for text in TEXTS]
            else:
                texts = [{"text": text, "ids": tokenizer(text)["input_ids"]} for text in TEXTS]
        out[name] = {"files": files, "texts": texts, "pad_id": tokenizer.pad_token_id}
    return out


def main() -> None:
    families.SIZE = 290
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as rules:
        # A few of Google's rules: spaces, one to two, two to one, to nothing, and a mark.
        rules.write("A0\t20\n3000\t20\n2581\t20\n9\t20\nA\t20\nD\t20\n200B\t20\nFB01\t66 69\n65 301\tE9\n7\t\n2460\t31\nBD\t31 2044 32\n300\t301\n")
        rules.flush()
        families.RULES = {"normalization_rule_tsv": rules.name, "vocab_size": 470, "character_coverage": 0.98}
        for name, content in (("families.json", family_cases()), ("older.json", older_cases())):
            (FOLDER / name).write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
