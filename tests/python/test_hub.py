"""Models by name: huggingface_hub's cache, laid out as it lays it out, and stand-ins for what would need the network."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import types

import pytest
import torch
from conftest import GOLDEN

import trine
from trine import _hub

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def cached(home, name, source, without=()):
    """Puts the files of `source` into a cache as "main" of `name`: refs, snapshots of links, blobs."""
    repository = home / "hub" / f"models--{name.replace('/', '--')}"
    snapshot = repository / "snapshots" / COMMIT
    for file in sorted(p for p in source.rglob("*") if p.is_file() and p.name not in without):
        blob = repository / "blobs" / hashlib.sha256(file.read_bytes()).hexdigest()
        link = snapshot / file.relative_to(source)
        for folder in (blob.parent, link.parent):
            folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, blob)
        link.symlink_to(blob)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return snapshot


@pytest.fixture(scope="module")
def home(tmp_path_factory, tiny_directory):
    home = tmp_path_factory.mktemp("hf")
    cached(home, "some/model", tiny_directory)
    cached(home, "some/pickled", tiny_directory, without=("model.safetensors",))
    classifier = tmp_path_factory.mktemp("models") / "classifier"
    shutil.copytree(GOLDEN / "texts/bert", classifier)
    shutil.copy(GOLDEN / "text/tokenizer.json", classifier)
    cached(home, "some/classifier", classifier)
    return home


def run(home, program, **environment):
    """The program with huggingface_hub's cache in `home`, which reads its switches once, when it is imported."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TRANSFORMERS_", "HUGGINGFACE_"))}
    kept |= {"HF_HOME": str(home), "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_ETAG_TIMEOUT": "1"} | environment
    return subprocess.run([sys.executable, "-c", program], env=kept, capture_output=True, text=True)


@pytest.mark.parametrize("switch", [{}, {"HF_HUB_OFFLINE": "1"}, {"TRANSFORMERS_OFFLINE": "1"}])
def test_the_real_library_and_its_cache(home, switch):
    pytest.importorskip("huggingface_hub", reason="needs huggingface_hub")
    options = "" if switch else ", local_files_only=True"
    done = run(
        home,
        f"""
import trine, warnings
warnings.simplefilter("ignore")
assert trine.Embedder("some/model"{options}).embed_text("the red one").shape == (32,)
assert trine.load_encoder("some/model"{options}).dim == 32
assert trine.load_encoder("some/model", revision="{COMMIT}"{options}).dim == 32
assert trine.Classifier("some/classifier"{options}).predict("the red one")
for load in (trine.Embedder, trine.Classifier, trine.load_encoder):
    for name, words in (
        ("some/absent", "is not in the Hugging Face cache"),
        ("some/pickled", "trine convert some/pickled pickled"),
    ):
        try:
            load(name{options})
            raise SystemExit("loaded " + name)
        except FileNotFoundError as error:
            assert words in str(error), error
            assert len(str(error).splitlines()) == 1, error
try:
    trine.Embedder("some/model", revision="v2"{options})
    raise SystemExit("loaded v2")
except FileNotFoundError as error:
    assert "some/model at v2 is not in" in str(error), error
""",
        **switch,
    )
    assert done.returncode == 0, done.stderr


def test_the_real_library_without_a_network(home):
    pytest.importorskip("huggingface_hub", reason="needs huggingface_hub")
    done = run(home, "import trine; trine.Embedder('some/absent')")
    assert done.returncode == 1
    assert "FileNotFoundError: There is no folder 'some/absent', and the Hugging Face Hub gave no some/absent: " in done.stderr


class Hub(types.ModuleType):
    """A stand-in that serves a folder as huggingface_hub would: the files that match, and no others."""

    def __init__(self, served, cache):
        super().__init__("huggingface_hub")
        self.served, self.cache, self.asked = served, cache, []

    def snapshot_download(self, name, *, revision, allow_patterns, ignore_patterns, local_files_only):
        from fnmatch import fnmatch

        self.asked.append((name, revision, local_files_only))
        for file in self.served.rglob("*"):
            relative = file.relative_to(self.served).as_posix()
            matches = lambda patterns: any(fnmatch(relative, p) for p in patterns)
            if file.is_file() and matches(allow_patterns) and not matches(ignore_patterns):
                (self.cache / relative).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, self.cache / relative)
        return str(self.cache)


