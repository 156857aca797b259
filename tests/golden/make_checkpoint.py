"""Writes tests/golden/checkpoint: small checkpoints made by the safetensors library, and what they hold.

    python tests/golden/make_checkpoint.py

`types.safetensors` has one tensor of every type with data that steps through the type's bits, `odd.safetensors` scalars,
empty tensors and a header that is not padded (so that the data is unaligned), `sharded/` three shards and their index.
`expected.json` lists name, type, shape and bytes (hex) of each.
"""

import json
import struct
from pathlib import Path

import torch
from safetensors.torch import save, save_file

FOLDER = Path(__file__).parent / "checkpoint"
TYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "U16": torch.uint16,
    "I16": torch.int16,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "U32": torch.uint32,
    "I32": torch.int32,
    "F32": torch.float32,
    "U64": torch.uint64,
    "I64": torch.int64,
    "F64": torch.float64,
}
NAME_OF = {torch_type: name for name, torch_type in TYPES.items()}


def stepping(torch_type: torch.dtype, shape: tuple[int, ...]) -> torch.Tensor:
    """Bytes 0, 37, 74... seen as the type; booleans have to be 0 or 1."""
    width = torch.tensor([], dtype=torch_type).element_size()
    count = width * torch.Size(shape).numel()
    raw = (torch.arange(count) * 37 % (2 if torch_type == torch.bool else 256)).to(torch.uint8)
    return raw.view(torch_type).reshape(shape)


def listing(tensors: dict[str, torch.Tensor]) -> dict:
    return {
        name: {
            "dtype": NAME_OF[t.dtype],
            "shape": list(t.shape),
            "hex": bytes(t.contiguous().reshape(-1).view(torch.uint8).tolist()).hex() if t.numel() else "",
        }
        for name, t in sorted(tensors.items())
    }


def main() -> None:
    (FOLDER / "sharded").mkdir(parents=True, exist_ok=True)
    expected = {}

    types = {f"layer.{i}.{name.lower()}": stepping(t, (2, 3)) for i, (name, t) in enumerate(TYPES.items())}
    save_file(types, FOLDER / "types.safetensors", metadata={"format": "pt", "größe": 'a "quoted" \t line'})
    expected["types.safetensors"] = listing(types)

    odd = {
        "scalar": stepping(torch.float32, ()),
        "nothing": stepping(torch.float32, (0,)),
        "flat": stepping(torch.int64, (3, 0, 5)),
        "ones": stepping(torch.float64, (1, 1, 1, 1, 1)),
        "名前": stepping(torch.uint8, (3,)),
    }
    packed = save(odd)
    length = struct.unpack("<Q", packed[:8])[0]
    header = packed[8 : 8 + length].rstrip(b" ") + b" "
    header += b" " * (1 - len(header) % 2)  # an odd length: no tensor of more than a byte is aligned
    (FOLDER / "odd.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + packed[8 + length :])
    expected["odd.safetensors"] = listing(odd)

    shards = [
        {"embed.weight": stepping(torch.bfloat16, (4, 2))},
        {"layer.0.weight": stepping(torch.float32, (2, 2)), "layer.0.bias": stepping(torch.float32, (2,))},
        {"head.weight": stepping(torch.float16, (1, 4))},
    ]
    weight_map = {}
    for i, shard in enumerate(shards, start=1):
        file = f"model-{i:05}-of-{len(shards):05}.safetensors"
        save_file(shard, FOLDER / "sharded" / file, metadata={"shard": str(i)})
        weight_map |= {name: file for name in shard}
    everything = {name: tensor for shard in shards for name, tensor in shard.items()}
    index = {"metadata": {"total_size": sum(t.nbytes for t in everything.values())}, "weight_map": weight_map}
    (FOLDER / "sharded" / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
    expected["sharded"] = listing(everything)

    (FOLDER / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
