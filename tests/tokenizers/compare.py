"""Compares our tokenizers with Hugging Face's, family by family, and prints how often they agree.

    python tests/tokenizers/compare.py [--program build/release/bin/trine_tokenize] [--count 200000] [FAMILY]...

Needs tokenizers and sentencepiece. Ids, offsets and tokens have to be equal for every text; exits with 1 otherwise.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from families import FAMILIES, texts

BLOCK = 20_000


def encode(program: Path, tokenizer: Path, batch: list[str]) -> list[list]:
    """What we make of each text: ids, offsets (two for each id) and tokens."""
    lines = "".join(json.dumps(text) + "\n" for text in batch)
    done = subprocess.run([program, tokenizer], input=lines.encode(), stdout=subprocess.PIPE, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def compare(program: Path, reference, count: int) -> tuple[int, int, list[str]]:
    """Texts with other ids, texts with other offsets or tokens, and the first few of either."""
    wrong_ids, wrong_rest, shown = 0, 0, []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.json"
        reference.save(str(path))
        for start in range(0, count, BLOCK):
            batch = texts(min(BLOCK, count - start), seed=start)
            for text, wanted, got in zip(batch, reference.encode_batch(batch), encode(program, path, batch), strict=True):
                expected = [wanted.ids, [x for offset in wanted.offsets for x in offset], wanted.tokens]
                if expected == got:
                    continue
                wrong_ids += expected[0] != got[0]
                wrong_rest += expected[0] == got[0]
                if len(shown) < 5:
                    shown.append(f"    {text!r}\n      wanted {expected}\n      got    {got}")
    return wrong_ids, wrong_rest, shown


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=", ".join(FAMILIES))
    parser.add_argument("--program", type=Path, default=Path("build/release/bin/trine_tokenize"))
    parser.add_argument("--count", type=int, default=200_000)
    options = parser.parse_args()
    print(f"{'family':12} {'texts':>8} {'same ids':>10} {'same offsets':>13}")
    failed = False
    for name in options.families or FAMILIES:
        wrong_ids, wrong_rest, shown = compare(options.program, FAMILIES[name](), options.count)
        same_ids, same = options.count - wrong_ids, options.count - wrong_ids - wrong_rest
        print(f"{name:12} {options.count:8} {same_ids / options.count:10.4%} {same / options.count:13.4%}", flush=True)
        print(*shown, sep="\n", end="\n" if shown else "")
        failed |= same != options.count
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