@pytest.fixture
def hub(tmp_path, tiny_directory, monkeypatch):
    served = tmp_path / "served"
    shutil.copytree(tiny_directory, served)
    made = Hub(served, tmp_path / "cache")
    made.cache.mkdir()
    monkeypatch.setitem(sys.modules, "huggingface_hub", made)
    return made


def test_only_what_is_needed_is_downloaded(hub, tiny):
    needed = ["sentencepiece.bpe.model", "vocab.txt", "1_Pooling/config.json", "2_Dense/model.safetensors"]
    other = ["pytorch_model.bin", "tf_model.h5", "flax_model.msgpack", "onnx/model.onnx", "onnx/config.json", "rust_model.ot",
             "open_clip_model.safetensors", "openvino/openvino_model.xml", "README.md", "fp16/model.safetensors"]  # fmt: skip
    for name in [*needed, *other]:
        (hub.served / name).parent.mkdir(exist_ok=True)
        (hub.served / name).write_text("{}")
    found = trine._hub.locate("some/model", revision="v1", local_files_only=False)
    got = {f.relative_to(found).as_posix() for f in found.rglob("*") if f.is_file()}
    assert got == {"config.json", "tokenizer.json", "model.safetensors", *needed}
    assert hub.asked == [("some/model", "v1", False)]


def test_shards_are_weights_too(hub):
    (hub.served / "model.safetensors").unlink()
    for name in ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"):
        (hub.served / name).write_text("{}")
    assert len(list(_hub.locate("some/model").glob("model*"))) == 3


def test_open_clip_has_its_own_files(hub):
    """timm/PE-Core-... and the like have no config.json; LAION's have one, and sometimes no model.safetensors."""
    shutil.rmtree(hub.served)
    shutil.copytree(GOLDEN / "pe/open_clip", hub.served)
    for other in ("open_clip_pytorch_model.bin", "README.md"):
        (hub.served / other).write_text("{}")
    found = _hub.locate("some/open_clip", revision="v1")
    got = {f.name for f in found.iterdir()}
    assert got == {"open_clip_config.json", "open_clip_model.safetensors", "tokenizer.json"}
    assert [asked[:2] for asked in hub.asked] == [("some/open_clip", "v1")] * 2
    wanted = trine.Embedder(GOLDEN / "pe/open_clip").embed_text("a red door")
    assert torch.equal(trine.Embedder("some/open_clip").embed_text("a red door"), wanted)
    (hub.served / "config.json").write_text(json.dumps({"model_type": "clip"}))  # of weights that are pickled only
    assert torch.equal(trine.Embedder("some/open_clip").embed_text("a red door"), wanted)


def test_open_clip_weights_are_no_second_copy(hub):
    for name in ("open_clip_config.json", "open_clip_model.safetensors"):
        (hub.served / name).write_text("{}")
    found = _hub.locate("some/model")
    assert not (found / "open_clip_model.safetensors").exists() and len(hub.asked) == 1
    assert trine.Embedder("some/model").embed_text("the red one").shape == (32,)  # by its config.json


def test_open_clip_without_weights(hub):
    (hub.served / "model.safetensors").unlink()
    (hub.served / "open_clip_config.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match="trine convert some/model model$"):
        trine.Embedder("some/model")


def test_a_folder_comes_before_the_hub(hub, tmp_path, monkeypatch, tiny_directory):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_directory, tmp_path / "some" / "model")
    assert str(_hub.locate("some/model")) == "some/model" and hub.asked == []
    for no_name in ("model", "./some/absent", "../absent", "a/b/c", "/some/model", "some/", "some model/x"):
        assert str(_hub.locate(no_name)) == no_name.rstrip("/").removeprefix("./") and hub.asked == []


def test_a_pickled_repository_is_converted_by_name(hub, tiny, tmp_path):
    from conftest import load_safetensors

    from trine.convert import convert

    torch.save(load_safetensors(hub.served / "model.safetensors")[0], hub.served / "pytorch_model.bin")
    (hub.served / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="trine convert some/model model$"):
        trine.Embedder("some/model")
    with pytest.raises(ValueError, match="say which folder"):
        convert("some/model")
    convert("some/model", tmp_path / "model", revision="v3")
    assert hub.asked[-1] == ("some/model", "v3", False)
    assert torch.equal(trine.Embedder(tmp_path / "model").embed_text("a"), tiny.embed_text("a"))


def test_without_huggingface_hub(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for load in (trine.Embedder, trine.Classifier, trine.load_encoder):
        with pytest.raises(FileNotFoundError, match="pip install huggingface_hub$"):
            load("some/model")
