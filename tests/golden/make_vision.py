"""Writes tests/golden/vision with transformers 5.12 over Pillow: small checkpoints of every family of images, and of
images and texts, with random weights in the official layouts, and what the reference makes of pictures and texts at each
stage.

    python tests/golden/make_vision.py

`pictures.safetensors`: the pictures, uint8 (H, W, 3). `processors`: configs of image processors, each with the bytes it
gives before scaling, and some with the numbers after it. Every other folder is a checkpoint with `expected.safetensors`:
`bytes.*`, `pixels.*` (one), `features.*` and of classifiers `logits.*` by the pictures' names, `ids` and `text_features` of the texts in its metadata, each
row padded as the family's reference wants it.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import tokenizers
import torch
import transformers as tf
from PIL import Image
from safetensors.torch import load_file, save_file

FOLDER = Path(__file__).parent / "vision"

TEXTS = [
    "a red bicycle beside the old wooden door",
    "",
    "the green apples",
    "a blue lamp with a round paper shade, a blue lamp with a round paper shade, and a red door beside the lamp",
    "zebra crossing",
]
WORDS = "a the red green blue old wooden round paper bicycle door apples lamp shade beside with and , ##s ##a ##e z ##b ##r"

SMALL = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4)
PLAIN = ["photo", "tall", "exact"]  # of the pictures


def draw(width, height, seed):
    """Waves, edges and noise: full contrast somewhere, so that filters leave the range of a byte."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = np.stack([127 + 120 * np.sin(x / (3 + c) + y / (9 - 2 * c) + seed) for c in range(3)], 2)
    waves[(x // 7 + y // 5) % 3 == 0] = random.integers(0, 2, 3) * 255
    return np.clip(waves + random.integers(-30, 31, (height, width, 3)), 0, 255).astype(np.uint8)


def write_pictures():
    sizes = {"photo": (57, 40), "tall": (31, 66), "exact": (32, 32), "small": (20, 11), "strip": (71, 5), "dot": (1, 1),
             "thread": (2, 60)}  # fmt: skip
    pictures = {name: torch.from_numpy(draw(*size, i)) for i, (name, size) in enumerate(sizes.items())}
    # made 8 wide, these show that the constants of Pillow's Hamming filter have single precision
    row = bytes.fromhex("1ffaddcd82d4a1ba84707118a52e3dfe14adfcd1ede2f075f7")
    pictures["row"] = torch.tensor(list(row), dtype=torch.uint8)[None, :, None].repeat(1, 1, 3)
    save_file(pictures, FOLDER / "pictures.safetensors")
    return {name: Image.fromarray(p.numpy()) for name, p in pictures.items()}


def randomise(model, seed):
    """Weights large enough that attention is far from uniform and no bias, norm or scale could be left out unseen."""
    generator = torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=generator)
        if p.dim() == 1 and name.endswith("weight"):
            p.copy_(1 + 0.2 * noise)
        elif "logit" in name:
            p.copy_(2 + noise)
        elif p.dim() <= 1:
            p.copy_(0.2 * noise + ("lambda" in name))
        elif "embed" in name or "token" in name or "probe" in name:
            p.copy_(noise * 0.5)
        else:
            p.copy_(noise * 1.2 / p[0].numel() ** 0.5)
    return model.eval()


def make(folder, model, seed, processor=None, nested=False, dtype=torch.float32, **options):
    """The checkpoint, and the model as a reader of it gets it."""
    shutil.rmtree(folder, ignore_errors=True)
    randomise(model, seed).to(dtype).save_pretrained(folder, **options)
    if processor:
        written = processor if isinstance(processor, dict) else processor.to_dict()
        name = "processor_config.json" if nested else "preprocessor_config.json"
        (folder / name).write_text(json.dumps({"image_processor": written} if nested else written, indent=2))
    return type(model).from_pretrained(folder, dtype=torch.float32).eval()


def write_tokenizer(folder, words, template, padding):
    """A tokenizer of whole words, as short as the networks; texts end with [SEP]."""
    vocabulary = {word: i for i, word in enumerate(words)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens([w for w in words if w.startswith("[")])
    special = [(w, vocabulary[w]) for w in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(single=template, special_tokens=special)
    tokenizer.enable_padding(pad_id=vocabulary[padding], pad_token=padding)
    tokenizer.save(str(folder / "tokenizer.json"))
    return tf.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), pad_token=padding)


def pillow_processor(folder):
    """The class that the file names, over Pillow; AutoImageProcessor itself wants torchvision to be there."""
    config, _ = tf.image_processing_base.ImageProcessingMixin.get_image_processor_dict(folder)
    name = config.get("image_processor_type") or config.get("feature_extractor_type", "ViTImageProcessor")
    name = name.replace("FeatureExtractor", "ImageProcessor")
    return getattr(tf, name.removesuffix("Fast") + "Pil").from_dict(config)


def image_stages(folder, model, pictures, names, features):
    processor = pillow_processor(folder)
    tensors = {}
    for name in names:
        picture = pictures[name]
        batch = processor(picture, return_tensors="pt")
        plain = processor(picture, return_tensors="np", do_rescale=False, do_normalize=False)["pixel_values"][0]
        if plain.ndim == 3:
            tensors[f"bytes.{name}"] = torch.from_numpy(plain.transpose(1, 2, 0).astype(np.uint8).copy())
            if name == names[0]:
                tensors[f"pixels.{name}"] = batch["pixel_values"][0].contiguous()
        tensors[f"features.{name}"] = features(model, batch)[0].contiguous()
    return tensors


def logits(folder, model, pictures, names):
    """Of a classifier."""
    processor = pillow_processor(folder)
    return {f"logits.{n}": model(**processor(pictures[n], return_tensors="pt")).logits[0].contiguous() for n in names}


def text_stages(model, tokenizer, length, whole_length, features):
    ids = tokenizer(TEXTS, padding="max_length" if whole_length else True, truncation=True, max_length=length,
                    return_tensors="pt").input_ids  # fmt: skip
    return {"ids": ids, "text_features": features(model, ids).contiguous()}


def save(folder, tensors):
    save_file(tensors, folder / "expected.safetensors", {"texts": json.dumps(TEXTS)})


def write_clip(pictures):
    image = lambda model, batch: model.get_image_features(**batch).pooler_output
    text = lambda model, ids: model.get_text_features(ids).pooler_output
    vision = dict(SMALL, image_size=32, patch_size=8)
    # as OpenAI's: the end token is the highest id, eos_token_id is wrong on purpose, the older processor file
    words = ["[PAD]", "[UNK]", *WORDS.split(), "[CLS]", "[SEP]"]
    config = tf.CLIPConfig(
        text_config=dict(SMALL, vocab_size=len(words), max_position_embeddings=16, eos_token_id=2),
        vision_config=dict(vision, num_attention_heads=2), projection_dim=24)  # fmt: skip
    processor = {"crop_size": 32, "do_center_crop": True, "do_normalize": True, "do_resize": True, "resample": 3,
                 "feature_extractor_type": "CLIPFeatureExtractor", "image_mean": [0.48145466, 0.4578275, 0.40821073],
                 "image_std": [0.26862954, 0.26130258, 0.27577711], "size": 32}  # fmt: skip
    folder = FOLDER / "clip"
    model = make(folder, tf.CLIPModel(config), 1, processor)
    tokenizer = write_tokenizer(folder, words, "[CLS] $A [SEP]", "[SEP]")
    tensors = image_stages(folder, model, pictures, [*PLAIN, "small", "strip", "dot"], image)
    save(folder, tensors | text_stages(model, tokenizer, 16, False, text))
    weights = load_file(folder / "model.safetensors")
    for tower, count in (("text", 16), ("vision", 17)):  # older checkpoints hold these, newer readers leave them
        weights[f"{tower}_model.embeddings.position_ids"] = torch.arange(count)[None]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})

    # as LAION's: exact gelu, the first end token, which pads too; the newer processor file; halves in shards
    words = ["[UNK]", "[CLS]", "a", "[SEP]", *WORDS.split()[1:]]
    config = tf.CLIPConfig(
        text_config=dict(SMALL, hidden_act="gelu", vocab_size=len(words), max_position_embeddings=16, eos_token_id=3,
                         hidden_size=40, num_attention_heads=5),
        vision_config=dict(vision, hidden_act="gelu", patch_size=16, layer_norm_eps=1e-3), projection_dim=24)  # fmt: skip
    folder = FOLDER / "clip_gelu"
    processor = tf.CLIPImageProcessorPil(size={"shortest_edge": 36}, crop_size={"height": 32, "width": 32}, resample=2)
    model = make(folder, tf.CLIPModel(config), 2, processor, nested=True, dtype=torch.float16, max_shard_size="80KB")
    tokenizer = write_tokenizer(folder, words, "[CLS] $A [SEP]", "[SEP]")
    tensors = image_stages(folder, model, pictures, PLAIN, image)
    save(folder, tensors | text_stages(model, tokenizer, 16, False, text))
    # the part of an older config that replaces the newer one whole, defaults included
    config = json.loads((folder / "config.json").read_text())
    config["text_config_dict"] = config.pop("text_config")
    config["text_config"] = {"hidden_size": 512, "hidden_act": "quick_gelu"}
    config["vision_config_dict"] = None
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    again = tf.CLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
    assert torch.equal(text(again, tensors_ids(folder)), load_file(folder / "expected.safetensors")["text_features"])

    # one tower alone, with and without a projection
    folder = FOLDER / "clip_vision"
    processor = tf.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    model = make(folder, tf.CLIPVisionModelWithProjection(tf.CLIPVisionConfig(**vision, projection_dim=20)), 3, processor,
                 dtype=torch.bfloat16)  # fmt: skip
    save(folder, image_stages(folder, model, pictures, PLAIN, lambda model, batch: model(**batch).image_embeds))
    folder = FOLDER / "clip_vision_pooled"
    model = make(folder, tf.CLIPVisionModel(tf.CLIPVisionConfig(**vision)), 4, processor)
    save(folder, image_stages(folder, model, pictures, PLAIN, lambda model, batch: model(**batch).pooler_output))
    folder = FOLDER / "clip_text"
    config = tf.CLIPTextConfig(**SMALL, vocab_size=len(words), max_position_embeddings=16, eos_token_id=3, projection_dim=20)
    model = make(folder, tf.CLIPTextModelWithProjection(config), 5)
    tokenizer = write_tokenizer(folder, words, "[CLS] $A [SEP]", "[SEP]")
    save(folder, text_stages(model, tokenizer, 16, False, lambda model, ids: model(ids).text_embeds))


