"""The example programs: the twins in C++ and Python print the same."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILT = Path(os.environ.get("TRAIN_FUSION_BIN", ROOT / "build" / "release" / "bin" / "train_fusion"))


def printed(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_train_fusion_twins_print_the_same():
    if not os.access(BUILT, os.X_OK):
        pytest.skip("train_fusion is not built; TRAIN_FUSION_BIN names another one")
    python = printed(sys.executable, ROOT / "examples" / "train_fusion" / "train_fusion.py")
    assert [line.split(" accuracy")[0].strip() for line in python[1:]] == [
        "all",
        "without audio",
        "without image",
        "without text",
    ]
    assert float(python[1].split()[2].rstrip(";")) > 0.5  # chance: 0.167
    assert printed(BUILT) == python
