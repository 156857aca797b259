"""Families of images, and of images and texts: every stage as the reference gives it."""

import json
import sys

import numpy as np
import pytest
import torch
from conftest import GOLDEN, import_maker, load_safetensors

import trine

VISION = GOLDEN / "vision"
CASES = sorted(p.parent.name for p in VISION.glob("*/config.json"))


def scale_error(got, wanted):
    assert got.shape == wanted.shape
    return float((got - wanted).abs().max() / wanted.abs().max())


def towers(encoder):
    """(image, text), None for what is not there."""
    if isinstance(encoder, trine.Encoders):
        return encoder.image, encoder.text
    return (encoder, None) if isinstance(encoder, trine.ImageEncoder) else (None, encoder)


@pytest.fixture(scope="module")
def pictures():
    return {name: pixels.numpy() for name, pixels in load_safetensors(VISION / "pictures.safetensors")[0].items()}


@pytest.mark.parametrize("case", CASES)
def test_every_stage_equals_the_reference(case, pictures):
    expected, metadata = load_safetensors(VISION / case / "expected.safetensors")
    image, text = towers(trine.load_encoder(VISION / case))
    compared = 0
    for name, picture in pictures.items():
        if f"features.{name}" not in expected:
            continue
        pixels = image.preprocess(picture)
        if f"pixels.{name}" in expected:
            assert torch.equal(pixels, expected[f"pixels.{name}"])
        features = image.encode(pixels[None])
        assert scale_error(features[0], expected[f"features.{name}"]) < 1e-4
        assert torch.cosine_similarity(features[0], expected[f"features.{name}"], 0) >= 0.99999
        compared += 1
    if text is not None:
        features = text.encode(json.loads(metadata["texts"]))
        assert scale_error(features, expected["text_features"]) < 1e-4
        compared += 1
    assert compared and (image is None) == ("features.photo" not in expected)


def test_two_towers_and_their_similarity():
    clip = trine.load_encoder(VISION / "clip")
    assert isinstance(clip, trine.Encoders) and clip.audio is None
    assert clip.image.dim == clip.text.dim == 24
    assert clip.similarity.kind == "softmax" and clip.similarity.scale > 0 and clip.similarity.bias == 0
    assert trine.load_encoder(VISION / "siglip").similarity.kind == "sigmoid"
    assert "softmax of" in dict(clip.image.describe())["similarity"]


def test_an_embedder_of_images_and_texts(pictures):
    expected, metadata = load_safetensors(VISION / "siglip2/expected.safetensors")
    model = trine.Embedder(VISION / "siglip2")
    assert model.modalities == ["image", "text"]
    names = ["photo", "strip", "tall", "dot"]
    wanted = torch.nn.functional.normalize(torch.stack([expected[f"features.{n}"] for n in names]), dim=1)
    assert (model.embed_image([pictures[n] for n in names]) - wanted).abs().max() < 1e-5
    assert model.describe()["text.similarity"].startswith("sigmoid of")


# --- other configurations than the stored ones, where transformers is installed ----------------------------------------


@pytest.fixture(scope="module")
def maker():
    """make_vision.py as a module."""
    made = import_maker("make_vision", "transformers")
    with torch.no_grad():
        yield made


def transformer(random):
    heads = int(random.choice([1, 2, 3, 5]))
    return {
        "hidden_size": heads * int(random.choice([8, 12, 16, 22])),
        "num_attention_heads": heads,
        "num_hidden_layers": int(random.integers(1, 4)),
        "intermediate_size": int(random.integers(9, 70)),
        "hidden_act": str(random.choice(["gelu", "quick_gelu", "gelu_pytorch_tanh", "gelu_new", "relu", "silu"])),
        "layer_norm_eps": float(random.choice([1e-5, 1e-6, 1e-12, 1e-3])),
    }


def square(random):
    """A size and the patches it is cut into, not always whole ones."""
    patch = int(random.choice([5, 8, 14]))
    size = patch * int(random.integers(1, 6)) + int(random.integers(0, 3))
    return {"image_size": size, "patch_size": patch}


