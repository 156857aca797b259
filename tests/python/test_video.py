"""Videos: reading files, moments, and the vectors of what is seen."""

import json
import shutil

import numpy as np
import pytest
import torch
from conftest import GOLDEN

import trine

VIDEOS = GOLDEN / "video"
CLIP = GOLDEN / "vision" / "clip"
WATCHED = VIDEOS / "h264_aac_text.mp4"


@pytest.fixture(scope="module")
def clip():
    return trine.Embedder(CLIP)


def temporal(dim=24):
    torch.manual_seed(1)
    return trine.VideoUnderstanding(
        frame_dim=dim, audio_dim=dim, text_dim=dim, hidden_dim=8, out_dim=dim, num_heads=2
    ).eval()


def test_a_video_is_frames_sound_and_subtitles():
    video = trine.read_video(WATCHED, frames_per_second=5)
    assert (video.container, video.codec) == ("MP4, MOV or 3GP", "h264")
    assert video.seconds == pytest.approx(1.0) and [f.time for f in video.frames] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])
    image = video.frames[0].image
    assert image.shape == (32, 48, 3) and image.dtype == np.uint8
    samples, rate = video.sound
    assert rate == 16_000 and abs(len(samples) / rate - 1) < 0.1
    assert [s.text for s in video.subtitles] == ["A red apple", "Milk & honey for two"]
    told = video.subtitles[0].to_dict()
    assert told == {"start": pytest.approx(0.2), "end": pytest.approx(0.6), "text": "A red apple"}
    assert video.notes == [] and repr(video).startswith("Video(MP4, MOV or 3GP, h264, 1.00 s, 5 frames")
    memory = trine.read_video(WATCHED.read_bytes(), frames=2, sound=False, subtitles=False)
    assert len(memory.frames) == 2 and memory.sound is None and memory.subtitles == []


def test_frames_equal_those_of_pyav():
    av = pytest.importorskip("av", reason="needs PyAV, an independent decoder")
    for name in ("h264_aac_text.mp4", "vp8_vtt.webm", "theora.ogv"):
        with av.open(str(VIDEOS / name)) as container:
            wanted = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        found = trine.read_video(VIDEOS / name, frames_per_second=10)
        assert len(found.frames) == len(wanted)
        for frame, pixels in zip(found.frames, wanted):  # PyAV interpolates chroma in another way
            difference = np.abs(frame.image.astype(int) - pixels)
            assert difference.mean() < 5 and np.median(difference) <= 2


def test_what_is_no_video_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        trine.read_video(tmp_path / "missing.mp4")
    (tmp_path / "list.m3u8").write_text("#EXTM3U\nhttp://127.0.0.1/a.ts\n")
    with pytest.raises(RuntimeError, match="a playlist, which names other files"):
        trine.read_video(tmp_path / "list.m3u8")
    with pytest.raises(RuntimeError, match="no picture track"):
        trine.read_video(VIDEOS / "sound_only.m4a")
    with pytest.raises(RuntimeError, match="the video: the file is empty"):
        trine.read_video(b"")
    with pytest.raises(ValueError, match="frames_per_second"):
        trine.read_video(WATCHED, frames_per_second=0)
    with pytest.raises(TypeError, match="a path or the bytes"):
        trine.read_video(7)


def test_subtitles(tmp_path):
    path = tmp_path / "a.srt"
    path.write_text("1\n00:00:01,000 --> 00:00:02,500\n<i>Ä</i> ripe banana\n", encoding="utf-8")
    (cue,) = trine.read_subtitles(path)
    assert (cue.start, cue.end, cue.text) == (1, 2.5, "Ä ripe banana") and "Subtitle(1.00, 2.50" in repr(cue)
    path.write_text("1\n00:00:01,000\n")
    with pytest.raises(RuntimeError, match="line 2: a cue's times are wanted"):
        trine.read_subtitles(path)


def test_a_file_has_the_vector_of_its_frames(clip):
    frames = [f.image for f in trine.read_video(WATCHED, frames=4).frames]
    wanted = torch.nn.functional.normalize(clip.embed_image(frames).mean(0), dim=0)
    for file in (WATCHED, str(WATCHED), WATCHED.read_bytes()):
        assert (clip.embed_video(file, frames=4) - wanted).abs().max() < 1e-5
    assert clip.embed_video([WATCHED, VIDEOS / "h264_709.mp4"]).shape == (2, 24)
    with pytest.raises(RuntimeError, match="no video that is read here"):
        clip.embed_video(VIDEOS / "clips.txt")


