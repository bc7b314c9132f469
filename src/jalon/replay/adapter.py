"""RecordAdapter: answers callbacks on behalf of a record, and keeps what they do."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jalon.core.trainer import Direction, TrainerAdapter, Write, direction_by_name
from jalon.errors import CheckpointError
from jalon.replay.record import Record
from jalon.replay.result import Change

START_RATE = 0.001
"""The learning rate of a record that tells none, where none is given."""

ROUNDED = 1e-5  # event files hold numbers of single precision


class RecordAdapter(TrainerAdapter):
    """Answers callbacks where nothing is trained: its weights are the number of the epoch that they come from.

    Until a callback sets the learning rate, it is the recorded one.

    Args:
        record: The record.
        learning_rate: The rate to begin with, where the record tells none.

    Attributes:
        epoch: The epoch in hand.
        weights: The epoch from which the weights come; -1 before the first.
        changes: The rates that callbacks have set.
        written: The epoch whose weights were written to each path, in order.
        departs_at: The first epoch trained with another rate than was recorded, if there was one.
    """

    def __init__(self, record: Record, *, learning_rate: float) -> None:
        self._metrics = frozenset(record.metrics)
        self._recorded, self._reported = record.rates, record.reported_rates
        self._rate = next(iter(self._recorded.values()), learning_rate)
        self.epoch = self.weights = -1
        self.changes: list[Change] = []
        self.written: list[tuple[int, Path]] = []
        self.departs_at: int | None = None

    def begin_epoch(self, epoch: int) -> None:
        """Take the rate that was recorded for an epoch, unless callbacks have set another.

        Args:
            epoch: Its number.
        """
        self.epoch = epoch
        if not self.changes:
            self._rate = self._recorded.get(epoch, self._rate)

    def train(self) -> None:
        """Let the weights be those of the epoch in hand."""
        self.weights = self.epoch
        told = (rates.get(self.epoch, math.nan) for rates in (self._recorded, self._reported))
        as_recorded = any(math.isclose(self._rate, rate, rel_tol=ROUNDED) for rate in told)
        if self.departs_at is None and self.changes and not as_recorded:
            self.departs_at = self.epoch

    @property
    def suffixes(self) -> tuple[str, ...]:
        return ()

    @property
    def iterations(self) -> int:
        return self.weights + 1

    @property
    def validates(self) -> bool:
        return any(name.startswith("val_") for name in self._metrics)

    def metric_names(self) -> frozenset[str]:
        return self._metrics

    def metric_direction(self, metric: str) -> Direction | None:
        return direction_by_name(metric)

    def learning_rates(self) -> list[float]:
        return [self._rate]

    def set_learning_rates(self, rates: Sequence[float]) -> None:
        """Take a rate, and note it where it is another."""
        rate = float(rates[0])
        if rate != self._rate:
            self.changes.append(Change(self.epoch, self._rate, rate))
            self._rate = rate

    def snapshot_weights(self, into: Any = None) -> dict[str, Any]:
        return {"epoch": np.array(self.weights)}

    def restore_weights(self, snapshot: Mapping[str, Any]) -> None:
        self.weights = int(snapshot["epoch"])

    def freeze(self, path: Path, *, weights_only: bool, about: Mapping[str, Any], exposed: bool = True) -> Write:
        """Note what would be written."""
        self.written.append((self.weights, path))
        return lambda: None

    def load(self, path: Path) -> None:
        """Take back the weights of the epoch that would be in a file.

        Raises:
            CheckpointError: No callback has written it.
        """
        found = [epoch for epoch, written in self.written if written == path]
        if not found:
            raise CheckpointError(f"{path} was not written in this replay, which reads no other files.")
        self.weights = found[-1]

    def named_weights(self) -> Iterator[tuple[str, Any]]:
        yield "epoch", np.array(self.weights)

    def suffix_fault(self, path: str, *, weights_only: bool) -> str | None:
        return None

    def checkpointables(self, *, weights_only: bool) -> dict[str, Any]:
        return {}
