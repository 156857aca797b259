"""Texts to try tokenizers on: many scripts, code, emoji, combining marks, control characters and random code points."""

import random
import unicodedata

from families import WORDS

SPECIAL = "<s> </s> <mask> <pad> <unk> [CLS] [MASK] [SEP] <|endoftext|> <|startoftext|> <|im_start|> <eos> <extra_id_7> |||EMAIL_ADDRESS|||".split()
EMOJI = ["👍🏽", "👨‍👩‍👧‍👦", "🏳️‍🌈", "❤️", "🇩🇪🇫🇷", "1️⃣", "🧑🏿‍🚀", "©️", "™"]
CODE = [
    "for (int i = 0; i < n; ++i) { sum += a[i]; }\n",
    "\tif x is None:\r\n\t\treturn  {}\n\n\n",
    "https://example.org/?q=1&r=%20#top",
    "SELECT * FROM t WHERE a >= 10 -- comment",
    "x=$((y<<2))|grep -E '^[a-z]+'",
]
BLOCKS = [
    (0x20, 0x7F), (0x20, 0x7F), (0x00, 0x20), (0x7F, 0x250), (0x250, 0x300), (0x300, 0x370), (0x370, 0x600), (0x600, 0x900),
    (0x900, 0xE80), (0xE80, 0x1200), (0x1200, 0x2000), (0x2000, 0x2070), (0x2070, 0x2C00), (0x2E80, 0x3100), (0x3100, 0xA000),
    (0xA000, 0xAC00), (0xAC00, 0xD7A4), (0xE000, 0x10000), (0x10000, 0x12000), (0x1D000, 0x1E000), (0x1E000, 0x20000),
    (0x20000, 0x32000), (0xE0000, 0xE0200), (0, 0x110000),
]  # fmt: skip
SPACES = [" ", " ", " ", "  ", "   ", "\n", "\t", "\r\n", "\u00a0", "\u2003", "\u3000", "\u200b", "\u0085", ""]


def character(draw: random.Random) -> str:
    first, last = draw.choice(BLOCKS)
    c = draw.randrange(first, last)
    return "x" if 0xD800 <= c <= 0xDFFF else chr(c)


def piece(draw: random.Random) -> str:
    kind = draw.randrange(20)
    if kind < 9:
        word = draw.choice(WORDS)
        return draw.choice([word, word, word.upper(), word.title(), word + draw.choice(WORDS)])
    if kind < 13:
        return "".join(character(draw) for _ in range(draw.randint(1, 6)))
    if kind == 13:
        return draw.choice(EMOJI) * draw.randint(1, 3)
    if kind == 14:
        return draw.choice(CODE)
    if kind == 15:
        return draw.choice(SPECIAL)
    if kind == 16:
        return draw.choice("aeoкがᄀ") + "".join(chr(draw.randrange(0x300, 0x370)) for _ in range(draw.randint(1, 4)))
    if kind == 17:
        return unicodedata.normalize(draw.choice(["NFD", "NFKD", "NFC"]), draw.choice(WORDS))
    if kind == 18:
        return character(draw) * draw.randint(2, 12)
    return "".join(draw.choice("'sStTrReElLdDmM0123456789 ſ") for _ in range(draw.randint(1, 8)))


def texts(count: int, seed: int = 1) -> list[str]:
    """The same texts for the same seed."""
    draw = random.Random(seed)
    out = []
    for _ in range(count):
        text = ""
        for _ in range(draw.choice([1, 2, 3, 5, 8, 13])):
            text += piece(draw) + draw.choice(SPACES)
        out.append(text)
    return out
