"""Writes tests/golden/transcripts with transformers and tokenizers: small Whispers with random weights, and what
`generate` makes of clips with them.

    python tests/golden/make_transcripts.py

`english`, `multilingual`: a checkpoint directory and `expected.json` with tokens, segments and text of each clip;
`logits.safetensors`: the scores of every fourth step of one decoding. `decode.json`: what the reference decodes of ids with
the tokenizer of `multilingual`, cut characters and ids without a token among them.
"""

import json
from pathlib import Path

import numpy as np
import torch
import transformers
from make_encoders import noise, randomise
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

FOLDER = Path(__file__).parent / "transcripts"
LANGUAGES = ["en", "de", "fr", "haw"]
MERGES = [("Ġ", "t"), ("h", "e"), ("Ġt", "he"), ("Ġ", "a"), ("i", "n"), ("e", "r"), ("Ã", "©")]


def make_tokenizer(languages):
    """Bytes, a few merges, the special tokens of Whisper; timestamps are no tokens of the file."""
    tokens = sorted(pre_tokenizers.ByteLevel.alphabet()) + [a + b for a, b in MERGES]
    backend = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, MERGES))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    names = ["endoftext", "startoftranscript", *languages, "translate", "transcribe", "startofprev", "nospeech", "notimestamps"]
    backend.add_special_tokens([AddedToken(f"<|{name}|>", normalized=False) for name in names])
    return backend


def make_whisper(folder, seed, languages=(), positions=60, more_config={}, more_generation={}):
    """A checkpoint directory with everything that a transcript needs. -> model"""
    backend = make_tokenizer(languages)
    id_of = lambda name: backend.token_to_id(f"<|{name}|>")  # noqa: E731
    config = transformers.WhisperConfig(**{
        "vocab_size": backend.get_vocab_size() + positions + 1, "d_model": 12, "num_mel_bins": 20, "encoder_layers": 1,
        "encoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_layers": 2, "decoder_attention_heads": 2,
        "decoder_ffn_dim": 24, "max_source_positions": positions, "max_target_positions": 40,
        "pad_token_id": id_of("endoftext"), "bos_token_id": id_of("endoftext"), "eos_token_id": id_of("endoftext"),
        "decoder_start_token_id": id_of("startoftranscript"), "suppress_tokens": None, "begin_suppress_tokens": None,
        **more_config})  # fmt: skip
    torch.manual_seed(seed)
    model = transformers.WhisperForConditionalGeneration(config).eval()
    randomise(model, seed)
    # The embeddings are the weights of the scores too: not so large that one token wins every time.
    model.model.decoder.embed_positions.weight.mul_(3)
    generation = {
        "decoder_start_token_id": id_of("startoftranscript"), "eos_token_id": id_of("endoftext"),
        "pad_token_id": id_of("endoftext"), "bos_token_id": id_of("endoftext"), "max_length": 32,
        "no_timestamps_token_id": id_of("notimestamps"), "max_initial_timestamp_index": 20,
        "suppress_tokens": [3, 5, 8, *(id_of(n) for n in ("startoftranscript", "translate", "transcribe", "startofprev", "nospeech"))],
        "begin_suppress_tokens": [backend.token_to_id("Ġ"), id_of("endoftext")], "is_multilingual": bool(languages),
        "return_timestamps": False}  # fmt: skip
    if languages:
        generation["lang_to_id"] = {f"<|{code}|>": id_of(code) for code in languages}
        generation["task_to_id"] = {task: id_of(task) for task in ("transcribe", "translate")}
    else:
        generation["forced_decoder_ids"] = [[1, id_of("notimestamps")]]
    model.generation_config = transformers.GenerationConfig(**{**generation, **more_generation})
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    backend.save(str(folder / "tokenizer.json"))
    return model, backend


