"""Writes tests/golden/waves with transformers 5.12: small checkpoints of the families that hear samples, wav2vec 2.0, HuBERT and
WavLM, with random weights in the official layouts, and what the reference makes of the first samples of spectrograms/clip.

    python tests/golden/make_waves.py

Every folder is a checkpoint with `expected.safetensors`: `input.N` (of short clips), `hidden.N`, the last hidden states, and
`logits.N` of a classifier, of the first N samples.
"""

import shutil
from pathlib import Path

import torch
import transformers as tf
from make_spectrograms import draw, floats, make
from safetensors.torch import save_file

FOLDER = Path(__file__).parent / "waves"

SIZES = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, conv_dim=[6, 8, 12],
             conv_kernel=[10, 4, 5], conv_stride=[5, 4, 4], num_conv_pos_embeddings=12,
             num_conv_pos_embedding_groups=4, classifier_proj_size=10)  # fmt: skip
STABLE = dict(feat_extract_norm="layer", conv_bias=True, do_stable_layer_norm=True)
BUCKETS = dict(num_buckets=10, max_bucket_distance=30)
EMOTIONS = dict(id2label=dict(enumerate(["calm", "happy", "cross"])), label2id={"calm": 0, "happy": 1, "cross": 2})


def prefix(model):
    """The network without its head."""
    return getattr(model, model.config.model_type, model)


def shortest(config):
    """Samples of one step."""
    samples = 1
    for kernel, stride in reversed(list(zip(config.conv_kernel, config.conv_stride))):
        samples = (samples - 1) * stride + kernel
    return samples


def write(name, seed, model, clip, do_normalize=True, nested=False, dtype=torch.float32):
    """Lengths: one step, one sample less than two, an odd one and a whole one of many steps."""
    extractor = tf.Wav2Vec2FeatureExtractor(do_normalize=do_normalize, return_attention_mask=True)
    model, tensors = make(FOLDER / name, model, seed, extractor, nested=nested, dtype=dtype), {}
    least = shortest(model.config)
    for n in (least, least + 79, 3217, 8000):
        values = extractor(floats(clip[:n]), sampling_rate=16000, return_tensors="pt").input_values
        if n < 1000:
            tensors[f"input.{n}"] = values[0]
        tensors[f"hidden.{n}"] = prefix(model)(values).last_hidden_state[0]
        if hasattr(model, "classifier"):
            tensors[f"logits.{n}"] = model(values).logits[0]
    assert len(tensors["hidden.%d" % (least + 79)]) == 1
    save_file({n: t.detach().contiguous() for n, t in tensors.items()}, FOLDER / name / "expected.safetensors")


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    made = draw(18400, 7)
    write("wav2vec2", 50, tf.Wav2Vec2Model(tf.Wav2Vec2Config(**SIZES)), made)
    write("wav2vec2_stable", 51, tf.Wav2Vec2Model(tf.Wav2Vec2Config(
        **SIZES | STABLE | dict(num_conv_pos_embeddings=9), hidden_act="gelu_new", feat_extract_activation="relu",
        layer_norm_eps=1e-3)), made, do_normalize=False)  # fmt: skip
    write("hubert", 52, tf.HubertModel(tf.HubertConfig(**SIZES, feat_proj_layer_norm=False)), made, nested=True)
    write("hubert_batch_norm", 53, tf.HubertModel(tf.HubertConfig(**SIZES, conv_pos_batch_norm=True)), made)
    write("wavlm", 54, tf.WavLMModel(tf.WavLMConfig(**SIZES, **BUCKETS)), made, do_normalize=False)
    write("wavlm_stable", 55, tf.WavLMModel(tf.WavLMConfig(**SIZES, **STABLE, num_buckets=7, max_bucket_distance=12)), made)
    write("wav2vec2_classifier", 56, tf.Wav2Vec2ForSequenceClassification(tf.Wav2Vec2Config(
        **SIZES, **EMOTIONS, use_weighted_layer_sum=True)), made)  # fmt: skip
    write("hubert_classifier", 57, tf.HubertForSequenceClassification(tf.HubertConfig(
        **SIZES, **STABLE, **EMOTIONS, use_weighted_layer_sum=True)), made, dtype=torch.float16)  # fmt: skip
    write("wavlm_classifier", 58, tf.WavLMForSequenceClassification(tf.WavLMConfig(
        **SIZES, **BUCKETS, **EMOTIONS, problem_type="multi_label_classification")), made, do_normalize=False)  # fmt: skip
