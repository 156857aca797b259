"""What fusions are trained with: the contrastive loss, dropped modalities, balanced sampling."""

import copy
import json
from collections import Counter

import numpy as np
import pytest
import torch
from conftest import assert_close, below, load_safetensors, reference_cases
from hypothesis import given, settings
from hypothesis import strategies as st

import trine
from trine.train import PAIRS, BalancedSampler, ContrastiveLoss, ModalityDropout, contrastive_loss

pytestmark = pytest.mark.usefixtures("one_thread")
NAMES = ["image", "text", "audio"]


def vectors(batch=6, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return {m: torch.randn(batch, 8, generator=generator) for m in NAMES}


# --- contrastive loss -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", reference_cases("contrastive_loss"), ids=lambda p: p.stem)
def test_cases_of_the_reference(path):
    tensors, metadata = load_safetensors(path)
    embeddings, present = below(tensors, "in.embeddings."), below(tensors, "in.present.")
    loss = contrastive_loss(embeddings, **json.loads(metadata["config"]), ids=tensors.get("in.ids"), present=present)
    assert_close(loss, tensors["out.loss"])


def test_pairs_are_those_of_the_reference(reference):
    assert PAIRS == reference.PAIRS


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_any_batch_equals_the_reference(reference, data):
    batch = data.draw(st.integers(2, 7))
    chosen = data.draw(st.lists(st.sampled_from(NAMES), min_size=2, unique=True))
    embeddings = {m: x for m, x in vectors(batch, data.draw(st.integers(0, 99))).items() if m in chosen}
    bools = st.lists(st.booleans(), min_size=batch, max_size=batch)
    present = {m: torch.tensor(data.draw(bools)) for m in chosen if data.draw(st.booleans())}
    ids = data.draw(st.none() | st.lists(st.integers(0, 3), min_size=batch, max_size=batch))
    pairs = data.draw(st.sampled_from([PAIRS, {("text", "image"): 2.0}, {("image", "text"): 0.0, ("text", "audio"): 1}]))
    arguments = (data.draw(st.sampled_from([0.05, 0.5])), None if ids is None else torch.tensor(ids), present, pairs)
    leaves = [{m: x.clone().requires_grad_() for m, x in embeddings.items()} for _ in range(2)]
    try:
        wanted = reference.contrastive_loss(leaves[0], *arguments)
    except ValueError as error:
        with pytest.raises(ValueError) as refused:
            contrastive_loss(leaves[1], *arguments)
        assert str(refused.value) == str(error)
        return
    found = contrastive_loss(leaves[1], *arguments)
    assert_close(found, wanted)
    wanted.backward()
    found.backward()
    for m in chosen:
        if leaves[0][m].grad is not None:
            assert_close(leaves[1][m].grad, leaves[0][m].grad, 1e-4)


def test_gradients_are_finite_differences():
    leaves = [x.double().requires_grad_() for x in vectors(4).values()]
    temperature = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    present = {"audio": torch.tensor([True, False, True, True])}

    def run(temperature, *values):
        return contrastive_loss(dict(zip(NAMES, values)), temperature, torch.tensor([1, 1, 2, 3]), present)

    assert torch.autograd.gradcheck(run, (temperature, *leaves))


def test_a_learned_temperature(tmp_path):
    torch.manual_seed(0)
    loss = ContrastiveLoss(0.5, learnable=True)
    assert_close(loss(vectors()), ContrastiveLoss(0.5)(vectors()))
    assert not list(ContrastiveLoss().parameters())
    optimiser = torch.optim.SGD(loss.parameters(), 1.0)
    same = {m: torch.eye(6) for m in NAMES}  # the colder the better
    for _ in range(300):
        optimiser.zero_grad()
        loss(same).backward()
        optimiser.step()
    assert 0.01 <= loss.temperature < 0.4
    with torch.no_grad():
        loss.logit_scale.fill_(9.0)
    assert_close(loss(vectors()), contrastive_loss(vectors(), 0.01), 1e-4)
    loss.save(tmp_path)
    for other in (ContrastiveLoss.load(tmp_path), copy.deepcopy(loss)):
        assert_close(other(vectors()), loss(vectors()))
        assert [name for name, _ in other.named_parameters()] == ["logit_scale"]


def test_a_fixed_temperature_is_saved(tmp_path):
    ContrastiveLoss(0.2, pairs={("a", "b"): 3.0}).save(tmp_path)
    loss = ContrastiveLoss.load(tmp_path)
    assert loss.temperature == 0.2 and "('a', 'b'): 3.0" in repr(loss)
    a, b = vectors()["image"], vectors()["text"]
    assert_close(loss({"a": a, "b": b}), contrastive_loss({"image": a, "text": b}, 0.2))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"temperature": 0.0}, "above 0"),
        ({"temperature": float("nan")}, "above 0"),
        ({"temperature": torch.ones(2)}, r"got Float \[2\]"),
        ({"ids": torch.ones(6)}, r"ids must be integers \(6\), got Float \[6\]"),
        ({"ids": [1, 2]}, r"ids must be integers \(6\), got Long \[2\]"),
        ({"present": {"text": torch.ones(6)}}, "present of 'text' must be Bool"),
        ({"present": {"text": torch.tensor([True] + [False] * 5)}, "pairs": {("image", "text"): 1}}, "no pair"),
        ({"pairs": {("image", "image"): 1}}, "twice 'image'"),
        ({"pairs": {("image", "text"): -1}}, "at least 0, got -1"),
        ({"embeddings": {"image": torch.ones(6, 8), "text": torch.ones(6, 4)}}, r"Float \[6, 4\]"),
        ({"embeddings": {}}, "got none"),
    ],
)
def test_wrong_arguments_of_the_loss_are_sentences(change, message):
    with pytest.raises(ValueError, match=rf"^\[contrastive_loss\] .*{message}"):
        contrastive_loss(**{"embeddings": vectors()} | change)


