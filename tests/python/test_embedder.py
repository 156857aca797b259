"""The embedder: every form of input, the same vectors whatever the batch, threads and process, and what is refused."""

import inspect
import io
import os
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import DIM, make_picture, make_voice, save_wav, short_side

import trine

TEXTS = [f"the red one {'again ' * (i % 9)}{i}" for i in range(70)]


def test_a_single_input_gives_a_vector_and_a_list_gives_rows(tiny):
    one, many = tiny.embed_text("the red one"), tiny.embed_text(["the red one"])
    assert one.shape == (DIM,) and many.shape == (1, DIM) and torch.equal(one, many[0])
    assert one.dtype == torch.float32 and not one.requires_grad and not one.is_inference()
    assert float(one.norm()) == pytest.approx(1, abs=1e-6)
    assert tiny.embed_text([]).shape == tiny.encode([]).shape == (0, DIM)
    for texts in (tuple(TEXTS[:3]), np.array(TEXTS[:3]), (t for t in TEXTS[:3])):
        assert torch.equal(tiny.embed_text(texts), tiny.embed_text(TEXTS[:3]))
    assert torch.equal(tiny.encode(TEXTS[:3]), tiny.embed_text(TEXTS[:3]))


def check_batches_and_threads(embed, inputs):
    """The same vectors one by one, in batches of 7 and 64, backwards, with one and two threads."""
    wanted = embed(inputs, batch_size=1)
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            for batch_size in (1, 7, 64):
                assert (embed(inputs[::-1], batch_size=batch_size).flip(0) - wanted).abs().max() < 1e-5
    finally:
        torch.set_num_threads(threads)


