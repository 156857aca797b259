"""Where encoders compute: the CPU by default, CUDA where there is any, and what is refused."""

import json
import shutil

import numpy as np
import pytest
import torch
from conftest import GOLDEN, Devices, Elsewhere, make_picture, refused
from torch.utils._python_dispatch import TorchDispatchMode

import trine

TEXTS = ["a ripe banana", "two litres of oat milk", "it arrived broken", "x"]
CPU_ONLY = "this LibTorch finds no CUDA device"
cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def test_the_cpu_is_the_default(tiny, tiny_directory):
    assert tiny.device == torch.device("cpu")
    assert dict(tiny.describe())["device"] == "cpu"
    for device in ("cpu", torch.device("cpu"), "auto" if not torch.cuda.is_available() else "cpu"):
        model = trine.Embedder(tiny_directory, device=device)
        assert model.device == torch.device("cpu")
        assert torch.equal(model.embed_text(TEXTS), tiny.embed_text(TEXTS))
        assert model._model.fingerprint() == tiny._model.fingerprint()


def test_auto_takes_cuda_where_there_is_any(tiny_directory):
    assert trine.Embedder(tiny_directory, device="auto").device.type == ("cuda" if torch.cuda.is_available() else "cpu")


LOADERS = {
    "Embedder": lambda folder, device: trine.Embedder(folder, device=device),
    "Encoder": lambda folder, device: trine.Encoder(folder, device=device),
    "load_encoder": lambda folder, device: trine.load_encoder(folder, device=device),
    "Classifier": lambda folder, device: trine.Classifier(folder, device=device),
    "Transcriber": lambda folder, device: trine.Transcriber(folder, device=device),
    "PeAudioVideo": lambda folder, device: trine.PeAudioVideo(folder, device=device),
    "load_clap": lambda folder, device: trine.load_clap(folder, device=str(device)),
}


@pytest.mark.parametrize("loader", LOADERS)
def test_what_is_not_there_is_refused(loader, tiny_directory):
    """Before anything is read: the folder holds a model for some of them only."""
    for name in ("gpu", "cuda:", "cuda:-1", "", "mps"):
        with pytest.raises(ValueError, match=r"\[LoadDevice\] wanted auto, cpu, cuda or cuda: and a number, got "):
            LOADERS[loader](tiny_directory, name)
    if torch.cuda.is_available():
        with pytest.raises(RuntimeError, match="wanted a device from cuda:0 to cuda:"):
            LOADERS[loader](tiny_directory, "cuda:100")
    else:
        for name in ("cuda", "cuda:1", torch.device("cuda", 0)):
            with pytest.raises(RuntimeError, match=CPU_ONLY):
                LOADERS[loader](tiny_directory, name)


def test_half_precision_is_for_cuda(tiny_directory):
    with pytest.raises(ValueError, match="wanted auto, fp32, bf16 or int8 on cpu, got fp16"):
        trine.Embedder(tiny_directory, precision="fp16")


def test_the_program_takes_a_device(tiny_directory, run):
    command = ("embed", "--model", tiny_directory, "--text", "x", "--json")
    done = run(*command, "--device", "cpu")
    assert done.returncode == 0 and done.stdout == run(*command).stdout
    done = run(*command, "--device", "gpu")
    assert done.returncode == 2 and "wanted auto, cpu, cuda or cuda: and a number" in done.said
    if not torch.cuda.is_available():
        refused(run(*command, "--device", "cuda"), CPU_ONLY)
    done = run(*command, "--precision", "fp16")
    refused(done, "on cpu, got fp16")


# --- torch's meta device, which has shapes and no values: whatever is made on the CPU meets it in some operator


def folders(*below, suffix=""):
    """Folders of checkpoints in tests/golden."""
    found = [p.parent for top in below for p in sorted((GOLDEN / top).glob("*/*config.json"))]
    names = dict.fromkeys(str(p.relative_to(GOLDEN)) for p in found)
    return [name for name in names if name.endswith("_classifier") == (suffix == "_classifier")]


def texts_folder(name, tmp_path):
    """A copy of a family of texts with the tokenizer that all of them share."""
    folder = shutil.copytree(GOLDEN / name, tmp_path / "model")
    if not (folder / "tokenizer.json").exists() and name.startswith("texts/"):
        shutil.copy(GOLDEN / "text" / "tokenizer.json", folder)
    return folder


def clip(i=0, count=6000):
    return (0.3 * np.sin((0.05 + 0.04 * i) * np.arange(count + 100 * i))).astype(np.float32)