def features(model, samples):
    """A clip that fits a window is padded to it with silence, a longer one is not padded."""
    window = 320 * model.config.max_source_positions
    samples = np.pad(samples, (0, max(0, window - len(samples))))
    extractor = transformers.WhisperFeatureExtractor(feature_size=model.config.num_mel_bins)
    mel = extractor(samples, sampling_rate=16000, padding=False, truncation=False, return_tensors="pt")
    return mel.input_features


def reference(model, backend, samples, **options):
    """What `generate` makes of a clip: tokens, segments, text."""
    found = model.generate(features(model, samples), return_segments=True, **options)
    tokens = [t for segment in found["segments"][0] for t in segment["tokens"].tolist()]
    begin = model.generation_config.no_timestamps_token_id + 1
    text_of = lambda ids: backend.decode([t for t in ids if t < begin])  # noqa: E731
    segments = [
        {"start": float(s["start"]), "end": float(s["end"]), "text": text_of(s["tokens"].tolist()).strip(" \t\n\r")}
        for s in found["segments"][0]
    ]
    return {"tokens": tokens, "segments": segments, "text": text_of(tokens).strip(" \t\n\r")}


def hum(count):
    """A saw-tooth whose pitch rises, of whole numbers that the C++ test makes too."""
    i = np.arange(count, dtype=np.int64)
    return ((i * (40 + i // 400) % 1600 - 800) / 4096).astype(np.float32)


def clips(model):
    """By name: one window exactly, one that is shorter, one of several windows."""
    window = 320 * model.config.max_source_positions
    long = noise("long", 2 * window + 4000) / 8 + hum(2 * window + 4000)
    return {"hum": hum(window), "noise": noise("noise", window) / 4, "short": hum(window // 2), "long": long}


def write_case(name, seed, languages, options):
    model, backend = make_whisper(FOLDER / name, seed, languages)
    cases = []
    for case, given in options:
        cases.append({"clip": case, "options": given, **reference(model, backend, clips(model)[case], **given)})
    (FOLDER / name / "expected.json").write_text(json.dumps(cases) + "\n")
    return model, cases


def write_logits(model, cases):
    """The scores of every fourth step of the first case, all tokens at once and without a cache."""
    mel = features(model, clips(model)[cases[0]["clip"]])
    ids = torch.tensor([[model.generation_config.decoder_start_token_id, *cases[0]["tokens"]]])
    out = model(input_features=mel, decoder_input_ids=ids, use_cache=False)
    save_file({"ids": ids, "logits": out.logits[0, ::4].contiguous()}, FOLDER / "logits.safetensors")


def write_decode():
    backend = make_tokenizer(LANGUAGES)
    random = np.random.default_rng(4)
    count = backend.get_vocab_size()
    rows = [[], [count, count + 5, 0], [backend.token_to_id("<|endoftext|>")]]
    texts = [" the café in Ĺ", "naïve — 東京 👍🏽", "<|de|> a\n\ttab"]
    rows += [backend.encode(text).ids for text in texts]
    rows += [row[:-1] for row in rows[3:]] + [random.integers(0, count, 24).tolist() for _ in range(40)]
    cases = [
        {"ids": ids, "text": backend.decode(ids, skip_special_tokens=True), "all": backend.decode(ids, skip_special_tokens=False)}
        for ids in rows
    ]
    (FOLDER / "decode.json").write_text(json.dumps(cases, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    transformers.logging.set_verbosity_error()
    english = [(clip, {"return_timestamps": stamps}) for clip in ("hum", "noise") for stamps in (False, True)]
    english += [("short", {"return_timestamps": False}), ("long", {"return_timestamps": True})]
    many = [("hum", {"language": "de", "task": "transcribe"}), ("hum", {"task": "translate"})]
    many += [("noise", {"task": "transcribe"}), ("long", {"language": "fr", "task": "transcribe", "return_timestamps": True})]
    model, cases = write_case("english", 9, [], english)
    write_logits(model, cases)
    write_case("multilingual", 12, LANGUAGES, many)
    write_decode()
