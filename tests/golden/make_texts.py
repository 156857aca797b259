"""Writes tests/golden/texts with transformers and sentence-transformers: a small checkpoint with random weights of every
text family, and what the references make of texts.

    python tests/golden/make_texts.py

Each folder is a `...ForSequenceClassification` directory that sentence-transformers reads too. Its `expected.safetensors`
holds a padded batch (`ids`, `mask`), the network's `hidden` states, the sentences' `vectors`, and the head's `logits` and
`scores`; `texts` are in the metadata. `sentence/` holds what sentence-transformers makes of the directory `bert` with other
modules and settings: for each case the files that are different, and the vectors. The tokenizer of all of them is
../text/tokenizer.json.
"""

import json
import shutil
import tempfile
from pathlib import Path

import torch
import transformers
from make_encoders import TEXTS, randomise
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer

FOLDER = Path(__file__).parent / "texts"
TOKENIZER = Path(__file__).parent / "text/tokenizer.json"
VOCABULARY = len(json.loads(TOKENIZER.read_text())["model"]["vocab"])
LENGTH = 24  # max_seq_length of all, of 40 positions

SIZES = {"vocab_size": VOCABULARY, "max_position_embeddings": 40}
BERT_SIZES = SIZES | {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
NAMES = {"id2label": {0: "joy", 1: "anger", 2: "grief"}, "label2id": {"joy": 0, "anger": 1, "grief": 2}}

# Where a switch of the config changes the arithmetic, one of the folders has the other side of it.
FAMILIES = {
    "bert": (
        transformers.BertForSequenceClassification,
        transformers.BertConfig(**BERT_SIZES, **NAMES, problem_type="multi_label_classification"),
    ),
    "roberta": (
        transformers.RobertaForSequenceClassification,
        transformers.RobertaConfig(**BERT_SIZES, **NAMES, type_vocab_size=1, layer_norm_eps=1e-5, pad_token_id=1),
    ),
    "xlm-roberta": (
        transformers.XLMRobertaForSequenceClassification,
        transformers.XLMRobertaConfig(**BERT_SIZES, num_labels=1, pad_token_id=0, hidden_act="gelu_new"),
    ),
    "mpnet": (
        transformers.MPNetForSequenceClassification,
        transformers.MPNetConfig(**BERT_SIZES, **NAMES, hidden_act="silu"),
    ),
    "distilbert": (
        transformers.DistilBertForSequenceClassification,
        transformers.DistilBertConfig(
            **SIZES, **NAMES, dim=32, n_layers=2, n_heads=4, hidden_dim=48, sinusoidal_pos_embds=True,
            activation="relu", problem_type="single_label_classification"),
    ),
    "modernbert": (
        transformers.ModernBertForSequenceClassification,
        transformers.ModernBertConfig(
            **(BERT_SIZES | {"num_hidden_layers": 3}), **NAMES, local_attention=8, pad_token_id=0, bos_token_id=2,
            cls_token_id=2, eos_token_id=3, sep_token_id=3),
    ),
    "modernbert_other": (
        transformers.ModernBertForSequenceClassification,
        transformers.ModernBertConfig(
            **(BERT_SIZES | {"num_hidden_layers": 3}), num_labels=2, local_attention=5, pad_token_id=0, bos_token_id=2,
            cls_token_id=2, eos_token_id=3, sep_token_id=3, global_attn_every_n_layers=2, global_rope_theta=500.0,
            local_rope_theta=100.0, attention_bias=True, mlp_bias=True, norm_bias=True, norm_eps=1e-3,
            hidden_activation="silu", classifier_bias=True, classifier_activation="relu", classifier_pooling="mean",
            problem_type="regression"),
    ),
}  # fmt: skip


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2))


def tokenizer(folder):
    shutil.copy(TOKENIZER, folder / "tokenizer.json")
    return transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]", model_max_length=LENGTH, model_input_names=["input_ids", "attention_mask"])  # fmt: skip


