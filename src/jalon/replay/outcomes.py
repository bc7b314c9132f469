"""Outcomes: what many policies come to over one record, computed for all of them at once where that is the same.

For lists of ``EarlyStopping``, ``ReduceLROnPlateau``, ``ModelCheckpoint`` to one file and ``TerminateOnNaN``, the rules of these
classes are applied to arrays with an element for each policy. ``tests/replay/test_outcomes.py`` holds that to be what the classes
decide. Every other list is replayed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jalon.callbacks.early_stopping import EarlyStopping
from jalon.callbacks.model_checkpoint import ModelCheckpoint
from jalon.callbacks.reduce_lr_on_plateau import ReduceLROnPlateau
from jalon.callbacks.terminate_on_nan import TerminateOnNaN
from jalon.core.cadence import Cadence
from jalon.core.monitor import Monitor
from jalon.core.trainer import Direction
from jalon.replay.adapter import ROUNDED, RecordAdapter
from jalon.replay.record import RATES, Record
from jalon.replay.replaying import Replaying

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_CLASSES = (EarlyStopping, ReduceLROnPlateau, ModelCheckpoint, TerminateOnNaN)
_NONE = -1


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Is what policies come to over one record, an element for each policy.

    Args:
        epochs: How many epochs would have been trained.
        stopped: Whether they asked for the end.
        kept: The number of the epoch that is the best kept; -1 where nothing that can be compared is.
        value: The metric's value there; NaN where there is none.
        changes: How often the learning rate would have been changed.
        departs: Whether an epoch would have been trained with another rate than was recorded.
    """

    epochs: Ints
    stopped: Bools
    kept: Ints
    value: Floats
    changes: Ints
    departs: Bools

    @classmethod
    def empty(cls, size: int) -> Outcomes:
        """Return room for the outcomes of so many policies.

        Args:
            size: How many.
        """
        return cls(
            np.zeros(size, np.int64),
            np.zeros(size, np.bool_),
            np.full(size, _NONE, np.int64),
            np.full(size, np.nan),
            np.zeros(size, np.int64),
            np.zeros(size, np.bool_),
        )

    def put(self, at: Any, other: Outcomes) -> None:
        """Take in the outcomes of some policies.

        Args:
            at: Their places.
            other: Their outcomes.
        """
        for name in self.__slots__:
            getattr(self, name)[at] = getattr(other, name)


def outcomes(
    record: Record, lists: Sequence[Sequence[Any]], *, metric: str, direction: Direction, learning_rate: float
) -> Outcomes:
    """Return what lists of callbacks come to over a record.

    Args:
        record: The record.
        lists: For each policy, its callbacks, which are not used elsewhere.
        metric: The metric by which to tell what is best.
        direction: Whether less or more of it is better.
        learning_rate: The rate at the beginning, where the record tells none.

    Raises:
        JalonError: What a callback refuses.
    """
    found = Outcomes.empty(len(lists))
    at_once = [place for place, callbacks in enumerate(lists) if _is_known(callbacks)]
    if at_once:
        known = AtOnce(record, [lists[place] for place in at_once], learning_rate)
        found.put(at_once, known.outcomes(metric, direction))
    for place in sorted(set(range(len(lists))) - set(at_once)):
        found.put([place], _replayed(record, lists[place], metric, direction, learning_rate))
    return found


def _replayed(record: Record, callbacks: Sequence[Any], metric: str, direction: Direction, learning_rate: float) -> Outcomes:
    result = Replaying(record, list(callbacks), learning_rate=learning_rate).result(metric, direction)
    kept = (result.kept.epoch, result.kept.value) if result.kept else (_NONE, math.nan)
    told = (result.epochs, result.stop is not None, *kept, len(result.changes), result.departs_at is not None)
    return Outcomes(*(np.array([one]) for one in told))


def _is_known(callbacks: Sequence[Any]) -> bool:
    """Return whether the rules of a list are those of this file: exactly these classes, each at most once."""
    kinds = [type(callback) for callback in callbacks]
    if len(set(kinds)) < len(kinds) or not set(kinds) <= set(_CLASSES):
        return False
    return all(map(_is_plain, callbacks))


def _is_plain(callback: Any) -> bool:
    if isinstance(callback, TerminateOnNaN):
        return not callback.raise_error
    if not isinstance(callback.monitor, str) or callback.monitor in RATES:
        return False  # a rate is what callbacks set
    if not isinstance(callback, ModelCheckpoint):
        return True
    every_epoch = callback.save_freq in ("epoch", Cadence(epochs=1))
    keeps_all = callback.keep_last is callback.keep_best is None
    return every_epoch and keeps_all and "{" not in callback.filepath


