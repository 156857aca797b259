"""Writes tests/golden/spectrograms with transformers 5.12: small checkpoints of the families that hear spectrograms, with
random weights in the official layouts, and what the reference makes of clips at each stage; and what its filter banks
make of a clip, into tests/golden/audio.

    python tests/golden/make_spectrograms.py

`clip.safetensors`: one clip, int16 (n), whose first samples are the clips of all cases. Every other folder is a
checkpoint with `expected.safetensors`: `features.N` (of fusion every fourth frame and band) and `vector.N` of the first N samples, `.seedS` of the pieces that
numpy.random.seed(S) draws, `logits.N` of a classifier, `.apart` of a short clip that is not fused with itself; `ids` and
`text_features` of the texts in its metadata.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import tokenizers
import torch
import transformers as tf
from make_vision import randomise
from safetensors.torch import save_file
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

FOLDER = Path(__file__).parent / "spectrograms"
AUDIO = Path(__file__).parent / "audio"

TEXTS = ["a dog barks in the rain", "", "the sound of a bell", "rain " * 40, "Bells, and a dog!"]


def draw(samples, seed):
    """Harmonics of a gliding pitch with clicks and noise, exact in int16."""
    random = np.random.default_rng(seed)
    t = np.arange(samples) / 8000
    phase = 2 * np.pi * np.cumsum(160 + 90 * np.sin(2 * np.pi * 1.7 * t + seed)) / 8000
    wave = sum(np.sin(k * phase) / k for k in range(1, 15)) * (0.6 + 0.4 * np.sin(2 * np.pi * 5 * t))
    wave[random.integers(0, samples, 1 + samples // 3000)] += 2
    wave = 0.2 * wave + random.normal(0, 0.01, samples) + 0.01
    return np.clip(np.round(wave * 2**15), -(2**15), 2**15 - 1).astype(np.int16)


def floats(samples):
    return (samples / np.float32(2**15)).astype(np.float32)


def make(folder, model, seed, extractor, nested=False, dtype=torch.float32):
    """The checkpoint, and the model as a reader of it gets it."""
    shutil.rmtree(folder, ignore_errors=True)
    randomise(model, seed)
    generator = torch.Generator().manual_seed(seed)
    for name, statistics in model.named_buffers():
        if name.endswith("running_mean"):
            statistics.copy_(torch.randn(statistics.shape, generator=generator) * (20 if "audio_encoder.batch_norm" in name else 0.3))
        elif name.endswith("running_var"):
            statistics.copy_(torch.rand(statistics.shape, generator=generator) + 0.5)
            if "audio_encoder.batch_norm" in name:  # of decibels
                statistics.mul_(400)
    model.to(dtype).save_pretrained(folder)
    if extractor:
        written = extractor.to_dict()
        name = "processor_config.json" if nested else "preprocessor_config.json"
        (folder / name).write_text(json.dumps({"feature_extractor": written} if nested else written, indent=2))
    return type(model).from_pretrained(folder, dtype=torch.float32).eval()


def write_tokenizer(folder):
    """A byte-level BPE in RoBERTa's layout."""
    words = ["<s>", "<pad>", "</s>", "<unk>", *sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())]
    merges = [("Ġ", "d"), ("o", "g"), ("Ġd", "og"), ("r", "a"), ("i", "n"), ("ra", "in"), ("Ġ", "rain"), ("Ġ", "a")]
    words += [a + b for a, b in merges]
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.BPE({word: i for i, word in enumerate(words)}, merges, unk_token="<unk>"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.post_processor = tokenizers.processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    tokenizer.add_special_tokens(words[:4])
    tokenizer.enable_padding(pad_id=1, pad_token="<pad>")
    tokenizer.save(str(folder / "tokenizer.json"))
    fast = tf.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), pad_token="<pad>")
    return fast, len(words)


def save(folder, tensors):
    tensors = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    save_file(tensors, folder / "expected.safetensors", {"texts": json.dumps(TEXTS)})


