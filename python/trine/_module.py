"""A learned module of the C++ library as a torch.nn.Module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from . import _inputs


class Module(torch.nn.Module):
    """What the learned modules have in common: a torch.nn.Module whose work is done in C++.

    Its parameters are the very tensors that the C++ module computes with: optimisers, `load_state_dict`, `to`, hooks on
    their gradients and modules around it work as ever. They are changed in place and never replaced.
    """

    _kind: type  # the class of the extension

    def __init__(self, module: Any) -> None:
        super().__init__()
        self._module = module
        self._bound = []  # (the dict a parameter is registered in, its name there, the C++ module's tensor)
        for name, tensor in module.parameters():
            *path, leaf = name.split(".")
            owner: torch.nn.Module = self
            for part in path:
                if part not in owner._modules:
                    owner.add_module(part, torch.nn.Module())
                owner = owner._modules[part]
            tensor._is_param = True  # what makes it an instance of torch.nn.Parameter
            owner.register_parameter(leaf, tensor)
            self._bound.append((owner._parameters, leaf, tensor))

    def train(self, mode: bool = True) -> Module:
        super().train(mode)
        self._module.train(mode)
        return self

    def save(self, directory: _inputs.PathLike) -> None:
        """Writes config.json and model.safetensors into a folder; `load` and the C++ class read them."""
        self._module.save(_inputs.path(directory))

    @classmethod
    def load(cls, directory: _inputs.PathLike) -> Module:
        """Reads what `save` wrote, here or in C++, as float32 on the CPU, in training mode.

        FileNotFoundError for files that are not there, RuntimeError for those that do not fit.
        """
        return cls._of(cls._kind.load(_inputs.path(directory)))

    @classmethod
    def _of(cls, module: Any) -> Module:
        """The C++ module as this class."""
        self = cls.__new__(cls)
        Module.__init__(self, module)
        return self

    def _checked(self) -> Any:
        """The C++ module, whose tensors must still be those that are registered here."""
        for parameters, name, tensor in self._bound:
            if parameters.get(name) is not tensor:
                raise RuntimeError(
                    f"[{type(self).__name__}] a parameter '{name}' was replaced, and the C++ module computes with the "
                    "old one: change parameters in place (copy_, load_state_dict without assign)"
                )
        return self._module

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self._module.options.items())

    def __reduce__(self) -> tuple:
        tensors = [(tensor.detach(), tensor.requires_grad) for _, _, tensor in self._bound]
        return _rebuild, (type(self), self._module.options, tensors, self.training)


def _rebuild(cls: type, options: dict[str, Any], tensors: list, training: bool) -> Module:
    """A pickled or copied module."""
    module = cls(**options)
    for (_, _, parameter), (values, requires_grad) in zip(module._bound, tensors):
        parameter.data = values
        parameter.requires_grad_(requires_grad)
    return module.train(training)


def tensors(value: Mapping[str, torch.Tensor] | None, what: str) -> dict[str, torch.Tensor]:
    """A dict of tensors by modality; nothing is an empty one."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError(f"{what} must be a dict of tensors by modality, not {type(value).__name__}.")
    for name, tensor in value.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise TypeError(f"{what} must be a dict of tensors by modality; {name!r} is a {type(tensor).__name__}.")
    return dict(value)
