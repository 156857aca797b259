"""Small tokenizers in the layout of well-known checkpoints, trained here on text made here.

Each is a `tokenizers.Tokenizer` whose tokenizer.json has the components of the family, in the same order and with the
same options; only the vocabulary is small and ours.
"""

import io
import json
import random
from pathlib import Path

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

SIZE = 2000  # tokens of a vocabulary
RULES: dict = {}  # options of the SentencePiece trainer; the golden cases need a small table of normalization rules

CLIP_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
LLAMA3_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2_WORDS = LLAMA3_WORDS.replace("{1,3}", "")
PUNCTUATION = r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]"""

WORDS = """the a red green blue orange bicycle shoe table lamp camera picture of with and without on under search find broken
left right side window water boils three minutes song piano again microphone voice shirt larger size battery hours music
rain falls roof thousand tiny drums wrong colour model quick nothing similar it's don't we'll they're I've I'm he'd un café crème
et une brioche dorée pour la fenêtre der große grüne Vogel fliegt über die Häuser el niño corrió detrás de la pelota azul
zażółć gęślą jaźń mówi stary żółw привет мир это красная книга το κόκκινο ποδήλατο είναι εδώ これは赤い本です 新しい自転車 水を飲む
红色的自行车 我们去商店 北京 上海 한국어 문장 빨간 자전거 İstanbul'da güzel bir gün ışık नमस्ते दुनिया สวัสดีชาวโลก مرحبا بالعالم שלום עולם
tiếng Việt rất đẹp ﬁne ﬂow ½ ² 12 250 1999 3.14 ¿qué? — … « » , . ! ? ( ) " ' @ # / : ;
def return import self None True lambda x: for i in range(10): if not items: {"key": [1, 2]} <div class="a"> && || !=""".split()


def sentences(count: int = 4000) -> list[str]:
    draw = random.Random(5)
    return [" ".join(draw.choice(WORDS) for _ in range(draw.randint(3, 16))) for _ in range(count)]


def trained(model, trainer, normalizer=None, pre_tokenizer=None, post_processor=None) -> Tokenizer:
    tokenizer = Tokenizer(model)
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    if pre_tokenizer is not None:
        tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.train_from_iterator(sentences(), trainer)
    if post_processor is not None:
        tokenizer.post_processor = post_processor(tokenizer)
    return tokenizer


def template(single: str, *special: str):
    return lambda t: processors.TemplateProcessing(single, special_tokens=[(s, t.token_to_id(s)) for s in special])


def byte_bpe_trainer(special: list, **more) -> trainers.BpeTrainer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    return trainers.BpeTrainer(
        vocab_size=SIZE, special_tokens=special, initial_alphabet=alphabet, show_progress=False, **more
    )


def clip() -> Tokenizer:
    special = ["<|startoftext|>", "<|endoftext|>"]
    suffix = "</w>"
    # The trainer knows no single bytes that end a word, which CLIP has for each byte; they are put in afterwards.
    tokenizer = trained(
        models.BPE(unk_token="<|endoftext|>", continuing_subword_prefix="", end_of_word_suffix=suffix),
        byte_bpe_trainer([], continuing_subword_prefix="", end_of_word_suffix=suffix),
        normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]),
        pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(CLIP_WORDS), "removed", invert=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        ),
    )
    vocab = tokenizer.get_vocab()
    for byte in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocab.setdefault(byte + suffix, len(vocab))
    for token in special:
        vocab[token] = len(vocab)
    merges = [tuple(m) for m in json.loads(tokenizer.to_str())["model"]["merges"]]
    tokenizer.model = models.BPE(
        vocab, merges, unk_token="<|endoftext|>", continuing_subword_prefix="", end_of_word_suffix=suffix
    )
    tokenizer.add_special_tokens([AddedToken(s, normalized=False) for s in special])
    tokenizer.post_processor = processors.RobertaProcessing(
        sep=(special[1], vocab[special[1]]), cls=(special[0], vocab[special[0]]), trim_offsets=False, add_prefix_space=False
    )
    return tokenizer


def roberta() -> Tokenizer:
    special = ["<s>", "<pad>", "</s>", "<unk>", AddedToken("<mask>", lstrip=True, normalized=False)]
    return trained(
        models.BPE(continuing_subword_prefix="", end_of_word_suffix=""),
        byte_bpe_trainer(special),
        None,
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        lambda t: processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False),
    )


def gpt2() -> Tokenizer:
    return trained(
        models.BPE(continuing_subword_prefix="", end_of_word_suffix=""),
        byte_bpe_trainer(["<|endoftext|>"]),
        None,
        pre_tokenizers.ByteLevel(add_prefix_space=True),
        lambda t: processors.ByteLevel(trim_offsets=True),
    )


def modernbert() -> Tokenizer:
    special = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", AddedToken("[MASK]", lstrip=True)]
    tokenizer = trained(
        models.BPE(),
        byte_bpe_trainer(special),
        normalizers.NFC(),
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True),
        template("[CLS] $A [SEP]", "[CLS]", "[SEP]"),
    )
    tokenizer.add_tokens([AddedToken(" " * n, normalized=True) for n in range(24, 1, -1)])
    tokenizer.add_tokens([AddedToken("|||EMAIL_ADDRESS|||", normalized=True)])
    return tokenizer


def llama3() -> Tokenizer:
    special = ["<|begin_of_text|>", "<|end_of_text|>"]
    return trained(
        models.BPE(ignore_merges=True),
        byte_bpe_trainer(special),
        None,
        pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(LLAMA3_WORDS), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        ),
        lambda t: processors.Sequence(
            [processors.ByteLevel(trim_offsets=False), template("<|begin_of_text|> $A", "<|begin_of_text|>")(t)]
        ),
    )


def qwen2() -> Tokenizer:
    return trained(
        models.BPE(continuing_subword_prefix="", end_of_word_suffix=""),
        byte_bpe_trainer(["<|endoftext|>", "<|im_start|>", "<|im_end|>"]),
        normalizers.NFC(),
        pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(QWEN2_WORDS), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        ),
        lambda t: processors.ByteLevel(trim_offsets=False),
    )


def gemma(lower: bool = False) -> Tokenizer:
    special = ["<pad>", "<eos>", "<bos>", "<unk>"] + [f"<0x{b:02X}>" for b in range(256)]
    space = normalizers.Replace(" ", "▁")
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = space
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")  # for training only
    trainer = trainers.BpeTrainer(vocab_size=SIZE, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(sentences(), trainer)
    learned = json.loads(tokenizer.to_str())["model"]
    merges = [tuple(m) for m in learned["merges"]]
    tokenizer = Tokenizer(models.BPE(learned["vocab"], merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), space]) if lower else space
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.add_special_tokens(special[:4])
    tokenizer.post_processor = template("$A <eos>" if lower else "<bos> $A", "<eos>", "<bos>")(tokenizer)
    return tokenizer


def siglip2() -> Tokenizer:
    return gemma(lower=True)


def bert(lower: bool = True) -> Tokenizer:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return trained(
        models.WordPiece(unk_token="[UNK]"),
        trainers.WordPieceTrainer(vocab_size=SIZE, special_tokens=special, show_progress=False),
        normalizers.BertNormalizer(lowercase=lower),
        pre_tokenizers.BertPreTokenizer(),
        template("[CLS] $A [SEP]", "[CLS]", "[SEP]"),
    )


def bert_cased() -> Tokenizer:
    return bert(lower=False)


def mpnet() -> Tokenizer:
    special = ["<s>", "<pad>", "</s>", "[UNK]", AddedToken("<mask>", lstrip=True, normalized=False)]
    return trained(
        models.WordPiece(unk_token="[UNK]"),
        trainers.WordPieceTrainer(vocab_size=SIZE, special_tokens=special, show_progress=False),
        normalizers.BertNormalizer(lowercase=True),
        pre_tokenizers.BertPreTokenizer(),
        lambda t: processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False),
    )


def sentencepiece_model(**options) -> bytes:
    """A SentencePiece model file with Google's normalization rules."""
    out = io.BytesIO()
    settings = {"vocab_size": SIZE, "model_type": "unigram", "character_coverage": 0.9995, "hard_vocab_limit": False, "minloglevel": 2, **RULES}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences()), model_writer=out, **{**settings, **options}
    )
    return out.getvalue()