def write_ast(clip):
    """Lengths: one frame, part of the window, one sample less than two frames more, the whole window."""
    sizes = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, num_mel_bins=24,
                 max_length=41, patch_size=6, frequency_stride=5, time_stride=7)  # fmt: skip
    for name, classes, extractor, options in [
        ("ast", 0, tf.ASTFeatureExtractor(num_mel_bins=24, max_length=41), {}),
        ("ast_classifier", 3, tf.ASTFeatureExtractor(num_mel_bins=24, max_length=41, mean=-3.1, std=2.7),
         dict(qkv_bias=False, hidden_act="gelu_new", layer_norm_eps=1e-3)),
    ]:  # fmt: skip
        folder = FOLDER / name
        config = tf.ASTConfig(**sizes, **options)
        if classes:
            config.id2label, config.label2id = dict(enumerate("abc")), {c: i for i, c in enumerate("abc")}
        network = tf.ASTForAudioClassification(config) if classes else tf.ASTModel(config)
        model = make(folder, network, 20 + classes, extractor, nested=bool(classes), dtype=torch.float16 if classes else torch.float32)
        base, tensors = model.audio_spectrogram_transformer if classes else model, {}
        for n in (400, 3217, 6799, 6800):
            values = extractor(floats(clip[:n]), sampling_rate=16000, return_tensors="pt").input_values
            tensors[f"features.{n}"], tensors[f"vector.{n}"] = values[0], base(values).pooler_output[0]
            if classes:
                tensors[f"logits.{n}"] = model(values).logits[0]
        save(folder, tensors)


# 1 s at 8 kHz: 63 frames, which are stretched to 64
CLAP_EXTRACTOR = dict(feature_size=16, sampling_rate=8000, hop_length=128, max_length_s=1, fft_window_size=256,
                      frequency_min=50, frequency_max=3800)  # fmt: skip
CLAP_AUDIO = dict(window_size=4, num_mel_bins=16, spec_size=32, hidden_size=16, depths=[2, 1], num_attention_heads=[2, 4],
                  patch_embeds_hidden_size=8, num_hidden_layers=2, aff_block_r=2)  # fmt: skip
CLAP_TEXT = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24,
                 max_position_embeddings=40)  # fmt: skip


def clap_stages(extractor, clip, audio, lengths, seeds=()):
    """Each clip alone, as the reference takes it."""
    tensors = {}
    for n in lengths:
        for seed in seeds if n > extractor.nb_max_samples else (0,):
            np.random.seed(seed)
            batch = extractor(floats(clip[:n]), sampling_rate=extractor.sampling_rate, return_tensors="pt")
            key = f"{n}.seed{seed}" if n > extractor.nb_max_samples else str(n)
            mels = batch.input_features[0].float()
            same = len(mels) == 4 and all(torch.equal(mel, mels[0]) for mel in mels)
            step = 4 if len(mels) == 4 else 1
            tensors[f"features.{key}"] = (mels[:1] if same else mels)[:, ::step, ::step]
            tensors[f"vector.{key}"] = audio(batch)[0]
            if n <= extractor.nb_max_samples and extractor.truncation == "fusion":
                assert batch.is_longer.all()  # alone
                batch["is_longer"] = torch.zeros_like(batch.is_longer)
                tensors[f"apart.{key}"] = audio(batch)[0]
    return tensors


def write_clap(clip):
    features = lambda model: lambda batch: model.get_audio_features(
        input_features=batch.input_features.float(), is_longer=batch.is_longer).pooler_output  # fmt: skip
    for name, truncation, padding, options in [
        ("clap_unfused", "rand_trunc", "repeatpad", dict(enable_fusion=False)),
        # the reference wants 64 bands where it shrinks a long clip
        ("clap_fused", "fusion", "repeat", dict(enable_fusion=True, qkv_bias=False, hidden_act="relu", num_mel_bins=64, spec_size=64)),
    ]:
        folder, fused = FOLDER / name, truncation == "fusion"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        _, words = write_tokenizer(folder)
        config = tf.ClapConfig(text_config=CLAP_TEXT | dict(vocab_size=words), audio_config=CLAP_AUDIO | options,
                               projection_dim=12, projection_hidden_act="gelu" if fused else "relu")  # fmt: skip
        extractor = tf.ClapFeatureExtractor(**CLAP_EXTRACTOR | dict(feature_size=64 if fused else 16), truncation=truncation, padding=padding)
        model = make(folder, tf.ClapModel(config), 30 + fused, extractor, nested=fused)
        tokenizer, _ = write_tokenizer(folder)
        # 8040 samples have as many frames as the window
        tensors = clap_stages(extractor, clip, features(model), (800, 4400, 8000, 8040, 18400), (3, 8))
        batch = tokenizer(TEXTS, padding=True, truncation=True, max_length=38, return_tensors="pt")
        text = model.get_text_features(batch.input_ids, batch.attention_mask).pooler_output
        save(folder, tensors | {"ids": batch.input_ids, "text_features": text})

    folder = FOLDER / "clap_audio"
    extractor = tf.ClapFeatureExtractor(**CLAP_EXTRACTOR, truncation="rand_trunc", padding="pad")
    config = tf.ClapAudioConfig(**CLAP_AUDIO, enable_patch_layer_norm=False, projection_dim=10)
    model = make(folder, tf.ClapAudioModelWithProjection(config), 40, extractor, dtype=torch.bfloat16)
    project = lambda batch: model(input_features=batch.input_features.float(), is_longer=batch.is_longer).audio_embeds
    save(folder, clap_stages(extractor, clip, project, (4400,)))

    folder = FOLDER / "clap_text"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    _, words = write_tokenizer(folder)
    model = make(folder, tf.ClapTextModel(tf.ClapTextConfig(**CLAP_TEXT, vocab_size=words)), 41, None)
    tokenizer, _ = write_tokenizer(folder)
    batch = tokenizer(TEXTS, padding=True, truncation=True, max_length=38, return_tensors="pt")
    save(folder, {"ids": batch.input_ids, "text_features": model(batch.input_ids, batch.attention_mask).pooler_output})


