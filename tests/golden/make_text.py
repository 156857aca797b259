"""Writes tests/golden/text with the Hugging Face tokenizers library: a small tokenizer, what it makes of texts, and what
it takes each code point for.

    python tests/golden/make_text.py

`tokenizer.json` is a BERT tokenizer with a vocabulary taken from the sentences below. `cases.json` holds groups of texts; each group first
replaces some parts of that file ("changes"). `unicode.json` holds properties of code points as ranges, and FNV-1a hashes
of their lower case and decomposition, one for each block of 4096.
"""

import json
import random
from collections import Counter
from pathlib import Path

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

FOLDER = Path(__file__).parent / "text"
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]

SENTENCES = """
the red bicycle stands beside the old wooden door
a small white lamp with a round paper shade
she bought two pairs of running shoes and a rain jacket
my headphones arrived broken and the left side makes no sound
where can i find the green apples and the oat milk
the screen of the phone is cracked in the lower corner
please send me a replacement or return my money
how much does the large blue backpack cost today
an orange cat sleeps on the warm keyboard every afternoon
the kettle boils water in less than three minutes
we are looking for a table that fits four people
this camera records video at sixty frames per second
the delivery was late but the driver was friendly
yellow bananas hang above the counter of the grocery store
he plays the same song on the piano again and again
the microphone picks up every word spoken in the room
do you have this shirt in a larger size
the battery lasts for about nineteen hours of music
rain falls on the tin roof like a thousand tiny drums
it is the wrong colour and the wrong model
the quick search found nothing similar to this picture
un café crème et une brioche dorée pour la fenêtre
der große grüne Vogel fliegt über die Häuser
el niño corrió detrás de la pelota azul
zażółć gęślą jaźń mówi stary żółw
привет мир это красная книга
το κόκκινο ποδήλατο είναι εδώ
これは赤い本です 新しい自転車 水を飲む
红色的自行车 我们去商店 北京 上海
한국어 문장 빨간 자전거
İstanbul'da güzel bir gün ışık
0 1 2 3 4 5 6 7 8 9 10 12 25 100 1999 2024
hello, world! (yes) - no; what? "quoted" it's 50% & more... #tag @name a/b c_d
""".strip().splitlines()

TEXTS = [
    "",
    " ",
    "the red one",
    "The RED bicycle, please!",
    "  leading and trailing \t spaces\r\n ",
    "unaffordable bicycles zzzzqqqq",
    "İSTANBUL ΑΣ ΑΣ. ΣΑΣ ẞ ß ǅ K Å Ω ŉ",
    "café cafe\u0301 CAFÉ CAFE\u0301 crème",
    "ﬁne ﬂour ½ ² ℌ 𝐇𝐞𝐥𝐥𝐨",
    "한국어 가나 각 ᄀ\u1161\u11a8",
    "红色的bicycle自行车 𠀀𪜀𫠠 豈 \U0002f800 \u3400\u4dbf\u4dc0",
    "これは赤い本です。が か\u3099",
    "emoji 😀😁 👍🏽 👨\u200d👩\u200d👧\u200d👦 ❤\ufe0f 🇩🇪 1\ufe0f\u20e3",
    "zero\u200bwidth soft\u00adhyphen bom\ufeff null\0byte repl\ufffdace bell\x07",
    "a\u00a0b\u2003c\u2028d\u3000e\u0085f\x0bg\u1680h\u180ei",
    "punctuation: _under-score `^~$ +<=>| «guillemets» ¿qué? — … 、。「」 ¡",
    "marks \u0301at start, x\u0345\u0301\u0323y, \u0f73\u0334, \u0344b, d\u0323\u0307 \u1e0b\u0323, \u1e9b\u0323",
    "\u302e\u302f\u16ff0 \U0001d165\U0001d16d\U0001d15f \u0dca\u0ddd \u093c\u0958",
    "private \ue000\U000f0000 unassigned \u0378\U000e0080 tag \U000e0041 \U000e0001",
    "later marks a\u1ac1b \u08d4c \U0001e4ec d\u1dfbe and punctuation \u2e52 \u061d \u166d \U000111c9 \u1734",
    "later capitals \u1c89 \ua7cb\ua7cc\ua7da\ua7dc \U00010d50 \U00016ea0",
    "[CLS] the [MASK] one[SEP] [mask] [PAD][UNK] [SEP",
    "a" * 100 + " " + "a" * 101 + " " + "é" * 100 + " " + "e\u0301" * 101,
    "the" * 33 + "x " + "the" * 34,
    "it's 50% off... (really?) \"yes\" a/b/c https://example.org/?q=1&r=2#s",
    "NEW YORK new york New  York newyork renew yorker",
    "left  <L>  right  <R>  word <W>x <W> x<W> <W>\u0301 \u24b6<W> \u200d<W> both  <LR>  <LR> end",
    "\u0130<W>\u1c89 Foo fOO fóo xfoox foo\u0301 <é> <É>  <e>",
]
ALPHABETS = [
    [chr(c) for c in range(0x20, 0x250)],
    [chr(c) for c in range(0x300, 0x370)] + list("aeiou"),
    [chr(c) for c in range(0x370, 0x2000)],
    [chr(c) for c in range(0x2000, 0x3100)],
    [chr(c) for c in range(0x1E000, 0x1F000)] + [chr(c) for c in range(0x10000, 0x12000)],
    list("  \t\nthe red [SEP] <L> foo 红色 é\u0301"),
]
ADDED = [
    AddedToken("<L>", lstrip=True, normalized=False),
    AddedToken("<R>", rstrip=True, normalized=False),
    AddedToken("<LR>", lstrip=True, rstrip=True, normalized=False),
    AddedToken("<W>", single_word=True, normalized=False),
    AddedToken("Foo", normalized=True),
    AddedToken("new york", single_word=True, normalized=True),
    AddedToken("<é>", rstrip=True, normalized=True),
]