class AtOnce:
    """Takes policies through a record, all at once.

    Args:
        record: The record.
        lists: For each policy, its callbacks, all of them known.
        learning_rate: The rate at the beginning, where the record tells none.
    """

    def __init__(self, record: Record, lists: Sequence[Sequence[Any]], learning_rate: float) -> None:
        self.record = record
        self.size = len(lists)
        trainer = RecordAdapter(record, learning_rate=learning_rate)
        of: dict[type, list[Any]] = {
            kind: [next((one for one in callbacks if type(one) is kind), None) for callbacks in lists] for kind in _CLASSES
        }
        self.stopping = _Stopping(record, of[EarlyStopping], trainer)
        self.plateau = _Plateau(record, of[ReduceLROnPlateau], trainer)
        self.saving = _Saving(record, of[ModelCheckpoint], trainer)
        self.ends_on_nan = np.array([one is not None for one in of[TerminateOnNaN]])
        self.last = np.full(self.size, len(record.epochs) - 1)
        self.stopped = np.zeros(self.size, np.bool_)
        self._play()

    def _play(self) -> None:
        runs_on = np.ones(self.size, np.bool_)
        for at, epoch in enumerate(self.record.epochs):
            self.plateau.begin(at, runs_on)
            self.plateau.end(at, runs_on)
            self.saving.end(at, runs_on)
            asks = self.stopping.end(at, epoch.number, runs_on)
            if not math.isfinite(epoch.logs.get("loss", 0.0)):
                asks |= self.ends_on_nan & runs_on
            if asks.any():
                self.last[asks] = at
                self.stopped |= asks
                runs_on &= ~asks
                if not runs_on.any():
                    return

    def outcomes(self, metric: str, direction: Direction) -> Outcomes:
        """Return what they come to.

        Args:
            metric: The metric by which to tell what is best.
            direction: Whether less or more of it is better.
        """
        in_memory = np.where(self.stopping.puts_back, self.stopping.best_at, self.last)
        values = np.append([epoch.logs.get(metric, math.nan) for epoch in self.record.epochs], math.nan)  # the last for none
        numbers = np.append([epoch.number for epoch in self.record.epochs], _NONE)
        chosen = np.where(self._is_worse(values, in_memory, self.saving.written_at, direction), self.saving.written_at, in_memory)
        chosen = np.where(np.isnan(values[chosen]), _NONE, chosen)
        return Outcomes(self.last + 1, self.stopped, numbers[chosen], values[chosen], self.plateau.changes, self.plateau.departs)

    @staticmethod
    def _is_worse(values: Floats, first: Ints, second: Ints, direction: Direction) -> Bools:
        """Return where the first place's value is worse than the second's, or equal and later."""
        sign = 1 if direction == "min" else -1
        one, other = sign * values[first], sign * values[second]
        worse: Bools = np.isnan(one) | (other < one) | ((other == one) & (second < first))
        return worse


class _Compared:
    """Is what callbacks monitor, as arrays: by policy, the place of its metric among all, and the sign that makes less better."""

    def __init__(self, record: Record, callbacks: Sequence[Any], trainer: RecordAdapter) -> None:
        self.there = np.array([one is not None for one in callbacks])
        self.has_any = bool(self.there.any())
        metrics = {metric: place for place, metric in enumerate(record.metrics)}
        rows = [[epoch.logs.get(metric, math.nan) for metric in metrics] for epoch in record.epochs]
        self._values = np.array(rows, np.float64).reshape(len(rows), -1)
        self._reported = np.array([[metric in epoch.logs for metric in metrics] for epoch in record.epochs])
        monitors = [None if one is None else _settled(one, trainer) for one in callbacks]
        self._of = np.array([metrics.get(one.name, 0) if one else 0 for one in monitors], np.int64)
        self._sign = np.array([-1.0 if one and one.direction == "max" else 1.0 for one in monitors])
        self.min_delta = np.array([one.min_delta if one else 0.0 for one in monitors])
        self.best = self._signed([one.best if one else None for one in monitors])

    def _signed(self, values: Sequence[float | None]) -> Floats:
        """Return values to compare with, NaN for none."""
        signed: Floats = np.array([math.nan if value is None else value for value in values], np.float64) * self._sign
        return signed

    def values(self, at: int) -> Floats:
        signed: Floats = self._values[at][self._of] * self._sign
        return signed

    def reported(self, at: int) -> Bools:
        reported: Bools = self._reported[at][self._of] & self.there
        return reported

    def improves(self, value: Floats, reference: Floats) -> Bools:
        """Return where a value improves on a reference, by ``Monitor.improves``."""
        better: Bools = ~np.isnan(value) & (np.isnan(reference) | (value + self.min_delta < reference))
        return better


def _settled(callback: Any, trainer: RecordAdapter) -> Monitor:
    """Return what a callback compares, its direction settled."""
    for monitor in callback.awaited_metrics():
        monitor.prepare(trainer)
    compared: Monitor = callback._monitor
    return compared


