"""LoopAdapter: answers callbacks on behalf of a loop written by hand, and of the host of what it trains."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from jalon.core.run import Run
from jalon.core.trainer import Averages, Direction, Embedding, Graph, Snapshot, TrainerAdapter, Write


class Place(Protocol):
    """Knows where a loop stands."""

    def fingerprint(self) -> dict[str, Any]:
        """Return what two trainings must have in common beside the model."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return where the loop stands, as plain data."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what ``state_dict`` returned."""
        ...


class LoopAdapter(TrainerAdapter):
    """Answers callbacks on behalf of a loop written by hand, and of the host of what it trains.

    Args:
        host: Knows the model and the optimizer.
        place: Knows where the loop stands.

    Attributes:
        run: The training.
    """

    resumes_within_epochs = True
    run: Run

    def __init__(self, host: TrainerAdapter, place: Place) -> None:
        self.host = host
        self._place = place

    @property
    def suffixes(self) -> tuple[str, ...]:
        return self.host.suffixes

    @property
    def iterations(self) -> int:
        return self.run.step

    @property
    def validates(self) -> bool:
        return True  # whether the body will validate is seen when it does

    def metric_names(self) -> frozenset[str] | None:
        return None

    def metric_direction(self, metric: str) -> Direction | None:
        return self.host.metric_direction(metric)

    def learning_rates(self) -> list[float]:
        return self.host.learning_rates()

    def set_learning_rates(self, rates: Sequence[float]) -> None:
        self.host.set_learning_rates(rates)

    def rate_fault(self) -> str | None:
        fault = self.host.rate_fault()
        if fault is None and not self.host.learning_rates():
            return "the loop knows of no learning rate. Pass optimizer= to jalon.Loop."
        return fault

    def reported_rates(self) -> dict[str, float]:
        return self.host.reported_rates()

    def snapshot_weights(self, into: Snapshot | None = None) -> Snapshot:
        return self.host.snapshot_weights(into)

    def restore_weights(self, snapshot: Mapping[str, Any]) -> None:
        self.host.restore_weights(snapshot)

    def named_weights(self) -> Iterator[tuple[str, Any]]:
        return self.host.named_weights()

    def freeze(self, path: Path, *, weights_only: bool, about: Mapping[str, Any], exposed: bool = True) -> Write:
        return self.host.freeze(path, weights_only=weights_only, about=about, exposed=exposed)

    def load(self, path: Path) -> None:
        self.host.load(path)

    def suffix_fault(self, path: str, *, weights_only: bool) -> str | None:
        return self.host.suffix_fault(path, weights_only=weights_only)

    def comparison(self, direction: Direction) -> Callable[[Any, Any], Any]:
        return self.host.comparison(direction)

    def averages(self) -> Averages | None:
        return self.host.averages()

    def graph(self) -> Graph | None:
        return self.host.graph()

    def embeddings(self) -> Iterator[Embedding]:
        return self.host.embeddings()

    def profiler(self, folder: Path) -> AbstractContextManager[Any]:
        return self.host.profiler(folder)

    def checkpointables(self, *, weights_only: bool) -> dict[str, Any]:
        return self.host.checkpointables(weights_only=weights_only)

    def fingerprint(self) -> dict[str, Any]:
        return self.host.fingerprint() | self._place.fingerprint()

    def loop_state(self) -> dict[str, Any]:
        return {"host": self.host.loop_state(), "loop": self._place.state_dict()}

    def load_loop_state(self, state: Mapping[str, Any]) -> None:
        self.host.load_loop_state(state["host"])
        self._place.load_state_dict(state["loop"])