def test_wrong_kinds_are_type_errors():
    with pytest.raises(TypeError, match="embeddings must be a dict"):
        contrastive_loss([torch.ones(2, 3)])
    with pytest.raises(TypeError, match="pairs must be a dict"):
        contrastive_loss(vectors(), pairs=[("image", "text")])
    with pytest.raises(ValueError, match="at least 0.01, got 0.001"):
        ContrastiveLoss(0.001)


# --- ModalityDropout --------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_dropout_never_drops_all_and_only_zeroes(data):
    batch, probability = data.draw(st.integers(1, 5)), data.draw(st.sampled_from([0.0, 0.3, 0.9, 1.0]))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 999)))
    names = data.draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
    features = {m: torch.randn(batch, i + 1, 4, generator=generator) for i, m in enumerate(names)}
    masks = {m: torch.rand(x.shape[:2], generator=generator) > 0.3 for m, x in features.items()}
    masks[names[0]][:, 0] = True
    dropout = ModalityDropout(probability, seed=data.draw(st.integers(0, 999)))
    seen, there = dropout(features, masks)
    assert set(seen) == set(there) == set(names)
    assert torch.stack([m.any(1) for m in there.values()]).any(0).all()
    for m in names:
        kept = there[m].any(1)
        assert torch.equal(there[m][kept], masks[m][kept])
        for i in range(batch):
            dropped = masks[m][i].any() and not kept[i]
            assert torch.equal(seen[m][i], torch.zeros_like(seen[m][i]) if dropped else features[m][i]) or not kept[i]
        if probability == 0:
            assert torch.equal(there[m], masks[m]) and torch.equal(seen[m], features[m])
    if probability == 1:
        assert (sum(m.any(1).int() for m in there.values()) == 1).all()


def test_dropout_has_its_rate():
    batch, p = 30_000, 0.25
    dropout = ModalityDropout(p, seed=5)
    _, there = dropout({m: torch.ones(batch, 3) for m in NAMES})
    for m in NAMES:
        assert abs((~there[m]).float().mean() - (p - p**3 / 3)) < 0.01


def test_dropout_follows_its_seed_not_the_order_of_the_dict():
    features = {m: torch.ones(40, 3) for m in NAMES}
    one, other = ModalityDropout(0.5, seed=2), ModalityDropout(0.5, seed=2)
    torch.manual_seed(1)
    first = one(features)[1]
    again = other(dict(reversed(features.items())))[1]
    assert all(torch.equal(first[m], again[m]) for m in NAMES)
    assert any(not torch.equal(first[m], x) for m, x in one(features)[1].items())
    one.seed(2)
    assert all(torch.equal(first[m], x) for m, x in one(features)[1].items())
    assert all(x.all() for x in one.eval()(features)[1].values())


