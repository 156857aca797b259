"""Writes tests/golden/verify with transformers 5.12: what `trine verify --write-golden` stores for a small checkpoint, and sums
of the pictures that stored values belong to.

    PYTHONPATH=build/release/python python tests/golden/make_verify.py
"""

import json
import shutil
import tempfile
from pathlib import Path

from trine.verify import pictures, write_golden

GOLDEN = Path(__file__).parent

if __name__ == "__main__":
    (GOLDEN / "verify").mkdir(exist_ok=True)
    sums = {name: int(pixels.astype("int64").sum()) for name, pixels in pictures().items()}
    (GOLDEN / "verify" / "inputs.json").write_text(json.dumps(sums, indent=2) + "\n")
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = shutil.copytree(GOLDEN / "vision" / "siglip_text", Path(folder) / "siglip_text")
        shutil.copyfile(write_golden(checkpoint), GOLDEN / "verify" / "siglip_text.safetensors")
