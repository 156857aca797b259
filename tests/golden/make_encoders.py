"""Writes tests/golden/encoders with transformers and timm: small checkpoints with random weights, and what the references
make of texts, clips and pictures.

    python tests/golden/make_encoders.py

`bert`, `whisper`: a checkpoint and `expected.safetensors`. `efficientnet.safetensors`: features of all five Lite networks,
whose weights and picture both sides make from the same integers. `real_*.safetensors`: what the encoders of the default
model give; they are read from the cache ($TRINE_CACHE, else $XDG_CACHE_HOME/trine, else ~/.cache/trine).
"""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file

FOLDER = Path(__file__).parent / "encoders"
CACHE = Path(os.environ.get("TRINE_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trine")

TEXTS = [
    "the red bicycle stands beside the old wooden door",
    "",
    "hello, world!",
    "she bought two pairs of running shoes and a rain jacket, un café crème et une brioche dorée pour la fenêtre " * 2,
    "a",
    "where can i find the green apples and the oat milk",
]
REAL_TEXTS = [
    "A ripe banana on a wooden table.",
    "the same in blue, please",
    "How do I return a pair of headphones whose left side makes no sound?",
    "x",
    "A long description that goes on and on about a small white lamp with a round paper shade. " * 30,
]


def noise(name, count):
    """Numbers in [-1, 1) from a tensor's name: FNV-1a, then a multiplicative hash of the index; exact in fp32."""
    seed = 2166136261
    for byte in name.encode():
        seed = (seed ^ byte) * 16777619 & 0xFFFFFFFF
    i = np.arange(count, dtype=np.uint64)
    h = ((i + seed) * 2654435761) & 0xFFFFFFFF
    h = ((h ^ (h >> 15)) * 2246822519) & 0xFFFFFFFF
    h ^= h >> 13
    return ((h >> 8).astype(np.float32) / np.float32(2**23)) - np.float32(1)


def randomise(model, seed):
    """Weights large enough that attention is far from uniform and no bias or norm could be left out unseen."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator)
            if p.dim() == 1 and name.endswith("weight"):
                p.copy_(1 + 0.2 * noise)
            elif p.dim() == 1:
                p.copy_(0.2 * noise)
            else:
                p.copy_(noise * (0.5 if "embed" in name else 1.5 / p[0].numel() ** 0.5))


def bert_vectors(folder, texts, max_length):
    """Mean, cls and max pooling as sentence_transformers.models.Pooling, one text at a time."""
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    model = transformers.BertModel.from_pretrained(folder, add_pooling_layer=False).eval()
    rows = {"mean": [], "cls": [], "max": []}
    for text in texts:
        ids = tokenizer(text, truncation=True, max_length=max_length, return_tensors="pt", return_token_type_ids=False)
        hidden = model(**ids).last_hidden_state[0]
        rows["mean"].append(hidden.mean(0))
        rows["cls"].append(hidden[0])
        rows["max"].append(hidden.amax(0))
    return {name: torch.stack(r) for name, r in rows.items()}


def write_bert():
    folder = FOLDER / "bert"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(FOLDER.parent / "text/tokenizer.json", folder / "tokenizer.json")
    vocab = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    config = transformers.BertConfig(
        vocab_size=len(vocab), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
        max_position_embeddings=40)  # fmt: skip
    model = transformers.BertModel(config)  # with the pooler, which a reader has to leave out
    randomise(model, 1)
    model.save_pretrained(folder)
    modules = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]
    (folder / "modules.json").write_text(json.dumps(
        [{"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{name}"}
         for i, (name, path) in enumerate(modules)], indent=2))  # fmt: skip
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling/config.json").write_text(json.dumps(
        {"word_embedding_dimension": 32, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True,
         "pooling_mode_max_tokens": False, "pooling_mode_mean_sqrt_len_tokens": False}, indent=2))  # fmt: skip
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 24, "do_lower_case": False}))
    expected = bert_vectors(folder, TEXTS, 24)
    config.hidden_act = "relu"
    config.save_pretrained(folder)
    expected["mean_relu"] = bert_vectors(folder, TEXTS, 24)["mean"]
    config.hidden_act = "gelu"
    model.config = config
    model.save_pretrained(folder)
    save_file(expected, folder / "expected.safetensors", {"texts": json.dumps(TEXTS)})


def write_real_bert():
    folder = CACHE / "encoders/all-MiniLM-L6-v2"
    vectors = bert_vectors(folder, REAL_TEXTS, 256)["mean"]
    save_file({"mean": vectors}, FOLDER / "real_all-MiniLM-L6-v2.safetensors", {"texts": json.dumps(REAL_TEXTS)})


def chirp(samples):
    """A rising tone with a tremolo, as 16-bit integers over 2^15."""
    t = np.arange(samples) / 16000
    wave = 0.4 * np.sin(2 * np.pi * (150 + 500 * t) * t) * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * t))
    return (np.round(wave * 2**15) / 2**15).astype(np.float32)


def whisper_states(model, samples):
    """The encoder on a clip's own length: transformers wants 30 s, so the table of positions is cut instead."""
    extractor = transformers.WhisperFeatureExtractor(feature_size=model.config.num_mel_bins)
    mel = extractor(samples, sampling_rate=16000, padding=False, truncation=False, return_tensors="pt").input_features
    encoder = model.get_encoder()
    positions = encoder.embed_positions
    frames = mel.shape[-1]
    encoder.config.max_source_positions = frames / 2
    encoder.embed_positions = torch.nn.Embedding.from_pretrained(positions.weight[: (frames + 1) // 2].clone())
    states = encoder(mel).last_hidden_state[0]
    encoder.embed_positions = positions
    return states


def write_whisper():
    folder = FOLDER / "whisper"
    folder.mkdir(parents=True, exist_ok=True)
    config = transformers.WhisperConfig(
        vocab_size=16, d_model=16, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=24, decoder_layers=1,
        decoder_attention_heads=2, decoder_ffn_dim=8, max_source_positions=60, max_target_positions=8, pad_token_id=0,
        bos_token_id=1, eos_token_id=2, decoder_start_token_id=1)  # fmt: skip
    model = transformers.WhisperForConditionalGeneration(config).eval()
    randomise(model, 2)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink()
    tensors = {}
    for name, samples in {"full": 19200, "short": 8000, "odd": 7000, "shortest": 320}.items():
        clip = chirp(samples)
        tensors[f"{name}.samples"] = torch.from_numpy(clip)
        tensors[f"{name}.states"] = whisper_states(model, clip).contiguous()
    save_file(tensors, folder / "expected.safetensors")


def write_real_whisper():
    model = transformers.WhisperModel.from_pretrained(CACHE / "encoders/whisper-tiny.en", dtype=torch.float32).eval()
    clip = chirp(32000)
    states = whisper_states(model, clip)
    model = transformers.WhisperModel.from_pretrained(CACHE / "encoders/whisper-tiny.en", dtype=torch.float32).eval()
    full = transformers.WhisperFeatureExtractor()(noise("clip", 480000) / 8, sampling_rate=16000, return_tensors="pt")
    rows = model.get_encoder()(full.input_features).last_hidden_state[0, ::100]  # the reference as it is, on 30 s
    save_file({"samples": torch.from_numpy(clip), "states": states.contiguous(), "full": rows.contiguous()},
              FOLDER / "real_whisper-tiny.en.safetensors")  # fmt: skip


def picture(width, height):
    """A pattern of whole numbers that the C++ test makes too."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    channels = [((x * (3 + c) + y * (7 - 2 * c)) // 4 ^ (x * y // 256)) & 255 for c in range(3)]
    return Image.fromarray(np.stack(channels, -1).astype(np.uint8))


def fill(model):
    for name, tensor in model.state_dict().items():
        if name.endswith("num_batches_tracked") or name.startswith("classifier"):
            continue
        values = torch.from_numpy(noise(name, tensor.numel())).reshape(tensor.shape)
        if tensor.dim() > 1:
            values = values * (2 / tensor[0].numel() ** 0.5)
        elif name.endswith(("running_var", "weight")):
            values = 1 + values / 4
        else:
            values = values / 4
        tensor.copy_(values)


def write_efficientnet():
    import timm  # here, so that other makers can use what is above without it

    tensors = {}
    for i in range(5):
        model = timm.create_model(f"tf_efficientnet_lite{i}", pretrained=False).eval()
        fill(model)
        pixels = torch.from_numpy(noise("pixels", 3 * 75 * 96)).reshape(1, 3, 75, 96)
        tensors[f"lite{i}"] = model.forward_head(model.forward_features(pixels), pre_logits=True)[0]
    save_file(tensors, FOLDER / "efficientnet.safetensors")


def write_real_efficientnet():
    import timm

    folder = CACHE / "encoders/tf_efficientnet_lite0"
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    weights = load_file(folder / "model.safetensors")
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected and all(k.endswith("num_batches_tracked") for k in missing), (missing, unexpected)
    cfg = json.loads((folder / "config.json").read_text())["pretrained_cfg"]
    data = {key: cfg[key] for key in ("interpolation", "crop_pct", "crop_mode", "mean", "std")}
    transform = timm.data.create_transform(input_size=tuple(cfg["input_size"]), is_training=False, **data)
    tensors = {}
    for width, height in ((320, 213), (257, 391), (90, 60), (224, 224)):
        pixels = transform(picture(width, height))
        tensors[f"{width}x{height}.pixels"] = pixels[:, ::16, ::16].contiguous()
        features = model.forward_head(model.forward_features(pixels[None]), pre_logits=True)[0]
        tensors[f"{width}x{height}.features"] = features
    save_file(tensors, FOLDER / "real_tf_efficientnet_lite0.safetensors")


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    write_bert()
    write_whisper()
    write_efficientnet()
    write_real_bert()
    write_real_whisper()
    write_real_efficientnet()