def tensors_ids(folder):
    return load_file(folder / "expected.safetensors")["ids"]


def write_siglip(pictures):
    image = lambda model, batch: model.get_image_features(**batch).pooler_output
    text = lambda model, ids: model.get_text_features(ids).pooler_output
    words = ["[PAD]", "[SEP]", "[UNK]", "[CLS]", *WORDS.split()]
    text_config = dict(SMALL, vocab_size=len(words), max_position_embeddings=12)
    vision = dict(SMALL, image_size=32, patch_size=8)
    folder = FOLDER / "siglip"
    processor = tf.SiglipImageProcessorPil(size={"height": 32, "width": 32})
    model = make(folder, tf.SiglipModel(tf.SiglipConfig(text_config=text_config, vision_config=vision)), 6, processor)
    tokenizer = write_tokenizer(folder, words, "$A [SEP]", "[PAD]")
    tensors = image_stages(folder, model, pictures, [*PLAIN, "strip"], image)
    save(folder, tensors | text_stages(model, tokenizer, 12, True, text))

    folder = FOLDER / "siglip_vision"
    processor = tf.SiglipImageProcessorPil(size={"height": 32, "width": 32}, resample=2)
    config = tf.SiglipVisionConfig(**dict(vision, hidden_act="gelu", num_attention_heads=2))
    model = make(folder, tf.SiglipVisionModel(config), 7, processor, nested=True)
    save(folder, image_stages(folder, model, pictures, PLAIN, lambda model, batch: model(**batch).pooler_output))

    folder = FOLDER / "siglip_text"
    config = tf.SiglipTextConfig(**text_config, projection_size=20)
    model = make(folder, tf.SiglipTextModel(config), 8)
    tokenizer = write_tokenizer(folder, words, "$A [SEP]", "[PAD]")
    save(folder, text_stages(model, tokenizer, 12, True, lambda model, ids: model(ids).pooler_output))

    folder = FOLDER / "siglip2"
    vision = dict(SMALL, num_patches=16, patch_size=8)
    processor = tf.Siglip2ImageProcessorPil(patch_size=8, max_num_patches=24)
    model = make(folder, tf.Siglip2Model(tf.Siglip2Config(text_config=text_config, vision_config=vision)), 9, processor)
    tokenizer = write_tokenizer(folder, words, "$A [SEP]", "[PAD]")
    tensors = image_stages(folder, model, pictures, [*PLAIN, "small", "strip", "dot", "thread"], image)
    save(folder, tensors | text_stages(model, tokenizer, 12, True, text))


