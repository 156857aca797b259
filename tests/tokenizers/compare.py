"""Compares our tokenizers with Hugging Face's, family by family, and prints how often they agree.

    python tests/tokenizers/compare.py [--program build/release/bin/trine_tokenize] [--count 200000] [FAMILY]...

Needs transformers, sentencepiece and protobuf. Ids, offsets and tokens have to be equal for every text, else it exits
with 1. The families that begin with "older" have no tokenizer.json.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from families import FAMILIES, OLDER, write_older
from texts import texts

BLOCK = 20_000


def encode(program: Path, tokenizer: Path, batch: list[str]) -> list[list]:
    """What we make of each text: ids, offsets (two for each id) and tokens."""
    lines = "".join(json.dumps(text) + "\n" for text in batch)
    done = subprocess.run([program, tokenizer], input=lines.encode(), stdout=subprocess.PIPE, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def prepare(name: str, folder: Path):
    """Writes the tokenizer of a family; returns its path and a function from texts to what the reference makes of them.

    SigLIP has no fast tokenizer to compare with: its own class gives ids only.
    """
    if name in FAMILIES:
        backend = FAMILIES[name]()
        backend.save(str(folder / "tokenizer.json"))
        path = folder / "tokenizer.json"
    else:
        tokenizer, path = write_older(name, folder), folder
        if not tokenizer.is_fast:
            return path, lambda batch: [[ids] for ids in tokenizer(batch)["input_ids"]]
        backend = tokenizer.backend_tokenizer
    return path, lambda batch: [
        [e.ids, [x for offset in e.offsets for x in offset], e.tokens] for e in backend.encode_batch(batch)
    ]


def compare(program: Path, name: str, count: int) -> tuple[int, int, list[str]]:
    """Texts with other ids, texts with other offsets or tokens, and the first few of either."""
    wrong_ids, wrong_rest, shown = 0, 0, []
    with tempfile.TemporaryDirectory() as folder:
        path, reference = prepare(name, Path(folder))
        for start in range(0, count, BLOCK):
            batch = texts(min(BLOCK, count - start), seed=start)
            for text, expected, got in zip(batch, reference(batch), encode(program, path, batch), strict=True):
                got = got[: len(expected)]
                if expected == got:
                    continue
                wrong_ids += expected[0] != got[0]
                wrong_rest += expected[0] == got[0]
                if len(shown) < 5:
                    shown.append(f"    {text!r}\n      wanted {expected}\n      got    {got}")
    return wrong_ids, wrong_rest, shown


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=", ".join([*FAMILIES, *OLDER]))
    parser.add_argument("--program", type=Path, default=Path("build/release/bin/trine_tokenize"))
    parser.add_argument("--count", type=int, default=200_000)
    options = parser.parse_args()
    print(f"{'family':18} {'texts':>8} {'same ids':>10} {'same offsets':>13}")
    failed = False
    for name in options.families or [*FAMILIES, *OLDER]:
        wrong_ids, wrong_rest, shown = compare(options.program, name, options.count)
        same_ids, same = options.count - wrong_ids, options.count - wrong_ids - wrong_rest
        print(f"{name:18} {options.count:8} {same_ids / options.count:10.4%} {same / options.count:13.4%}", flush=True)
        print(*shown, sep="\n", end="\n" if shown else "")
        failed |= same != options.count
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
