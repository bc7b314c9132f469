"""TrainerAdapter: what a callback may ask of what is being trained."""

from __future__ import annotations

import importlib
import importlib.util
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Protocol

from jalon.errors import NotReady

Direction = Literal["min", "max"]
Write = Callable[[], None]
"""Puts what was frozen under its final name."""
Snapshot = Any
"""Weights kept for later by ``snapshot_weights``: a mapping of names to arrays or tensors of the framework."""


class Averages(Protocol):
    """Is the moving average of the weights that an optimizer keeps beside them."""

    def swap(self) -> None:
        """Exchange weights and average, in place."""

    def settle(self) -> None:
        """Let the average be what the weights are now."""


@dataclass(frozen=True, slots=True)
class Graph:
    """Is the structure of a model, for TensorBoard.

    Args:
        kind: ``"keras"`` where ``content`` is a Keras configuration in JSON, ``"graph_def"`` where it is a serialized
            ``GraphDef``.
        content: The structure.
    """

    kind: Literal["keras", "graph_def"]
    content: bytes


@dataclass(frozen=True, slots=True)
class Embedding:
    """Is an embedding layer.

    Args:
        layer: The layer's name.
        weight: The name of its table among ``named_weights``.
    """

    layer: str
    weight: str


class TrainerAdapter(ABC):
    """Answers callbacks on behalf of one training loop, whatever its framework.

    One adapter stands for one model in training. Callbacks of jalon use it alone, so that the same instance takes the
    same decisions under any loop.
    """

    @property
    @abstractmethod
    def suffixes(self) -> tuple[str, ...]:
        """The file suffixes that ``save`` can write, the preferred one first."""

    @property
    @abstractmethod
    def iterations(self) -> int:
        """How many times the optimizer has changed the weights."""

    @property
    @abstractmethod
    def validates(self) -> bool:
        """Whether the loop reports ``val_`` metrics, at some epochs at least."""

    @abstractmethod
    def metric_names(self) -> frozenset[str] | None:
        """Return every metric that the loop will report at an epoch's end, or ``None`` where that cannot be known."""

    @abstractmethod
    def metric_direction(self, metric: str) -> Direction | None:
        """Return whether less or more of a metric is better, or ``None`` where nobody said."""

    @abstractmethod
    def learning_rates(self) -> list[float]:
        """Return the rate in force, one per parameter group."""

    @abstractmethod
    def set_learning_rates(self, rates: Sequence[float]) -> None:
        """Put rates in force, one per parameter group. They hold although a scheduler owns the rate."""

    rates_at_hand = True
    """Whether ``learning_rates`` may be asked between any two steps, at next to no cost."""

    def rate_fault(self) -> str | None:
        """Return why no learning rate can be set here, and what to do; ``None`` where one can."""
        return None

    @abstractmethod
    def snapshot_weights(self, into: Snapshot | None = None) -> Snapshot:
        """Return a copy of the weights, into the memory of an earlier copy where one is given."""

    @abstractmethod
    def restore_weights(self, snapshot: Snapshot) -> None:
        """Put a copy of the weights back.

        Args:
            snapshot: What ``snapshot_weights`` returned, or the same names with numpy arrays, as they come from a file.
        """

    @abstractmethod
    def freeze(self, path: Path, *, weights_only: bool, about: Mapping[str, Any], exposed: bool = True) -> Write:
        """Copy the model as it is now, and return what puts the copy under its final name, whole or not at all.

        Training may go on before that is called, and another thread may call it.

        Args:
            path: The final name, whose suffix names the format. Its folder is there when the copy is put there; who writes
                before that makes it.
            weights_only: Leave out what only going on needs, as the optimizer's state.
            about: JSON values to store beside the weights, as the epoch and the metric.
            exposed: Whether somebody may look at the path before it is whole. Where it is False, a writer may do without
                what makes a file whole at every moment. Defaults to True.
        """

    @abstractmethod
    def load(self, path: Path) -> None:
        """Put back what ``freeze`` wrote: the weights, and the optimizer's state where the file holds it."""

    @abstractmethod
    def named_weights(self) -> Iterator[tuple[str, Any]]:
        """Yield each weight's name and its values as a numpy array."""

    def request_stop(self) -> None:  # noqa: B027  # most loops ask the run
        """Pass a stop on to a loop that does not ask the run."""

    # ---- what going on after an interruption needs ------------------------------------------------------------------------

    resumes_within_epochs = False
    """Whether the loop can go on in the middle of an epoch."""

    def fingerprint(self) -> dict[str, Any]:
        """Return what two trainings must have in common for one to go on with the other, as JSON values by what they tell."""
        return {}

    def loop_state(self) -> dict[str, Any]:
        """Return what going on needs beside the model and its optimizer, as plain data: random numbers, the data's order."""
        return {}

    def load_loop_state(self, state: Mapping[str, Any]) -> None:  # noqa: B027  # a loop that keeps nothing takes nothing
        """Take back what ``loop_state`` returned, the model being in place."""

    # ---- what not every loop has -----------------------------------------------------------------------------------------

    def suffix_fault(self, path: str, *, weights_only: bool) -> str | None:
        """Return what is wrong with a path that no file can be written to because of how it ends."""
        if Path(path).suffix in self.suffixes:
            return None
        return f"must end in one of {', '.join(self.suffixes)}, which this trainer can write"

    def weight_bytes(self) -> int | None:
        """Return how much memory the weights take, or ``None`` where that is not known at once."""
        return None

    def comparison(self, direction: Direction) -> Callable[[Any, Any], Any]:
        """Return the function that says whether a value is better than another."""
        return operator.lt if direction == "min" else operator.gt

    def reported_rates(self) -> dict[str, float]:
        """Return the rates by the names under which an epoch reports them."""
        rates = self.learning_rates()
        return {"learning_rate": rates[0]} if rates else {}

    def averages(self) -> Averages | None:
        """Return the moving average of the weights, or ``None`` where the optimizer keeps none."""
        return None

    def graph(self) -> Graph | None:
        """Return the structure of the model, or ``None`` where it cannot be told."""
        return None

    def embeddings(self) -> Iterator[Embedding]:
        """Yield the embedding layers."""
        return iter(())

    def profiler(self, folder: Path) -> AbstractContextManager[Any]:
        """Return a context in which the framework profiles, to leave its records in a folder.

        It may yield an object with ``mark(number)``, a context for one batch, and ``run_metadata``.

        Raises:
            NotReady: There is no profiler here; it says why.
        """
        raise NotReady("This loop has no profiler.")

    def checkpointables(self, *, weights_only: bool) -> dict[str, Any]:
        """Return the model as Orbax takes it: named trees of arrays, and JSON values.

        Raises:
            NotReady: This loop has no such form.
        """
        raise NotReady("This loop cannot be saved by Orbax.")


