"""A video's frames, sound and transcript to a vector and the importance of each frame."""

import copy
import json

import pytest
import torch
from conftest import assert_close, below, load_safetensors, reference_cases
from hypothesis import given, settings
from hypothesis import strategies as st

from trine import VideoUnderstanding

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = {"frame_dim": 5, "audio_dim": 3, "text_dim": 4, "hidden_dim": 4, "out_dim": 6, "num_heads": 2}


@pytest.mark.parametrize("path", reference_cases("VideoUnderstanding"), ids=lambda p: p.stem)
def test_cases_of_the_reference(path):
    tensors, metadata = load_safetensors(path)
    network = VideoUnderstanding(**json.loads(metadata["config"])).eval()
    assert set(network.state_dict()) == set(below(tensors, "weight."))
    network.load_state_dict(below(tensors, "weight."))
    video, importance = network(**below(tensors, "in."))
    assert_close(video, tensors["out.video"])
    assert_close(importance, tensors["out.importance"])


@pytest.mark.parametrize("changes", [{}, {"num_layers": 3}, {"hidden_dim": 10, "num_heads": 5, "out_dim": 1}])
def test_other_configurations_equal_the_reference(reference, changes):
    torch.manual_seed(1)
    config = SMALL | changes
    wanted, found = reference.VideoUnderstanding(**config), VideoUnderstanding(**config)
    found.load_state_dict(wanted.state_dict())
    assert [name for name, _ in found.named_parameters()] == [name for name, _ in wanted.named_parameters()]
    frames, audio, transcript = torch.randn(3, 4, 5), torch.randn(3, 4, 3), torch.randn(3, 2, 4)
    mask = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]]).bool()
    words = torch.tensor([[1, 0], [0, 0], [1, 1]]).bool()
    for arguments in ((), (audio,), (audio, mask), (None, mask, transcript), (audio, mask, transcript, words)):
        for module in (wanted, found):
            module.zero_grad()
        results = found(frames, *arguments), wanted(frames, *arguments)
        for a, b in zip(*results):
            assert_close(a, b)
        for video, importance in results:
            (video.sum() + importance[:, 0].sum()).backward()
        for p, q in zip(found.parameters(), wanted.parameters()):
            if q.grad is not None:
                assert_close(p.grad, q.grad, 1e-4)


@settings(deadline=None, max_examples=25)
@given(lengths=st.lists(st.integers(1, 5), min_size=1, max_size=4), padding=st.integers(0, 3))
def test_company_and_padding_do_not_matter(lengths, padding):
    torch.manual_seed(2)
    network = VideoUnderstanding(**SMALL).eval()
    videos = [torch.randn(n, 5) for n in lengths]
    frames = torch.full((len(videos), max(lengths) + padding, 5), float("nan"))
    mask = torch.zeros(frames.shape[:2], dtype=torch.bool)
    for i, video in enumerate(videos):
        frames[i, : len(video)], mask[i, : len(video)] = video, True
    with torch.no_grad():
        together, importance = network(frames, mask=mask)
        assert (importance[~mask] == 0).all()
        assert_close(importance.sum(1), torch.ones(len(videos)), 1e-6)
        assert_close(together.norm(dim=1), torch.ones(len(videos)), 1e-6)
        for i, video in enumerate(videos):
            assert_close(network(video[None])[0][0], together[i])


def test_it_is_saved_copied_and_moved(tmp_path):
    network, frames = VideoUnderstanding(**SMALL), torch.randn(1, 4, 5)
    network.save(tmp_path)
    for other in (VideoUnderstanding.load(tmp_path), copy.deepcopy(network)):
        assert torch.equal(other(frames)[0], network(frames)[0])
    wanted = network(frames)[0]
    assert_close(network.double()(frames.double())[0], wanted.double())


def test_wrong_inputs_are_sentences():
    network, frames = VideoUnderstanding(**SMALL), torch.ones(2, 3, 5)
    with pytest.raises(ValueError, match="video 1 has no frame"):
        network(frames, mask=torch.tensor([[1, 0, 0], [0, 0, 0]]).bool())
    with pytest.raises(ValueError, match="in video 0 one stands behind padding"):
        network(frames, mask=torch.tensor([[0, 1, 0], [1, 0, 0]]).bool())
    with pytest.raises(ValueError, match=r"frames must be floats \(B, T, 5\); got Float \[2, 3, 4\]"):
        network(frames[:, :, :4])
    with pytest.raises(ValueError, match="hidden_dim 4 is not a multiple of num_heads 3"):
        VideoUnderstanding(**SMALL | {"num_heads": 3})
