"""trine.convert: pickled weights to safetensors, and nothing in a pickle that runs."""

import json
import pickle
import shutil
import subprocess
import sys
import warnings
from collections import OrderedDict

import pytest
import torch
from conftest import DIM, load_safetensors

import trine
from trine.convert import ConvertError, convert


def state_of(directory):
    return load_safetensors(directory / "model.safetensors")[0]


def pickled(tiny_directory, folder):
    """The tiny model as it was before safetensors."""
    shutil.copytree(tiny_directory, folder)
    torch.save(state_of(folder), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


def files_of(folder):
    return sorted(f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file())


def content(folder):
    return {name: (folder / name).read_bytes() for name in files_of(folder)}


def test_a_folder_elsewhere_and_in_place(tiny, tiny_directory, tmp_path):
    source = pickled(tiny_directory, tmp_path / "old")
    done = convert(source, tmp_path / "new")
    assert done.written == ["config.json", "tokenizer.json", "model.safetensors"] and done.unchanged == []
    assert done.layout == "plain" and done.tensors == len(state_of(tiny_directory)) and done.left_out == []
    assert files_of(tmp_path / "new") == sorted(done.written)
    assert torch.equal(trine.Embedder(tmp_path / "new").embed_text("the red one"), tiny.embed_text("the red one"))
    with pytest.raises(RuntimeError, match="run: trine convert "):
        trine.Embedder(source)
    assert convert(source).written == ["model.safetensors"]
    assert torch.equal(trine.Embedder(source).embed_text("the red one"), tiny.embed_text("the red one"))


def test_a_second_run_changes_nothing(tiny_directory, tmp_path):
    source, target = pickled(tiny_directory, tmp_path / "old"), tmp_path / "new"
    convert(source, target)
    before = {name: (target / name).stat().st_mtime_ns for name in files_of(target)}
    done = convert(source, target)
    assert done.written == [] and sorted(done.unchanged) == sorted(before)
    assert {name: (target / name).stat().st_mtime_ns for name in files_of(target)} == before


def test_what_is_there_is_not_replaced_unasked(tiny_directory, tmp_path):
    source, target = pickled(tiny_directory, tmp_path / "old"), tmp_path / "new"
    convert(source, target)
    good, other = content(target), {"a": torch.ones(3)}
    for name in ("model.safetensors", "config.json"):
        (target / name).write_text("{}")
        with pytest.raises(ConvertError, match=f"another {name}: --overwrite"):
            convert(source, target)
        assert name in convert(source, target, overwrite=True).written and content(target) == good
    torch.save(other, tmp_path / "other.pt")
    with pytest.raises(ConvertError, match="another model.safetensors"):
        convert(tmp_path / "other.pt", target)
    assert content(target) == good


def test_types_shapes_and_values_stay(tmp_path):
    random = torch.Generator().manual_seed(0)
    floats = torch.randn(5, 7, generator=random)
    wanted = {str(t): floats.mul(9).to(t) for t in (torch.float64, torch.float32, torch.float16, torch.bfloat16)}
    wanted |= {str(t): floats.mul(9).to(t) for t in (torch.int64, torch.int32, torch.int16, torch.int8)}
    wanted |= {"u8": floats.abs().to(torch.uint8), "bool": floats > 0, "scalar": torch.tensor(3.5), "none": torch.empty(0, 4)}
    wanted |= {"turned": floats.T, "part": floats[1:3, ::2], "nan": torch.tensor([float("nan"), float("inf"), -0.0])}
    torch.save(OrderedDict(wanted), tmp_path / "weights.pth")
    convert(tmp_path / "weights.pth", tmp_path / "out")
    safetensors = pytest.importorskip("safetensors.torch", reason="needs safetensors, the format's own library")
    found = safetensors.load_file(tmp_path / "out" / "model.safetensors")
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype and found[name].shape == tensor.shape, name
        assert torch.equal(found[name].reshape(-1).view(torch.uint8), tensor.contiguous().reshape(-1).view(torch.uint8))


def test_tied_weights_are_there_under_each_name(tmp_path):
    shared = torch.arange(12.0).reshape(3, 4)
    torch.save({"in.weight": shared, "out.weight": shared, "row": shared[1]}, tmp_path / "m.pt")
    convert(tmp_path / "m.pt")
    found = state_of(tmp_path)
    assert torch.equal(found["in.weight"], shared) and torch.equal(found["out.weight"], shared)
    assert torch.equal(found["row"], shared[1])


@pytest.mark.parametrize("zipped", [True, False])
def test_both_formats_of_torch_and_the_wrappers_of_trainers(zipped, tmp_path):
    for key in (None, "state_dict", "model", "model_state_dict", "module"):
        state = {"a.weight": torch.ones(2, 2), "epoch": 3, "note": None}
        torch.save({key: state, "step": 7} if key else state, tmp_path / "m.pt", _use_new_zipfile_serialization=zipped)
        done = convert(tmp_path / "m.pt", overwrite=True)
        assert list(state_of(tmp_path)) == ["a.weight"] and done.left_out == ["epoch", "note"]


def test_shards_in_and_out(tiny, tiny_directory, tmp_path):
    source = pickled(tiny_directory, tmp_path / "old")
    state = list(state_of(tiny_directory).items())
    (source / "pytorch_model.bin").unlink()
    weight_map = {}
    for i in range(3):
        name = f"pytorch_model-{i + 1:05}-of-00003.bin"
        torch.save(dict(state[i::3]), source / name)
        weight_map |= {tensor: name for tensor, _ in state[i::3]}
    index = source / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    whole = convert(source, tmp_path / "whole")
    assert "pytorch_model.bin.index.json" not in whole.written
    cut = convert(source, tmp_path / "cut", max_shard_size=8000)
    assert sum(name.endswith(".safetensors") for name in cut.written) > 2
    assert cut.written[-1] == "model.safetensors.index.json" and cut.bytes == whole.bytes
    for directory in (tmp_path / "whole", tmp_path / "cut"):
        assert torch.equal(trine.Embedder(directory).embed_text("the red one"), tiny.embed_text("the red one"))
    # from one form to the other: the old one must not be read any more
    assert not convert(source, tmp_path / "cut", max_shard_size=8000).written
    with pytest.raises(ConvertError, match="has another"):
        convert(source, tmp_path / "cut")
    convert(source, tmp_path / "cut", overwrite=True)
    assert content(tmp_path / "cut") == content(tmp_path / "whole")

    first = next(iter(weight_map))
    for change, sentence in (
        ({first: "../pytorch_model.bin"}, "wanted .bin files in the same folder"),
        ({first: 3}, "no index of shards|wanted .bin files"),
        ({"absent": "pytorch_model-00001-of-00003.bin"}, "only it names absent"),
    ):
        index.write_text(json.dumps({"weight_map": weight_map | change}))
        with pytest.raises(ConvertError, match=sentence):
            convert(source, tmp_path / "bad")
    del weight_map[first]
    index.write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(ConvertError, match=f"only its shards hold {first}"):
        convert(source, tmp_path / "bad")
    index.write_text("[]")
    with pytest.raises(ConvertError, match="no index of shards"):
        convert(source, tmp_path / "bad")


def test_modules_of_sentence_transformers(tiny_directory, tmp_path):
    source = pickled(tiny_directory, tmp_path / "old")
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Dense": "Dense"}
    modules = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in kinds.items()]
    modules = [{"idx": i, "name": str(i)} | module for i, module in enumerate(modules)]
    (source / "modules.json").write_text(json.dumps(modules))
    configs = {
        "1_Pooling": {"word_embedding_dimension": DIM, "pooling_mode_mean_tokens": True},
        "2_Dense": {
            "in_features": DIM,
            "out_features": 5,
            "bias": True,
            "activation_function": "torch.nn.modules.linear.Identity",
        },
    }
    for name, config in configs.items():
        (source / name).mkdir()
        (source / name / "config.json").write_text(json.dumps(config))
    weight = torch.randn(5, DIM)
    torch.save({"linear.weight": weight, "linear.bias": torch.zeros(5)}, source / "2_Dense" / "pytorch_model.bin")
    done = convert(source, tmp_path / "new")
    assert "2_Dense/model.safetensors" in done.written and "1_Pooling/config.json" in done.written
    (tmp_path / "plain").mkdir()
    convert(source / "pytorch_model.bin", tmp_path / "plain", overwrite=True)
    (tmp_path / "plain" / "modules.json").unlink()
    mean = trine.load_encoder(tmp_path / "plain").encode(["the red one"])
    assert (trine.load_encoder(tmp_path / "new").encode(["the red one"]) - mean @ weight.T).abs().max() < 1e-5


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_pickle_that_needs_code_runs_none(tmp_path):
    mark = tmp_path / "it-ran"
    evil = {"a": torch.ones(2), "b": Evil(mark)}
    torch.save(evil, tmp_path / "zip.pt")
    torch.save(evil, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    (tmp_path / "bare.pt").write_bytes(pickle.dumps(evil["b"], protocol=2))
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pt")
    for name in ("zip.pt", "old.pt", "bare.pt", "module.pt"):
        with pytest.raises(ConvertError, match="needs code to be read .* never run") as caught:
            convert(tmp_path / name, tmp_path / "out")
        assert len(str(caught.value).splitlines()) == 1 and "weights_only" not in str(caught.value) and not mark.exists()
        assert files_of(tmp_path / "out") == []
    pickle.loads((tmp_path / "bare.pt").read_bytes())
    assert mark.exists()  # the test would have seen it


def test_what_is_refused(tmp_path, tiny_directory):
    def refused(sentence, source, kind=ConvertError):
        with pytest.raises(kind, match=sentence):
            convert(source, tmp_path / "out")

    def saved(value):
        torch.save(value, tmp_path / "m.pt")
        return tmp_path / "m.pt"

    refused("There is no", tmp_path / "absent", FileNotFoundError)
    refused("can be used as it is", tiny_directory)
    refused("holds no weights", tmp_path)
    refused("holds a Tensor, wanted tensors by name", saved(torch.ones(2)))
    refused("holds a list under 'a'", saved({"a": [torch.ones(2)]}))
    refused("holds no tensors by name", saved({"step": 3}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is on its way out
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "m.pt")
    refused("is a TorchScript program", tmp_path / "m.pt")
    refused("torch.complex64", saved({"a": torch.ones(2, dtype=torch.complex64)}))
    refused("torch.sparse_coo", saved({"a": torch.eye(3).to_sparse()}))
    whole = saved({"a": torch.ones(1000)}).read_bytes()
    for damaged in (b"", b"PK\x03\x04", b"\x80\x02}", whole[: len(whole) // 2], bytes(1000), b"not a pickle"):
        (tmp_path / "m.pt").write_bytes(damaged)
        refused("cannot be read as a pickle|needs code", tmp_path / "m.pt")
    (tmp_path / "m2.pt").write_bytes(b"")
    refused(r"holds 2 pickles \(m.pt, m2.pt\): name the file", tmp_path)
    (tmp_path / "m2.pt").rename(tmp_path / "optimizer.pt")  # what a trainer leaves is no weight
    saved({"a": torch.ones(2)})
    assert convert(tmp_path).tensors == 1


def test_the_command(tiny_directory, tmp_path):
    def run(*arguments):
        return subprocess.run([sys.executable, "-m", "trine.convert", *map(str, arguments)], capture_output=True, text=True)

    source = pickled(tiny_directory, tmp_path / "old")
    done = run(source, tmp_path / "new")
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == str(tmp_path / "new" / "model.safetensors")
    told = json.loads(run(source, tmp_path / "new", "--json").stdout)
    assert told["written"] == [] and told["layout"] == "plain" and told["directory"] == str(tmp_path / "new")
    failed = run(tmp_path / "absent")
    assert failed.returncode == 1 and failed.stdout == "" and failed.stderr.startswith("[convert] There is no ")
    assert run().returncode == 2 and run(source, "--max-shard-size", "0").returncode == 2
    assert run("--help").stdout.startswith("  trine convert MODEL OUT")