def in_another_process(directory, modality, inputs):
    """The bytes of the vectors of paths or texts."""
    program = (
        "import sys, trine\n"
        "embed = getattr(trine.Embedder(sys.argv[1]), 'embed_' + sys.argv[2])\n"
        "sys.stdout.buffer.write(embed(sys.argv[3:], convert_to_numpy=True).tobytes())"
    )
    path = {"PYTHONPATH": str(Path(trine.__file__).parents[1])}
    run = subprocess.run(
        [sys.executable, "-c", program, str(directory), modality, *map(str, inputs)],
        capture_output=True,
        env=os.environ | path,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr.decode()
    return run.stdout


def test_vectors_do_not_depend_on_batch_order_or_threads(tiny):
    check_batches_and_threads(tiny.embed_text, TEXTS)


def test_a_second_process_gives_the_same_bits(tiny, tiny_directory):
    assert in_another_process(tiny_directory, "text", TEXTS[:5]) == tiny.embed_text(TEXTS[:5]).numpy().tobytes()


def test_options(tiny, capsys):
    whole = tiny.embed_text(TEXTS[:3], convert_to_numpy=True)
    assert isinstance(whole, np.ndarray) and whole.dtype == np.float32
    short = tiny.embed_text(TEXTS[:3], truncate_dim=5)
    assert short.shape == (3, 5)
    assert torch.allclose(short, torch.nn.functional.normalize(torch.from_numpy(whole)[:, :5], dim=1))
    assert tiny.encode("the red one", truncate_dim=5).shape == (5,)
    for bad in (0, -1, DIM + 1):
        with pytest.raises(ValueError, match="truncate_dim"):
            tiny.embed_text("a", truncate_dim=bad)
    for bad in (0, -3, 1.5):
        with pytest.raises(ValueError, match="batch_size"):
            tiny.embed_text(["a", "b"], batch_size=bad)
    capsys.readouterr()
    tiny.embed_text(TEXTS, show_progress_bar=True)
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.endswith("70 / 70\n")
    tiny.embed_text(TEXTS)
    assert capsys.readouterr() == ("", "")


def test_a_cut_text_is_told_once(tiny):
    with pytest.warns(UserWarning, match=r"2 of 3 texts are longer than 64 tokens .*inputs 0, 2") as caught:
        _, coverage = tiny.embed_text(
            ["word " * 100, "a", "the red " * 200], long_input="truncate", return_coverage=True
        )
    assert len(caught) == 1 and caught[0].filename == __file__
    assert [c["used"] for c in coverage] == [64, 3, 64] and coverage[2]["total"] == 402
    with pytest.warns(UserWarning, match="1 of 1 texts"):
        tiny.encode({"text": "word " * 100}, long_input="truncate")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, coverage = tiny.encode("a", return_coverage=True)
    assert coverage == {"text": {"total": 3, "used": 3, "windows": [(0, 1)]}}


def test_bad_texts_are_refused(tiny):
    with pytest.raises(ValueError, match="Input 1: .*surrogate"):
        tiny.embed_text(["a", "b\ud800"])
    for bad in (b"bytes", 7, None, [7], [None]):
        with pytest.raises(TypeError):
            tiny.embed_text(bad)
    for bad in (b"bytes", 7, None, [["nested"]]):
        with pytest.raises(TypeError):
            tiny.encode(bad)
    for bad in ({}, {"smell": "x"}, {"text": None}, Path("file.unknown")):
        with pytest.raises(ValueError):
            tiny.encode(bad)
    with pytest.raises(ValueError):
        tiny.embed()
    for call in (lambda: tiny.embed_image(make_picture()), lambda: tiny.embed_audio(make_voice())):
        with pytest.raises(ValueError, match="has no"):
            call()
    assert tiny.embed_text("").shape == tiny.embed_text("\0").shape == (DIM,)


def test_ten_megabytes_of_text(tiny):
    with pytest.warns(UserWarning, match="longer than 64 tokens"):
        vector, coverage = tiny.embed_text("the red one " * 850_000, long_input="truncate", return_coverage=True)
    assert torch.isfinite(vector).all() and coverage["total"] > 1e6
    assert tiny.embed_text("x" * 10_000_000).shape == (DIM,)


def test_what_the_model_says_of_itself(tiny, tiny_directory):
    assert tiny.modalities == ["text"] and tiny.dim == DIM and tiny.directory == tiny_directory
    assert tiny.supports("text") and not tiny.supports("image")
    with pytest.raises(ValueError, match="smell"):
        tiny.supports("smell")
    told = tiny.describe()
    assert isinstance(told, dict) and any(name.startswith("text.") for name in told)
    assert len(str(told).splitlines()) == sum(not name.endswith(".source") for name in told)
    assert "dim=32" in repr(tiny) and "text" in repr(tiny)


def test_models_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        trine.Embedder(tmp_path / "missing")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(RuntimeError):
        trine.Embedder(tmp_path)


def test_the_default_model_is_fetched(tiny_directory, tmp_path, monkeypatch):
    """$TRINE_MODEL names the default model; its encoders are made before it is loaded."""
    from trine import embedder

    asked = []
    monkeypatch.setattr(embedder.fetch, "ensure", asked.append)
    monkeypatch.setenv("TRINE_MODEL", str(tiny_directory))
    assert trine.Embedder().dim == DIM and not asked
    for file in tiny_directory.iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "sources.json").write_text("{}")
    monkeypatch.setenv("TRINE_MODEL", str(tmp_path))
    assert trine.Embedder().dim == DIM and asked == [tmp_path]


def test_similarity():
    a, b = torch.randn(3, DIM), np.random.default_rng(0).normal(size=(2, DIM))
    wanted = torch.nn.functional.cosine_similarity(a[:, None], torch.from_numpy(b).float()[None], dim=2)
    assert torch.allclose(trine.Embedder.similarity(a, b), wanted, atol=1e-6)
    assert trine.Embedder.similarity(a[0], b[0]).shape == (1, 1)
    with pytest.raises(ValueError):
        trine.Embedder.similarity(a, b[:, :5])


