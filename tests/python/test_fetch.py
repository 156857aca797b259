"""trine.fetch: from a wheel to a checked encoder folder. No network: the wheels are made here, on the spot."""

import hashlib
import importlib.util
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "python" / "trine" / "fetch.py"


def load_script():
    """The module by its file, so that these tests run before anything is built."""
    spec = importlib.util.spec_from_file_location("trine_fetch_under_test", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


fetch = load_script()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class World:
    """A model folder, a folder of wheels and a cache, all small and all in the test's own directory."""

    def __init__(self, root: Path) -> None:
        self.model, self.wheels, self.cache = root / "model", root / "wheels", root / "cache"
        for folder in (self.model, self.wheels):
            folder.mkdir(parents=True)
        self.entries: list[dict] = []

    def add(self, name: str, members: dict[str, bytes], **extra) -> dict:
        """One encoder with the wheel that carries it; every member becomes a file of the encoder."""
        package = f"fake_{name.replace('-', '_')}"
        wheel = self.wheels / f"{package}-1.0-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
            for inside, data in members.items():
                archive.writestr(f"{package}/{inside}", data)
            info = f"{package}-1.0.dist-info"
            archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
            archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{info}/RECORD", "")
        entry = {
            "name": name,
            "licence": "none",
            "package": {"name": package, "version": "1.0", "wheel": wheel.name} | self.identity(wheel),
            "files": [
                {"inside": f"{package}/{inside}", "to": inside, "sha256": sha256(data), "size": len(data)}
                for inside, data in members.items()
            ],
        }
        self.entries.append(entry | extra)
        self.save()
        return self.entries[-1]

    @staticmethod
    def identity(wheel: Path) -> dict:
        return {"sha256": sha256(wheel.read_bytes()), "size": wheel.stat().st_size}

    def save(self) -> None:
        (self.model / "sources.json").write_text(json.dumps({"encoders": self.entries}))

    def ensure(self, **options):
        return fetch.ensure(self.model, **{"cache": self.cache, "offline_dir": self.wheels, "quiet": True} | options)

    def left_over(self) -> list[str]:
        return [p.name for p in (self.cache / "encoders").iterdir() if p.name.startswith(".partial")]


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.add(
        "words", {"config.json": b'{"model_type": "bert"}', "1_Pooling/config.json": b"{}", "data.bin": b"x" * 5000}
    )
    return world


def test_makes_the_folder_with_a_manifest(world: World):
    folders = world.ensure()
    folder = folders["words"]
    assert folder == world.cache / "encoders" / "words"
    assert (folder / "1_Pooling" / "config.json").read_bytes() == b"{}"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["source"] == "package"
    assert manifest["files"]["data.bin"] == {"size": 5000, "sha256": sha256(b"x" * 5000)}
    assert set(manifest["files"]) == {"config.json", "1_Pooling/config.json", "data.bin"}
    assert world.left_over() == []


def test_second_run_does_nothing_and_needs_nothing(world: World):
    folder = world.ensure()["words"]
    before = (folder.stat().st_ino, folder.stat().st_mtime_ns)
    shutil.rmtree(world.wheels)
    assert world.ensure(verify=True) == {"words": folder}
    assert (folder.stat().st_ino, folder.stat().st_mtime_ns) == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "data.bin").write_bytes(b"x" * 4999),
        lambda folder: (folder / "data.bin").unlink(),
        lambda folder: (folder / "manifest.json").unlink(),
        lambda folder: (folder / "manifest.json").write_text('{"recipe": '),
        lambda folder: (folder / "manifest.json").write_text("[]"),
        lambda folder: shutil.rmtree(folder / "1_Pooling"),
        lambda folder: shutil.rmtree(folder),
        lambda folder: (shutil.rmtree(folder), folder.write_text("a file in the folder's place")),
    ],
)
def test_a_damaged_cache_mends_itself(world: World, damage):
    folder = world.ensure()["words"]
    damage(folder)
    world.ensure()
    assert (folder / "data.bin").read_bytes() == b"x" * 5000
    assert fetch.problem_with(folder, world.entries[0], verify=True) is None
    assert world.left_over() == []