def test_watching_and_finding(clip, tmp_path):
    search = trine.VideoSearch(clip, temporal=None)
    assert not search.has_temporal and search.embedder is clip
    video = search.watch(WATCHED, frames_per_second=5, thumbnail_width=24)
    assert len(video) == 5 and video.frames.shape == (5, 24) and video.context is None
    assert video.thumbnails[0].shape == (16, 24, 3)
    assert video.notes == ["its sound was left out: the model has no audio"]
    assert video.importance.sum() == pytest.approx(1)
    moments = search.find(video, "A red apple", min_score=0)
    assert moments and {type(m) for m in moments} == {trine.Moment}
    assert [m.score for m in moments] == sorted((m.score for m in moments), reverse=True)
    assert 0 <= moments[0].start < moments[0].end <= video.seconds + 1e-6
    json.dumps(moments[0].to_dict())
    scores = search.scores(video, "A red apple")
    assert scores.shape == (5,) and scores.max() == pytest.approx(moments[0].score)
    shutil.copy(VIDEOS / "h264_709.mp4", tmp_path / "a.mp4")
    (tmp_path / "a.vtt").write_text("WEBVTT\n\n00:00.100 --> 00:00.900\nbeside\n")
    assert [s.text for s in search.watch(tmp_path / "a.mp4").subtitles] == ["beside"]
    for wrong in (lambda: search.find("clip.mp4", "x"), lambda: trine.VideoSearch(7), lambda: search.watch(WATCHED, transcriber=7)):
        with pytest.raises(TypeError):
            wrong()


def test_products_have_videos(clip, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    rows = [
        {"id": "1", "title": "A red apple", "videos": [str(WATCHED), str(tmp_path / "broken.mp4")]},
        {"id": "2", "title": "Milk", "video": str(VIDEOS / "h264_709.mp4")},
    ]
    with pytest.warns(UserWarning, match="skipped: 1, the first .*broken.mp4"):
        search = trine.ProductSearch.build(clip, rows)
    watched = trine.VideoSearch(clip, temporal=None).watch(WATCHED, frames=16)
    search.save(tmp_path / "videos.trine")
    index = trine.Index.load(tmp_path / "videos.trine")
    shown = {key.split("\n")[1] for key in index.ids()}
    assert shown == {"title", "video 1"}
    assert np.abs(index.vector("1\nvideo 1") - watched.vector.numpy()).max() < 1e-6
    (tmp_path / "catalogue.csv").write_text(f"id,title,video\n1,A red apple,{WATCHED}\n")
    assert trine.read_catalogue(tmp_path / "catalogue.csv")[0].to_dict()["videos"] == [str(WATCHED)]


def test_a_temporal_model_in_the_order_of_the_frames(clip):
    network = temporal()
    search = trine.VideoSearch(clip, temporal=network)
    video = search.watch(WATCHED, frames_per_second=5)
    wanted, importance = network(
        video.frames[None], torch.zeros(1, 5, 24), transcript=video.written[None]
    )
    assert (video.vector - wanted[0]).abs().max() < 1e-5 and (video.importance - importance[0]).abs().max() < 1e-5
    assert video.context.shape == (5, 24)
    with pytest.raises(ValueError, match="widths 16"):
        trine.VideoSearch(clip, temporal=temporal(16))


def test_the_default_models_temporal_model_knows_what_came_first(default_model):
    """The order of two things alone tells which of two descriptions is right; measured on photos in models/default."""
    if not trine.VideoSearch(default_model).has_temporal:
        pytest.skip("the default model has no temporal model")
    network = trine.VideoUnderstanding.load(default_model.directory / "video").eval()
    names = ["Lemon", "Banana", "Carrots", "Garlic", "Avocado", "Leek"]
    things = default_model.embed_text(names)  # stand-ins for pictures: the space is one
    right = 0
    for i in range(len(names)):
        j = (i + 1) % len(names)
        frames = torch.stack([things[i]] * 3 + [things[j]] * 3)
        first, second = default_model.embed_text(
            [f"first {names[i]}, then {names[j]}", f"first {names[j]}, then {names[i]}"]
        )
        with torch.no_grad():
            forwards, backwards = network(torch.stack([frames, frames.flip(0)]))[0]
        right += bool((forwards - backwards) @ (first - second) > 0)
    assert right >= 4  # by chance 3
