"""What a user does right after `pip install`: import, look for the default model, call the command."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import trine
import trine.fetch

package = Path(trine.__file__).parent
assert package.is_relative_to(sysconfig.get_path("purelib")), f"trine was imported from {package}"
assert (package / "py.typed").is_file()

model = trine.fetch.default_model()
assert model.is_relative_to(package) and (model / "sources.json").is_file(), f"the default model is not in {model}"

command = Path(sys.executable).with_name("trine")
version = subprocess.run([command, "--version"], check=True, capture_output=True, text=True).stdout.strip()
assert trine.__version__ in version, f"trine --version says {version}, the package is {trine.__version__}"

print(f"{version} in {package}")
