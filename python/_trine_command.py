"""The `trine` command: starts the program that the package carries, or one of its Python modules.

Not inside the package, because importing that loads torch, which the program does by itself. `trine --cmake-dir` prints
the folder for CMake's trine_DIR.
"""

import os
import sys
from importlib import import_module
from importlib.util import find_spec  # looks, does not import
from pathlib import Path

_MODULES = ("convert", "verify", "bench")  # commands that are trine.convert and so on; those of src/cli/python.cpp


def _folder(package: str, content: str) -> Path:
    spec = find_spec(package)
    for folder in spec.submodule_search_locations if spec else ():
        if (Path(folder) / content).exists():
            return Path(folder)
    raise SystemExit(f"[trine] The package {package} with its {content} is not there: install it with `python -m pip install`.")


def main() -> int:
    trine = _folder("trine", "bin/trine")
    if sys.argv[1:] == ["--cmake-dir"]:
        print(trine / "lib" / "cmake" / "trine")
        return 0
    if sys.argv[1:2] and sys.argv[1] in _MODULES:
        return import_module(f"trine.{sys.argv[1]}").main(sys.argv[2:])
    torch = _folder("torch", "lib")
    if torch.parent != trine.parent:  # the program finds torch beside the package, but not in another site-packages
        paths = [str(torch / "lib"), os.environ.get("LD_LIBRARY_PATH", "")]
        os.environ["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, paths))
    os.execv(trine / "bin" / "trine", ["trine", *sys.argv[1:]])