def test_verify_finds_a_flipped_byte_that_sizes_do_not_show(world: World):
    folder = world.ensure()["words"]
    (folder / "data.bin").write_bytes(b"y" + b"x" * 4999)
    world.ensure()
    assert (folder / "data.bin").read_bytes()[:1] == b"y"
    world.ensure(verify=True)
    assert (folder / "data.bin").read_bytes() == b"x" * 5000


def test_other_sources_are_fetched_anew_but_another_credit_is_not(world: World):
    folder = world.ensure()["words"]
    inode = folder.stat().st_ino
    world.entries[0]["credit"] = "someone"
    world.save()
    world.ensure()
    assert folder.stat().st_ino == inode
    world.entries[0]["write"] = {"extra.json": {"a": 1}}
    world.save()
    world.ensure()
    assert json.loads((folder / "extra.json").read_text()) == {"a": 1}


def test_optional_encoders_are_made_when_asked_for(world: World):
    world.add("big", {"config.json": b"{}"}, optional=True)
    assert set(world.ensure()) == {"words"}
    assert set(world.ensure(all=True)) == {"words", "big"}
    assert set(world.ensure(encoders=["big"])) == {"big"}
    with pytest.raises(fetch.FetchError, match="Unknown encoder small"):
        world.ensure(encoders=["small"])


# --- wheels that are not what they should be --------------------------------------------------------------------------


def test_wrong_wheel_hash(world: World):
    world.entries[0]["package"]["sha256"] = "0" * 64
    world.save()
    with pytest.raises(fetch.FetchError, match="not the published file"):
        world.ensure()
    assert not (world.cache / "encoders" / "words").exists() and world.left_over() == []


def test_wrong_file_hash(world: World):
    world.entries[0]["files"][2]["sha256"] = "0" * 64
    world.save()
    with pytest.raises(fetch.FetchError, match="not the file it should be"):
        world.ensure()


@pytest.mark.parametrize(
    ("size", "message"), [(4999, "larger than the 4999 bytes"), (5001, "not the file it should be")]
)
def test_wrong_file_size(world: World, size: int, message: str):
    world.entries[0]["files"][2]["size"] = size
    world.save()
    with pytest.raises(fetch.FetchError, match=message):
        world.ensure()


def test_a_bomb_is_not_unpacked(world: World):
    entry = world.add("bomb", {"weights.bin": b"\0" * 50_000_000})
    entry["files"][0]["size"] = 1000
    world.save()
    with pytest.raises(fetch.FetchError, match="larger than the 1000 bytes"):
        world.ensure(encoders=["bomb"])


def test_members_outside_the_list_stay_in_the_wheel(world: World):
    wheel = world.wheels / world.entries[0]["package"]["wheel"]
    with zipfile.ZipFile(wheel, "a") as archive:
        for hostile in ("../../escaped", "/tmp/trine_fetch_escaped", "fake_words/../../../escaped", "setup.py"):
            archive.writestr(hostile, "raise SystemExit('never run')")
    world.entries[0]["package"] |= world.identity(wheel)
    world.save()
    world.ensure()
    assert {p.name for p in (world.cache / "encoders").iterdir()} == {"words", ".lock"}
    assert not list(world.cache.parent.rglob("*escaped")) and not Path("/tmp/trine_fetch_escaped").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not really", b"\x00" * 1000])
def test_not_a_wheel(world: World, content: bytes):
    wheel = world.wheels / world.entries[0]["package"]["wheel"]
    wheel.write_bytes(content)
    world.entries[0]["package"] |= world.identity(wheel)
    world.save()
    with pytest.raises(fetch.FetchError, match="cannot be read as a wheel"):
        world.ensure()


