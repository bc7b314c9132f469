"""ModuleCall: how a module takes its inputs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

Forward = Callable[..., Any]


class ModuleCall:
    """Calls a module with one tensor, or with a tuple or dict of inputs spread over its arguments.

    A tuple is spread where ``forward`` takes that many positional arguments; a dict where ``forward`` takes its keys by
    name. Otherwise the structure is passed as one argument.

    Args:
        module: The module.
        compiled: Whether it runs through ``torch.compile``.
    """

    def __init__(self, module: nn.Module, *, compiled: bool = False) -> None:
        self._forward: Forward = torch.compile(module) if compiled else module
        self._signature = inspect.signature(module.forward)

    def __call__(self, *inputs: Any) -> Any:
        if len(inputs) > 1:
            return self._forward(*inputs)
        x = inputs[0]
        if isinstance(x, Tensor):
            return self._forward(x)
        if isinstance(x, Mapping) and self._fits(**x):
            return self._forward(**x)
        if isinstance(x, (tuple, list)) and self._fits(*x):
            return self._forward(*x)
        return self._forward(x)

    def _fits(self, *args: Any, **kwargs: Any) -> bool:
        try:
            self._signature.bind(*args, **kwargs)
        except TypeError:
            return False
        return True
