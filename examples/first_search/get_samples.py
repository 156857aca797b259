#!/usr/bin/env python3
"""Fetches four photographs of groceries for the first search and prints their paths. A photo of your own does as well.

    python examples/first_search/get_samples.py
    trine search --image ~/.cache/trine/samples/lemon.png

The photos (an avocado, a kiwi, a lemon, a piece of ginger) are cut-outs from the Debian package
tuxpaint-stamps-default: Tux Paint's stamps, Bill Kendrick and contributors, GPL-2 or later. apt-get downloads (160 MB)
and verifies the package; it is not installed. Each photo's sha256 is checked, and it is laid on white, because
transparency is not part of a photo.
"""

import argparse
import hashlib
import os
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import zlib
from pathlib import Path

PACKAGE = "tuxpaint-stamps-default"
STAMPS = "./usr/share/tuxpaint/stamps/food/"
PHOTOS = {
    "fruit/avocado.png": "48d843da4f57747de56b3b4535f3e5cbe9a312fb3642d3edfb2d82db6e15bbe5",
    "fruit/kiwi.png": "eb807eb6edfffc2015a616d1bf68cbe014f6aeff9b60164a0a6cea854c235834",
    "fruit/lemon.png": "f28692fef7f3512f4bb04907eb3e4917d05925d9093656fb2554a7dcd1474ce4",
    "spices/ginger.png": "b1bdf6f098b839626c1a7c123f4ec31bd2f7309f9a16a790e47738eec51352dd",
}
LARGEST = 1 << 20  # bytes of one photo; the four have 20 to 175 thousand


def default_folder() -> Path:
    if os.environ.get("TRINE_CACHE"):
        return Path(os.environ["TRINE_CACHE"]).expanduser() / "samples"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "trine" / "samples"


def download(folder: Path) -> Path:
    """The .deb through apt-get, which needs no root for this."""
    if not shutil.which("apt-get"):
        raise SystemExit(f"There is no apt-get to download {PACKAGE} with: take a photo of your own instead.")
    print(f"downloading {PACKAGE} (160 MB)", file=sys.stderr)
    done = subprocess.run(["apt-get", "download", "-q", PACKAGE], cwd=folder, capture_output=True, text=True)
    packages = list(folder.glob("*.deb"))
    if done.returncode != 0 or not packages:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise SystemExit(
            f"apt-get could not download {PACKAGE}: {reason} Run apt-get update, or take a photo of your own."
        )
    return packages[0]


def take_photos(package: Path) -> dict[str, bytes]:
    """The listed photos out of the package, by their exact names and hashes."""
    found = {}
    unpack = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE)
    with unpack, tarfile.open(fileobj=unpack.stdout, mode="r|") as archive:
        for member in archive:
            name = member.name.removeprefix(STAMPS)
            if name not in PHOTOS or not member.isfile():
                continue
            data = archive.extractfile(member).read(LARGEST)
            if hashlib.sha256(data).hexdigest() != PHOTOS[name]:
                raise SystemExit(f"{name} in {package.name} is not the photo it should be: its sha256 differs.")
            found[name] = data
            if len(found) == len(PHOTOS):
                unpack.terminate()
                return found
    raise SystemExit(f"{package.name} does not hold {', '.join(sorted(set(PHOTOS) - set(found)))}.")


def rgba_pixels(png: bytes) -> tuple[int, int, list[bytearray]]:
    """Width, height and rows of an 8-bit RGBA PNG without interlacing, as the stamps are (PNG, section 9)."""
    width, height, form = struct.unpack(">II5s", png[16:29])
    if form != b"\x08\x06\x00\x00\x00":
        raise SystemExit("A stamp is not an 8-bit RGBA PNG.")
    at, packed = 8, b""
    while at < len(png):
        size, kind = struct.unpack(">I4s", png[at : at + 8])
        if kind == b"IDAT":
            packed += png[at + 8 : at + 8 + size]
        at += size + 12
    data, stride = zlib.decompress(packed), 4 * width
    rows, above = [], bytearray(stride)
    for y in range(height):
        start = y * (stride + 1)
        kind, row = data[start], bytearray(data[start + 1 : start + 1 + stride])
        for i in range(stride):
            left, up = (row[i - 4] if i >= 4 else 0), above[i]
            corner = above[i - 4] if i >= 4 else 0
            if kind == 4:
                distances = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
                guess = (left, up, corner)[distances.index(min(distances))]
            else:
                guess = (0, left, up, (left + up) // 2)[kind]
            row[i] = (row[i] + guess) & 255
        rows.append(row)
        above = row
    return width, height, rows


def on_white(png: bytes) -> bytes:
    """The cut-out in the middle of a white square, as an RGB PNG."""
    width, height, rows = rgba_pixels(png)
    side = 5 * max(width, height) // 4
    left, top = (side - width) // 2, (side - height) // 2
    lines = []
    for y in range(side):
        line = bytearray(b"\xff" * (3 * side))
        if 0 <= y - top < height:
            row = rows[y - top]
            for x in range(width):
                alpha = row[4 * x + 3]
                for c in range(3):
                    line[3 * (left + x) + c] = (row[4 * x + c] * alpha + 255 * (255 - alpha) + 127) // 255
        lines.append(b"\0" + bytes(line))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"".join(lines)))
        + chunk(b"IEND", b"")
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Fetches four photographs of groceries and prints their paths.")
    parser.add_argument(
        "--folder", type=Path, default=default_folder(), help="where they go (default: the trine cache)"
    )
    parser.add_argument("--deb", type=Path, help=f"a {PACKAGE} package already downloaded")
    options = parser.parse_args()
    targets = {name: options.folder / Path(name).name for name in PHOTOS}
    if not all(target.is_file() for target in targets.values()):
        options.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
            photos = take_photos(options.deb or download(Path(temporary)))
            for name, target in targets.items():
                made = Path(temporary) / target.name
                made.write_bytes(on_white(photos[name]))
                made.replace(target)
    print(*targets.values(), sep="\n")


if __name__ == "__main__":
    main()