def write_vit(pictures):
    config = dict(SMALL, image_size=32, patch_size=8)
    folder = FOLDER / "vit"
    processor = tf.ViTImageProcessorPil(size={"height": 32, "width": 32})
    model = make(folder, tf.ViTModel(tf.ViTConfig(**config, pooler_output_size=20)), 10, processor)
    save(folder, image_stages(folder, model, pictures, PLAIN, lambda model, batch: model(**batch).pooler_output))
    folder = FOLDER / "vit_classifier"
    config = tf.ViTConfig(**dict(config, hidden_act="gelu_new", num_attention_heads=2), qkv_bias=False, num_labels=3)
    processor = {"do_normalize": True, "do_resize": True, "image_mean": [0.485, 0.456, 0.406], "resample": 3,
                 "image_std": [0.229, 0.224, 0.225], "size": 32}  # fmt: skip
    model = make(folder, tf.ViTForImageClassification(config), 11, processor, dtype=torch.float16)
    class_token = lambda model, batch: model.vit(**batch).last_hidden_state[:, 0]
    stages = image_stages(folder, model, pictures, PLAIN, class_token)
    save(folder, stages | logits(folder, model, pictures, PLAIN))


def write_dinov2(pictures):
    pooled = lambda model, batch: model(**batch).pooler_output
    config = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, mlp_ratio=2, image_size=32, patch_size=8)
    crop = tf.BitImageProcessorPil(size={"shortest_edge": 60}, crop_size={"height": 56, "width": 56},
                                   image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225])  # fmt: skip
    whole = tf.BitImageProcessorPil(size={"shortest_edge": 36}, do_center_crop=False, resample=2)
    for name, seed, model, processor in [
        ("dinov2", 12, tf.Dinov2Model(tf.Dinov2Config(**config)), crop),
        ("dinov2_swiglu", 13, tf.Dinov2Model(tf.Dinov2Config(**config, use_swiglu_ffn=True, qkv_bias=False)), whole),
        ("dinov2_registers", 14, tf.Dinov2WithRegistersModel(
            tf.Dinov2WithRegistersConfig(**config, num_register_tokens=3)), whole),
    ]:  # fmt: skip
        folder = FOLDER / name
        save(folder, image_stages(folder, make(folder, model, seed, processor), pictures, PLAIN, pooled))
    folder = FOLDER / "dinov2_classifier"
    exact = tf.BitImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    model = make(folder, tf.Dinov2ForImageClassification(tf.Dinov2Config(**config)), 15, exact)
    stages = image_stages(folder, model, pictures, PLAIN, lambda model, batch: model.dinov2(**batch).pooler_output)
    save(folder, stages | logits(folder, model, pictures, PLAIN))


