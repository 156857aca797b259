"""Intents by examples."""

import json

import pytest
import torch

import trine

EXAMPLES = {
    "greet": ["hello", "hello hello", "hello world", "hello the world"],
    "order": ["the first", "first the first", "the first first", "the first the"],
}


@pytest.fixture(scope="module")
def intents(tiny):
    return trine.IntentClassifier(EXAMPLES, embedder=tiny)


def test_a_text_a_list_and_a_vector(intents, tiny):
    intent = intents.understand("hello the world")
    assert type(intent) is trine.Intent and intent.label == "greet"
    assert [score.label for score in intent.scores] == ["greet", "order"] and intents.labels == ["greet", "order"]
    assert sum(score.probability for score in intent.scores) == pytest.approx(1, abs=1e-5)
    assert isinstance(intent.in_scope, bool) and repr(intent).startswith("Intent('greet', ")
    assert [i.label for i in intents.understand(["the first", "hello"])] == ["order", "greet"]
    assert intents.understand([]) == []
    vector = intents.understand(tiny.embed_text("hello the world"))
    assert vector.label == "greet"


def test_a_file(tiny, tmp_path):
    path = tmp_path / "intents.json"
    path.write_text(json.dumps(EXAMPLES | {"out_of_scope": ["world", "world world"]}))
    read = trine.IntentClassifier(path, embedder=tiny)
    assert read.labels == ["greet", "order"] and "2 examples" in str(read.describe())
    path.write_text('{"greet": "hello"}')
    with pytest.raises(RuntimeError, match="must be a list of sentences"):
        trine.IntentClassifier(path, embedder=tiny)
    with pytest.raises(FileNotFoundError):
        trine.IntentClassifier(tmp_path / "nowhere.json", embedder=tiny)


@pytest.mark.parametrize(
    "examples, options",
    [
        ({}, {}),
        ({"a": ["hello"], "b": ["x", "y"]}, {}),
        ({"a": ["hello", ""], "b": ["x", "y"]}, {}),
        ({"a": ["hello", "\ud800"], "b": ["x", "y"]}, {}),
        (EXAMPLES, {"folds": 1}),
        (EXAMPLES, {"kept": 1.5}),
        (None, {"kept": 0.9}),
    ],
)
def test_bad_examples(tiny, examples, options):
    with pytest.raises(ValueError):
        trine.IntentClassifier(examples, embedder=tiny, **options)


def test_bad_inputs(intents):
    for vector in (torch.zeros(3), torch.full((32,), float("nan")), torch.zeros(1, 32)):
        with pytest.raises(ValueError, match="finite floats"):
            intents.understand(vector)
    with pytest.raises(TypeError):
        intents.understand([3])


def test_the_help_desk(default_model):
    """Sentences that are no examples; the figures are those of models/default/evaluation/run.sh."""
    desk = trine.IntentClassifier(embedder=default_model)
    wanted = {
        "the milk carton leaked over everything": "damaged",
        "I got somebody else's bag": "wrong_item",
        "give me my money back": "refund",
        "the driver is two hours late": "late",
        "please cancel order 12": "cancel",
        "how do I store basil": "how_to",
        "hello there": "greeting",
    }
    found = desk.understand(list(wanted))
    assert [intent.label for intent in found] == list(wanted.values())
    assert all(intent.in_scope for intent in found)
    assert not desk.understand("who won the world cup in 1998").in_scope
