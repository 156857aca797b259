"""Text families, sentence-transformers directories and classifiers: the references' numbers, in any configuration."""

import json
import shutil
import warnings

import numpy as np
import pytest
import torch
from conftest import GOLDEN, load_safetensors

import trine

TEXTS = GOLDEN / "texts"
FAMILIES = ("bert", "roberta", "xlm-roberta", "mpnet", "distilbert", "modernbert", "modernbert_other")
CASES = sorted(path.name for path in (TEXTS / "sentence").iterdir())
WORDS = "red green apple lamp shoes rain jacket wooden door bicycle bananas oat milk headphones return blue a the of".split()


def sentences(count, longest=40, seed=3):
    random = np.random.default_rng(seed)
    made = [" ".join(random.choice(WORDS, random.integers(1, longest))) for _ in range(count)]
    return [s.capitalize() + random.choice([".", "?", "!", ", 42 €", " ä"]) for s in made]


def golden(folder, tmp_path, own=None):
    """A copy with the tokenizer, and what the references make of it."""
    directory = tmp_path / "model"
    shutil.copytree(folder, directory)
    shutil.copy(GOLDEN / "text/tokenizer.json", directory)
    if own is None:
        return directory, *load_safetensors(folder / "expected.safetensors")
    shutil.copytree(own, directory, dirs_exist_ok=True)
    tensors, metadata = load_safetensors(own / "expected.safetensors")
    for name in json.loads(metadata["removed"]):
        (directory / name).unlink()
    return directory, tensors, metadata


def unit(rows):
    return torch.nn.functional.normalize(rows, dim=-1)


def embed(model, texts, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one of the texts is cut
        return model.embed_text(texts, long_input="truncate", **options)


@pytest.mark.parametrize("name", FAMILIES)
def test_vectors_equal_sentence_transformers(name, tmp_path):
    directory, wanted, metadata = golden(TEXTS / name, tmp_path)
    texts = json.loads(metadata["texts"])
    assert (trine.load_encoder(directory).encode(texts) - wanted["vectors"]).abs().max() < 1e-4
    assert (embed(trine.Embedder(directory), texts) * unit(wanted["vectors"])).sum(1).min() > 0.99999


@pytest.mark.parametrize("case", CASES)
def test_modules_prompts_and_settings_equal_sentence_transformers(case, tmp_path):
    directory, wanted, metadata = golden(TEXTS / "bert", tmp_path, TEXTS / "sentence" / case)
    arguments = json.loads(metadata["arguments"])
    vectors = embed(trine.Embedder(directory), json.loads(metadata["texts"]), **arguments)
    assert (vectors - unit(wanted["vectors"])).abs().max() < 1e-4


@pytest.mark.parametrize("name", FAMILIES)
def test_scores_equal_transformers(name, tmp_path):
    directory, wanted, metadata = golden(TEXTS / name, tmp_path)
    texts = json.loads(metadata["texts"])
    model = trine.Classifier(directory)
    with pytest.warns(UserWarning, match="1 of 6 texts are longer than 24 tokens"):
        rows = model.predict(texts, batch_size=4)
    assert [list(row) for row in rows] == [model.labels] * len(texts)
    assert np.abs(np.array([list(row.values()) for row in rows]) - wanted["scores"].numpy()).max() < 1e-4
    assert model.predict(texts[0]) == pytest.approx(rows[0], abs=1e-5) and model.predict([]) == []
    assert model.describe()["labels"] == ", ".join(model.labels) and "Classifier(" in repr(model)


def test_what_a_classifier_refuses(tmp_path):
    directory, _, _ = golden(TEXTS / "bert", tmp_path)
    model = trine.Classifier(directory)
    assert model.function == "sigmoid" and model.max_tokens == 24 and model.directory == directory
    for bad, kind in ((["a", 3], TypeError), ("\ud800", ValueError)):
        with pytest.raises(kind):
            model.predict(bad)
    with pytest.raises(ValueError, match="batch_size"):
        model.predict("a", batch_size=0)
    with pytest.raises(FileNotFoundError):
        trine.Classifier(tmp_path / "missing")
    with pytest.raises(RuntimeError, match="model_type"):
        trine.Classifier(GOLDEN / "encoders/whisper")


def test_prompts_are_named_given_or_the_default(tmp_path):
    directory, _, _ = golden(TEXTS / "bert", tmp_path, TEXTS / "sentence/default_prompt")
    model = trine.Embedder(directory)
    assert trine.load_encoder(directory).prompts["passage"] == "the text is "
    default = model.embed_text("red")
    assert torch.equal(default, model.embed_text("red", prompt_name="passage"))
    assert torch.equal(default, model.encode("red", prompt="the text is "))
    assert torch.equal(default, model.embed(text="red"))
    plain = model.embed_text("the text is red", prompt="")
    assert (plain - default).abs().max() < 1e-5
    assert torch.equal(plain, model.embed_text("the text is red", prompt="", prompt_name="query"))
    with pytest.raises(ValueError, match="it has document, passage, query"):
        model.embed_text("red", prompt_name="title")
    with pytest.raises(TypeError, match="prompt_name"):
        model.embed_text("red", prompt_name=3)


def random_config(transformers, name, random):
    """A configuration of a family that is not the golden one's."""
    heads, size = int(random.choice([1, 2, 3, 6])), int(random.choice([2, 4, 8]))
    layers, hidden = int(random.integers(1, 5)), int(random.integers(3, 90))
    act = str(random.choice(["gelu", "relu", "gelu_new", "silu", "gelu_pytorch_tanh", "quick_gelu"]))
    labels = {"num_labels": int(random.integers(1, 7))}
    rows = {"vocab_size": 502 + int(random.integers(0, 9)), "max_position_embeddings": int(random.integers(50, 300))}
    if name == "distilbert":
        return transformers.DistilBertConfig(
            **rows, **labels, dim=heads * size, n_layers=layers, n_heads=heads, hidden_dim=hidden, activation=act
        )
    sizes = rows | labels | {"hidden_size": heads * size, "num_hidden_layers": layers, "num_attention_heads": heads}
    sizes["intermediate_size"] = hidden
    if name == "modernbert":
        flags = {key: bool(random.integers(2)) for key in ("attention_bias", "mlp_bias", "norm_bias", "classifier_bias")}
        both = ["full_attention", "sliding_attention"]  # transformers cannot save a configuration of one kind
        kinds = [str(kind) for kind in random.permutation([*both, *random.choice(both, layers)])]
        sizes["num_hidden_layers"] = len(kinds)
        return transformers.ModernBertConfig(
            **sizes, **flags, layer_types=kinds, local_attention=int(random.integers(1, 60)), pad_token_id=0,
            bos_token_id=2, cls_token_id=2, eos_token_id=3, sep_token_id=3, hidden_activation=act,
            classifier_activation=act, classifier_pooling=str(random.choice(["cls", "mean"])),
            rope_parameters={
                "full_attention": {"rope_type": "default", "rope_theta": float(random.integers(10, 10**6))},
                "sliding_attention": {"rope_type": "default", "rope_theta": float(random.integers(10, 10**6))},
            },
        )  # fmt: skip
    kind = {"bert": "BertConfig", "roberta": "RobertaConfig", "xlm-roberta": "XLMRobertaConfig", "mpnet": "MPNetConfig"}
    sizes |= {"hidden_act": act, "layer_norm_eps": float(10 ** random.uniform(-12, -3))}
    if "roberta" in name:
        sizes |= {"pad_token_id": int(random.integers(0, 5)), "type_vocab_size": int(random.integers(1, 4))}
    return getattr(transformers, kind[name])(**sizes)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "modernbert_other"])