def write_spectrograms(clip):
    """Lines of options with the values in a file each; the samples are the first of spectrogram_clip.f32."""
    clip = floats(clip[:1500])
    clip.tofile(AUDIO / "spectrogram_clip.f32")
    lines = ["# samples sample_rate window hop transform bands low high scale equal_area shape centred remove_mean preemphasis floor log columns"]
    floor = 1.192092955078125e-07
    for n, rate, window, hop, transform, bands, low, high, scale, area, shape, centred, mean, emphasis, least, log in [
        (1500, 16000, 400, 160, 512, 40, 20, 8000, "kaldi", 0, "symmetric_hann", 0, 1, 0.97, floor, "natural"),
        (1500, 16000, 400, 160, 512, 23, 20, 8000, "kaldi", 0, "povey", 0, 1, 0.97, floor, "natural"),
        (400, 16000, 400, 160, 512, 30, 0, 7600, "kaldi", 0, "hann", 0, 0, 0.9, 1e-10, "common"),
        (1500, 48000, 1024, 480, 1024, 64, 0, 14000, "htk", 0, "hann", 1, 0, 0, 1e-10, "decibel"),
        (1500, 48000, 1024, 480, 1024, 64, 0, 14000, "slaney", 1, "hann", 1, 0, 0, 1e-10, "decibel"),
        (1500, 11025, 300, 77, 300, 20, 100, 6000, "slaney", 0, "hann", 1, 1, 0.5, 1e-6, "decibel"),
        (100, 8000, 256, 50, 256, 12, 0, 4000, "htk", 1, "povey", 1, 0, 0, 1e-3, "natural"),  # mirrored more than once
        (1, 8000, 64, 50, 64, 6, 0, 4000, "htk", 0, "hann", 1, 0, 0, 1e-10, "decibel"),
    ]:  # fmt: skip
        filters = mel_filter_bank(transform // 2 + 1, bands, low, high, rate, "slaney" if area else None, scale, scale == "kaldi")
        shapes = {"hann": ("hann", True), "symmetric_hann": ("hann", False), "povey": ("povey", False)}
        values = spectrogram(
            clip[:n], window_function(window, shapes[shape][0], periodic=shapes[shape][1]), window, hop, transform, power=2.0,
            center=bool(centred), preemphasis=emphasis or None, mel_filters=filters, mel_floor=least,
            log_mel={"natural": "log", "common": "log10", "decibel": "dB"}[log], min_value=least, remove_dc_offset=bool(mean))  # fmt: skip
        values.astype(np.float32).tofile(AUDIO / f"spectrogram_{len(lines)}.f32")
        parts = (n, rate, window, hop, transform, bands, low, high, scale, area, shape, centred, mean, emphasis, least, log)
        lines.append(" ".join(map(str, (*parts, values.shape[1]))))
    (AUDIO / "spectrograms.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    made = draw(18400, 7)
    save_file({"clip": torch.from_numpy(made)}, FOLDER / "clip.safetensors")
    write_ast(made)
    write_clap(made)
    write_spectrograms(made)