def crop(random, size):
    return {
        "size": {"shortest_edge": size + int(random.integers(-3, 9))},
        "crop_size": {"height": size, "width": size},
        "resample": int(random.integers(0, 6)),
        "image_mean": random.uniform(0.2, 0.7, 3).tolist(),
        "image_std": random.uniform(0.2, 0.7, 3).tolist(),
    }


def picture(maker, random):
    return maker.draw(int(random.integers(1, 120)), int(random.integers(1, 120)), int(random.integers(1000)))


def texts(random, count=6):
    words = [*"a the red green blue old wooden round paper bicycle door apples lamp shade beside zebras".split(), "x", ","]
    return [" ".join(random.choice(words, int(random.integers(0, 30)))) for _ in range(count)]


def compare_pictures(maker, folder, model, image, random, features):
    from PIL import Image

    processor = maker.pillow_processor(folder)
    for _ in range(4):
        pixels = picture(maker, random)
        batch = processor(Image.fromarray(pixels), return_tensors="pt")
        ours = image.preprocess(pixels)
        if batch["pixel_values"].ndim == 4:
            assert torch.equal(ours, batch["pixel_values"][0])
        assert scale_error(image.encode(ours[None]), features(model, batch)) < 1e-4


def compare_texts(folder, model, tokenizer, text, random, length, padding, features):
    given = texts(random)
    options = {"padding": padding, "truncation": True, "max_length": length, "return_tensors": "pt"}
    assert scale_error(text.encode(given), features(model, tokenizer(given, **options).input_ids)) < 1e-4