TOWERS = folders("vision", "pe", "imagebind", "pe_video", "pe_audio", "spectrograms", "waves", "encoders", "texts")
TOWERS = [name for name in TOWERS if name not in ("vision/processors", "pe/named")]  # they have no weights


@pytest.mark.parametrize("count", [1, 7])
@pytest.mark.parametrize("name", TOWERS)
def test_every_tower_makes_what_it_needs_where_it_lies(name, count, tmp_path):
    model = trine.Embedder(texts_folder(name, tmp_path), device="meta")
    assert model.device.type == "meta" and model.modalities
    for modality in model.modalities:
        with Devices() as devices:
            if modality == "image":
                vectors = model.embed_image([make_picture(i, 40 + i, 30) for i in range(count)])
            elif modality == "text":
                vectors = model.embed_text([(TEXTS * 2)[i] for i in range(count)])
            else:
                vectors = model.embed_audio([(clip(i), 16_000) for i in range(count)])
        assert devices.mixed == set() and devices.count > 5
        assert vectors.shape == (count, model.dim)
        assert vectors.device.type == "cpu" and vectors.isnan().all()  # nothing was worked out on the CPU


@pytest.mark.parametrize("name", folders("vision", "spectrograms", "waves", suffix="_classifier") + folders("texts"))
def test_classifiers_make_what_they_need_where_they_lie(name, tmp_path):
    model = trine.Classifier(texts_folder(name, tmp_path), device="meta")
    given = {"image": make_picture(), "text": TEXTS[0], "audio": (clip(), 16_000)}[model.modality]
    with Devices() as devices:
        scores = model.predict([given, given])
    assert devices.mixed == set() and devices.count > 5
    assert np.isnan([list(row.values()) for row in scores]).all() and dict(model.describe())["device"] == "meta"


@pytest.mark.parametrize("name", folders("transcripts"))
def test_transcribers_make_what_they_need_where_they_lie(name):
    model = trine.Transcriber(GOLDEN / name, device="meta")
    with Devices() as devices:
        found = model.transcribe((clip(), 16_000))
    assert devices.mixed == set() and devices.count > 5
    assert found.text == ""  # no token is likelier than another


def test_pe_audio_video_makes_what_it_needs_where_it_lies():
    model = trine.PeAudioVideo(GOLDEN / "pe_video/both", device="meta")
    with Devices() as devices:
        found = model.embed(audio=(clip(count=900), 48_000), video=[make_picture(i) for i in range(3)], text=TEXTS[:2])
    assert devices.mixed == set() and devices.count > 5
    assert len(found) == 8 and all(vector.isnan().all() and vector.device.type == "cpu" for vector in found.values())


@pytest.mark.parametrize("name", ["pe_video/small", "vision/clip"])
def test_videos_make_what_they_need_where_they_lie(name):
    model = trine.Embedder(GOLDEN / name, device="meta")
    with Devices() as devices:
        vector = model.embed_video(np.full((5, 24, 30, 3), 90, np.uint8))
    assert devices.mixed == set() and vector.shape == (model.dim,) and vector.isnan().all()


def test_the_default_model_and_what_is_built_on_it_follow(default_model):
    model = trine.Embedder(device="meta")
    assert model._model.fingerprint() == default_model._model.fingerprint()
    voice, photo = (clip(count=20_000), 16_000), make_picture()
    with Devices() as devices:
        found = [model.embed_image([photo, photo]), model.embed_text(TEXTS), model.embed_audio(voice)]
        scores = [trine.EmotionRecognizer(model).text("what a day"), trine.EmotionRecognizer(model).voice(voice)]
        scores.append(trine.SoundRecognizer(model).recognize(voice))
        damage = trine.DamageDetector(embedder=model).inspect(photo)
        heard = trine.Hearing(model).hear(voice)
    assert devices.mixed == set() and devices.count > 100
    assert all(vectors.isnan().all() for vectors in found)
    assert all(np.isnan(score.probability) for some in scores for score in some)
    assert np.isnan(damage.probability) and heard.transcript.text == "" and heard.vector.isnan().all()


def test_the_device_makes_no_other_model(tiny, tiny_directory):
    model = trine.Embedder(tiny_directory, device="meta")
    assert model._model.fingerprint() == tiny._model.fingerprint()
    with pytest.raises(ValueError, match="wanted auto, fp32, bf16 or fp16 on meta, got int8"):
        trine.Embedder(tiny_directory, device="meta", precision="int8")


# --- learned modules, which follow `to`