def bert_normalizer(**on) -> dict:
    flags = {"clean_text": False, "handle_chinese_chars": False, "strip_accents": False, "lowercase": False}
    return {"type": "BertNormalizer", **flags, **on}


def vocabulary() -> dict[str, int]:
    """Every character, every word that occurs, and the endings of two to four letters that three words share.

    The library's own trainer breaks ties by the order of a hash table, so its result changes from run to run.
    """
    normalizer, splitter = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    words = sorted({w for s in SENTENCES for w, _ in splitter.pre_tokenize_str(normalizer.normalize_str(s))})
    letters = sorted({c for word in words for c in word})
    endings = Counter(word[-n:] for word in words for n in (2, 3, 4) if len(word) > n)
    tokens = SPECIAL + letters + [f"##{c}" for c in letters] + [w for w in words if len(w) > 1]
    tokens += [f"##{ending}" for ending, count in sorted(endings.items()) if count >= 3]
    return {token: i for i, token in enumerate(tokens)}


def build() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(vocabulary(), unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(SPECIAL)
    ids = {token: tokenizer.token_to_id(token) for token in SPECIAL}
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])],
    )
    return tokenizer


def random_texts(count: int) -> list[str]:
    draw = random.Random(11)
    return ["".join(draw.choice(draw.choice(ALPHABETS)) for _ in range(draw.randint(1, 24))) for _ in range(count)]


