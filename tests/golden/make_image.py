"""Writes tests/golden/image: small drawn pictures in every accepted format and mode, and what Pillow makes of them.

    python tests/golden/make_image.py

Pictures come from numpy; Pillow 13 encodes them where it can, the short writers below make the forms it cannot
(interlaced and 16-bit PNG, frames smaller than their canvas, tiles, planes). Pillow decodes and resizes; nothing here
uses Trine.
`cases.json` lists the cases; `pixels.bin` holds the expected RGB bytes at the offsets the cases give.
"""

import io
import json
import pathlib
import struct
import warnings
import zlib

import numpy as np
from PIL import Image, ImageOps

FOLDER = pathlib.Path(__file__).parent / "image"
WIDTH, HEIGHT = 29, 23
FILTERS = {"bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC, "lanczos": Image.LANCZOS}

random = np.random.default_rng(20)
pixels = bytearray()
decode_cases, resize_cases = [], []


def draw(width: int, height: int) -> Image.Image:
    """Smooth gradients, a little noise, a disc and a rectangle."""
    y, x = np.mgrid[0:height, 0:width]
    canvas = np.stack([x * 255 / max(width - 1, 1), y * 255 / max(height - 1, 1), 128 + 80 * np.sin((x + y) / 5)], -1)
    canvas += random.normal(0, 8, canvas.shape)
    canvas[(x - width / 3) ** 2 + (y - height / 2) ** 2 < (min(width, height) / 4) ** 2] = [240, 30, 20]
    canvas[height // 5 : height // 2, 2 * width // 3 : 5 * width // 6] = [10, 60, 230]
    return Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))


def noise(*shape: int) -> np.ndarray:
    return random.integers(0, 256, shape, dtype=np.uint8)


def remember(image: Image.Image) -> dict:
    offset = len(pixels)
    pixels.extend(image.tobytes())
    return {"width": image.width, "height": image.height, "pixels": offset}


def case(name: str, content: bytes, exif: bool = False) -> None:
    (FOLDER / name).write_bytes(content)
    image = Image.open(io.BytesIO(content))
    image.load()
    image = ImageOps.exif_transpose(image) if exif else image
    decode_cases.append({"file": name, "exif": exif, **remember(image.convert("RGB"))})


def encoded(image: Image.Image, format_name: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, format_name, **options)
    return out.getvalue()


