"""Who answers for what a loop trains: by the framework that it comes from."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from jalon.core.trainer import Direction, Snapshot, TrainerAdapter, Write, adapter_of, bridge_of, direction_by_name
from jalon.errors import ArgumentError, NotReady
from jalon.store import atomic, plain


def host_of(model: Any, optimizer: Any) -> TrainerAdapter:
    """Return what answers for a model and its optimizer, or for several of them by name.

    Args:
        model: What is trained; ``None`` where callbacks have nothing to ask of it.
        optimizer: What trains it, where the framework has such an object.

    Raises:
        ArgumentError: Nobody answers for it, or the optimizer is of another framework.
    """
    parts = _parts(model) + _parts(optimizer)
    torch: Any = sys.modules.get("torch")
    if torch is not None and parts and all(isinstance(part, (torch.nn.Module, torch.optim.Optimizer)) for part in parts):
        return _torch_host(torch, model, optimizer)
    if model is None and optimizer is None:
        return NoModel()
    first = next(iter(_parts(model)), None)
    bridge: Any = None if first is None else bridge_of(first)
    if hasattr(bridge, "loop_adapter"):
        made: TrainerAdapter = bridge.loop_adapter(model, optimizer)
        return made
    if optimizer is not None:
        raise ArgumentError(
            f"Loop: optimizer= goes with a module of PyTorch or of Flax NNX as model=. Received: model={_kind(model)}, "
            f"optimizer={_kind(optimizer)}. A tree of arrays and its optax state belong into one jalon.Tree."
        )
    try:
        return adapter_of(model)
    except NotReady as exc:
        raise ArgumentError(
            "Loop: model= is a module of PyTorch or Flax NNX, or several in a dict by name, a jalon.Tree of arrays, or a "
            f"scikit-learn estimator with partial_fit. Received: {_kind(model)}."
        ) from exc


def _torch_host(torch: Any, model: Any, optimizer: Any) -> TrainerAdapter:
    from jalon.engines.torch.module_adapter import ModuleAdapter

    swapped = [part for part in _parts(model) if not isinstance(part, torch.nn.Module)]
    if swapped or any(not isinstance(part, torch.optim.Optimizer) for part in _parts(optimizer)):
        raise ArgumentError(
            f"Loop: model= takes modules and optimizer= optimizers. Received: model={_kind(model)}, optimizer={_kind(optimizer)}."
        )
    return ModuleAdapter({} if model is None else model, optimizer)


def _parts(given: Any) -> list[Any]:
    if given is None:
        return []
    if isinstance(given, Mapping):
        return list(given.values())
    return list(given) if isinstance(given, (list, tuple)) else [given]


def _kind(given: Any) -> str:
    if isinstance(given, Mapping):
        return "{" + ", ".join(f"{name!r}: {_kind(one)}" for name, one in given.items()) + "}"
    return "None" if given is None else f"a {type(given).__qualname__}"


class NoModel(TrainerAdapter):
    """Answers where the loop was given nothing to save."""

    @property
    def suffixes(self) -> tuple[str, ...]:
        return (".safetensors",)

    @property
    def iterations(self) -> int:
        return 0

    @property
    def validates(self) -> bool:
        return True

    def metric_names(self) -> frozenset[str] | None:
        return None

    def metric_direction(self, metric: str) -> Direction | None:
        return direction_by_name(metric)

    def learning_rates(self) -> list[float]:
        return []

    def set_learning_rates(self, rates: Sequence[float]) -> None:
        if rates:
            raise NotReady("Loop: there is no learning rate to set. Pass optimizer= to the loop.")

    def snapshot_weights(self, into: Snapshot | None = None) -> Snapshot:
        return {}

    def restore_weights(self, snapshot: Mapping[str, Any]) -> None:
        if snapshot:
            raise NotReady("Loop: there are no weights to restore. Pass model= to the loop.")

    def suffix_fault(self, path: str, *, weights_only: bool) -> str | None:
        return "cannot be written: the loop was given no model. Pass model= to jalon.Loop"

    def freeze(self, path: Path, *, weights_only: bool, about: Mapping[str, Any], exposed: bool = True) -> Write:
        """Return what writes that there is nothing, for a backup of the rest."""
        return partial(atomic.write_bytes, path, [plain.encode({})], exposed=exposed)

    def load(self, path: Path) -> None:
        """Do nothing: there is nothing to load into."""

    def named_weights(self) -> Iterator[tuple[str, Any]]:
        return iter(())
