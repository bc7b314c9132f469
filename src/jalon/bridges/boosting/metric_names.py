"""MetricNames: what the metrics of a boosting library are called in ``logs``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from jalon.core.trainer import Direction

NAMES_OF_TRAINING = ("train", "training")
"""What a set is called that is taken for the training set where the library does not tell that it is."""


class Result(NamedTuple):
    """Is one metric of one set of data, after a round.

    Args:
        data: The set's name.
        metric: The metric's name.
        value: Its value.
        direction: Whether less or more of it is better, ``None`` where nobody said.
        std: Its standard deviation over the folds of a cross-validation.
    """

    data: str
    metric: str
    value: float
    direction: Direction | None
    std: float | None = None


class MetricNames:
    """Gives metrics the names that they have under Keras.

    The training set's metrics keep their names; those of the last of the other sets begin with ``val_``, and those of
    the rest with the set's name and ``_``. The first metric of which less is better is told as ``loss`` besides, so that
    callbacks that wait for ``val_loss`` find it. In a cross-validation these are means, and ``…_std`` tells how far the
    folds are apart.

    Args:
        training: The training set's name, if it is known to be among the sets; else a set called ``train`` or ``training``
            is taken for it.
    """

    def __init__(self, training: str | None) -> None:
        self._training = training
        self._names: dict[tuple[str, str], tuple[str, ...]] = {}
        self.directions: dict[str, Direction] = {"loss": "min", "val_loss": "min"}

    def logs(self, results: Sequence[Result]) -> dict[str, float]:
        """Return the results of a round by their names."""
        if any((result.data, result.metric) not in self._names for result in results):
            self._decide(results)
        logs: dict[str, float] = {}
        for result in results:
            for name in self._names[result.data, result.metric]:
                logs[name] = result.value
                if result.std is not None:
                    logs[f"{name}_std"] = result.std
        return logs

    def value_of(self, result: Result, logs: dict[str, float]) -> float:
        """Return from the logs of another round what this result was then."""
        return logs[self._names[result.data, result.metric][0]]

    def _decide(self, results: Sequence[Result]) -> None:
        sets = list(dict.fromkeys(result.data for result in results))
        training = self._training if self._training in sets else next((name for name in sets if name in NAMES_OF_TRAINING), None)
        others = [name for name in sets if name != training]
        have_loss = {result.data for result in results if result.metric == "loss"}
        for result in results:
            prefix = "" if result.data == training else "val_" if result.data == others[-1] else f"{result.data}_"
            names = [prefix + result.metric]
            if result.direction is not None:
                self.directions[names[0]] = result.direction
            if result.direction == "min" and result.data not in have_loss:
                have_loss.add(result.data)
                names.append(f"{prefix}loss")
                self.directions[names[-1]] = "min"
            self._names[result.data, result.metric] = tuple(names)