def cases(base: dict) -> list[dict]:
    with_added = Tokenizer.from_str(json.dumps(base))
    with_added.add_tokens(ADDED)
    added = json.loads(with_added.to_str())["added_tokens"]
    clean = {"clean_text": True, "handle_chinese_chars": True}
    groups = [
        {},
        {"added_tokens": added},
        {"normalizer": bert_normalizer(**clean)},
        {"normalizer": bert_normalizer(**clean, strip_accents=True), "added_tokens": added},
        {"normalizer": bert_normalizer(**clean, lowercase=True), "added_tokens": added},
        {"normalizer": bert_normalizer(lowercase=True, strip_accents=None)},
        {"normalizer": None, "post_processor": None},
        {"post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}},
    ]
    out = []
    for i, changes in enumerate(groups):
        tokenizer = Tokenizer.from_str(json.dumps(base | changes))
        texts = TEXTS + random_texts(200)[i * 25 : (i + 1) * 25]
        encoded = []
        for text in texts:
            e = tokenizer.encode(text)
            encoded.append({"text": text, "ids": e.ids, "tokens": e.tokens, "offsets": [x for o in e.offsets for x in o]})
        out.append({"changes": changes, "texts": encoded})
    return out


def truncated_cases(tokenizer: Tokenizer) -> list[dict]:
    out = []
    for text in TEXTS[2:8]:
        whole = len(tokenizer.encode(text).ids)
        for length in (2, 3, 5, 8, 64):
            tokenizer.enable_truncation(max_length=length)
            ids = tokenizer.encode(text).ids
            tokenizer.no_truncation()
            out.append({"text": text, "max_length": length, "ids": ids, "truncated": whole > length})
    return out


def ranges(code_points: list[int]) -> list[int]:
    """[first, last, first, last, ...]"""
    out: list[int] = []
    for c in code_points:
        if out and out[-1] == c - 1:
            out[-1] = c
        else:
            out += [c, c]
    return out


def hashes(function) -> list[str]:
    """FNV-1a (64 bits) of the UTF-8 of function(c) for each block of 4096 code points."""
    out = []
    for block in range(0, 0x110000, 0x1000):
        value = 0xCBF29CE484222325
        for c in range(block, block + 0x1000):
            if not 0xD800 <= c <= 0xDFFF:
                for byte in function(chr(c)).encode():
                    value = (value ^ byte) * 0x100000001B3 % 2**64
        out.append(f"{value:016x}")
    return out


def unicode_properties() -> dict:
    clean = normalizers.BertNormalizer(True, False, False, False)
    strip = normalizers.BertNormalizer(False, False, True, False)
    lower, nfd, words = normalizers.Lowercase(), normalizers.NFD(), pre_tokenizers.BertPreTokenizer()
    finder = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    finder.add_tokens([AddedToken("<x>", single_word=True, normalized=False)])

    def split_into(c: int) -> int:
        return len(words.pre_tokenize_str(f"a{chr(c)}b"))

    def moves(c: int) -> bool:  # U+0345 has the highest combining class, 240, U+0334 the lowest, 1
        return nfd.normalize_str(f"a\u0345{chr(c)}\u0334") != f"a\u0345{chr(c)}\u0334"

    def is_class(pattern: str) -> list[int]:
        remove = normalizers.Replace(Regex(pattern), "")
        return ranges([c for c in CODE_POINTS if remove.normalize_str(chr(c)) == ""])

    digits, accents = pre_tokenizers.Digits(individual_digits=True), normalizers.StripAccents()
    whole = [c for c in CODE_POINTS if nfd.normalize_str(chr(c)) == chr(c)]
    return {
        "tokenizers": tokenizers.__version__,
        "removed": ranges([c for c in CODE_POINTS if clean.normalize_str(f"a{chr(c)}b") == "ab"]),
        "whitespace": ranges([c for c in CODE_POINTS if split_into(c) == 2]),
        "punctuation": ranges([c for c in CODE_POINTS if split_into(c) == 3]),
        "word": ranges([c for c in CODE_POINTS if finder.encode(f"{chr(c)}<x>").ids != [0, 1]]),
        "nonspacing": ranges([c for c in whole if strip.normalize_str(f"a{chr(c)}b") == "ab"]),
        "combining": ranges([c for c in whole if moves(c)]),
        "letter": is_class(r"\p{L}"),
        "number": is_class(r"\p{N}"),
        "numeric": ranges([c for c in CODE_POINTS if len(digits.pre_tokenize_str(f"a{chr(c)}b")) == 3]),
        "mark": ranges([c for c in CODE_POINTS if accents.normalize_str(chr(c)) == ""]),
        "lower": hashes(lower.normalize_str),
        "decomposed": hashes(nfd.normalize_str),
        "compatible": hashes(normalizers.NFKD().normalize_str),
        "composed": hashes(normalizers.NFC().normalize_str),
    }


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    tokenizer = build()
    text = tokenizer.to_str(pretty=True)
    (FOLDER / "tokenizer.json").write_text(text + "\n", encoding="utf-8")
    content = {"groups": cases(json.loads(text)), "truncated": truncated_cases(tokenizer)}
    compact = {"ensure_ascii": True, "separators": (",", ":")}
    (FOLDER / "cases.json").write_text(json.dumps(content, **compact) + "\n")
    (FOLDER / "unicode.json").write_text(json.dumps(unicode_properties(), **compact) + "\n")


if __name__ == "__main__":
    main()
