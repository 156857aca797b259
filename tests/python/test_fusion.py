"""Learned fusions: the reference's numbers, missing modalities, training with PyTorch, saving."""

import copy
import io
import json

import pytest
import torch
from conftest import assert_close, below, load_safetensors, reference_cases
from hypothesis import given, settings
from hypothesis import strategies as st

import trine
from trine.fusion import AttentionFusion, CrossModalAttention, EarlyFusion, Fusion, HybridFusion, LateFusion

FUSIONS = (EarlyFusion, LateFusion, HybridFusion, AttentionFusion)
NAMES = ["image", "text", "audio"]
DIM = 16

pytestmark = pytest.mark.usefixtures("one_thread")
every_fusion = pytest.mark.parametrize("cls", FUSIONS, ids=lambda cls: cls.__name__)


def small(cls, **arguments):
    torch.manual_seed(3)
    return cls(NAMES, **{"hidden_dim": DIM, "num_heads": 4, "ff_dim": 24} | arguments)


def randomise(module, generator):
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * 0.3 + (0.5 if p.dim() == 1 else 0.0))


@st.composite
def batches(draw):
    """Features and masks in which each sample has a modality; some modalities may be left out for all."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True))
    size = draw(st.integers(1, 4))
    features = {m: torch.randn(size, draw(st.integers(1, 5)), DIM, generator=generator) for m in names}
    masks = {m: torch.rand(x.shape[:2], generator=generator) > 0.4 for m, x in features.items()}
    for sample in range(size):
        if not any(mask[sample].any() for mask in masks.values()):
            masks[draw(st.sampled_from(names))][sample, 0] = True
    return features, masks


# --- the reference's numbers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [p for c in FUSIONS for p in reference_cases(c.__name__)], ids=lambda p: p.stem)
def test_cases_of_the_reference(path):
    tensors, metadata = load_safetensors(path)
    fusion = getattr(trine.fusion, metadata["module"])(**json.loads(metadata["config"])).eval()
    weights = below(tensors, "weight.")
    assert set(fusion.state_dict()) == set(weights)
    fusion.load_state_dict(weights)
    with torch.no_grad():
        fused, shares = fusion(below(tensors, "in.features."), below(tensors, "in.masks.") or None)
    assert_close(fused, tensors["out.fused"])
    wanted = below(tensors, "out.weights.")
    assert set(shares) == set(wanted)
    for name in wanted:
        assert_close(shares[name], wanted[name])


@pytest.mark.parametrize("path", reference_cases("CrossModalAttention"), ids=lambda p: p.stem)
def test_cross_modal_attention_has_the_cases_of_the_reference(path):
    tensors, metadata = load_safetensors(path)
    attention = CrossModalAttention(**json.loads(metadata["config"]))
    attention.load_state_dict(below(tensors, "weight."))
    output, weights = attention(tensors["in.query"], tensors["in.key"], key_mask=tensors.get("in.key_mask"))
    assert_close(output, tensors["out.output"])
    assert_close(weights, tensors["out.weights"])


CONFIGS = [
    {"hidden_dim": 8, "num_heads": 1, "ff_dim": 5, "modalities": ["one"]},
    {"hidden_dim": 24, "num_heads": 3, "ff_dim": 7, "modalities": ["video", "text"]},
    {"hidden_dim": 32, "modalities": ["a", "b", "c", "d"]},
]


@every_fusion
@pytest.mark.parametrize("config", CONFIGS, ids=["1", "2", "4"])
@pytest.mark.parametrize("layers", [1, 3])
def test_other_configurations_equal_the_reference(reference, cls, config, layers):
    key = "num_self_layers" if cls is AttentionFusion else "num_layers"
    config = config | {key: layers}
    if cls is AttentionFusion:
        config |= {"num_cross_layers": layers - 1}
    wanted, found = getattr(reference, cls.__name__)(**config).eval(), cls(**config).eval()
    generator = torch.Generator().manual_seed(layers)
    randomise(wanted, generator)
    assert [name for name, _ in found.named_parameters()] == [name for name, _ in wanted.named_parameters()]
    found.load_state_dict(wanted.state_dict())
    wanted.double()
    names, dim = config["modalities"], config["hidden_dim"]
    features = {m: torch.randn(5, 2 + i, dim, generator=generator) for i, m in enumerate(names)}
    masks = {m: torch.rand(x.shape[:2], generator=generator) > 0.5 for m, x in features.items()}
    masks[names[0]][:, 0] = True
    inputs = {m: x.clone().requires_grad_() for m, x in features.items()}
    doubles = {m: x.double().requires_grad_() for m, x in features.items()}
    fused, shares = found(inputs, masks)
    wanted_fused, wanted_shares = wanted(doubles, masks)
    assert_close(fused, wanted_fused)
    for m in names:
        assert_close(shares[m], wanted_shares[m])
    probe = torch.randn(fused.shape, generator=generator)
    ((fused * probe).sum() + shares[names[0]].sum()).backward()
    ((wanted_fused * probe).sum() + wanted_shares[names[0]].sum()).backward()
    for m in names:
        assert_close(inputs[m].grad, doubles[m].grad, 1e-4)
    for p, q in zip(found.parameters(), wanted.parameters()):
        if q.grad is not None:
            assert_close(p.grad, q.grad.float(), 1e-4)


@pytest.mark.parametrize("dim, heads", [(8, 1), (24, 3), (64, 8)])
def test_other_attentions_equal_the_reference(reference, dim, heads):
    wanted, found = reference.CrossModalAttention(dim, heads), CrossModalAttention(dim, heads)
    found.load_state_dict(wanted.state_dict())
    query, key, value = torch.randn(3, 4, dim), torch.randn(3, 5, dim), torch.randn(3, 5, dim)
    mask = torch.tensor([[1, 1, 0, 0, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]]).bool()
    for arguments in ((key,), (key, value), (key, value, mask), (key, None, mask)):
        for a, b in zip(found(query, *arguments), wanted(query, *arguments)):
            assert_close(a, b)


@every_fusion
def test_gradients_are_finite_differences(cls):
    fusion = small(cls).double().eval()
    generator = torch.Generator().manual_seed(5)
    features = {m: torch.randn(2, 2, DIM, generator=generator).double().requires_grad_() for m in NAMES}
    masks = {"text": torch.tensor([[1, 0], [0, 0]]).bool()}

    def run(*values):
        fused, shares = fusion(dict(zip(NAMES, values)), masks)
        return fused, shares["image"]

    assert torch.autograd.gradcheck(run, tuple(features.values()), fast_mode=True)


# --- what must not matter ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ready():
    fusions = [small(cls).eval() for cls in FUSIONS]
    for fusion in fusions:
        randomise(fusion, torch.Generator().manual_seed(4))
    return fusions


@settings(deadline=None, max_examples=30)
@given(batch=batches(), data=st.data())
def test_order_padding_and_company_do_not_matter(ready, batch, data):
    features, masks = batch
    size = len(next(iter(features.values())))
    order = data.draw(st.permutations(range(size)))
    names = data.draw(st.permutations(sorted(features)))
    padding = {m: data.draw(st.integers(0, 3)) for m in names}
    garbage = data.draw(st.sampled_from([0.0, 1e4, float("nan"), float("inf")]))
    alone = data.draw(st.integers(0, size - 1))
    for fusion in ready:
        with torch.no_grad():
            fused, shares = fusion(features, masks)
            total = sum(shares.values())
            assert fused.isfinite().all() and (total - 1).abs().max() < 1e-6
            for m in names:
                assert (shares[m][~masks[m].any(1)] == 0).all()

            moved = {m: features[m][list(order)] for m in names}, {m: masks[m][list(order)] for m in reversed(names)}
            assert_close(fusion(*moved)[0], fused[list(order)])

            longer, longer_masks = {}, {}
            for m in names:
                x = features[m].masked_fill(~masks[m][:, :, None], garbage)
                longer[m] = torch.cat([x, torch.full((size, padding[m], DIM), garbage)], 1)
                longer_masks[m] = torch.cat([masks[m], torch.zeros(size, padding[m], dtype=torch.bool)], 1)
            padded, padded_shares = fusion(longer, longer_masks)
            assert_close(padded, fused)
            for m in names:
                assert_close(padded_shares[m], shares[m])

            one = slice(alone, alone + 1)
            with_all = {m: x[one] for m, x in features.items()}, {m: x[one] for m, x in masks.items()}
            there = [m for m in names if masks[m][alone].any()]
            with_its_own = tuple({m: part[m] for m in there} for part in with_all)
            assert_close(fusion(*with_all)[0], fused[one])
            assert_close(fusion(*with_its_own)[0], fused[one])


@settings(deadline=None, max_examples=20)
@given(batch=batches())
def test_cross_modal_attention_weights_sum_to_one_over_real_keys(batch):
    attention = CrossModalAttention(DIM, 4)
    features, masks = batch
    for m, key in features.items():
        output, weights = attention(torch.randn(len(key), 3, DIM), key, key_mask=masks[m])
        some = masks[m].any(1)
        assert_close(weights.sum(-1), some.float()[:, None, None].expand(-1, 4, 3), 1e-6)
        assert (output[~some] == 0).all() and (weights.transpose(1, 3)[~masks[m]] == 0).all()


# --- with PyTorch -----------------------------------------------------------------------------------------------------


@every_fusion
def test_it_is_trained_inside_a_module_of_pytorch(cls):
    torch.manual_seed(0)

    class Classifier(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inputs = torch.nn.ModuleDict({m: torch.nn.Linear(6, DIM) for m in NAMES})
            self.fusion = cls(NAMES, DIM, num_heads=2, ff_dim=16)
            self.output = torch.nn.Linear(DIM, 2)

        def forward(self, x):
            return self.output(self.fusion({m: self.inputs[m](x[m]) for m in NAMES})[0])

    model = Classifier()
    assert sum(1 for name in model.state_dict() if name.startswith("fusion.")) == len(list(model.fusion.parameters()))
    assert all(isinstance(p, torch.nn.Parameter) for p in model.parameters())
    optimiser = torch.optim.AdamW(model.parameters(), 1e-2)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    labels = torch.tensor([0, 1] * 8)
    x = {m: torch.randn(16, 2, 6) + labels[:, None, None] for m in NAMES}
    losses = []
    for _ in range(30):
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), labels)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
    assert all(not torch.equal(before[name], p) for name, p in model.named_parameters())
    model.eval()
    assert not model.fusion.training and torch.equal(model(x), model(x))  # no dropout any more
    model.train()
    assert not torch.equal(model(x), model(x))


def test_state_dict_and_types_move_as_ever():
    one, other = small(AttentionFusion).eval(), Fusion("attention", NAMES, DIM, num_heads=4, ff_dim=24).eval()
    features = {m: torch.randn(2, 3, DIM) for m in NAMES}
    assert not torch.equal(one(features)[0], other(features)[0])
    kept = list(other.parameters())
    other.load_state_dict(one.state_dict())
    assert all(a is b for a, b in zip(kept, other.parameters()))
    assert torch.equal(one(features)[0], other(features)[0])
    doubled = other.double()({m: x.double() for m, x in features.items()})[0]
    assert doubled.dtype == torch.float64
    assert_close(one(features)[0].double(), doubled)
    with pytest.raises(RuntimeError, match="gates.image.weight"):
        other.load_state_dict({k: v for k, v in one.state_dict().items() if k != "gates.image.weight"})
    for p in one.parameters():
        p.requires_grad_(False)
    assert not one(features)[0].requires_grad


def test_a_replaced_parameter_is_an_error_not_a_wrong_number():
    fusion = small(LateFusion)
    fusion.scores.text = torch.nn.Parameter(torch.ones(()))
    with pytest.raises(RuntimeError, match=r"\[LateFusion\] a parameter 'text' was replaced"):
        fusion({"text": torch.ones(1, 2, DIM)})
    fusion = small(LateFusion)
    fusion.load_state_dict(small(LateFusion).state_dict(), assign=True)
    with pytest.raises(RuntimeError, match="was replaced"):
        fusion({"text": torch.ones(1, 2, DIM)})


@every_fusion
def test_copies_and_pickles(cls):
    fusion = small(cls).eval()
    next(fusion.parameters()).requires_grad_(False)
    features = {m: torch.randn(2, 3, DIM) for m in NAMES}
    file = io.BytesIO()
    torch.save(fusion, file)
    file.seek(0)
    for copied in (copy.deepcopy(fusion), torch.load(file, weights_only=False)):
        assert type(copied) is cls and not copied.training and not next(copied.parameters()).requires_grad
        assert torch.equal(copied(features)[0], fusion(features)[0])
        with torch.no_grad():
            list(copied.parameters())[-1].add_(1)
        assert not torch.equal(copied(features)[0], fusion(features)[0])


@every_fusion
def test_it_is_saved_and_loaded(cls, tmp_path):
    fusion = small(cls).eval()
    features = {m: torch.randn(2, 3, DIM) for m in NAMES}
    fusion.save(tmp_path / "deep" / "fusion")
    config = json.loads((tmp_path / "deep" / "fusion" / "config.json").read_text())
    assert config["model_type"] == "fusion" and config["modalities"] == NAMES
    for loaded in (cls.load(tmp_path / "deep" / "fusion"), trine.fusion.load(tmp_path / "deep" / "fusion")):
        assert type(loaded) is cls and loaded.training
        assert torch.equal(loaded.eval()(features)[0], fusion(features)[0])
        assert list(loaded.state_dict()) == list(fusion.state_dict())
    wrong = LateFusion if cls is not LateFusion else EarlyFusion
    with pytest.raises(RuntimeError, match="there is a fusion of type"):
        wrong.load(tmp_path / "deep" / "fusion")
    with pytest.raises(FileNotFoundError):
        cls.load(tmp_path)


def test_attention_is_saved_and_loaded(tmp_path):
    attention, query = CrossModalAttention(DIM, 4), torch.randn(1, 2, DIM)
    attention.save(tmp_path)
    assert torch.equal(CrossModalAttention.load(tmp_path)(query, query)[0], attention(query, query)[0])
    with pytest.raises(RuntimeError, match='"cross_modal_attention", wanted "fusion"'):
        trine.fusion.load(tmp_path)


# --- what is refused --------------------------------------------------------------------------------------------------

X = torch.ones(3, 2, DIM)


@every_fusion
def test_a_sample_without_any_modality_is_named(cls):
    mask = torch.tensor([[1, 1], [1, 0], [0, 0]]).bool()
    with pytest.raises(ValueError, match=rf"^\[{cls.__name__}\] sample 2 has no modality$"):
        small(cls)({"image": X, "text": X}, {"image": mask, "text": mask})


@pytest.mark.parametrize(
    "features, masks, message",
    [
        ({}, None, "at least one modality"),
        ({"video": X}, None, "no modality 'video': wanted image, text, audio"),
        ({"text": X}, {"video": X}, "no modality 'video'"),
        ({"text": X[:, :, :8]}, None, r"must be floats \(B, T, 16\); got Float \[3, 2, 8\]"),
        ({"text": X[0]}, None, r"got Float \[2, 16\]"),
        ({"text": X.long()}, None, "got Long"),
        ({"image": X, "text": X[:2]}, None, r"'text' must be floats \(3, T, 16\)"),
        ({"text": X}, {"text": torch.ones(3, 2)}, "must be Bool"),
        ({"text": X}, {"text": torch.ones(3, 4).bool()}, r"got Bool \[3, 4\]"),
    ],
)
def test_wrong_inputs_are_sentences(features, masks, message):
    with pytest.raises(ValueError, match=message):
        small(AttentionFusion)(features, masks)


@pytest.mark.parametrize("features, masks", [([X], None), ({"text": X.numpy()}, None), ({1: X}, None), ({}, [X])])
def test_what_is_no_dict_of_tensors_is_a_type_error(features, masks):
    with pytest.raises(TypeError, match="must be a dict of tensors by modality"):
        small(LateFusion)(features, masks)


def test_wrong_arguments_are_sentences():
    with pytest.raises(ValueError, match="early, late, hybrid, attention, not 'middle'"):
        Fusion("middle", NAMES, DIM)
    with pytest.raises(TypeError, match="not the str 'image'"):
        LateFusion("image", DIM)
    with pytest.raises(ValueError, match="hidden_dim 16 is not a multiple of num_heads 3"):
        LateFusion(NAMES, DIM, num_heads=3)
    with pytest.raises(ValueError, match="dim 16 is not a multiple of num_heads 3"):
        CrossModalAttention(DIM, 3)
    with pytest.raises(TypeError):
        Fusion("late", NAMES, DIM, num_cross_layers=2)
    with pytest.raises(ValueError, match="a query"):
        CrossModalAttention(DIM, 4)(X, X[:, :, :8])