def png(width, height, depth, colour, interlaced=False, palette=None, transparency=None) -> bytes:
    """Random samples, one filter after the other."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    bits = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour] * depth
    adam7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    rows = b""
    for x, y, dx, dy in adam7 if interlaced else [(0, 0, 1, 1)]:
        columns = (width - x + dx - 1) // dx
        for row in range((height - y + dy - 1) // dy if columns > 0 else 0):
            rows += bytes([row % 5]) + random.bytes((columns * bits + 7) // 8)
    out = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced))
    out += chunk(b"PLTE", palette) if palette else b""
    out += chunk(b"tRNS", transparency) if transparency else b""
    data = zlib.compress(rows)
    out += chunk(b"IDAT", data[: len(data) // 2]) + chunk(b"IDAT", data[len(data) // 2 :])
    return out + chunk(b"IEND", b"")


def gif(screen, frame, bits, palette, transparent=None, interlaced=False) -> bytes:
    """Random indices of `bits` bits; a clear code before the code size would grow keeps the writer short."""
    x, y, width, height = frame
    codes, clear = [], 1 << bits
    for i, index in enumerate(random.integers(0, clear, width * height)):
        codes += [clear, int(index)] if i % (clear - 2) == 0 else [int(index)]
    stream = sum(code << i * (bits + 1) for i, code in enumerate(codes + [clear + 1]))
    body = stream.to_bytes((len(codes) + 1) * (bits + 1) // 8 + 1, "little")
    blocks = b"".join(bytes([len(body[i : i + 255])]) + body[i : i + 255] for i in range(0, len(body), 255))
    size = (len(palette) // 3).bit_length() - 2
    out = b"GIF89a" + struct.pack("<HHBBB", *screen, 128 | size, 0, 0) + palette
    out += b"!\xfe\x05drawn\0"
    out += b"" if transparent is None else b"!\xf9\x04" + bytes([1, 0, 0, transparent]) + b"\0"
    return out + b"," + struct.pack("<HHHHB", x, y, width, height, 64 * interlaced) + bytes([bits]) + blocks + b"\0;"


def tiff(order, width, height, photometric, bits, blocks, **tags) -> bytes:
    """Uncompressed; `blocks` are strips of `rows` rows, tiles if `tile` is given, planes if `planar` is 2."""
    names = {"extra": 338, "planar": 284, "colormap": 320, "rows": 278}
    entries = {256: [width], 257: [height], 258: bits, 259: [1], 262: [photometric], 277: [len(bits)]}
    entries |= {names[k]: v if isinstance(v, list) else [v] for k, v in tags.items() if k in names}
    if "tile" in tags:
        entries |= {322: [tags["tile"]], 323: [tags["tile"]]}
    offsets = list(np.cumsum([8] + [len(b) for b in blocks]))
    entries[324 if "tile" in tags else 273] = offsets[:-1]
    entries[325 if "tile" in tags else 279] = [len(b) for b in blocks]
    directory, tail, start = b"", b"", int(offsets[-1])
    for tag, values in sorted(entries.items()):
        body = struct.pack(f"{order}{len(values)}H", *[int(v) for v in values])
        if len(body) > 4:
            place = start + 2 + 12 * len(entries) + 4 + len(tail)
            tail += body
            body = struct.pack(f"{order}I", place)
        directory += struct.pack(f"{order}HHI", tag, 3, len(values)) + body.ljust(4, b"\0")
    header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", start)
    return header + b"".join(blocks) + struct.pack(f"{order}H", len(entries)) + directory + b"\0" * 4 + tail


def bmp(width, height, bits, data, palette=b"", compression=0, masks=b"") -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(data), 0, 0, len(palette) // 4, 0)
    offset = 14 + len(info) + len(masks) + len(palette)
    return b"BM" + struct.pack("<IHHI", offset + len(data), 0, 0, offset) + info + masks + palette + data


def write_jpeg(rgb, grey, cmyk):
    for subsampling in ("4:4:4", "4:2:2", "4:2:0"):
        for progressive in (False, True):
            name = f"{subsampling.replace(':', '')}_{'progressive' if progressive else 'baseline'}.jpg"
            case(name, encoded(rgb, "JPEG", quality=80, subsampling=subsampling, progressive=progressive))
    case("restart.jpg", encoded(rgb, "JPEG", quality=60, restart_marker_rows=1))
    case("stored_as_rgb.jpg", encoded(rgb, "JPEG", quality=90, keep_rgb=True))
    case("grey.jpg", encoded(grey, "JPEG", quality=85))
    case("cmyk.jpg", encoded(cmyk, "JPEG", quality=95))
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[274] = orientation
        case(f"orientation_{orientation}.jpg", encoded(rgb, "JPEG", quality=30, exif=exif), exif=True)
        if orientation == 6:
            case("orientation_ignored.jpg", encoded(rgb, "JPEG", quality=30, exif=exif))
            case("orientation.png", encoded(rgb, "PNG", exif=exif), exif=True)
            case("orientation.webp", encoded(rgb, "WEBP", quality=50, exif=exif), exif=True)
            case("orientation_always.tif", encoded(rgb, "TIFF", exif=exif))


def write_png(rgb, grey, with_alpha):
    case("rgb.png", encoded(rgb, "PNG"))
    case("rgb_transparent.png", encoded(rgb, "PNG", transparency=(240, 30, 20)))
    case("rgba.png", encoded(with_alpha(rgb), "PNG"))
    case("grey_alpha.png", encoded(with_alpha(grey), "PNG"))
    case("one_bit.png", encoded(grey.convert("1"), "PNG"))
    case("palette.png", encoded(rgb.quantize(100), "PNG"))
    case("palette_transparent.png", encoded(rgb.quantize(13), "PNG", transparency=bytes(range(0, 130, 10))))
    for colour, depths in {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}.items():
        for depth in depths:
            palette = random.bytes(3 << depth) if colour == 3 else None
            case(f"interlaced_{colour}_{depth}.png", png(13, 11, depth, colour, True, palette))
    case("palette_short.png", png(17, 5, 8, 3, False, random.bytes(30), bytes(4)))
    small = np.array([[0, 1, 127, 254, 255, 256, 257, 300, 511, 32767, 65535]], dtype=np.uint16)
    case("grey_16.png", encoded(Image.fromarray(small), "PNG"))
    case("rgb_16.png", png(9, 7, 16, 2))


def write_webp(rgb, with_alpha):
    case("lossy.webp", encoded(rgb, "WEBP", quality=70))
    case("lossy_alpha.webp", encoded(with_alpha(rgb), "WEBP", quality=40))
    case("lossless.webp", encoded(rgb, "WEBP", lossless=True))
    case("lossless_alpha.webp", encoded(with_alpha(rgb), "WEBP", lossless=True, exact=True))
    for name, first in {"animated": rgb, "animated_alpha": with_alpha(rgb)}.items():
        content = encoded(first, "WEBP", save_all=True, append_images=[ImageOps.flip(rgb)], quality=60)
        case(f"{name}.webp", content)


def write_gif(rgb, grey):
    case("colours.gif", encoded(rgb.quantize(64), "GIF"))
    case("grey.gif", encoded(grey, "GIF"))
    case("transparent.gif", encoded(rgb.quantize(20), "GIF", transparency=5))
    case("animated.gif", encoded(rgb.quantize(9), "GIF", save_all=True, append_images=[ImageOps.flip(rgb).quantize(9)]))
    case("interlaced.gif", gif((21, 18), (0, 0, 21, 18), 5, random.bytes(96), interlaced=True))
    case("part.gif", gif((21, 18), (4, 3, 10, 9), 5, random.bytes(96)))
    case("part_transparent.gif", gif((21, 18), (4, 3, 10, 9), 5, random.bytes(96), transparent=7))
    case("sticks_out.gif", gif((9, 8), (4, 3, 10, 9), 5, random.bytes(96)))
    case("palette_short.gif", gif((10, 9), (0, 0, 10, 9), 5, random.bytes(24)))
    case("palette_of_greys.gif", gif((10, 9), (0, 0, 10, 9), 5, bytes(i for i in range(8) for _ in range(3))))


def write_bmp(rgb, grey):
    for name, image in {"rgb": rgb, "grey": grey, "palette": rgb.quantize(50), "one_bit": grey.convert("1")}.items():
        case(f"{name}.bmp", encoded(image, "BMP"))
    case("palette_16.bmp", bmp(9, 7, 4, random.bytes(8 * 7), random.bytes(64)))
    case("upside_down.bmp", bmp(9, -7, 24, random.bytes(28 * 7)))
    case("bits_32.bmp", bmp(9, 7, 32, random.bytes(36 * 7)))
    case("bit_fields_32.bmp", bmp(9, 7, 32, random.bytes(36 * 7), b"", 3, struct.pack("<III", 0xFF0000, 0xFF00, 0xFF)))
    rows = b"".join(bytes([4, 3 * y, 0, 3, y, 9, 1, 0, 2, 7, 0, 0]) for y in range(7)) + b"\0\1"
    case("run_lengths_8.bmp", bmp(9, 7, 8, rows, random.bytes(1024), 1))


def write_tiff(rgb, grey, cmyk, with_alpha):
    modes = {"rgb": rgb, "grey": grey, "one_bit": grey.convert("1"), "rgba": with_alpha(rgb)}
    for name, image in (modes | {"palette": rgb.quantize(50)}).items():
        case(f"{name}_lzw.tif", encoded(image, "TIFF", compression="tiff_lzw"))
    case("rgb_deflate.tif", encoded(rgb, "TIFF", compression="tiff_adobe_deflate"))
    case("rgb_packbits.tif", encoded(rgb, "TIFF", compression="packbits"))
    case("rgb_jpeg.tif", encoded(rgb, "TIFF", compression="jpeg", quality=75))
    case("fax.tif", encoded(grey.convert("1"), "TIFF", compression="group4"))
    case("cmyk.tif", encoded(cmyk, "TIFF"))
    w, h = 11, 7
    for order, letter in (("<", "le"), (">", "be")):
        for bits in (1, 2, 4, 8):
            row = (w * bits + 7) // 8
            strips = [random.bytes(row * h)]
            case(f"white_is_zero_{bits}_{letter}.tif", tiff(order, w, h, 0, [bits], strips))
            if bits < 8:
                colours = list(random.integers(0, 65536, 3 << bits))
                case(f"palette_{bits}_{letter}.tif", tiff(order, w, h, 3, [bits], strips, colormap=colours))
        values = np.minimum(random.integers(0, 400, w * h), 399).astype(f"{order}u2").tobytes()
        case(f"grey_16_{letter}.tif", tiff(order, w, h, 1, [16], [values]))
        strips = [random.bytes(w * 6 * 4), random.bytes(w * 6 * 3)]
        case(f"rgb_16_{letter}.tif", tiff(order, w, h, 2, [16] * 3, strips, rows=4))
        case(f"cmyk_16_{letter}.tif", tiff(order, w, h, 5, [16] * 4, [random.bytes(w * 8 * h)]))
    case("planes.tif", tiff("<", w, h, 2, [8] * 3, [random.bytes(w * h) for _ in range(3)], planar=2))
    case("tiles.tif", tiff("<", 21, 18, 2, [8] * 3, [random.bytes(16 * 16 * 3) for _ in range(4)], tile=16))
    for kind, name in ((0, "unspecified"), (1, "premultiplied"), (2, "straight")):
        case(f"alpha_{name}.tif", tiff("<", w, h, 2, [8] * 4, [random.bytes(w * h * 4)], extra=kind))


def write_resizes():
    both = [(46, 34), (47, 31), (11, 8), (7, 5), (1, 1), (60, 1), (1, 60), (40, 6), (22, 15)]
    sizes = {
        (23, 17): both + [(23, 40), (50, 17), (23, 5), (9, 17)],
        (1, 1): [(5, 3)],
        (1, 40): [(1, 7), (3, 9)],
        (64, 2): [(5, 2), (6, 9)],
    }
    for source_size, targets in sizes.items():
        for contrast in (False, True):  # noise of full contrast makes the sums leave the range of a byte
            source = Image.fromarray(noise(*source_size[::-1], 3) // 128 * 255) if contrast else draw(*source_size)
            from_source = {f"source_{k}": v for k, v in remember(source).items()}
            for target in targets:
                for name, resampling in FILTERS.items():
                    resize_cases.append({"filter": name, **from_source, **remember(source.resize(target, resampling))})


def main():
    warnings.simplefilter("ignore")
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.iterdir():
        old.unlink()
    rgb = draw(WIDTH, HEIGHT)
    grey = rgb.convert("L")
    alpha = Image.fromarray(noise(HEIGHT, WIDTH))
    cmyk = Image.fromarray(noise(HEIGHT, WIDTH, 4), "CMYK")

    def with_alpha(image):
        image = image.copy()
        image.putalpha(alpha)
        return image

    write_jpeg(rgb, grey, cmyk)
    write_png(rgb, grey, with_alpha)
    write_webp(rgb, with_alpha)
    write_gif(rgb, grey)
    write_bmp(rgb, grey)
    write_tiff(rgb, grey, cmyk, with_alpha)
    write_resizes()
    (FOLDER / "pixels.bin").write_bytes(pixels)
    (FOLDER / "cases.json").write_text(
        "{\n"
        + ",\n".join(
            f'"{name}": [\n' + ",\n".join(json.dumps(c) for c in cases) + "\n]"
            for name, cases in (("decode", decode_cases), ("resize", resize_cases))
        )
        + "\n}\n"
    )


if __name__ == "__main__":
    main()