def direction_by_name(metric: str) -> Direction | None:
    """Return whether less or more is better of a metric of which only the name is known, or ``None`` where it says nothing.

    Example:
        >>> direction_by_name("val_loss"), direction_by_name("accuracy"), direction_by_name("perplexity")
        ('min', 'max', None)
    """
    name = metric.removeprefix("val_")
    if name == "loss" or name.endswith("_loss"):
        return "min"
    return "max" if name in ("acc", "accuracy") else None


def adapter_of(model: Any) -> TrainerAdapter:
    """Return the adapter that stands for a model.

    A model names its own by a method ``trainer_adapter()``; a bridge answers for the models of its framework; anything
    else with Keras's names answers by them.

    Raises:
        NotReady: Nobody answers for it.
    """
    make = getattr(model, "trainer_adapter", None)
    if make is not None:
        own: TrainerAdapter = make()
        return own
    bridge = bridge_of(model)
    if bridge is not None:
        bridged: TrainerAdapter = bridge.adapter(model)
        return bridged
    if any(hasattr(model, name) for name in ("stop_training", "get_weights", "optimizer")):
        from jalon.core.plain_model import PlainAdapter

        return PlainAdapter(model)
    raise NotReady(
        f"jalon does not know how to drive a {type(model).__module__}.{type(model).__qualname__}. "
        "Train it through jalon.Model, or give it a method trainer_adapter() that returns a TrainerAdapter."
    )


def bridge_of(model: Any) -> ModuleType | None:
    """Return the bridge to the framework that a model comes from, ``jalon.bridges.<package>_bridge``, if there is one."""
    return _bridge(tuple(dict.fromkeys(base.__module__.partition(".")[0] for base in type(model).__mro__)))


@cache
def _bridge(packages: tuple[str, ...]) -> ModuleType | None:
    for name in (f"jalon.bridges.{package}_bridge" for package in packages):
        if importlib.util.find_spec(name) is not None:
            return importlib.import_module(name)
    return None