def write_processors(pictures):
    clip, siglip, vit, bit = "CLIPImageProcessor", "SiglipImageProcessor", "ViTImageProcessor", "BitImageProcessor"
    square = {"height": 24, "width": 24}
    cases = [
        *({"image_processor_type": siglip, "size": {"height": 19, "width": 26}, "resample": n} for n in range(6)),
        *({"image_processor_type": clip, "size": {"shortest_edge": 17}, "crop_size": {"height": h, "width": w}}
          for h, w in [(17, 17), (12, 15), (13, 16), (20, 20), (21, 16), (16, 23), (40, 41)]),
        {"image_processor_type": clip, "size": 18, "crop_size": 16},
        {"image_processor_type": clip, "size": [18, 21], "crop_size": [14, 17]},
        {"image_processor_type": clip + "Fast", "size": {"shortest_edge": 18}, "do_center_crop": False},
        {"image_processor_type": clip, "do_resize": False, "crop_size": square},
        {"image_processor_type": clip, "do_resize": False, "do_center_crop": False},
        {"image_processor_type": clip, "do_resize": None, "size": {"shortest_edge": 20}, "crop_size": square, "resample": None},
        {"image_processor_type": clip, "size": 18, "default_to_square": None, "do_center_crop": None, "crop_size": None},
        {"image_processor_type": siglip, "size": 18},
        {"image_processor_type": siglip, "size": square, "do_center_crop": True, "crop_size": 20},
        {"image_processor_type": vit, "size": 18},
        {"feature_extractor_type": "ViTFeatureExtractor", "size": 18, "resample": 2},
        {"image_processor_type": vit, "size": {"shortest_edge": 18, "longest_edge": 25}},
        {"image_processor_type": vit, "size": {"shortest_edge": 30, "longest_edge": 31}},
        {"image_processor_type": vit, "size": {"max_height": 21, "max_width": 33}},
        {"image_processor_type": vit, "size": 18, "default_to_square": False},
        {"image_processor_type": bit, "size": {"shortest_edge": 28}, "crop_size": square, "do_convert_rgb": True},
        {"image_processor_type": siglip, "size": {"height": 1, "width": 8}, "resample": 5},
    ]  # fmt: skip
    scaled = [
        {"image_processor_type": bit, "size": {"shortest_edge": 12}, "crop_size": 12},
        {"image_processor_type": clip, "size": 12, "crop_size": 12, "image_mean": 0.3, "image_std": 0.7},
        {"image_processor_type": siglip, "size": 12, "rescale_factor": 0.00784313725490196, "image_std": [1, 0.5, 0.25]},
        {"image_processor_type": siglip, "size": {"height": 12, "width": 12}, "do_rescale": False},
        {"image_processor_type": vit, "size": 12, "do_normalize": False},
        {"image_processor_type": vit, "size": 12, "do_normalize": False, "do_rescale": False},
        {"image_processor_type": vit, "size": 12, "do_normalize": None, "image_mean": None, "rescale_factor": 0.01},
        {"image_processor_type": siglip, "size": {"height": 12, "width": 9}, "do_pad": True,
         "pad_size": {"height": 15, "width": 14}},
    ]  # fmt: skip
    folder = FOLDER / "processors"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "cases.json").write_text(json.dumps(cases + scaled, indent=1))
    tensors = {}
    with_file = folder / "preprocessor_config.json"
    for i, case in enumerate(cases + scaled):
        with_file.write_text(json.dumps(case))
        processor = pillow_processor(folder)
        for name in ("photo", "tall", "small", "dot", "row"):
            if case.get("do_resize") is False and name != "small" and not processor.do_center_crop:
                continue
            plain = processor(pictures[name], do_rescale=False, do_normalize=False, do_pad=False, return_tensors="np")
            tensors[f"{i}.bytes.{name}"] = torch.from_numpy(
                plain["pixel_values"][0].transpose(1, 2, 0).astype(np.uint8).copy())  # fmt: skip
            if i >= len(cases):
                pixels = processor(pictures[name], return_tensors="pt")["pixel_values"][0]
                tensors[f"{i}.pixels.{name}"] = pixels.float().contiguous()
    with_file.unlink()
    save_file(tensors, folder / "expected.safetensors")


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    made = write_pictures()
    write_clip(made)
    write_siglip(made)
    write_vit(made)
    write_dinov2(made)
    write_processors(made)
