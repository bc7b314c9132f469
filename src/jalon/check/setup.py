"""Setup: what is known of a training before its first step."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from jalon.check.watch import Watch, watches_of
from jalon.core.callback import Callback
from jalon.core.callback_list import labels_of
from jalon.core.loop_support import LoopSupport
from jalon.core.run import Run
from jalon.core.trainer import Direction, TrainerAdapter, direction_by_name

OWN = frozenset({"jalon", "keras", "tf_keras"})
"""The packages whose callbacks are known by the names of their classes."""


@dataclass
class Setup:
    """Is what is known of a training before its first step; ``None`` stands for what is not.

    Args:
        callbacks: What was given as callbacks, in the order in which they run.
        epochs: How many epochs are going to be trained.
        steps: The batches in an epoch.
        metrics: What an epoch reports.
        validates: Whether there is validation.
        validation_freq: Every how many epochs, or after which of them, counted from 1.
        rates: The learning rate at the start, one per parameter group.
        history: What metrics were in an earlier training, epoch by epoch.
        trainer: Answers for what is being trained.
        support: What the loop gives to callbacks.
        environ: The variables of the environment.
    """

    callbacks: Sequence[Any]
    epochs: int | None = None
    steps: int | None = None
    metrics: frozenset[str] | None = None
    validates: bool | None = None
    validation_freq: int | Collection[int] | None = None
    rates: Sequence[float] | None = None
    history: Mapping[str, Sequence[float]] = field(default_factory=dict)
    trainer: TrainerAdapter | None = None
    support: LoopSupport | None = None
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)

    @classmethod
    def of_run(cls, callbacks: Iterable[Any], run: Run, support: LoopSupport | None) -> Setup:
        """Return what is known when a training begins."""
        trainer = run.trainer
        return cls(
            callbacks=list(callbacks),
            epochs=run.epochs - run.initial_epoch,
            steps=run.params.get("steps"),
            metrics=trainer.metric_names(),
            validates=trainer.validates,
            validation_freq=run.validation_freq,
            trainer=trainer,
            support=support,
        )

    # ---- who -----------------------------------------------------------------------------------------------------------

    @cached_property
    def _labels(self) -> dict[int, str]:
        return labels_of(self.callbacks)

    def label(self, callback: Any) -> str:
        """Return the name of a callback in messages."""
        return self._labels.get(id(callback)) or type(callback).__name__

    @cached_property
    def _kinds(self) -> list[tuple[Any, frozenset[str]]]:
        kinds = ((callback, kinds_of(type(callback))) for callback in self.callbacks)
        return [(callback, frozenset() if lacked_by(callback) else names) for callback, names in kinds]

    def of(self, *names: str) -> list[Any]:
        """Return the callbacks that are of these classes, of jalon or of Keras. No class is imported for it."""
        return [callback for callback, kinds in self._kinds if not kinds.isdisjoint(names)]

    @cached_property
    def own(self) -> list[Any]:
        """The callbacks whose classes the user wrote."""
        return [callback for callback in self.callbacks if not isinstance(callback, type) and is_own(type(callback))]

    @cached_property
    def watches(self) -> list[tuple[Any, Watch]]:
        """Who compares which metric."""
        return [(callback, watch) for callback, kinds in self._kinds for watch in watches_of(callback, kinds)]

    # ---- what ----------------------------------------------------------------------------------------------------------

    def direction(self, metric: str) -> Direction | None:
        """Return whether less or more of a metric is better, as far as somebody knows."""
        told = None if self.trainer is None else self.trainer.metric_direction(metric)
        return told or direction_by_name(metric)

    @cached_property
    def learning_rates(self) -> list[float]:
        """The learning rate at the start, one per parameter group; empty where it is not known."""
        if self.rates is not None:
            return list(self.rates)
        return [] if self.trainer is None else self.trainer.learning_rates()

    @cached_property
    def weight_bytes(self) -> int | None:
        """How much memory the weights take."""
        return None if self.trainer is None else self.trainer.weight_bytes()

    @property
    def total_steps(self) -> int | None:
        """The batches of the whole training."""
        return None if self.epochs is None or self.steps is None else self.epochs * self.steps

    @property
    def is_kept(self) -> bool:
        """Whether something makes the training last."""
        return bool(self.of("BackupAndRestore"))

    def before(self, callback: Any) -> Iterator[Any]:
        """Yield the callbacks that are told before this one."""
        for other in self.callbacks:
            if other is callback:
                return
            yield other


_ARGUMENTS = {
    "MonitorCallback": "monitor",
    "ModelCheckpoint": "filepath",
    "CSVLogger": "filename",
    "TensorBoard": "log_dir",
    "BackupAndRestore": "backup_dir",
    "LearningRateScheduler": "schedule",
    "SwapEMAWeights": "swap_on_epoch",
}
"""What the constructor of each class sets first."""

_KINDS: dict[type, frozenset[str]] = {}


def kinds_of(kind: type) -> frozenset[str]:
    """Return the names of the classes of jalon and Keras that a class is or derives from."""
    known = _KINDS.get(kind)
    if known is None:
        known = _KINDS[kind] = frozenset(base.__name__ for base in kind.__mro__ if package_of(base) in OWN)
    return known


def lacked_by(callback: Any) -> str | None:
    """Return what the constructor of jalon's or Keras's class would have set, where a class of the user's does not call it."""
    kind = type(callback)
    if not is_own(kind):
        return None
    needed = (_ARGUMENTS[name] for name in _ARGUMENTS.keys() & kinds_of(kind))
    return next((name for name in needed if not hasattr(callback, name)), None)


def is_own(kind: type) -> bool:
    """Return whether somebody else than jalon and Keras wrote a class."""
    return package_of(kind) not in OWN


def package_of(thing: Any) -> str:
    """Return the package that a class or a function comes from; empty where nobody knows, as for code from a text."""
    return (thing.__module__ or "").partition(".")[0]


def may_add_metrics(callback: Any) -> bool:
    """Return whether a callback may add to what an epoch reports."""
    return getattr(callback, "adds_metrics", True) and isinstance(callback, Callback) and is_own(type(callback))
