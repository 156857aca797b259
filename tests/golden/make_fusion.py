"""Writes tests/golden/fusion: what the reference modules in PyTorch make of small inputs, and their gradients.

    python tests/golden/make_fusion.py REFERENCE

REFERENCE is the folder with the reference's modules.py and with make_cases.py, which writes one safetensors file a case:
`weight.<state_dict key>`, `in.<name>`, `out.<name>`, and the constructor's arguments as JSON in the metadata. To these
come files `gradient-*` of the same form. There the sum of out.X * probe.X over the outputs X, computed in float64, has
the gradients `grad.weight.<key>` and `grad.in.<name>`.
"""

import json
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

TARGET = Path(__file__).parent / "fusion"
NAMES = ("image", "text", "audio")


def bools(*rows):
    return torch.tensor(rows).bool()


def flat(prefix, values):
    return {f"{prefix}.{name}": value for name, value in values.items()}


def write(name, module, config, inputs, masks, run):
    """`run(inputs, masks)` -> outputs by name; all inputs get gradients."""
    if module is not None:
        module.double().eval()
        for p in module.parameters():
            torch.nn.init.normal_(p, mean=0.5 if p.dim() == 1 else 0.0, std=0.3)
            p.data = p.data.float().double()  # what is stored is what was used
    inputs = {k: v.double().requires_grad_() for k, v in inputs.items()}
    outputs = run(inputs, masks)
    probes = {k: torch.randn(v.shape).double() for k, v in outputs.items()}
    sum((outputs[k] * probes[k]).sum() for k in outputs).backward()
    weights = dict(module.named_parameters()) if module is not None else {}
    tensors = flat("weight", weights) | flat("in", inputs) | flat("in", masks)
    tensors |= flat("out", outputs) | flat("probe", probes)
    # a weight that the inputs do not reach has no gradient
    tensors |= flat("grad.weight", {k: v.grad for k, v in weights.items() if v.grad is not None})
    tensors |= flat("grad.in", {k: v.grad for k, v in inputs.items()})
    kept = {k: (v.detach().float() if v.is_floating_point() else v).clone().contiguous() for k, v in tensors.items()}
    metadata = {"module": name.split("-")[0], "config": json.dumps(config)}
    save_file(kept, TARGET / f"gradient-{name}.safetensors", metadata)


def main(reference: str) -> None:
    sys.path.insert(0, reference)
    import modules

    TARGET.mkdir(exist_ok=True)
    subprocess.run([sys.executable, Path(reference) / "make_cases.py", TARGET], check=True)

    torch.manual_seed(11)
    features = {f"features.{m}": torch.randn(3, steps, 8) for m, steps in zip(NAMES, (3, 4, 2))}
    masks = {
        "masks.image": bools([1, 1, 1], [1, 0, 1], [0, 0, 0]),  # sample 2 has no image
        "masks.text": bools([1, 1, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1]),
        "masks.audio": bools([1, 1], [1, 0], [0, 0]),
    }

    def fuse(inputs, masks):
        fused, weights = module(*({k.split(".")[1]: v for k, v in d.items()} for d in (inputs, masks)))
        return {"fused": fused} | flat("weights", weights)

    for name, layers in (
        ("EarlyFusion", {"num_layers": 2}),
        ("LateFusion", {"num_layers": 1}),
        ("HybridFusion", {"num_layers": 1}),
        ("AttentionFusion", {"num_self_layers": 1, "num_cross_layers": 2}),
    ):
        config = {"modalities": NAMES, "hidden_dim": 8, "num_heads": 2, "ff_dim": 12} | layers
        module = getattr(modules, name)(**config)
        write(name, module, config, features, masks, fuse)

    config = {"dim": 8, "num_heads": 2}
    module = modules.CrossModalAttention(**config)
    inputs = {"query": torch.randn(3, 3, 8), "key": torch.randn(3, 4, 8), "value": torch.randn(3, 4, 8)}
    masks = {"key_mask": bools([1, 1, 0, 1], [0, 0, 0, 0], [1, 1, 1, 1])}
    write("CrossModalAttention", module, config, inputs, masks,
          lambda i, m: dict(zip(("output", "weights"), module(**i, **m))))  # fmt: skip

    config = {"frame_dim": 5, "audio_dim": 3, "text_dim": 4, "hidden_dim": 4, "out_dim": 6, "num_layers": 2, "num_heads": 2}
    module = modules.VideoUnderstanding(**config)
    inputs = {"frames": torch.randn(3, 4, 5), "audio": torch.randn(3, 4, 3), "transcript": torch.randn(3, 3, 4)}
    masks = {
        "mask": bools([1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]),
        "transcript_mask": bools([1, 1, 1], [1, 0, 0], [0, 0, 0]),
    }
    write("VideoUnderstanding", module, config, inputs, masks,
          lambda i, m: dict(zip(("video", "importance"), module(**i, **m))))  # fmt: skip

    inputs = {f"embeddings.{m}": torch.randn(5, 6) for m in NAMES} | {"temperature": torch.tensor(0.2)}
    masks = {"ids": torch.tensor([4, 4, 2, 1, 2]), "present.audio": bools([1, 0, 1, 1, 1])[0]}
    write("contrastive_loss", None, {}, inputs, masks, lambda i, m: {
        "loss": modules.contrastive_loss({n: i[f"embeddings.{n}"] for n in NAMES}, i["temperature"], m["ids"],
                                         {"audio": m["present.audio"]})})  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1])
