"""ProgramModule: a module that does what a ``.pt2`` file says, operation by operation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from jalon.engines.torch.formats import Refused
from jalon.engines.torch.pt2.description import DEVICE, Description, OutputSpec
from jalon.engines.torch.pt2.plan import Plan, Values
from jalon.errors import NotReady

_DEEPEST = 64


class ProgramModule(nn.Module):
    """Does what an exported module did in evaluation, without its code.

    Weights have the names that they had there. It cannot be trained: how the module trains is not in the file.

    Args:
        description: The plan.
        weights: Parameters and buffers by name.
        constants: The tensors that are no part of the state, by name.

    Raises:
        Refused: It asks for something else than arithmetic, or for a tensor that it does not have.
    """

    def __init__(self, description: Description, weights: Mapping[str, Tensor], constants: Mapping[str, Tensor]) -> None:
        super().__init__()
        for name, tensor in weights.items():
            _register(self, name, tensor, persistent=True)
        for name, tensor in constants.items():
            _register(self, name, tensor, persistent=False)
        self._jalon_plan = Plan(description, {*weights, *constants})
        self._jalon_states = {name: _holder(self, state) for name, state in self._jalon_plan.states.items()}
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Refuse to be trained; what was exported is the module in evaluation."""
        if mode:
            raise NotReady(
                "A .pt2 file holds a module as it predicts, not how it is trained. "
                "To train it, make the module from its code and call load_weights with this file."
            )
        return super().train(mode)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the outputs.

        Raises:
            DataError: The inputs are nested, shaped or typed in another way than the program takes them.
        """
        plan = self._jalon_plan
        values: Values = dict(zip(plan.inputs, plan.flat(args, kwargs), strict=True))
        for name, (holder, attribute) in self._jalon_states.items():
            values[name] = getattr(holder, attribute)
        values[DEVICE] = next((value.device for value in values.values()), torch.device("cpu"))
        for step in plan.steps:
            step(values)
        for mutation in plan.mutations:
            self._mutate(mutation, values)
        return plan.outputs(values)

    def _mutate(self, spec: OutputSpec, values: Values) -> None:
        if spec.buffer_mutation is not None:
            getattr(*_holder(self, spec.buffer_mutation.buffer_name)).copy_(values[spec.buffer_mutation.arg.name])
        if spec.user_input_mutation is not None:
            values[spec.user_input_mutation.user_input_name].copy_(values[spec.user_input_mutation.arg.name])


# ---- tensors by their dotted names -----------------------------------------------------------------------------------


def _register(module: nn.Module, name: str, tensor: Tensor, *, persistent: bool) -> None:
    *path, last = name.split(".")
    if len(path) > _DEEPEST:
        raise Refused(f"is refused: {name!r:.80} lies too deep")
    for part in path:
        if part not in module._modules:
            module.add_module(part, nn.Module())
        module = module.get_submodule(part)
    if isinstance(tensor, nn.Parameter):
        module.register_parameter(last, tensor)
    else:
        module.register_buffer(last, tensor, persistent=persistent)


def _holder(module: nn.Module, name: str) -> tuple[nn.Module, str]:
    """Return which part of a module has a tensor, and under which name."""
    path, _, attribute = name.rpartition(".")
    return module.get_submodule(path), attribute