def _option(callbacks: Sequence[Any], name: str, otherwise: Any = 0) -> NDArray[Any]:
    return np.array([otherwise if one is None else getattr(one, name) for one in callbacks])


class _Stopping(_Compared):
    """Is ``EarlyStopping``, for many policies."""

    def __init__(self, record: Record, callbacks: Sequence[Any], trainer: RecordAdapter) -> None:
        super().__init__(record, callbacks, trainer)
        self.patience = _option(callbacks, "patience")
        self.start = _option(callbacks, "start_from_epoch")
        self.restores = _option(callbacks, "restore_best_weights", otherwise=False).astype(np.bool_)
        self.baseline = self._signed([None if one is None else one.baseline for one in callbacks])
        self.wait = np.zeros(len(callbacks), np.int64)
        self.best_at = np.zeros(len(callbacks), np.int64)
        self.puts_back = np.zeros(len(callbacks), np.bool_)

    def end(self, at: int, number: int, runs_on: Bools) -> Bools:
        """End an epoch, and return who asks for a stop."""
        if not self.has_any:
            return np.zeros_like(runs_on)
        value = self.values(at)
        looks = self.reported(at) & (number >= self.start) & runs_on
        self.wait += looks
        better = looks & self.improves(value, self.best)
        self.best[better] = value[better]
        self.wait[better & self.improves(value, self.baseline)] = 0
        keeps = better | (looks & self.restores & ~self.puts_back)
        self.best_at[keeps] = at
        self.puts_back |= keeps & self.restores
        return looks & ~better & (self.wait >= self.patience) & (number > 0)


class _Plateau(_Compared):
    """Is ``ReduceLROnPlateau``, for many policies."""

    def __init__(self, record: Record, callbacks: Sequence[Any], trainer: RecordAdapter) -> None:
        super().__init__(record, callbacks, trainer)
        told = (record.rates, record.reported_rates)
        self._told = [[rates.get(epoch.number, math.nan) for rates in told] for epoch in record.epochs]
        self.patience = _option(callbacks, "patience")
        self.cooldown = _option(callbacks, "cooldown")
        self.factor = _option(callbacks, "factor", otherwise=0.5)
        self.min_lr = _option(callbacks, "min_lr", otherwise=0.0)
        size = len(callbacks)
        self.rate = np.full(size, trainer.learning_rates()[0])
        self.wait, self.cooling = np.zeros(size, np.int64), np.zeros(size, np.int64)
        self.changes, self.departs = np.zeros(size, np.int64), np.zeros(size, np.bool_)

    def begin(self, at: int, runs_on: Bools) -> None:
        """Begin an epoch: with the recorded rate as long as nobody has set another."""
        if not self.has_any:
            return
        (recorded, reported), changed = self._told[at], self.changes > 0
        if not math.isnan(recorded):
            self.rate[~changed] = recorded
        self.departs |= changed & runs_on & ~(_is_close(self.rate, recorded) | _is_close(self.rate, reported))

    def end(self, at: int, runs_on: Bools) -> None:
        """End an epoch."""
        if not self.has_any:
            return
        value, looks = self.values(at), self.reported(at) & runs_on
        self.cooling -= looks & (self.cooling > 0)
        better = looks & self.improves(value, self.best)
        self.best[better] = value[better]
        self.wait[better] = 0
        counts = looks & ~better & (self.cooling <= 0)
        self.wait += counts
        fires = counts & (self.wait >= self.patience) & (self.rate.astype(np.float32) > self.min_lr.astype(np.float32))
        if fires.any():
            reduced = np.maximum(self.rate * self.factor, self.min_lr)
            self.changes += fires & (reduced != self.rate)
            self.rate[fires] = reduced[fires]
            self.cooling[fires] = self.cooldown[fires]
            self.wait[fires] = 0


def _is_close(rates: Floats, rate: float) -> Bools:
    """Return which rates are another's, but for rounding, as ``math.isclose`` does."""
    close: Bools = np.abs(rates - rate) <= ROUNDED * np.maximum(np.abs(rates), abs(rate))
    return close


class _Saving(_Compared):
    """Is ``ModelCheckpoint`` to one file, for many policies."""

    def __init__(self, record: Record, callbacks: Sequence[Any], trainer: RecordAdapter) -> None:
        super().__init__(record, callbacks, trainer)
        self.best_only = _option(callbacks, "save_best_only", otherwise=False).astype(np.bool_)
        self.written_at = np.full(len(callbacks), _NONE, np.int64)

    def end(self, at: int, runs_on: Bools) -> None:
        """End an epoch."""
        if not self.has_any:
            return
        value = self.values(at)
        better = self.reported(at) & self.improves(value, self.best)
        saves = self.there & runs_on & (better | ~self.best_only)
        self.best[saves & better] = value[saves & better]
        self.written_at[saves] = at
