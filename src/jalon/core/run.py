"""Run: where a training stands, and why it stopped."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jalon.core.clock import SYSTEM_CLOCK, Clock
from jalon.core.trainer import TrainerAdapter, adapter_of

Phase = Literal["idle", "train", "validation", "test", "predict"]


@dataclass(frozen=True, slots=True)
class Best:
    """Is the best value that a callback has seen of its metric.

    Args:
        monitor: The metric's name.
        value: Its best value.
        epoch: The epoch that reached it, from 0.
        path: The file that holds the weights of that moment, if one was written.
    """

    monitor: str
    value: float
    epoch: int
    path: Path | None = None


class Run:
    """Holds the counters, the history and the reason for stopping of one training.

    Args:
        trainer: Answers for what is being trained.
        epochs: The number of the epoch before which training ends.
        initial_epoch: The number of the first epoch.
        clock: Tells the time.
        run_dir: The folder that belongs to this run, if it has one.
        rank: The place of this process among those that train together.
        world_size: How many processes train together.

    Attributes:
        epoch: The epoch in hand, from 0.
        batch: The batch in hand, from 0.
        step: Training batches done since training began.
        phase: ``"train"``, ``"validation"``, ``"test"``, ``"predict"`` or ``"idle"``.
        history: For each metric, its values by epoch.
        stop_requested: Whether training should end at the next possible moment.
        stop_reason: Why, in words; ``None`` while nobody asked.
        bests: The best value by metric, as told by the callbacks that compare.
        files: What each callback writes, by callback.
        degraded: The observing callbacks that failed, with their last error.
        commits: What is done after every callback at an epoch's end.
        commits_epochs: Whether the loop does that; a foreign one that was given callbacks directly does not.
    """

    def __init__(
        self,
        trainer: TrainerAdapter,
        *,
        epochs: int = 1,
        initial_epoch: int = 0,
        clock: Clock = SYSTEM_CLOCK,
        run_dir: Path | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.trainer = trainer
        self.epochs = epochs
        self.initial_epoch = initial_epoch
        self.clock = clock
        self.run_dir = run_dir
        self.rank = rank
        self.world_size = world_size
        self.epoch = initial_epoch
        self.batch = 0
        self.step = 0
        self.phase: Phase = "idle"
        self.history: dict[str, list[float]] = {}
        self.stop_requested = False
        self.stop_reason: str | None = None
        self.bests: dict[str, Best] = {}
        self.files: dict[str, Path] = {}
        self.degraded: dict[str, str] = {}
        self.commits: list[Callable[[], None]] = []
        self.commits_epochs = True
        self.speaker: Callable[[str], None] = _write_line
        self._began = clock.monotonic()

    def __repr__(self) -> str:
        return f"<Run epoch={self.epoch} step={self.step} phase={self.phase} stop_reason={self.stop_reason!r}>"

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return self.clock.monotonic() - self._began

    def stop(self, reason: str) -> None:
        """Ask training to end after this batch; validation and ``on_epoch_end`` still run.

        Args:
            reason: Why, in words. The first reason given is kept.
        """
        self.stop_requested = True
        self.stop_reason = self.stop_reason or reason
        self.trainer.request_stop()

    def set_stop(self, requested: bool) -> None:
        """Set or take back a stop without a reason, as Keras's ``model.stop_training = …`` does."""
        self.stop_requested = requested
        if not requested:
            self.stop_reason = None

    def credit_stop(self, who: str) -> None:
        """Name who asked for a stop that came without a reason."""
        if self.stop_requested and self.stop_reason is None:
            self.stop_reason = f"{who} set model.stop_training"

    def say(self, message: str) -> None:
        """Show a line to the user, where progress is shown."""
        if self.is_main:
            self.speaker(message)

    def commit(self) -> None:
        """Make the epoch last: runs after every callback's ``on_epoch_end``, the stop decision included."""
        for action in self.commits:
            action()


def _write_line(message: str) -> None:
    sys.stdout.write(message + "\n")
    sys.stdout.flush()


_RUNS: weakref.WeakKeyDictionary[Any, Run] = weakref.WeakKeyDictionary()


def run_of(model: Any) -> Run:
    """Return the run that the callbacks of one model share under a loop that conducts none.

    It is held weakly: it ends with the model.
    """
    run = _RUNS.get(model)
    if run is None:
        run = _RUNS[model] = Run(adapter_of(model))
        run.commits_epochs = False
    return run