def test_a_wheel_without_the_file_and_a_missing_wheel(world: World):
    world.entries[0]["files"][0]["inside"] = "fake_words/other.json"
    world.save()
    with pytest.raises(fetch.FetchError, match=r"does not hold fake_words/other\.json"):
        world.ensure()
    shutil.rmtree(world.wheels)
    with pytest.raises(fetch.FetchError, match=r"does not hold fake_words-1\.0"):
        world.ensure()


# --- hostile or broken sources.json -----------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["../escaped", "/escaped", "a/../../escaped", "a\\..\\b", "", "manifest.json"])
@pytest.mark.parametrize("place", ["to", "write", "hub"])
def test_targets_outside_the_folder_are_refused(world: World, target: str, place: str):
    if place == "to":
        world.entries[0]["files"][0]["to"] = target
    elif place == "write":
        world.entries[0]["write"] = {target: {}}
    else:
        world.entries[0]["hub"] = {"repository": "a/b", "files": [target]}
    world.save()
    with pytest.raises(fetch.FetchError, match="no place for a file"):
        world.ensure()


@pytest.mark.parametrize("name", ["..", "a/b", ".hidden", "", "x\n--index-url=elsewhere", "-r", "x y"])
@pytest.mark.parametrize("field", ["encoder", "name", "version", "wheel"])
def test_names_that_could_mean_something_else_are_refused(world: World, name: str, field: str):
    if field == "encoder":
        world.entries[0]["name"] = name
    else:
        world.entries[0]["package"][field] = name
    world.save()
    with pytest.raises(fetch.FetchError, match="not a plain name"):
        world.ensure()


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"encoders": [{}]}', '{"encoders": [1]}', '{"encoders": null}', "\x00"]
)
def test_broken_sources(world: World, text: str):
    (world.model / "sources.json").write_text(text)
    with pytest.raises(fetch.FetchError, match="not a list of sources"):
        world.ensure()


def test_no_sources(tmp_path: Path):
    with pytest.raises(fetch.FetchError, match="There is no "):
        fetch.ensure(tmp_path, cache=tmp_path)


def test_unknown_converter(world: World):
    del world.entries[0]["files"][2]["to"]
    world.entries[0]["files"][2]["convert"] = {"kind": "pickle"}
    world.save()
    with pytest.raises(fetch.FetchError, match="wanted at most one of efficientnet"):
        world.ensure()


# --- where the cache is -----------------------------------------------------------------------------------------------


