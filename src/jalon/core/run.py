"""Run: where a training stands, and why it stopped."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from jalon.core.clock import SYSTEM_CLOCK, Clock
from jalon.core.trainer import TrainerAdapter, adapter_of
from jalon.errors import Preempted

if TYPE_CHECKING:
    from jalon.core.callback_list import CallbackList

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


class Position(NamedTuple):
    """Is what comes next in a training.

    Args:
        epoch: The epoch, from 0.
        batch: The training batches of it that are done. 0 where it has not begun.
    """

    epoch: int
    batch: int


class Keeper(Protocol):
    """Makes a run last, so that it can be gone on with; a driver calls it beside the hooks."""

    position: Position | None
    """Where to go on; ``None`` where training begins at its beginning."""
    finished: bool
    """Whether there is nothing left to train."""

    def restore(self) -> None:
        """Put everything back as it was, or keep how it is at the beginning. After ``on_train_begin``.

        After an interruption within an epoch, ``on_epoch_begin`` is told of it before this.
        """
        ...

    def before_validation(self, position: Position) -> None:
        """Note how things stand, in case training has to be left while the validation runs."""
        ...

    def save(self, position: Position) -> None:
        """Keep how things are now, although it is not due."""
        ...

    def finish(self) -> None:
        """Keep how things ended. After ``on_train_end``."""
        ...


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
        callbacks: The list that is told of this run.
        keeper: What makes the run last, if something does.
        id: The run's own name, the same after every restart, if something makes it last; log files may carry it.
        resumed: Whether an earlier training is gone on with. Known before ``on_train_begin``: what has been written of it
            is cut back by ``load_state_dict``, and not begun anew.
        warns: Whether mistakes in the setup are warned of here; of several processes, by the main one alone.
        keeps: Whether the driver calls the keeper.
        params: ``{"verbose", "epochs", "steps"}`` of the loop, as callbacks get them.
        batch_size: How many samples a training step takes, where the loop says it.
        validation_freq: Every how many epochs validation follows, or after which of them, counted from 1, where the loop says it.
        leave_now: Whether training should be left after this batch, to be gone on with by another start.
        recorders: Who is told of what happens in the run, beside the hooks, with its kind and its facts.
        share: Gives a value of the main process to all that train together, each of which calls it at the same moment. ``None``
            where the loop cannot.
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
        self.epoch: int = initial_epoch
        self.batch = 0
        self.step: int = 0
        self.phase: Phase = "idle"
        self.history: dict[str, list[float]] = {}
        self.stop_requested = False
        self.stop_reason: str | None = None
        self.bests: dict[str, Best] = {}
        self.files: dict[str, Path] = {}
        self.degraded: dict[str, str] = {}
        self.commits: list[Callable[[], None]] = []
        self.commits_epochs = True
        self.recorders: list[Callable[[str, dict[str, Any]], None]] = []
        self.share: Callable[[Any], Any] | None = _itself if world_size == 1 else None
        self.callbacks: CallbackList | None = None
        self.warns = self.is_main
        self.keeps = False
        self.params: Mapping[str, Any] = {}
        self.batch_size: int | None = None
        self.validation_freq: int | Collection[int] | None = None
        self.keeper: Keeper | None = None
        self.id: str | None = None
        self.resumed = False
        self.leave_now = False
        self._leaving: BaseException | None = None
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

    def leave(self, reason: BaseException) -> None:
        """Ask training to be left after this batch: what is kept of it is brought up to date, and ``fit`` raises.

        Safe to call from a signal handler and from other threads. The first reason given is kept.

        Args:
            reason: What ``fit`` raises.
        """
        if not self.leave_now:
            self._leaving = reason
            self.leave_now = True

    def left(self) -> BaseException:
        """Return what the loop has to raise to leave."""
        return self._leaving or Preempted()

    def state_dict(self) -> dict[str, Any]:
        """Return the counters, the reason for stopping and the best values as plain data."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "elapsed": self.elapsed,
            "stop_requested": self.stop_requested,
            "stop_reason": self.stop_reason,
            "bests": [asdict(best) | {"path": best.path and str(best.path)} for best in self.bests.values()],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what ``state_dict`` returned."""
        self.epoch, self.step = state["epoch"], state["step"]
        self._began = self.clock.monotonic() - state["elapsed"]
        self.stop_requested, self.stop_reason = state["stop_requested"], state["stop_reason"]
        for best in state["bests"]:
            self.bests[best["monitor"]] = Best(**best | {"path": best["path"] and Path(best["path"])})

    def record(self, kind: str, **facts: Any) -> None:
        """Tell those who keep a record of the run what happened.

        Args:
            kind: What it was: ``"save"``, ``"restore"``, ``"rate"``, ``"warning"``, ``"command"``, ``"note"``.
            facts: What there is to know, as JSON values.
        """
        for recorder in self.recorders:
            recorder(kind, facts)

    def say(self, message: str) -> None:
        """Show a line to the user, where progress is shown."""
        if self.is_main:
            self.speaker(message)

    def restore(self) -> None:
        """Put everything back as it was when the run was left, if it is gone on with; after ``on_train_begin``."""
        if self.keeper is not None:
            self.keeper.restore()

    def commit(self) -> None:
        """Make the epoch last: runs after every callback's ``on_epoch_end``, the stop decision included."""
        for action in self.commits:
            action()


def _itself(value: Any) -> Any:
    return value


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