def write_sentence_files(folder, width=32):
    modules = [("Transformer", ""), ("Pooling", "1_Pooling")]
    write(folder / "modules.json", [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{name}"}
        for i, (name, path) in enumerate(modules)])  # fmt: skip
    write(folder / "1_Pooling/config.json", {"word_embedding_dimension": width, "pooling_mode_mean_tokens": True})
    write(folder / "sentence_bert_config.json", {"max_seq_length": LENGTH, "do_lower_case": False})


def write_family(name, kind, config, seed):
    folder = FOLDER / name
    model = kind(config).eval()
    randomise(model, seed)
    model.save_pretrained(folder)
    if name == "modernbert_other":  # as checkpoints on the Hub are written
        write(folder / "config.json", {
            key: value for key, value in json.loads((folder / "config.json").read_text()).items()
            if key not in ("rope_parameters", "layer_types")
        } | {"global_rope_theta": 500.0, "local_rope_theta": 100.0, "global_attn_every_n_layers": 2})  # fmt: skip
    model = kind.from_pretrained(folder).eval()
    fast = tokenizer(folder)
    fast.save_pretrained(folder)
    write_sentence_files(folder)
    batch = fast(TEXTS, padding=True, truncation=True, max_length=LENGTH, return_tensors="pt")
    ids, mask = batch.input_ids, batch.attention_mask.bool()
    ids[~mask] = {"roberta": 1, "mpnet": 1}.get(name, 0)
    hidden = model.base_model(input_ids=ids, attention_mask=batch.attention_mask).last_hidden_state
    pipe = transformers.TextClassificationPipeline(model=model, tokenizer=fast)
    alone = {"truncation": True, "max_length": LENGTH}
    scores = [{s["label"]: s["score"] for s in pipe(text, top_k=None, **alone)} for text in TEXTS]
    logits = [model(**fast(text, return_tensors="pt", **alone)).logits[0] for text in TEXTS]
    labels = [model.config.id2label[i] for i in range(model.config.num_labels)]
    tensors = {
        "ids": ids, "mask": mask, "hidden": hidden * mask.unsqueeze(-1), "logits": torch.stack(logits),
        "scores": torch.tensor([[row[label] for label in labels] for row in scores]),
        "vectors": torch.from_numpy(SentenceTransformer(str(folder), device="cpu").encode(TEXTS)),
    }  # fmt: skip
    save_file(tensors, folder / "expected.safetensors", {"texts": json.dumps(TEXTS)})
    (folder / "tokenizer.json").unlink()


def module(folder, idx, name, **config):
    """An entry of modules.json with its config.json."""
    path = f"{idx}_{name}"
    write(folder / path / "config.json", config)
    return {"idx": idx, "name": str(idx), "path": path, "type": f"sentence_transformers.models.{name}"}


def dense(folder, idx, inputs, outputs, seed, activation, bias=True, residual=False):
    generator = torch.Generator().manual_seed(seed)
    entry = module(
        folder, idx, "Dense", in_features=inputs, out_features=outputs, bias=bias,
        activation_function=f"torch.nn.modules.{activation}", **({"use_residual": True} if residual else {}))  # fmt: skip
    tensors = {"linear.weight": torch.randn(outputs, inputs, generator=generator) / inputs**0.5}
    if bias:
        tensors["linear.bias"] = torch.randn(outputs, generator=generator) / 4
    if residual and inputs != outputs:
        tensors["residual.weight"] = torch.randn(outputs, inputs, generator=generator) / inputs**0.5
    save_file(tensors, folder / entry["path"] / "model.safetensors")
    return entry


def add_modules(folder, *entries):
    modules = json.loads((folder / "modules.json").read_text())
    write(folder / "modules.json", modules + list(entries))


def pooling(**config):
    return lambda folder: write(folder / "1_Pooling/config.json", {"embedding_dimension": 32} | config)


def several_flags(folder):
    flags = ["cls_token", "mean_tokens", "max_tokens", "lasttoken"]
    write(folder / "1_Pooling/config.json", {"word_embedding_dimension": 32} | {f"pooling_mode_{f}": True for f in flags})


def projected(folder):
    pooling(pooling_mode=["mean", "cls"])(folder)
    add_modules(folder, dense(folder, 2, 64, 48, 1, "activation.Tanh"), module(folder, 3, "Dropout", dropout=0.5),
                dense(folder, 4, 48, 16, 2, "activation.GELU", bias=False), module(folder, 5, "Normalize"))  # fmt: skip


