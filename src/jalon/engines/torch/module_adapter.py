"""ModuleAdapter: answers callbacks on behalf of plain PyTorch modules and optimizers, whoever trains them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from jalon.core.trainer import Direction, Embedding, Graph, TrainerAdapter, Write, direction_by_name
from jalon.core.transform import Transform
from jalon.engines.torch import formats, graph, orbax, profiler, saving
from jalon.engines.torch.formats import Checkpoint, lay_out
from jalon.engines.torch.host_copy import HostCopies
from jalon.engines.torch.randomness import load_torch_state, torch_state
from jalon.engines.torch.structures import as_host, describe
from jalon.engines.transforms import describe_transform, read_transforms
from jalon.errors import ArgumentError, CheckpointMismatch

_OF_THIS_MACHINE = ("fused", "foreach", "capturable", "differentiable")


class ModuleAdapter(TrainerAdapter):
    """Answers callbacks on behalf of plain PyTorch modules and optimizers, whoever trains them.

    A file holds the weights under their names in ``state_dict()``; of several modules, with the module's name in front. Of
    optimizers it holds what their ``state_dict()`` returns, by name.

    Args:
        modules: A module, or several by name.
        optimizers: An optimizer, or several, by name or in order; none where nobody has to know the learning rate.
        iterations: Returns how many times the weights have been changed.
        validates: Whether ``val_`` metrics will be reported. Defaults to True.

    Attributes:
        modules: The modules by name; one that came without a name is called ``""``.
        optimizers: The optimizers by name; those that came without one are called ``optimizer``, or ``optimizer_0`` and so on.
        transforms: What prepares the batches; saved with the weights.

    Example:
        >>> module = nn.Linear(2, 1)
        >>> adapter = ModuleAdapter(module, torch.optim.SGD(module.parameters(), lr=0.1))
        >>> adapter.learning_rates()
        [0.1]
        >>> [name for name, _ in adapter.named_weights()]
        ['weight', 'bias']
    """

    def __init__(
        self,
        modules: nn.Module | Mapping[str, nn.Module],
        optimizers: Optimizer | Sequence[Optimizer] | Mapping[str, Optimizer] | None = None,
        *,
        iterations: Callable[[], int] = lambda: 0,
        validates: bool = True,
    ) -> None:
        self.modules = {"": modules} if isinstance(modules, nn.Module) else dict(modules)
        self.optimizers = _named(optimizers)
        self.transforms: list[Transform] = []
        self._iterations = iterations
        self._validates = validates
        self._copies = HostCopies()

    @property
    def suffixes(self) -> tuple[str, ...]:
        return formats.SUFFIXES

    @property
    def iterations(self) -> int:
        return self._iterations()

    @property
    def validates(self) -> bool:
        return self._validates

    def metric_names(self) -> frozenset[str] | None:
        return None

    def metric_direction(self, metric: str) -> Direction | None:
        return direction_by_name(metric)

    # ---- the rate ----------------------------------------------------------------------------------------------------

    def _groups(self) -> list[dict[str, Any]]:
        return [group for optimizer in self.optimizers.values() for group in optimizer.param_groups]

    def learning_rates(self) -> list[float]:
        return [float(group["lr"]) for group in self._groups() if "lr" in group]

    def set_learning_rates(self, rates: Sequence[float]) -> None:
        """Put rates in force, one per parameter group, those of the first optimizer first.

        Raises:
            ArgumentError: Another number of rates than groups, or a rate that is no rate.
        """
        groups = [group for group in self._groups() if "lr" in group]
        if len(rates) != len(groups):
            raise ArgumentError(f"There are {len(groups)} parameter groups. Received: {len(rates)} rates.")
        if not all(math.isfinite(rate) and rate >= 0 for rate in rates):
            raise ArgumentError(f"A learning rate must be a finite number of 0 or more. Received: {[*map(float, rates)]}.")
        for group, rate in zip(groups, rates, strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = float(rate)

    def reported_rates(self) -> dict[str, float]:
        """Return ``learning_rate``, or ``learning_rate_<name>`` for each of several optimizers."""
        first = {name: float(one.param_groups[0]["lr"]) for name, one in self.optimizers.items() if "lr" in one.param_groups[0]}
        if len(first) == 1:
            return {"learning_rate": next(iter(first.values()))}
        return {f"learning_rate_{name}": rate for name, rate in first.items()}

    # ---- the weights -------------------------------------------------------------------------------------------------

    def weights(self) -> dict[str, Tensor]:
        """Return the weights by name. They are the modules' own and change with them."""
        if self.modules.keys() == {""}:
            return dict(self.modules[""].state_dict())
        return {f"{name}.{key}": value for name, module in self.modules.items() for key, value in module.state_dict().items()}

    @torch.no_grad()
    def snapshot_weights(self, into: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
        weights = self.weights()
        if into is None or into.keys() != weights.keys():
            return {name: value.detach().clone() for name, value in weights.items()}
        for name, value in weights.items():
            into[name].copy_(value)
        return into

    def restore_weights(self, snapshot: Mapping[str, Any]) -> None:
        values = {name: torch.as_tensor(value) for name, value in snapshot.items()}
        for name, module in self.modules.items():
            front = f"{name}." if name else ""
            module.load_state_dict({key.removeprefix(front): value for key, value in values.items() if key.startswith(front)})

    def named_weights(self) -> Iterator[tuple[str, Any]]:
        for name, value in self.weights().items():
            yield name.replace(".", "/"), as_host(value)

    # ---- what a loop may do with them ------------------------------------------------------------------------------------

    @contextmanager
    def telling_of_steps(self, tell: Callable[[], None]) -> Iterator[None]:
        """Call a function whenever an optimizer is about to step, as long as the block lasts."""
        handles = [one.register_step_pre_hook(lambda *_: tell()) for one in self.optimizers.values()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Put the modules into evaluation, without gradients, and leave each part in the mode it was in."""
        parts = [part for module in self.modules.values() for part in module.modules()]
        training = [part for part in parts if part.training]
        for part in training:
            part.training = False
        try:
            with torch.no_grad():
                yield
        finally:
            for part in training:
                part.training = True

    # ---- files -------------------------------------------------------------------------------------------------------

    def content(self, *, weights_only: bool, about: Mapping[str, Any]) -> Checkpoint:
        """Return what there is to save. Its tensors are the modules' own and change with them."""
        told = dict(about)
        if self.transforms:
            told["transforms"] = [describe_transform(transform) for transform in self.transforms]
        states = {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()}
        return Checkpoint(self.weights(), None if weights_only or not states else states, told)

    def freeze(self, path: Path, *, weights_only: bool, about: Mapping[str, Any], exposed: bool = True) -> Write:
        outline, tensors = lay_out(self.content(weights_only=weights_only, about=about))
        return partial(saving.write_copied, path, outline, self._copies.of(tensors), exposed=exposed)

    def load(self, path: Path) -> None:
        """Put back what ``freeze`` wrote, or plain weights that another program saved.

        Raises:
            CheckpointError: The file is missing or damaged.
            CheckpointMismatch: It belongs to other modules or other optimizers; nothing is changed.
        """
        checkpoint = saving.read_any(path)
        saving.refuse_others(self.weights(), checkpoint.weights, path, whose=self._whose())
        states = checkpoint.optimizer
        if states is not None and self.optimizers and states.keys() != self.optimizers.keys():
            raise CheckpointMismatch(
                f"{path} holds the state of other optimizers: {', '.join(states)}. Received: {', '.join(self.optimizers)}."
            )
        described = checkpoint.about.get("transforms", [])
        transforms = read_transforms(described, self.transforms, path)
        self.restore_weights(checkpoint.weights)
        if transforms:
            self.transforms = transforms
        for name, state in (states or {}).items():
            if name in self.optimizers:
                _load(self.optimizers[name], state, path)

    def _whose(self) -> str:
        return " and ".join(type(module).__name__ for module in self.modules.values())

    def graph(self) -> Graph | None:
        return graph.graph(self.modules[""]) if "" in self.modules else None

    def embeddings(self) -> Iterator[Embedding]:
        return graph.embeddings(self.modules[""]) if "" in self.modules else iter(())

    def profiler(self, folder: Path) -> AbstractContextManager[Any]:
        return profiler.profiler(folder)

    def checkpointables(self, *, weights_only: bool) -> dict[str, Any]:
        return orbax.checkpointables(self.content(weights_only=weights_only, about={}))

    # ---- what going on needs -----------------------------------------------------------------------------------------

    def fingerprint(self) -> dict[str, Any]:
        told: dict[str, Any] = {"module": self._whose()}
        told |= {f"weight {name}": describe(value) for name, value in self.weights().items()}
        return told | {name: type(optimizer).__name__ for name, optimizer in self.optimizers.items()}

    def loop_state(self) -> dict[str, Any]:
        return {"random": torch_state()}

    def load_loop_state(self, state: Mapping[str, Any]) -> None:
        load_torch_state(state["random"])


def _named(optimizers: Optimizer | Sequence[Optimizer] | Mapping[str, Optimizer] | None) -> dict[str, Optimizer]:
    if isinstance(optimizers, Mapping):
        return dict(optimizers)
    several = [optimizers] if isinstance(optimizers, Optimizer) else list(optimizers or ())
    if len(several) == 1:
        return {"optimizer": several[0]}
    return {f"optimizer_{place}": optimizer for place, optimizer in enumerate(several)}


def _load(optimizer: Optimizer, state: Mapping[str, Any], path: Path) -> None:
    """Give an optimizer its state; how this machine reckons a step, fused or not, stays as it is."""
    try:
        groups = [
            saved | {key: own[key] for key in _OF_THIS_MACHINE if key in own}
            for saved, own in zip(state["param_groups"], optimizer.param_groups, strict=True)
        ]
        optimizer.load_state_dict({**state, "param_groups": groups})
    except (ValueError, KeyError, TypeError) as exc:
        raise CheckpointMismatch(f"{path} holds the state of another optimizer than {type(optimizer).__name__}: {exc}.") from exc