def proto(model: bytes):
    from sentencepiece import sentencepiece_model_pb2

    message = sentencepiece_model_pb2.ModelProto()
    message.ParseFromString(model)
    return message


def xlm_roberta() -> Tokenizer:
    message = proto(sentencepiece_model())
    vocab = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    vocab += [(piece.piece, piece.score) for piece in message.pieces[3:]] + [("<mask>", 0.0)]
    tokenizer = Tokenizer(models.Unigram(vocab, unk_id=3))
    tokenizer.normalizer = normalizers.Precompiled(message.normalizer_spec.precompiled_charsmap)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", AddedToken("<mask>", lstrip=True, normalized=False)])
    tokenizer.post_processor = template("<s> $A </s>", "<s>", "</s>")(tokenizer)
    return tokenizer


def t5() -> Tokenizer:
    message = proto(sentencepiece_model(pad_id=0, eos_id=1, unk_id=2, bos_id=-1))
    vocab = [(piece.piece, piece.score) for piece in message.pieces]
    vocab += [(f"<extra_id_{i}>", 0.0) for i in range(9, -1, -1)]
    tokenizer = Tokenizer(models.Unigram(vocab, unk_id=2))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Precompiled(message.normalizer_spec.precompiled_charsmap),
            normalizers.Strip(left=False, right=True),
            normalizers.Replace(Regex(" {2,}"), "▁"),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.add_special_tokens(["<pad>", "</s>", "<unk>"] + [f"<extra_id_{i}>" for i in range(10)])
    tokenizer.post_processor = template("$A </s>", "</s>")(tokenizer)
    return tokenizer


