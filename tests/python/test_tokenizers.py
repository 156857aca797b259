"""A sample of tests/tokenizers/compare.py: every family against Hugging Face's tokenizers."""

import sys
from pathlib import Path

import pytest
import trine

for module in ("tokenizers", "transformers", "sentencepiece", "google.protobuf"):
    pytest.importorskip(module, reason=f"needs {module}")
sys.path.insert(0, str(Path(__file__).parents[1] / "tokenizers"))

import families  # noqa: E402
import texts  # noqa: E402

TEXTS = texts.texts(500, seed=42)


@pytest.mark.parametrize("name", families.FAMILIES)
def test_tokens_equal_the_reference(name, tmp_path):
    reference = families.FAMILIES[name]()
    reference.save(str(tmp_path / "tokenizer.json"))
    tokenizer = trine.Tokenizer.load(tmp_path)
    for text, wanted in zip(TEXTS, reference.encode_batch(TEXTS), strict=True):
        got = tokenizer.encode(text)
        assert (got.ids, got.offsets, got.tokens) == (wanted.ids, wanted.offsets, wanted.tokens), text


@pytest.mark.parametrize("name", families.OLDER)
def test_older_files_equal_the_reference(name, tmp_path):
    reference = families.write_older(name, tmp_path)
    tokenizer = trine.Tokenizer.load(tmp_path)
    for text, ids in zip(TEXTS, reference(TEXTS)["input_ids"], strict=True):
        assert tokenizer.encode(text).ids == ids, text


@pytest.mark.parametrize("name", ["clip", "xlm_roberta", "llama3"])
def test_truncation_equals_the_reference(name, tmp_path):
    reference = families.FAMILIES[name]()
    reference.save(str(tmp_path / "tokenizer.json"))
    tokenizer = trine.Tokenizer.load(tmp_path)
    reference.enable_truncation(max_length=7)
    for text in TEXTS[:100]:
        assert tokenizer.encode(text, max_length=7).ids == reference.encode(text).ids, text