def test_other_threads_run_while_a_model_works(tiny):
    count, stop = 0, threading.Event()

    def counter():
        nonlocal count
        while not stop.is_set():
            count += 1
            time.sleep(0.001)

    text = ["x" * 4_000_000]  # one call that takes a while
    thread = threading.Thread(target=counter)
    thread.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            before = count
            for _ in range(5):
                tiny.embed_text(text)
            counted = count - before
    finally:
        stop.set()
        thread.join()
    assert counted > 20  # a call that kept the interpreter to itself would let it count between calls only


def test_threads_may_share_a_model(tiny):
    wanted, got = tiny.embed_text(TEXTS), {}
    threads = [threading.Thread(target=lambda n=n: got.update({n: tiny.embed_text(TEXTS)})) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 4 and all((vectors - wanted).abs().max() < 1e-5 for vectors in got.values())


# --- three towers -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A picture and a clip as files: (PNG, WAV)"""
    image = pytest.importorskip("PIL.Image", reason="needs Pillow")
    folder = tmp_path_factory.mktemp("files")
    image.fromarray(make_picture(1, 320, 240)).save(folder / "photo.png")
    save_wav(folder / "voice.wav", make_voice(1.5))
    return folder / "photo.png", folder / "voice.wav"


def test_all_forms_of_a_picture_give_the_same_vector(model, files):
    from PIL import Image

    photo, pixels = files[0], make_picture(1, 320, 240)
    forms = [
        photo,
        str(photo),
        photo.read_bytes(),
        Image.open(photo),
        pixels,
        torch.from_numpy(pixels).permute(2, 0, 1),
    ]
    vectors = model.embed_image(forms)
    assert vectors.shape == (6, 384) and torch.allclose(vectors, vectors[:1], atol=1e-5)
    assert torch.allclose(model.embed_image(np.stack([pixels, pixels])), vectors[:2], atol=1e-5)
    assert torch.allclose(model.encode(pixels), vectors[0], atol=1e-5)


def test_pictures_in_many_batches(model, tmp_path):
    image = pytest.importorskip("PIL.Image", reason="needs Pillow")
    paths = [tmp_path / f"{i}.png" for i in range(11)]
    for i, path in enumerate(paths):
        image.fromarray(make_picture(i, width=50 + 3 * i)).save(path)
    alone = torch.stack([model.embed_image(path) for path in paths])
    for batch_size in (1, 2, 4, 32):
        assert torch.allclose(model.embed_image(paths, batch_size=batch_size), alone, atol=1e-5)
    paths[7].write_bytes(b"no picture")
    (tmp_path / "9.png").unlink()
    with pytest.raises(RuntimeError, match="7.png.*not a picture"):
        model.embed_image(paths, batch_size=2)
    with pytest.raises(FileNotFoundError, match="9.png"):
        model.embed_image(paths[8:], batch_size=1)


def test_clips_one_after_the_other(model, tmp_path):
    paths = [tmp_path / f"{i}.wav" for i in range(4)]
    for i, path in enumerate(paths):
        save_wav(path, make_voice(0.5 + 0.2 * i, pitch=120 + 10 * i))
    vectors, coverage = model.embed_audio(paths, return_coverage=True)
    assert torch.equal(vectors, torch.stack([model.embed_audio(path) for path in paths]))
    assert [round(c.total, 1) for c in coverage] == [0.5, 0.7, 0.9, 1.1]
    save_wav(paths[2], np.zeros(16_000, np.float32))
    with pytest.raises(RuntimeError, match="2.wav is silent"):
        model.embed_audio(paths)


def test_drafts(model, tmp_path):
    image = pytest.importorskip("PIL.Image", reason="needs Pillow")
    side = short_side(model)
    file = io.BytesIO()
    image.fromarray(make_picture(width=9 * side, height=8 * side)).save(file, "JPEG")
    path = tmp_path / "large.jpg"
    path.write_bytes(file.getvalue())
    exact, draft = model.embed_image(path), model.embed_image(path, draft=True)
    assert not torch.equal(exact, draft)
    assert float(exact @ draft) > 0.9
    assert torch.equal(model.embed_image(file.getvalue(), draft=True), draft)
    wanted = model.embed_image(trine.read_image(path, draft_side=side))
    assert torch.allclose(draft, wanted, atol=1e-5)
    small = tmp_path / "small.jpg"
    image.fromarray(make_picture(width=side, height=side)).save(small)
    assert torch.equal(model.embed_image(small, draft=True), model.embed_image(small))


def test_some_towers_only(model_directory, tmp_path):
    whole = trine.Embedder(model_directory)
    words = trine.Embedder(model_directory, modalities=["text"])
    assert words.modalities == ["text"] and words.dim == whole.dim and words.name == whole.name
    assert torch.equal(words.embed_text("hello world"), whole.embed_text("hello world"))
    with pytest.raises(ValueError, match="no image tower"):
        words.embed_image(make_picture())
    with pytest.raises(ValueError, match="load all of it"):
        words.save(tmp_path / "copy")
    with pytest.raises(ValueError, match="at least one modality"):
        trine.Embedder(model_directory, modalities=[])
    with pytest.raises(ValueError, match="modality"):
        trine.Embedder(model_directory, modalities=["smell"])


def test_all_forms_of_a_clip_give_the_same_vector(model, files):
    voice = files[1]
    samples, rate = trine.read_audio(voice)
    forms = [voice, voice.read_bytes(), samples, (samples, rate), {"array": samples, "sampling_rate": rate}]
    vectors = model.embed_audio(forms)
    assert vectors.shape == (5, 384) and torch.allclose(vectors, vectors[:1], atol=1e-6)
    assert torch.allclose(model.encode((samples, rate)), vectors[0], atol=1e-6)
    _, coverage = model.embed_audio(samples, return_coverage=True)
    assert coverage["total"] == coverage["used"] == pytest.approx(1.5) and coverage["windows"] == [(0, pytest.approx(1.5))]


def test_encode_takes_anything(model, files):
    from PIL import Image

    photo, voice = files
    things = [
        "a ripe banana",
        photo,
        voice,
        Image.open(photo),
        {"image": photo, "text": "the red one", "audio": None},
        {"image": photo, "text": "the red one", "audio": voice},
        {"audio": voice},
    ]
    vectors, coverage = model.encode(things, batch_size=2, return_coverage=True)
    image, text, audio = model.embed_image(photo), model.embed_text("the red one"), model.embed_audio(voice)
    wanted = [
        model.embed_text("a ripe banana"),
        image,
        audio,
        image,
        trine.combine_query({"image": image, "text": text}),
        trine.combine_query({"image": image, "text": text, "audio": audio}),
        audio,
    ]
    assert torch.allclose(vectors, torch.stack(wanted), atol=1e-5)
    assert [list(c) for c in coverage[3:6]] == [["image"], ["image", "text"], ["image", "text", "audio"]]
    each = model.embed_each(image=photo, text="the red one")
    assert list(each) == ["image", "text"] and torch.allclose(each["text"], text, atol=1e-5)
    one = model.embed(image=photo, text="the red one", weights={"text": -0.5})
    assert torch.allclose(one, trine.combine_query({"image": image, "text": text}, {"text": -0.5}), atol=1e-5)


def test_bad_pictures_and_clips_are_refused(model, files, tmp_path):
    for embed in (model.embed_image, model.embed_audio):
        with pytest.raises(FileNotFoundError, match="missing"):
            embed(tmp_path / "missing.file")
        for number, bad in enumerate((b"", files[0].read_bytes()[:50], files[1].read_bytes()[:30])):
            (tmp_path / f"{number}.bin").write_bytes(bad)
            for source in (bad, tmp_path / f"{number}.bin"):
                with pytest.raises(RuntimeError):
                    embed(source)
    for bad in (np.zeros(16_000, np.float32), np.zeros(1, np.float32), make_voice(0.05)):  # silent or too short
        with pytest.raises(RuntimeError):
            model.embed_audio(bad)
    for bad in (np.full(16_000, np.nan, np.float32), np.full(16_000, np.inf)):
        with pytest.raises(ValueError):
            model.embed_audio(bad)
    with pytest.raises(ValueError, match="Input 1"):
        model.encode([make_picture(), {"image": np.zeros((4, 4))[:0]}])


def test_vectors_equal_transformers(model, encoders):
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    folder, texts = encoders / "all-MiniLM-L6-v2", ["a ripe banana", "The RED one, please!", "x"]
    batch = transformers.AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        states = transformers.BertModel.from_pretrained(folder).eval()(**batch).last_hidden_state
    mask = batch["attention_mask"][:, :, None]
    wanted = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=1)
    assert ((model.embed_text(texts) * wanted).sum(1) >= 0.99999).all()