class Factories(TorchDispatchMode):
    """While one lives: the operators that made a tensor of their own without saying where."""

    NAMES = {"arange", "empty", "eye", "full", "linspace", "ones", "rand", "randn", "zeros"}

    def __init__(self):
        super().__init__()
        self.found = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__ in self.NAMES and (kwargs or {}).get("device") is None:
            self.found.add(str(func))
        return made


def learned_modules():
    torch.manual_seed(0)
    image, text, audio = torch.randn(3, 4, 16), torch.randn(3, 0, 16), torch.randn(3, 2, 16)
    masks = {"image": torch.tensor([[True, True, False, False], [False] * 4, [True] * 4])}
    for name in ("early", "late", "hybrid", "attention"):
        module = trine.fusion.Fusion(name, ["image", "text", "audio"], hidden_dim=16, num_heads=4, ff_dim=24)
        yield name, module, lambda m: m({"image": image, "text": text, "audio": audio}, masks)[0]
    cross = trine.fusion.CrossModalAttention(16, 4)
    yield "cross", cross, lambda m: m(image, audio, key_mask=torch.tensor([[True, False], [False] * 2, [True] * 2]))[0]
    video = trine.VideoUnderstanding(frame_dim=16, audio_dim=3, text_dim=16, hidden_dim=4, out_dim=6, num_heads=2)
    yield "video", video, lambda m: m(image, transcript=audio)[0]
    yield "masked video", video, lambda m: m(image, mask=torch.tensor([[True] * 4, [True] + [False] * 3, [True] * 4]))[0]
    contrast = trine.train.ContrastiveLoss(learnable=True)
    yield "contrast", contrast, lambda m: m({"image": image[:, 0], "text": audio[:, 0]}, ids=torch.tensor([1, 2, 2]))


@pytest.mark.parametrize("name, module, run", list(learned_modules()), ids=lambda x: x if isinstance(x, str) else "")
def test_learned_modules_say_where_they_make_a_tensor(name, module, run):
    with Factories() as factories:  # it does, and moves them
        trine.train.ModalityDropout(0.3)({"image": torch.ones(2, 16), "text": torch.ones(2, 16)})
    assert factories.found == {"aten.rand.generator"}
    for training in (True, False):
        module.train(training)
        with Factories() as factories:
            assert run(module).isfinite().all()
        assert factories.found == set()


# --- training


def learnable(count=40):
    torch.manual_seed(2)
    masks = {"image": torch.arange(count) % 5 != 4, "text": torch.arange(count) % 7 != 6}
    features = {"image": torch.randn(count, 12), "text": torch.randn(count, 8)}
    splits = ["train" if i % 10 < 7 else "val" for i in range(count)]
    masks["text"] |= ~masks["image"]
    return trine.train.Dataset(features, masks, ["ab"[i % 2] for i in range(count)], splits=splits)


LEARNED = {"epochs": 3, "batch_size": 8, "hidden_dim": 16, "num_heads": 2, "ff_dim": 16, "out_dim": 5, "balance": "up"}
TASKS = [("classify", "early"), ("classify", "late"), ("classify", "hybrid"), ("rank", "attention"), ("align", "attention")]


def learned(task, fusion, **more):
    if task == "rank":
        more["label_vectors"] = torch.eye(2, 5)
    return trine.train.fit(learnable(), task=task, fusion=fusion, **LEARNED, **more)


@pytest.mark.parametrize("task, fusion", TASKS)
def test_a_fusion_learns_where_it_is_told(task, fusion, tmp_path):
    with Elsewhere() as devices:
        result = learned(task, fusion, device="meta", folder=tmp_path)
    assert devices.mixed == set() and devices.count > 500
    assert len(result.history) == 3 and result.history[-1]["val_loss"] == 1.0
    weights = result.model.state_dict()
    assert weights and all(x.device.type == "cpu" and (x == 1).all() for x in weights.values())