def siglip() -> Tokenizer:
    """The tokenizer.json that was made for SigLIP from its SentencePiece model."""
    message = proto(sentencepiece_model(pad_id=0, eos_id=1, unk_id=2, bos_id=-1, byte_fallback=True))
    tokenizer = Tokenizer(models.Unigram([(p.piece, p.score) for p in message.pieces], unk_id=2, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Lowercase(),
            normalizers.Replace(Regex(PUNCTUATION), ""),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
            normalizers.Precompiled(message.normalizer_spec.precompiled_charsmap),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.add_special_tokens([AddedToken(s, lstrip=True, rstrip=True, normalized=False) for s in ("</s>", "<unk>")])
    tokenizer.post_processor = template("$A </s>", "</s>")(tokenizer)
    return tokenizer


def words() -> Tokenizer:
    """No real checkpoint: components that the others lack."""
    tokenizer = trained(
        models.WordLevel(unk_token="?"),
        trainers.WordLevelTrainer(special_tokens=["?"], show_progress=False),
        normalizers.Sequence(
            [normalizers.Nmt(), normalizers.NFKD(), normalizers.StripAccents(), normalizers.Prepend("_"), normalizers.NFKC()]
        ),
        pre_tokenizers.Sequence(
            [
                pre_tokenizers.Whitespace(),
                pre_tokenizers.Digits(individual_digits=False),
                pre_tokenizers.Punctuation("contiguous"),
                pre_tokenizers.Split(Regex("[aeiou]"), "merged_with_next"),
                pre_tokenizers.Split("th", "merged_with_previous"),
                pre_tokenizers.Split(Regex(r"\p{N}{2,}"), "removed", invert=False),
            ]
        ),
    )
    return tokenizer


FAMILIES = {
    function.__name__: function
    for function in (
        clip, roberta, gpt2, modernbert, llama3, qwen2, gemma, siglip2, bert, bert_cased, mpnet, xlm_roberta, t5, siglip, words,
    )
}  # fmt: skip


# --- the same without tokenizer.json ----------------------------------------------------------------------------------


def bpe_files(tokenizer: Tokenizer) -> dict[str, bytes]:
    model = json.loads(tokenizer.to_str())["model"]
    merges = "#version: 0.2\n" + "".join(f"{left} {right}\n" for left, right in model["merges"])
    return {"vocab.json": json.dumps(model["vocab"], ensure_ascii=False).encode(), "merges.txt": merges.encode()}


def word_list(tokenizer: Tokenizer) -> dict[str, bytes]:
    vocab = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    return {"vocab.txt": "".join(token + "\n" for token, _ in vocab).encode()}


def spiece(name: str, **options) -> dict[str, bytes]:
    return {name: sentencepiece_model(**options)}


def whisper_files() -> dict[str, bytes]:
    """Without the special tokens in vocab.json, as the multilingual checkpoints have them."""
    files = bpe_files(gpt2())
    first = len(json.loads(files["vocab.json"]))
    names = ["startoftranscript", "en", "zh", "de", "translate", "transcribe", "startofprev", "nospeech", "notimestamps"]
    added = {f"<|{name}|>": first + i for i, name in enumerate(names)}
    return files | {"added_tokens.json": json.dumps(added).encode()}


T5_IDS = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
GEMMA = {
    "model_type": "bpe", "byte_fallback": True, "add_dummy_prefix": False, "remove_extra_whitespaces": False,
    "normalization_rule_name": "identity", "pad_id": 0, "eos_id": 1, "bos_id": 2, "unk_id": 3,
    "eos_piece": "<eos>", "bos_piece": "<bos>", "user_defined_symbols": ["<mask>"],
}  # fmt: skip

# Family: the files of the vocabulary and the tokenizer_config.json, whose tokenizer_class `transformers` knows.
OLDER = {
    "older_bert": lambda: (word_list(bert()), {"tokenizer_class": "BertTokenizer"}),
    "older_bert_cased": lambda: (
        word_list(bert_cased()),
        {"tokenizer_class": "BertTokenizer", "do_lower_case": False, "tokenize_chinese_chars": False},
    ),
    "older_mpnet": lambda: (word_list(mpnet()), {"tokenizer_class": "MPNetTokenizer", "strip_accents": False}),
    "older_clip": lambda: (bpe_files(clip()), {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77}),
    "older_roberta": lambda: (
        bpe_files(roberta()),
        {"tokenizer_class": "RobertaTokenizer", "mask_token": {"__type": "AddedToken", "content": "<mask>", "lstrip": True}},
    ),
    "older_gpt2": lambda: (bpe_files(gpt2()), {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": True}),
    "older_qwen2": lambda: (bpe_files(qwen2()), {"tokenizer_class": "Qwen2Tokenizer"}),
    "older_whisper": lambda: (
        whisper_files(), {"tokenizer_class": "WhisperTokenizer", "language": "German", "task": "transcribe"},
    ),
    "older_xlm_roberta": lambda: (spiece("sentencepiece.bpe.model"), {"tokenizer_class": "XLMRobertaTokenizer"}),
    "older_t5": lambda: (spiece("spiece.model", **T5_IDS), {"tokenizer_class": "T5Tokenizer", "extra_ids": 20}),
    "older_siglip": lambda: (spiece("spiece.model", **T5_IDS), {"tokenizer_class": "SiglipTokenizer"}),
    "older_gemma": lambda: (spiece("tokenizer.model", **GEMMA), {"tokenizer_class": "GemmaTokenizer", "add_bos_token": True}),
}


def write_older(name: str, folder: Path):
    """Writes the files of an older family and returns the tokenizer that transformers makes of them."""
    import transformers

    files, config = OLDER[name]()
    for file, content in files.items():
        (folder / file).write_bytes(content)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return getattr(transformers, config["tokenizer_class"]).from_pretrained(folder)