def test_the_default_model(default_model):
    assert default_model.modalities == ["image", "text", "audio"] and default_model.dim == 384
    assert default_model.embed(image=make_picture(), text="a ripe banana", audio=make_voice()).shape == (384,)


def test_the_default_model_gives_the_same_vectors_always(default_model, files):
    check_batches_and_threads(default_model.embed_text, TEXTS)
    check_batches_and_threads(default_model.embed_image, [make_picture(i, 50 + 7 * i, 90 + i) for i in range(65)])
    check_batches_and_threads(default_model.embed_audio, [make_voice(0.3 + 0.01 * i, pitch=90 + i) for i in range(65)])
    for modality, inputs in (("image", files[:1]), ("text", TEXTS[:5]), ("audio", files[1:])):
        vectors = getattr(default_model, f"embed_{modality}")(list(inputs), convert_to_numpy=True)
        assert in_another_process(default_model.directory, modality, inputs) == vectors.tobytes()


# --- the package ------------------------------------------------------------------------------------------------------


def test_every_public_name_is_documented():
    assert trine.__version__.count(".") == 2
    public = {name: getattr(trine, name) for name in trine.__all__ if name != "__version__"}
    for module in (trine.fusion, trine.train):
        assert module.__doc__
        public |= {name: getattr(module, name) for name in module.__all__}
    for name, thing in public.items():
        if inspect.ismodule(thing) or name == "PAIRS":
            continue
        assert (thing.__doc__ or "").strip(), name
        assert thing.__module__.split(".")[0] == "trine" and "_trine" not in thing.__module__, name
        if inspect.isclass(thing):
            for method, value in vars(thing).items():
                field = method in getattr(thing, "__dataclass_fields__", {})  # those are told in the class's own
                if not method.startswith("_") and not field:
                    assert (getattr(value, "__doc__", None) or "").strip(), f"{name}.{method}"


def test_examples_in_the_docstrings():
    import doctest

    from trine import embedder, fusion, input, product_search, search, train, video_understanding

    for module in (trine, input, embedder, fusion, search, product_search, video_understanding, train):
        result = doctest.testmod(module, extraglobs={"trine": trine, "np": np, "torch": torch}, report=True)
        assert result.failed == 0


def test_another_torch_is_refused_in_a_sentence(tmp_path):
    for content, message in (
        ("__version__ = '2.12.1'", "this is torch 2.12.1"),
        ("raise ImportError", "needs torch 2.13"),
    ):
        (tmp_path / "torch.py").write_text(content)
        path = os.pathsep.join([str(tmp_path), str(Path(trine.__file__).parents[1])])
        run = subprocess.run(
            [sys.executable, "-c", "import trine"],
            env=os.environ | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
        )
        assert run.returncode == 1 and message in run.stderr.splitlines()[-1]