def test_random_configurations_equal_transformers(name, seed, tmp_path):
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    random = np.random.default_rng([seed, FAMILIES.index(name)])
    config = random_config(transformers, name, random)
    torch.manual_seed(seed)
    with torch.no_grad():
        reference = transformers.AutoModelForSequenceClassification.from_config(config).eval()
        for parameter in reference.parameters():
            parameter.copy_(torch.randn(parameter.shape) * (1.0 if parameter.dim() == 1 else 0.5))
        reference.save_pretrained(tmp_path)
        shutil.copy(GOLDEN / "text/tokenizer.json", tmp_path)
        texts = sentences(8, longest=25, seed=seed) + ["", "red"]
        encode = trine.Tokenizer.load(tmp_path).encode
        states, logits = [], []
        for text in texts:
            ids = torch.tensor([encode(text, max_length=40).ids])
            states.append(reference.base_model(input_ids=ids).last_hidden_state[0].mean(0))
            logits.append(reference(input_ids=ids).logits[0])
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 40}))
    wanted = torch.stack(states)
    assert (trine.load_encoder(tmp_path).encode(texts) - wanted).abs().max() < 1e-4 * max(1, wanted.abs().max())
    wanted = torch.stack(logits)
    found = trine.Classifier(tmp_path)._model.logits(texts)
    assert (found - wanted).abs().max() < 1e-4 * max(1, wanted.abs().max())


def test_500_real_sentences_equal_sentence_transformers(encoders):
    reference = pytest.importorskip("sentence_transformers", reason="needs sentence-transformers")
    folder = encoders / "all-MiniLM-L6-v2"
    texts = sentences(500, longest=120)
    wanted = reference.SentenceTransformer(str(folder), device="cpu").encode(texts, convert_to_tensor=True)
    model = trine.Embedder(folder)
    vectors = model.embed_text(texts)
    assert (vectors * wanted).sum(1).min() > 0.99999 and (vectors - wanted).abs().max() < 1e-5
    for batch_size in (1, 7, 500):
        assert (model.embed_text(texts, batch_size=batch_size) - vectors).abs().max() < 1e-5
    short = model.embed_text(texts, truncate_dim=64)
    assert (short - torch.nn.functional.normalize(wanted[:, :64], dim=1)).abs().max() < 1e-5