def residual(folder):
    add_modules(folder, dense(folder, 2, 32, 32, 3, "activation.ReLU", residual=True), module(folder, 3, "Normalize"),
                dense(folder, 4, 32, 20, 4, "linear.Identity", residual=True))  # fmt: skip


def normed(folder):
    entry = module(folder, 2, "LayerNorm", dimension=32)
    generator = torch.Generator().manual_seed(5)
    tensors = {"norm.weight": 1 + torch.randn(32, generator=generator) / 4, "norm.bias": torch.randn(32, generator=generator)}
    save_file(tensors, folder / entry["path"] / "model.safetensors")
    add_modules(folder, entry)


def settings(**config):
    return lambda folder: write(folder / "config_sentence_transformers.json", config)


PROMPTS = {"query": "search for the red one: ", "passage": "the text is "}


def prompted(folder):
    settings(prompts=PROMPTS, default_prompt_name="passage", similarity_fn_name="cosine")(folder)


def bare(folder):
    """Without modules.json the other files are not read."""
    (folder / "modules.json").unlink()
    prompted(folder)
    write(folder / "sentence_bert_config.json", {"max_seq_length": 10})


def prompt_left_out(folder):
    prompted(folder)
    pooling(pooling_mode=["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"], include_prompt=False)(folder)


def newest(folder):
    """The layout that sentence-transformers 6 writes."""
    with tempfile.TemporaryDirectory() as saved:
        SentenceTransformer(str(folder), device="cpu").save(saved)
        for path in Path(saved).rglob("*.json"):
            if path.name not in ("config.json", "tokenizer.json") or path.parent.name == "1_Pooling":
                (folder / path.relative_to(saved)).parent.mkdir(exist_ok=True)
                shutil.copy(path, folder / path.relative_to(saved))


# Each: what it changes in the directory, and the arguments of `encode`.
CASES = {
    **{mode: (pooling(pooling_mode=mode), {}) for mode in ("cls", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")},
    "several_flags": (several_flags, {}),
    "no_flags": (lambda folder: write(folder / "1_Pooling/config.json", {"word_embedding_dimension": 32, "pooling_mode_cls_token": False}), {}),
    "bare": (bare, {}),
    "projected": (projected, {}),
    "residual": (residual, {}),
    "normed": (normed, {}),
    "truncated": (settings(truncate_dim=7), {}),
    "default_prompt": (prompted, {}),
    "named_prompt": (prompted, {"prompt_name": "query"}),
    "unset_prompt": (prompted, {"prompt_name": "document"}),
    "given_prompt": (prompted, {"prompt": "a "}),
    "left_out_default": (prompt_left_out, {}),
    "left_out_named": (prompt_left_out, {"prompt_name": "query"}),
    "left_out_empty": (prompt_left_out, {"prompt": ""}),
    "newest": (newest, {}),
}  # fmt: skip


def write_case(name, change, arguments):
    """The files that differ from those of `bert`, under sentence/NAME."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        shutil.copytree(FOLDER / "bert", folder, dirs_exist_ok=True)
        tokenizer(folder)
        before = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        change(folder)
        model = SentenceTransformer(str(folder), device="cpu")
        vectors = model.encode(TEXTS, **arguments)
        kept = FOLDER / "sentence" / name
        kept.mkdir(parents=True)
        for path in folder.rglob("*"):
            inner = path.relative_to(folder)
            if path.is_file() and before.get(inner) != path.read_bytes():
                (kept / inner).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, kept / inner)
        removed = [str(inner) for inner in before if not (folder / inner).exists()]
        save_file({"vectors": torch.from_numpy(vectors)}, kept / "expected.safetensors",
                  {"texts": json.dumps(TEXTS), "arguments": json.dumps(arguments), "removed": json.dumps(removed)})  # fmt: skip


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    shutil.rmtree(FOLDER, ignore_errors=True)
    for seed, (name, (kind, config)) in enumerate(FAMILIES.items()):
        write_family(name, kind, config, 10 + seed)
    for name, (change, arguments) in CASES.items():
        write_case(name, change, arguments)