def test_cache_directory(monkeypatch, tmp_path: Path):
    for name in ("TRINE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert fetch.cache_directory() == tmp_path / ".cache" / "trine"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert fetch.cache_directory() == tmp_path / "xdg" / "trine"
    monkeypatch.setenv("TRINE_CACHE", str(tmp_path / "own"))
    assert fetch.cache_directory() == tmp_path / "own"
    assert fetch.cache_directory(tmp_path / "said") == tmp_path / "said"


def test_a_cache_that_cannot_be_written(world: World):
    world.cache.write_text("a file where the cache should be")
    with pytest.raises(fetch.FetchError, match="could not be written"):
        world.ensure()


# --- the command: pip, signals, two at once ---------------------------------------------------------------------------


def command(world: World, *arguments: str) -> list[str]:
    return [sys.executable, str(SCRIPT), "--model", str(world.model), *arguments]


def environment(world: World, **more: str) -> dict[str, str]:
    """pip sees the folder of wheels and nothing else."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "TRINE_"))}
    clean |= {
        "TRINE_CACHE": str(world.cache),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "HF_HUB_OFFLINE": "1",
    }
    return clean | {"PIP_FIND_LINKS": str(world.wheels)} | more


def run(world: World, *arguments: str, **more: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        command(world, *arguments), env=environment(world, **more), capture_output=True, text=True, timeout=120
    )


needs_pip = pytest.mark.skipif(importlib.util.find_spec("pip") is None, reason="this Python has no pip")


@needs_pip
def test_script_takes_the_wheel_through_pip(world: World):
    done = run(world, "--json")
    assert done.returncode == 0, done.stderr
    folder = world.cache / "encoders" / "words"
    assert json.loads(done.stdout) == {"words": str(folder)}
    assert (folder / "data.bin").stat().st_size == 5000
    assert "downloading fake_words 1.0" in done.stderr and world.left_over() == []
    again = run(world)
    assert (again.returncode, again.stdout, again.stderr) == (0, f"{folder}\n", "")


@needs_pip
def test_script_says_when_pip_finds_nothing(world: World):
    done = run(world, PIP_FIND_LINKS=str(world.model))
    assert done.returncode == 1 and done.stdout == ""
    assert "[trine.fetch] pip could not download fake_words 1.0" in done.stderr and "--offline-dir" in done.stderr
    assert "Traceback" not in done.stderr and world.left_over() == []


@needs_pip
def test_pip_refuses_a_wheel_with_another_hash(world: World):
    world.entries[0]["package"]["sha256"] = "0" * 64
    world.save()
    done = run(world)
    assert done.returncode == 1 and "could not download fake_words 1.0" in done.stderr


def hold(world: World) -> subprocess.Popen:
    """Another process that holds the cache's lock until it is killed."""
    (world.cache / "encoders").mkdir(parents=True, exist_ok=True)
    code = (
        "import fcntl, sys, time; file = open(sys.argv[1], 'a'); fcntl.flock(file, fcntl.LOCK_EX); "
        "print(flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(world.cache / "encoders" / ".lock")], stdout=subprocess.PIPE
    )
    holder.stdout.readline()
    return holder


def test_waits_for_another_process_and_outlives_its_death(world: World):
    holder = hold(world)
    waiting = subprocess.Popen(
        command(world, "--offline-dir", str(world.wheels)), env=environment(world), stderr=subprocess.PIPE, text=True
    )
    assert "another process is filling" in waiting.stderr.readline()
    assert not (world.cache / "encoders" / "words").exists()
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    waiting.communicate(timeout=60)
    assert waiting.returncode == 0 and (world.cache / "encoders" / "words" / "manifest.json").exists()


def test_many_at_once(world: World):
    arguments = command(world, "--offline-dir", str(world.wheels), "--quiet")
    runs = [subprocess.Popen(arguments, env=environment(world), stderr=subprocess.PIPE) for _ in range(4)]
    assert [r.communicate(timeout=60)[1] for r in runs] == [b""] * 4
    assert [r.returncode for r in runs] == [0] * 4
    assert fetch.problem_with(world.cache / "encoders" / "words", world.entries[0], verify=True) is None


@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_interrupted_while_pip_is_at_work(world: World, tmp_path: Path, sign: int, code: int):
    """A pip that never ends stands in for a slow download; what a kill leaves is swept by the next run."""
    slow = tmp_path / "slow" / "pip"
    slow.mkdir(parents=True)
    (slow / "__init__.py").write_text("")
    (slow / "__main__.py").write_text(
        "import os, pathlib, time\n"
        "pathlib.Path(os.environ['TMPDIR'], 'half.whl').write_bytes(b'half')\n"
        "pathlib.Path(os.environ['PID_FILE']).write_text(str(os.getpid()))\n"
        "time.sleep(60)\n"
    )
    pid_file = tmp_path / "pid"
    more = {"PYTHONPATH": str(slow.parent), "PID_FILE": str(pid_file)}
    process = subprocess.Popen(command(world), env=environment(world, **more), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while not (pid_file.exists() and pid_file.read_text()) and time.monotonic() < deadline:
        time.sleep(0.02)
    pip = int(pid_file.read_text())
    process.send_signal(sign)
    _, errors = process.communicate(timeout=60) if sign == signal.SIGINT else (process.wait(), "")
    assert process.returncode == code and "Traceback" not in errors
    if sign == signal.SIGKILL:
        os.kill(pip, signal.SIGKILL)
        process.stderr.close()
        assert len(world.left_over()) == 1
    else:
        with pytest.raises(ProcessLookupError):
            os.kill(pip, 0)
        assert world.left_over() == []
    assert not (world.cache / "encoders" / "words").exists()
    world.ensure()
    assert world.left_over() == [] and (world.cache / "encoders" / "words" / "manifest.json").exists()


def test_a_module_beside_the_script_does_not_shadow_the_standard_library(world: World, tmp_path: Path):
    copy = tmp_path / "python" / "trine"
    copy.mkdir(parents=True)
    shutil.copy(SCRIPT, copy / "fetch.py")
    (copy / "json.py").write_text("raise SystemExit('shadowed')")
    arguments = [sys.executable, str(copy / "fetch.py"), *command(world, "--offline-dir", str(world.wheels))[2:]]
    done = subprocess.run(arguments, env=environment(world), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


# --- the official repository ------------------------------------------------------------------------------------------


@pytest.fixture
def hub(monkeypatch, tmp_path: Path):
    """A huggingface_hub that serves from a folder."""
    served = tmp_path / "hub"
    served.mkdir()

    class FakeHub:
        @staticmethod
        def hf_hub_download(repository, name, revision=None, local_dir=None):
            assert repository == "org/words"
            target = Path(local_dir) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            return shutil.copy(served / name, target)

    FakeHub.__spec__ = importlib.util.spec_from_loader("huggingface_hub", None)
    monkeypatch.setitem(sys.modules, "huggingface_hub", FakeHub)
    return served


def test_from_hub(world: World, hub: Path):
    (hub / "config.json").write_bytes(b"{}")
    world.entries[0]["hub"] = {
        "repository": "org/words",
        "files": ["config.json"],
        "sha256": {"config.json": sha256(b"{}")},
    }
    world.save()
    folder = world.ensure(from_hub=True)["words"]
    assert json.loads((folder / "manifest.json").read_text())["source"] == "hub"
    assert world.ensure() == {"words": folder}  # whole, whatever the source
    shutil.rmtree(folder)
    (hub / "config.json").write_bytes(b"{ }")
    with pytest.raises(fetch.FetchError, match="not the file it should be"):
        world.ensure(from_hub=True)


def test_the_hub_helps_when_pip_does_not(world: World, hub: Path, monkeypatch):
    (hub / "config.json").write_bytes(b"{}")
    world.entries[0]["hub"] = {"repository": "org/words", "files": ["config.json"]}
    world.save()

    def no_pip(*_):
        raise fetch.FetchError("pip could not download it.")

    monkeypatch.setattr(fetch, "_download_wheel", no_pip)
    folder = world.ensure(offline_dir=None)["words"]
    assert json.loads((folder / "manifest.json").read_text())["source"] == "hub"
    shutil.rmtree(folder)
    (hub / "config.json").unlink()
    with pytest.raises(fetch.FetchError, match=r"pip could not download it\..*did not help either"):
        world.ensure(offline_dir=None)


# --- converters -------------------------------------------------------------------------------------------------------


def ctranslate2(variables: dict[str, tuple[int, tuple[int, ...], bytes]], spec: str = "WhisperSpec") -> bytes:
    def text(value: str) -> bytes:
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    out = struct.pack("<I", 6) + text(spec) + struct.pack("<II", 3, len(variables))
    for name, (kind, shape, data) in variables.items():
        out += text(name) + struct.pack("<B", len(shape)) + struct.pack(f"<{len(shape)}I", *shape)
        out += struct.pack("<BI", kind, len(data)) + data
    return out + struct.pack("<I", 0)


def halves(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}e", *values)


def read_safetensors(path: Path) -> dict[str, tuple[str, list[int], bytes]]:
    """By the format's description, independent of the writer under test."""
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    assert header.pop("__metadata__") == {"format": "pt"} and length % 8 == 0
    spans = sorted(v["data_offsets"] for v in header.values())
    assert [s[0] for s in spans] == [0, *[s[1] for s in spans[:-1]]] and spans[-1][1] == len(data)
    return {k: (v["dtype"], v["shape"], data[slice(*v["data_offsets"])]) for k, v in header.items()}


def test_whisper_conversion(tmp_path: Path):
    source, target = tmp_path / "model.bin", tmp_path / "model.safetensors"
    source.write_bytes(
        ctranslate2(
            {
                "encoder/num_heads": (2, (), b"\6\0"),
                "encoder/conv1/weight": (4, (1, 1, 3), halves(1, 2, 3)),
                "encoder/layer_0/self_attention/linear_0/weight": (4, (3, 1), halves(1, 2, 3)),
                "encoder/layer_0/self_attention/linear_0/bias": (4, (3,), halves(4, -0.0, 6)),
                "encoder/layer_norm/gamma": (4, (1,), halves(7)),
                "decoder/layer_3/attention/linear_1/weight": (4, (2, 1), halves(8, 9)),
                "decoder/layer_3/attention/linear_1/bias": (4, (2,), halves(0, 10)),
                "decoder/layer_3/ffn/layer_norm/beta": (4, (1,), halves(11)),
                "decoder/embeddings/weight": (4, (2, 1), halves(12, 13)),
            }
        )
    )
    fetch.convert_whisper(source, target)
    assert read_safetensors(target) == {
        "model.encoder.conv1.weight": ("F16", [1, 1, 3], halves(1, 2, 3)),
        "model.encoder.layers.0.self_attn.q_proj.weight": ("F16", [1, 1], halves(1)),
        "model.encoder.layers.0.self_attn.k_proj.weight": ("F16", [1, 1], halves(2)),
        "model.encoder.layers.0.self_attn.v_proj.weight": ("F16", [1, 1], halves(3)),
        "model.encoder.layers.0.self_attn.q_proj.bias": ("F16", [1], halves(4)),
        "model.encoder.layers.0.self_attn.v_proj.bias": ("F16", [1], halves(6)),
        "model.encoder.layer_norm.weight": ("F16", [1], halves(7)),
        "model.decoder.layers.3.encoder_attn.k_proj.weight": ("F16", [1, 1], halves(8)),
        "model.decoder.layers.3.encoder_attn.v_proj.weight": ("F16", [1, 1], halves(9)),
        "model.decoder.layers.3.encoder_attn.v_proj.bias": ("F16", [1], halves(10)),
        "model.decoder.layers.3.final_layer_norm.bias": ("F16", [1], halves(11)),
        "model.decoder.embed_tokens.weight": ("F16", [2, 1], halves(12, 13)),
    }


BIAS = "encoder/layer_0/self_attention/linear_0/bias"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (ctranslate2({BIAS: (4, (3,), halves(1, 0.5, 1))}), "key bias that is not zero"),
        (ctranslate2({"encoder/layer_0/surprise/weight": (4, (1,), halves(1))}), "unknown tensor"),
        (ctranslate2({"encoder/layer_x/ffn/linear_0/bias": (4, (1,), halves(1))}), "unknown tensor"),
        (ctranslate2({"encoder/conv1/bias": (9, (1,), halves(1))}), "unknown CTranslate2 type 9"),
        (ctranslate2({"encoder/conv1/bias": (4, (2,), halves(1))}), "2 bytes for F16"),
        (ctranslate2({}, spec="TransformerSpec"), "Wanted a CTranslate2 WhisperSpec"),
        (ctranslate2({"encoder/conv1/bias": (4, (1,), halves(1))})[:-9], "ends at byte"),
        (b"", "ends at byte 0"),
    ],
)
def test_broken_whisper(tmp_path: Path, content: bytes, message: str):
    source = tmp_path / "model.bin"
    source.write_bytes(content)
    with pytest.raises(fetch.FetchError, match=message):
        fetch.convert_whisper(source, tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    ("key", "wanted"),
    [
        ("_conv_stem.weight", "conv_stem.weight"),
        ("_bn0.running_var", "bn1.running_var"),
        ("_blocks.0._depthwise_conv.weight", "blocks.0.0.conv_dw.weight"),
        ("_blocks.0._bn1.bias", "blocks.0.0.bn1.bias"),
        ("_blocks.0._project_conv.weight", "blocks.0.0.conv_pw.weight"),
        ("_blocks.0._bn2.weight", "blocks.0.0.bn2.weight"),
        ("_blocks.1._expand_conv.weight", "blocks.1.0.conv_pw.weight"),
        ("_blocks.2._bn0.weight", "blocks.1.1.bn1.weight"),
        ("_blocks.3._depthwise_conv.weight", "blocks.2.0.conv_dw.weight"),
        ("_blocks.14._project_conv.weight", "blocks.5.3.conv_pwl.weight"),
        ("_blocks.15._bn2.num_batches_tracked", "blocks.6.0.bn3.num_batches_tracked"),
        ("_conv_head.weight", "conv_head.weight"),
        ("_bn1.running_mean", "bn2.running_mean"),
        ("_fc.bias", "classifier.bias"),
    ],
)
def test_efficientnet_keys(key: str, wanted: str):
    assert fetch.efficientnet_key(key, [1, 2, 2, 3, 3, 4, 1]) == wanted


@pytest.mark.parametrize(
    "key", ["_blocks.16._bn0.weight", "_blocks.x._bn0.weight", "_blocks.0._expand_conv.weight", "fc"]
)
def test_unknown_efficientnet_keys(key: str):
    with pytest.raises(fetch.FetchError, match="unknown tensor"):
        fetch.efficientnet_key(key, [1, 2, 2, 3, 3, 4, 1])


def test_efficientnet_conversion(world: World, tmp_path: Path):
    torch = pytest.importorskip("torch")
    weights = tmp_path / "weights.pth"
    torch.save({"_conv_stem.weight": torch.ones(2, 1, 1, 1), "_bn0.num_batches_tracked": torch.tensor(3)}, weights)
    entry = world.add("pixels", {"weights.pth": weights.read_bytes()}, write={"config.json": {"num_features": 2}})
    entry["files"][0] |= {"convert": {"kind": "efficientnet", "blocks": [1]}}
    del entry["files"][0]["to"]
    world.save()
    folder = world.ensure(encoders=["pixels"])["pixels"]
    assert read_safetensors(folder / "model.safetensors") == {
        "bn1.num_batches_tracked": ("I64", [], struct.pack("<q", 3)),
        "conv_stem.weight": ("F32", [2, 1, 1, 1], struct.pack("<2f", 1, 1)),
    }
    assert {p.name for p in folder.iterdir()} == {"config.json", "model.safetensors", "manifest.json"}
    entry["produces"] = {"model.safetensors": "0" * 64}
    world.save()
    with pytest.raises(fetch.FetchError, match="The conversion gave another"):
        world.ensure(encoders=["pixels"])


def test_the_default_model_names_complete_sources():
    entries = fetch.read_sources(SCRIPT.parents[2] / "models" / "default")
    assert set(entries) == {"all-MiniLM-L6-v2", "tf_efficientnet_lite0", "tf_efficientnet_lite2", "whisper-tiny.en"}
    for entry in entries.values():
        assert entry["licence"] and entry["credit"] and entry["repository"] and entry["hub"]["files"]
        assert all(len(item["sha256"]) == 64 for item in (entry["package"], *entry["files"]))
        converted = any("convert" in file for file in entry["files"])
        assert converted == ("produces" in entry)