@pytest.mark.parametrize("seed", range(4))
def test_other_clips(maker, tmp_path, seed):
    random, tf = np.random.default_rng(seed), maker.tf
    highest = seed % 2 == 0
    words = maker.WORDS.split()
    words = ["[PAD]", "[UNK]", *words, "[CLS]", "[SEP]"] if highest else ["[UNK]", "[CLS]", "a", "[SEP]", *words[1:]]
    length, vision = int(random.integers(8, 20)), square(random)
    text = {"vocab_size": len(words), "max_position_embeddings": length, "eos_token_id": 2 if highest else 3}
    config = tf.CLIPConfig(
        text_config=transformer(random) | text, vision_config=transformer(random) | vision, projection_dim=17
    )
    processor = tf.CLIPImageProcessorPil(**crop(random, vision["image_size"]))
    dtype = [torch.float32, torch.bfloat16][seed // 2]
    model = maker.make(tmp_path, tf.CLIPModel(config), seed, processor, nested=not highest, dtype=dtype)
    tokenizer = maker.write_tokenizer(tmp_path, words, "[CLS] $A [SEP]", "[SEP]")
    encoder = trine.load_encoder(tmp_path)
    assert encoder.similarity.scale == pytest.approx(float(model.logit_scale.exp()), rel=1e-6)
    image_features = lambda model, batch: model.get_image_features(**batch).pooler_output
    text_features = lambda model, ids: model.get_text_features(ids).pooler_output
    compare_pictures(maker, tmp_path, model, encoder.image, random, image_features)
    compare_texts(tmp_path, model, tokenizer, encoder.text, random, length, True, text_features)


@pytest.mark.parametrize("family", ["siglip", "siglip2"])
@pytest.mark.parametrize("seed", range(2))
def test_other_siglips(maker, tmp_path, family, seed):
    random, tf = np.random.default_rng(seed + 10), maker.tf
    words = ["[PAD]", "[SEP]", "[UNK]", "[CLS]", *maker.WORDS.split()]
    length, both = int(random.integers(8, 20)), transformer(random)
    text = both | {"vocab_size": len(words), "max_position_embeddings": length}
    if family == "siglip":
        vision = square(random)
        config = tf.SiglipConfig(text_config=text, vision_config=both | vision)
        size = {"height": vision["image_size"], "width": vision["image_size"]}
        processor = tf.SiglipImageProcessorPil(size=size, resample=int(random.integers(0, 6)))
        network = tf.SiglipModel(config)
    else:
        patch = int(random.choice([4, 7]))
        vision = {"num_patches": int(random.choice([9, 16, 25])), "patch_size": patch}
        config = tf.Siglip2Config(text_config=text, vision_config=both | vision)
        processor = tf.Siglip2ImageProcessorPil(patch_size=patch, max_num_patches=int(random.integers(4, 60)))
        network = tf.Siglip2Model(config)
    model = maker.make(tmp_path, network, seed, processor)
    tokenizer = maker.write_tokenizer(tmp_path, words, "$A [SEP]", "[PAD]")
    encoder = trine.load_encoder(tmp_path)
    assert encoder.similarity.bias == pytest.approx(float(model.logit_bias), rel=1e-6)
    image_features = lambda model, batch: model.get_image_features(**batch).pooler_output
    text_features = lambda model, ids: model.get_text_features(ids).pooler_output
    compare_pictures(maker, tmp_path, model, encoder.image, random, image_features)
    compare_texts(tmp_path, model, tokenizer, encoder.text, random, length, "max_length", text_features)


@pytest.mark.parametrize("seed", range(3))
def test_other_vits(maker, tmp_path, seed):
    random, tf = np.random.default_rng(seed + 20), maker.tf
    vision = square(random)
    config = tf.ViTConfig(**transformer(random), **vision, qkv_bias=bool(seed % 2), pooler_act="tanh" if seed else "relu")
    size = {"height": vision["image_size"], "width": vision["image_size"]}
    processor = tf.ViTImageProcessorPil(size=size, resample=int(random.integers(0, 6)))
    model = maker.make(tmp_path, tf.ViTModel(config, add_pooling_layer=seed < 2), seed, processor)
    features = lambda m, batch: m(**batch).pooler_output if seed < 2 else m(**batch).last_hidden_state[:, 0]
    compare_pictures(maker, tmp_path, model, trine.load_encoder(tmp_path), random, features)


@pytest.mark.parametrize("registers", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_other_dinov2s(maker, tmp_path, registers, seed):
    random, tf = np.random.default_rng(seed + 30), maker.tf
    options = transformer(random) | square(random) | {"mlp_ratio": int(random.integers(1, 4)), "use_swiglu_ffn": seed == 1}
    options.pop("intermediate_size")
    if registers:
        network = tf.Dinov2WithRegistersModel(tf.Dinov2WithRegistersConfig(**options, num_register_tokens=seed + 1))
    else:
        network = tf.Dinov2Model(tf.Dinov2Config(**options))
    side = options["patch_size"] * int(random.integers(1, 7)) + int(random.integers(0, 5))
    processor = tf.BitImageProcessorPil(**crop(random, side), do_center_crop=seed != 2)
    model = maker.make(tmp_path, network, seed, processor)
    features = lambda m, batch: m(**batch).pooler_output
    compare_pictures(maker, tmp_path, model, trine.load_encoder(tmp_path), random, features)


def compare_labels(maker, folder, model, random):
    """Scores as transformers' image-classification pipeline gives them, of arrays, pictures, bytes and paths."""
    from PIL import Image

    processor, classifier = maker.pillow_processor(folder), trine.Classifier(folder)
    assert classifier.modality == "image" and classifier.labels == list(model.config.id2label.values())
    given, wanted = [], []
    for kind in ("array", "PIL", "bytes", "path"):
        image = Image.fromarray(picture(maker, random))
        wanted.append(model(**processor(image, return_tensors="pt")).logits[0].softmax(0))
        file = folder / f"{kind}.png"
        image.save(file)
        given.append({"array": np.asarray(image), "PIL": image, "bytes": file.read_bytes(), "path": file}[kind])
    for row, scores in zip(classifier.predict(given, batch_size=3), wanted, strict=True):
        assert list(row) == classifier.labels
        assert (torch.tensor(list(row.values())) - scores).abs().max() < 1e-4
    assert classifier.predict(given[3]) == pytest.approx(classifier.predict(given)[3], abs=1e-5)
    with pytest.raises(ValueError, match="takes image, not text"):
        _ = classifier.max_tokens


@pytest.mark.parametrize("family", ["vit", "dinov2", "dinov2_with_registers"])
@pytest.mark.parametrize("seed", range(2))
def test_other_image_classifiers(maker, tmp_path, family, seed):
    random, tf = np.random.default_rng(seed + 60), maker.tf
    options = transformer(random) | square(random) | {"num_labels": int(random.integers(2, 7))}
    side = options["image_size"]
    if family == "vit":
        network = tf.ViTForImageClassification(tf.ViTConfig(**options, qkv_bias=bool(seed % 2)))
        processor = tf.ViTImageProcessorPil(size={"height": side, "width": side}, resample=int(random.integers(0, 6)))
    else:
        options.pop("intermediate_size")
        names = ("Dinov2WithRegisters", {"num_register_tokens": seed + 1}) if "with" in family else ("Dinov2", {})
        config = getattr(tf, names[0] + "Config")(**options, **names[1], mlp_ratio=2, use_swiglu_ffn=seed == 1)
        network = getattr(tf, names[0] + "ForImageClassification")(config)
        processor = tf.BitImageProcessorPil(**crop(random, side))
    compare_labels(maker, tmp_path, maker.make(tmp_path, network, seed, processor), random)


def test_other_image_processors(maker, tmp_path):
    from PIL import Image

    random, tf = np.random.default_rng(40), maker.tf
    # the vision tower only carries the processor
    config = tf.Dinov2Config(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, patch_size=4)
    maker.make(tmp_path, tf.Dinov2Model(config), 0)
    for _ in range(60):
        side = lambda: int(random.integers(1, 50))
        pair = lambda: {"height": side(), "width": side()}
        shortest = side()
        config = {
            "image_processor_type": str(random.choice(["CLIPImageProcessor", "BitImageProcessor", "ViTImageProcessor"])),
            "size": [pair(), {"shortest_edge": shortest}, {"shortest_edge": shortest, "longest_edge": shortest + side()}][
                int(random.integers(3))
            ],
            "resample": int(random.integers(6)),
            "do_center_crop": bool(random.integers(2)),
            "crop_size": pair(),
            "do_rescale": bool(random.integers(4)),
            "do_normalize": bool(random.integers(4)),
        }
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
        processor, encoder = maker.pillow_processor(tmp_path), trine.load_encoder(tmp_path)
        for _ in range(3):
            pixels = picture(maker, random)
            try:
                wanted = processor(Image.fromarray(pixels), return_tensors="pt")["pixel_values"][0].float()
            except ValueError:  # a side of no pixels
                continue
            assert torch.equal(encoder.preprocess(pixels), wanted), (config, pixels.shape)


@pytest.mark.parametrize("end", ["named", "legacy"])
def test_clip_with_a_tokenizer_of_its_own(end, tmp_path):
    """Texts through CLIP's byte-level BPE, from tokenizer.json and from vocab.json with merges.txt."""
    transformers = pytest.importorskip("transformers", reason="needs transformers, the reference")
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(b) for b in printable] + [chr(256 + n) for n in range(256 - len(printable))]
    merges = ["t h", "th e</w>", "r e", "re d</w>", "s h", "sh o", "sho e"]
    words = [*letters, *(c + "</w>" for c in letters), *(m.replace(" ", "") for m in merges)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    older = {
        "vocab.json": json.dumps({word: i for i, word in enumerate(words)}),
        "merges.txt": "#version: 0.2\n" + "\n".join(merges) + "\n",
    }
    for name, content in older.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    tokenizer = transformers.CLIPTokenizerFast.from_pretrained(tmp_path)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    last = len(words) - 1
    ids = {"vocab_size": len(words), "bos_token_id": last - 1, "eos_token_id": 2 if end == "legacy" else last}
    config = transformers.CLIPConfig(
        text_config=sizes | ids | {"max_position_embeddings": 40, "pad_token_id": 1},
        vision_config=sizes | {"image_size": 32, "patch_size": 8},
        projection_dim=16,
    )
    torch.manual_seed(1)
    reference = transformers.CLIPModel(config).eval()
    reference.save_pretrained(tmp_path)
    processor = {"size": {"shortest_edge": 32}, "crop_size": 32, "image_processor_type": "CLIPImageProcessor"}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
    texts = ["the red shoes", "A photo of the dog!!", "ünïcode 42 émoji 🙂", "", "the " * 80]
    batch = tokenizer(texts, padding=True, truncation=True, max_length=40, return_tensors="pt")
    with torch.no_grad():
        features = reference.text_model(**batch).pooler_output
        wanted = torch.nn.functional.normalize(reference.text_projection(features), dim=1)
    for layout in ("older files", "tokenizer.json"):
        if layout == "tokenizer.json":
            tokenizer.save_pretrained(tmp_path)
            for name in older:
                (tmp_path / name).unlink(missing_ok=True)
        with pytest.warns(UserWarning, match="longer than 40 tokens"):
            vectors = trine.Embedder(tmp_path).embed_text(texts, long_input="truncate")
        assert (vectors - wanted).abs().max() < 1e-5, layout


@pytest.mark.parametrize("layout", ["spiece.model", "tokenizer.json", "siglip2"])
def test_siglip_with_a_tokenizer_of_its_own(maker, layout, tmp_path):
    """Texts through SigLIP's SentencePiece, as google/siglip has it and as a tokenizer.json, and SigLIP 2's of Gemma."""
    transformers = pytest.importorskip("transformers", reason="needs transformers, the reference")
    pytest.importorskip("sentencepiece", reason="needs sentencepiece, which makes the model")
    pytest.importorskip("google.protobuf", reason="needs protobuf, which reads it")
    sys.path.insert(0, str(GOLDEN.parent / "tokenizers"))
    try:
        import families
    finally:
        sys.path.remove(str(GOLDEN.parent / "tokenizers"))
    length = 24
    if layout == "spiece.model":
        tokenizer = families.write_older("older_siglip", tmp_path)
        size = len(tokenizer)
    else:
        backend = families.FAMILIES["siglip2" if layout == "siglip2" else "siglip"]()
        backend.save(str(tmp_path / "tokenizer.json"))
        pad = "<pad>" if layout == "siglip2" else "</s>"
        config = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": pad, "model_max_length": length}
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
        tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path)
        size = backend.get_vocab_size()
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = transformers.SiglipConfig(
        text_config=sizes | {"vocab_size": size, "max_position_embeddings": length},
        vision_config=sizes | {"image_size": 16, "patch_size": 8},
    )
    model = maker.randomise(transformers.SiglipModel(config), 3)
    model.save_pretrained(tmp_path)
    processor = transformers.SiglipImageProcessorPil(size={"height": 16, "width": 16})
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor.to_dict()))
    texts = ["the red shoes", "A photo of the dog!!", "ünïcode 42 émoji 🙂", "", "  Two  spaces, «quoted» ", "el niño corrió",
             "これは赤い本です", "the blue bicycle " * 30]  # fmt: skip
    ids = tokenizer(texts, padding="max_length", truncation=True, max_length=length, return_tensors="pt").input_ids
    wanted = torch.nn.functional.normalize(model.get_text_features(ids).pooler_output, dim=1)
    ours = trine.Embedder(tmp_path)
    assert len({tuple(row) for row in ids.tolist()}) == len(texts)
    assert [trine.load_encoder(tmp_path).text.tokenize(t) for t in texts] == ids.tolist()
    with pytest.warns(UserWarning, match=f"longer than {length} tokens"):
        assert (ours.embed_text(texts, long_input="truncate") - wanted).abs().max() < 1e-5
    picture = maker.draw(40, 30, 1)
    pixels = processor(picture, return_tensors="pt")
    image = torch.nn.functional.normalize(model.get_image_features(**pixels).pooler_output[0], dim=0)
    assert (ours.embed_image(picture) - image).abs().max() < 1e-5
    scores = (image @ wanted[:-1].T * model.logit_scale.exp() + model.logit_bias).sigmoid()
    assert (ours.probabilities(picture, texts[:-1]) - scores).abs().max() < 1e-4