def test_dropout_before_a_fusion_lets_gradients_through():
    features = {m: torch.randn(8, 2, 16, requires_grad=True) for m in NAMES}
    seen, masks = ModalityDropout(0.6, seed=1)(features)
    trine.fusion.AttentionFusion(NAMES, 16, num_heads=2, ff_dim=8).eval()(seen, masks)[0].sum().backward()
    for m in NAMES:
        gone = ~masks[m].any(1)
        assert gone.any() and (features[m].grad[gone] == 0).all() and (features[m].grad[~gone] != 0).any()


def test_wrong_arguments_of_dropout_are_sentences():
    with pytest.raises(ValueError, match="0 to 1, got -0.1"):
        ModalityDropout(-0.1)
    dropout, x = ModalityDropout(0.5), torch.ones(2, 3)
    with pytest.raises(ValueError, match=r"^\[ModalityDropout\] sample 1 has no modality$"):
        dropout({"text": x}, {"text": torch.tensor([True, False])})
    with pytest.raises(ValueError, match="a mask of 'image', but no features"):
        dropout({"text": x}, {"image": torch.ones(2).bool()})
    with pytest.raises(TypeError, match="features must be a dict"):
        dropout(x)


# --- BalancedSampler --------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(groups=st.lists(st.sampled_from("abcd"), min_size=1, max_size=60), seed=st.integers(0, 2**63), data=st.data())
def test_every_group_counts_the_same(groups, seed, data):
    sizes = Counter(groups)
    for sampling, draws in (("up", max(sizes.values())), ("down", min(sizes.values()))):
        sampler = BalancedSampler(groups, sampling, seed)
        epoch = data.draw(st.integers(0, 2**40))
        indices = sampler.indices(epoch)
        assert len(sampler) == len(indices) == draws * len(sizes)
        assert indices == BalancedSampler(groups, sampling, seed).indices(epoch)
        assert Counter(groups[i] for i in indices) == dict.fromkeys(sizes, draws)
        times = Counter(indices)
        for group, size in sizes.items():
            counts = [times[i] for i, g in enumerate(groups) if g == group]
            assert set(counts) <= {draws // size, -(-draws // size)}
        for start in range(0, len(indices), len(sizes)):
            assert len({groups[i] for i in indices[start : start + len(sizes)]}) == len(sizes)


def test_epochs_and_seeds_differ():
    groups = [0] * 30 + [1] * 5
    sampler = BalancedSampler(groups, seed=1)
    first, second = list(sampler), list(sampler)
    assert first == sampler.indices(0) and second == sampler.indices(1) and first != second
    assert sampler.epoch == 2
    sampler.set_epoch(0)
    assert list(sampler) == first
    assert BalancedSampler(groups, seed=2).indices(0) != first
    down = BalancedSampler(groups, "down", seed=1)
    assert len({i for epoch in range(40) for i in down.indices(epoch)}) == 35  # in time every sample is seen


@pytest.mark.parametrize("as_given", [list, torch.tensor, np.array, lambda g: np.array(g, dtype=np.uint8), lambda g: tuple(map(str, g))])
def test_groups_may_be_anything_that_names_them(as_given):
    groups = [3] * 7 + [200] * 2 + [0] * 4
    sampler = BalancedSampler(as_given(groups), seed=5)
    assert list(sampler) == BalancedSampler(groups, seed=5).indices(0) and type(next(iter(sampler))) is int


def test_it_serves_a_data_loader():
    present = {"image": torch.tensor([True] * 8 + [False] * 2), "text": torch.tensor([True] * 4 + [False] * 4 + [True] * 2)}
    sampler = BalancedSampler(present, seed=3)
    assert len(sampler) == 12
    loader = torch.utils.data.DataLoader(torch.arange(10), batch_size=6, sampler=sampler)
    for batch in loader:
        rows = zip(present["image"][batch].tolist(), present["text"][batch].tolist())
        assert sorted(Counter(rows).values()) == [2, 2, 2]


@pytest.mark.parametrize("groups", [[], {}, {"image": torch.ones(3)}])
def test_wrong_groups_are_sentences(groups):
    with pytest.raises(ValueError, match="wanted"):
        BalancedSampler(groups)


def test_wrong_sampling_and_epoch_are_sentences():
    with pytest.raises(ValueError, match="up or down, not 'sideways'"):
        BalancedSampler([1], "sideways")
    with pytest.raises(ValueError, match="from 0, got -1"):
        BalancedSampler([1]).indices(-1)
