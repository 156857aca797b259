"""Writes tests/golden/pe_audio with transformers 5.12: a small checkpoint of PE's towers for sounds and texts with random
weights in the official layout, and what the reference makes of clips and texts.

    python tests/golden/make_pe_audio.py

The clips are the first samples of tests/golden/spectrograms/clip.safetensors, at 48 kHz. `expected.safetensors`:
`samples.N`, filled up to whole steps, and `vector.N` of the first N samples, `text_features` of the texts in its metadata.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import torch
import transformers as tf
from make_vision import TEXTS, WORDS, randomise, save, write_tokenizer
from safetensors.torch import load_file

FOLDER = Path(__file__).parent / "pe_audio"
CLIP = Path(__file__).parent / "spectrograms/clip.safetensors"

HOP = 60  # samples of a step
LENGTHS = [1, 2, 31, 60, 61, 4_000]  # samples of the clip
TEXT = dict(hidden_size=16, intermediate_size=12, num_hidden_layers=2, num_attention_heads=2, local_attention=8,
            max_position_embeddings=32, pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2)  # fmt: skip
DAC = dict(downsampling_ratios=[3, 4, 5], encoder_hidden_size=2, codebook_dim=6)
AUDIO = dict(hidden_size=12, intermediate_size=20, num_hidden_layers=2, num_attention_heads=2, head_dim=8)


def make(folder, seed, text=TEXT, audio=AUDIO, dac=DAC, hop=HOP, dtype=torch.float32):
    """The checkpoint with its tokenizer and feature extractor, and the model as a reader of it gets it."""
    shutil.rmtree(folder, ignore_errors=True)
    words = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *WORDS.split()]
    config = tf.PeAudioConfig(text_config=text | {"vocab_size": len(words)}, audio_config=audio | {"dac_config": dac})
    model = randomise(tf.PeAudioModel(config), seed)
    model.to(dtype).save_pretrained(folder)
    extractor = tf.PeAudioFeatureExtractor(hop_length=hop)
    (folder / "preprocessor_config.json").write_text(json.dumps(extractor.to_dict(), indent=2))
    tokenizer = write_tokenizer(folder, words, "[CLS] $A [SEP]", "[PAD]")
    return tf.PeAudioModel.from_pretrained(folder, dtype=torch.float32).eval(), extractor, tokenizer


def sound(samples):
    clip = next(iter(load_file(CLIP).values())).numpy().astype(np.float32) / 2**15
    return np.resize(clip, samples)


def clip_vector(model, extractor, samples):
    """What enters the network, and the vector."""
    inputs = extractor(samples, sampling_rate=48_000, return_tensors="pt")
    hidden = model.audio_encoder(inputs["input_values"], padding_mask=inputs["padding_mask"]).pooler_output
    return inputs["input_values"].flatten(), model.audio_head(hidden)[0]


def text_vectors(model, tokenizer, texts, length):
    batch = tokenizer(texts, padding=True, truncation=True, max_length=length, return_tensors="pt")
    hidden = model.text_model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state
    return model.text_audio_head(hidden[:, 0])


def write():
    model, extractor, tokenizer = make(FOLDER / "small", 1)
    tensors = {}
    for length in LENGTHS:
        samples, vector = clip_vector(model, extractor, sound(length))
        tensors[f"samples.{length}"] = samples.contiguous()
        tensors[f"vector.{length}"] = vector.contiguous()
    save(FOLDER / "small", tensors | {"text_features": text_vectors(model, tokenizer, TEXTS, 32).contiguous()})


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    write()