@pytest.mark.parametrize("task, fusion", TASKS[2:])
def test_a_training_goes_on_on_another_device(task, fusion, tmp_path):
    with Elsewhere() as whole:
        learned(task, fusion, device="meta")
    with pytest.raises(Elsewhere.Stop), Elsewhere(most=whole.count // 2):
        learned(task, fusion, device="meta", folder=tmp_path, checkpoint_seconds=0)
    assert (tmp_path / "checkpoint.safetensors").is_file() and not (tmp_path / "model.safetensors").exists()
    result = learned(task, fusion, folder=tmp_path)
    assert [line["epoch"] for line in result.history] == [1, 2, 3]
    assert all(x.isfinite().all() and x.device.type == "cpu" for x in result.model.state_dict().values())


def test_a_training_follows_its_embedder(tiny_directory, tmp_path):
    lines = [{"text": f"{'good' if i % 2 else 'bad'} {i}", "label": "ab"[i % 2]} for i in range(16)]
    (tmp_path / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    embedder = trine.Embedder(tiny_directory)
    more = {"epochs": 1, "hidden_dim": 16, "num_heads": 2, "ff_dim": 16, "features": tmp_path / "vectors"}
    trine.train.fit(tmp_path / "samples.jsonl", embedder=embedder, **more)  # keeps the vectors
    for tune in ((), ("text",)):
        with Elsewhere() as devices:
            there = trine.Embedder(tiny_directory, device="meta")
            folder = tmp_path / f"run{len(tune)}"
            result = trine.train.fit(tmp_path / "samples.jsonl", embedder=there, tune=tune, folder=folder, **more)
        assert devices.mixed == set() and devices.count > 100
        assert result.embedder is None if not tune else result.embedder.device.type == "meta"


def test_the_cpu_is_where_a_training_runs_by_default(tiny_directory):
    default, told = learned("classify", "attention"), learned("classify", "attention", device="cpu")
    assert all(torch.equal(x, told.model.state_dict()[name]) for name, x in default.model.state_dict().items())
    with pytest.raises(ValueError, match=r"\[LoadDevice\] wanted auto, cpu, cuda or cuda: and a number, got \"gpu\""):
        learned("classify", "attention", device="gpu")
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match=CPU_ONLY):
            learned("classify", "attention", device="cuda")


# --- CUDA


@cuda
def test_a_training_on_cuda_ends_near_the_cpus(tmp_path):
    torch.manual_seed(1)
    before = torch.cuda.get_rng_state()
    here, there = (learned("rank", "hybrid", device=device, folder=tmp_path / device) for device in ("cpu", "cuda"))
    assert torch.equal(torch.cuda.get_rng_state(), before)
    assert abs(here.history[0]["loss"] - there.history[0]["loss"]) < 0.05  # dropout draws other numbers there
    again = learned("rank", "hybrid", device="cuda", folder=tmp_path / "again")
    for name, x in there.model.state_dict().items():
        assert x.device.type == "cpu" and torch.allclose(x, again.model.state_dict()[name], atol=1e-5)
    assert learned("rank", "hybrid", device="cpu", folder=tmp_path / "cuda").history == there.history  # it had ended


@cuda
@pytest.mark.parametrize("folder", ["vision/clip", "vision/vit", "pe/core", "imagebind/small", "pe_video/small"])
def test_pictures_on_cuda_are_those_of_the_cpu(folder):
    pictures = [make_picture(i, 40 + i, 30 + 2 * i) for i in range(7)]
    here, there = (trine.Embedder(GOLDEN / folder, device=device) for device in ("cpu", "cuda"))
    wanted, found = here.embed_image(pictures), there.embed_image(pictures)
    assert found.device == torch.device("cpu") and there.device.type == "cuda"
    assert (found - wanted).abs().max() < 1e-4
    assert (there.embed_image(pictures[0]) - wanted[0]).abs().max() < 1e-4
    assert torch.equal(there.embed_image(pictures), found)


@cuda
@pytest.mark.parametrize("precision", ["bf16", "fp16", "auto"])
def test_precisions_on_cuda(tiny, tiny_directory, precision):
    model = trine.Embedder(tiny_directory, device="cuda", precision=precision)
    assert ((model.embed_text(TEXTS) * tiny.embed_text(TEXTS)).sum(1) > 0.99).all()
    assert dict(model.describe())["text.precision"].removeprefix("auto: ") in ("fp32", "bf16", "fp16")
    with pytest.raises(ValueError, match="wanted auto, fp32, bf16 or fp16 on cuda:0, got int8"):
        trine.Embedder(tiny_directory, device="cuda", precision="int8")


@cuda
def test_learned_modules_follow_to():
    torch.manual_seed(0)
    fusion = trine.fusion.AttentionFusion(modalities=["image", "text"], hidden_dim=16, num_heads=4).eval()
    features = {"image": torch.randn(3, 4, 16), "text": torch.randn(3, 5, 16)}
    wanted = fusion(features)[0]
    found = fusion.to("cuda")({name: x.cuda() for name, x in features.items()})[0]
    assert found.is_cuda and (found.cpu() - wanted).abs().max() < 1e-4
