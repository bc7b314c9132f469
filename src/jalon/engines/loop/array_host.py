"""ArrayHost: answers callbacks on behalf of named arrays, of JAX or numpy, whoever holds them."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jalon.core.trainer import Direction, Snapshot, TrainerAdapter, Write, direction_by_name
from jalon.core.transform import Transform
from jalon.engines.loop.leaves import as_saved, copied, like, on_host, shape_of, type_of
from jalon.engines.transforms import describe_transform, read_transforms
from jalon.errors import ArgumentError, CheckpointMismatch, NotReady
from jalon.store import arrays
from jalon.store.arrays import Stored

_RATE = "learning_rate"


class ArrayHost(TrainerAdapter):
    """Answers callbacks on behalf of named arrays, of JAX or numpy, whoever holds them.

    A learning rate is an array ``hyperparams.learning_rate`` in the optimizer's state, as ``optax.inject_hyperparams`` puts it
    there; a rate that an Optax schedule computes anew at every step is known and cannot be set.

    Attributes:
        transforms: What prepares the batches; saved with the weights.
    """

    whose: str
    """What is trained, in words."""

    def __init__(self) -> None:
        self.transforms: list[Transform] = []

    # ---- who holds them ------------------------------------------------------------------------------------------------

    @abstractmethod
    def weights(self) -> dict[str, Any]:
        """Return the weights by name; they are the holder's own."""

    @abstractmethod
    def put_weights(self, weights: Mapping[str, Any]) -> None:
        """Let the holder have other weights, all of them, of the same types as its own."""

    @abstractmethod
    def optimizer_state(self) -> dict[str, Any] | None:
        """Return the arrays of the optimizer's state by name, ``None`` where nobody gave it."""

    @abstractmethod
    def put_optimizer_state(self, state: Mapping[str, Any]) -> None:
        """Let the holder have other ones in their place, all of them or some."""

    # ---- what a callback asks ------------------------------------------------------------------------------------------

    @property
    def suffixes(self) -> tuple[str, ...]:
        return (arrays.SUFFIX,)

    @property
    def iterations(self) -> int:
        return 0  # the loop counts

    @property
    def validates(self) -> bool:
        return True

    def metric_names(self) -> frozenset[str] | None:
        return None

    def metric_direction(self, metric: str) -> Direction | None:
        return direction_by_name(metric)

    def learning_rates(self) -> list[float]:
        return [_number(value) for value in self._rates().values()]

    def set_learning_rates(self, rates: Sequence[float]) -> None:
        """Put rates in force, one for each ``optax.inject_hyperparams`` in the optimizer.

        Raises:
            NotReady: There is no rate that can be set; it says what to do.
            ArgumentError: Another number of rates, or a rate that is no rate.
        """
        own, fault = self._rates(), self.rate_fault()
        if fault is not None:
            raise NotReady(fault)
        if len(rates) != len(own):
            raise ArgumentError(f"The optimizer has {len(own)} learning rates. Received: {len(rates)}.")
        if not all(math.isfinite(rate) and rate >= 0 for rate in rates):
            raise ArgumentError(f"A learning rate must be a finite number of 0 or more. Received: {[*map(float, rates)]}.")
        self.put_optimizer_state({name: like(own[name], rate) for name, rate in zip(own, rates, strict=True)})

    def _rates(self) -> dict[str, Any]:
        state = self.optimizer_state() or {}
        return {name: value for name, value in state.items() if f".{name}".endswith(f".hyperparams.{_RATE}")}

    def _is_scheduled(self, name: str) -> bool:
        front = name.removesuffix(f"hyperparams.{_RATE}")
        return any(other.startswith(f"{front}hyperparams_states.{_RATE}") for other in self.optimizer_state() or {})

    def rate_fault(self) -> str | None:
        if self.optimizer_state() is None:
            return f"there is no learning rate to set: the loop knows no optimizer of {self.whose}. Give it one."
        if not self._rates():
            return (
                f"there is no learning rate to set in the optimizer of {self.whose}: Optax keeps it out of reach. Wrap the "
                "optimizer, as optax.inject_hyperparams(optax.adam)(learning_rate=1e-3)."
            )
        if any(map(self._is_scheduled, self._rates())):
            return (
                f"the learning rate of {self.whose} is a schedule of Optax, which computes it anew at every step, so that a "
                "rate that a callback sets would be lost. Give optax.inject_hyperparams a number, or leave out the callback."
            )
        return None

    def snapshot_weights(self, into: Snapshot | None = None) -> Snapshot:
        return {name: copied(value) for name, value in self.weights().items()}

    def restore_weights(self, snapshot: Mapping[str, Any]) -> None:
        own = self.weights()
        self.put_weights({name: like(own[name], value) for name, value in snapshot.items()})

    def named_weights(self) -> Iterator[tuple[str, Any]]:
        for name, value in self.weights().items():
            host = on_host(value)
            yield name.replace(".", "/"), host.astype(np.float32) if host.dtype.kind == "V" else host

    # ---- files -----------------------------------------------------------------------------------------------------------

    def freeze(self, path: Path, *, weights_only: bool, about: Mapping[str, Any], exposed: bool = True) -> Write:
        told = dict(about)
        if self.transforms:
            told["transforms"] = [describe_transform(transform) for transform in self.transforms]
        state = None if weights_only else self.optimizer_state()
        stored = Stored(_on_host(self.weights()), None if state is None else _on_host(state), told)
        return partial(arrays.write, path, stored, exposed=exposed)

    def load(self, path: Path) -> None:
        """Put back what ``freeze`` wrote, or plain weights that another program saved.

        Raises:
            CheckpointError: The file is missing or damaged.
            CheckpointMismatch: It belongs to something else; nothing is changed.
        """
        stored = arrays.read(path)
        own = self.optimizer_state()
        self._refuse_others(self.weights(), stored.weights, path, of="")
        if own is not None and stored.optimizer is not None:
            self._refuse_others(own, stored.optimizer, path, of="the optimizer of ")
        transforms = read_transforms(stored.about.get("transforms", []), self.transforms, path)
        self.restore_weights(stored.weights)
        if transforms:
            self.transforms = transforms
        if own is not None and stored.optimizer is not None:
            self.put_optimizer_state({name: as_saved(own[name], value) for name, value in stored.optimizer.items()})

    def _refuse_others(self, own: Mapping[str, Any], found: Mapping[str, Any], path: Path, *, of: str) -> None:
        told = [f"missing: {name}" for name in own if name not in found]
        told += [f"not there: {name}" for name in found if name not in own]
        told += [
            f"{name} is {found[name].shape} in the file and {shape_of(value)} here"
            for name, value in own.items()
            if name in found and found[name].shape != shape_of(value)
        ]
        if told:
            shown = "; ".join(told[:5]) + (f"; and {len(told) - 5} more" if len(told) > 5 else "")
            raise CheckpointMismatch(f"{path} belongs to something else than {of}{self.whose}: {shown}.")

    def fingerprint(self) -> dict[str, Any]:
        told: dict[str, Any] = {"model": self.whose}
        told |= {f"weight {name}": f"{shape_of(value)} {type_of(value)}" for name, value in self.weights().items()}
        state = self.optimizer_state()
        return told if state is None else told | {"optimizer": sorted(state)}


def _on_host(named: Mapping[str, Any]) -> dict[str, Any]:
    return {name: on_host(value) for name, value in named.items()}


def _number(value: Any) -> float:
    """Return a rate as one writes it: of a float32 the shortest number that stands for it, as 0.1."""
    return float(str(on_host(value)))
