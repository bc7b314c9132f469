"""TorchAdapter: answers callbacks on behalf of a ``jalon.Model``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from jalon.core.trainer import Averages, Direction, Embedding, Graph, TrainerAdapter, Write
from jalon.engines.torch import graph, orbax, profiler, resuming, saving
from jalon.engines.torch.structures import as_host

if TYPE_CHECKING:
    from jalon.engines.torch.fit import FitLoop
    from jalon.engines.torch.model import Model


class TorchAdapter(TrainerAdapter):
    """Answers callbacks on behalf of a ``jalon.Model``.

    Args:
        model: The model in training.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self._validates = False
        self._loop: FitLoop | None = None

    @property
    def suffixes(self) -> tuple[str, ...]:
        return saving.SUFFIXES

    @property
    def iterations(self) -> int:
        return self.model.optimizer.iterations

    @property
    def validates(self) -> bool:
        return self._validates

    def announce_validation(self, planned: bool) -> None:
        """Take from the loop whether it will validate."""
        self._validates = planned

    @contextmanager
    def conducting(self, loop: FitLoop) -> Iterator[None]:
        """Answer for a loop while it runs."""
        self._loop = loop
        try:
            yield
        finally:
            self._loop = None

    def metric_names(self) -> frozenset[str] | None:
        if self.model.reports_its_own_metrics:
            return None
        names = self.model.metrics_names
        return frozenset(names) | {f"val_{name}" for name in names if self._validates}

    def metric_direction(self, metric: str) -> Direction | None:
        return self.model.objective.direction(metric.removeprefix("val_"))

    def learning_rates(self) -> list[float]:
        return self.model.optimizer.rates()

    def set_learning_rates(self, rates: Sequence[float]) -> None:
        self.model.optimizer.set_rates(list(rates))

    @torch.no_grad()
    def snapshot_weights(self, into: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
        weights = self.model.module.state_dict()
        if into is None or into.keys() != weights.keys():
            return {name: value.detach().clone() for name, value in weights.items()}
        for name, value in weights.items():
            into[name].copy_(value)
        return into

    def restore_weights(self, snapshot: Mapping[str, Any]) -> None:
        self.model.module.load_state_dict({name: torch.as_tensor(value) for name, value in snapshot.items()})

    def freeze(self, path: Path, *, weights_only: bool, about: Mapping[str, Any], exposed: bool = True) -> Write:
        return saving.freeze(self.model, path, weights_only=weights_only, about=about, exposed=exposed)

    def load(self, path: Path) -> None:
        saving.read(self.model, path, optimizer="if there")

    resumes_within_epochs = True

    def fingerprint(self) -> dict[str, Any]:
        return {} if self._loop is None else resuming.fingerprint(self._loop)

    def loop_state(self) -> dict[str, Any]:
        return {} if self._loop is None else resuming.loop_state(self._loop)

    def load_loop_state(self, state: Mapping[str, Any]) -> None:
        if self._loop is not None:
            resuming.load_loop_state(self._loop, state)

    def named_weights(self) -> Iterator[tuple[str, Any]]:
        for name, value in self.model.module.state_dict().items():
            yield name.replace(".", "/"), as_host(value)

    def weight_bytes(self) -> int | None:
        weights: Iterable[Tensor] = self.model.module.state_dict().values()
        return sum(value.numel() * value.element_size() for value in weights)

    def graph(self) -> Graph | None:
        return graph.graph(self.model)

    def embeddings(self) -> Iterator[Embedding]:
        return graph.embeddings(self.model)

    def profiler(self, folder: Path) -> AbstractContextManager[Any]:
        return profiler.profiler(folder)

    def averages(self) -> Averages | None:
        return self.model.averages

    def checkpointables(self, *, weights_only: bool) -> dict[str, Any]:
        return orbax.checkpointables(saving.content(self.model, weights_only=weights_only, about={}))
