"""replay: a recorded run fed through real callbacks, with no model and nothing written."""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from jalon.callbacks.history import History
from jalon.callbacks.model_checkpoint import ModelCheckpoint
from jalon.callbacks.orbax_checkpoint import OrbaxCheckpoint
from jalon.core.callback_list import CallbackList
from jalon.core.hooks import HOOKS, implementation
from jalon.core.keras_face import KerasFace
from jalon.core.monitor import Mode
from jalon.core.run import Position, Run
from jalon.core.trainer import Direction, direction_by_name
from jalon.core.transform import Transform
from jalon.errors import ArgumentError, JalonWarning
from jalon.replay.adapter import START_RATE, RecordAdapter
from jalon.replay.readers import read
from jalon.replay.record import Epoch, Record
from jalon.replay.result import Reached, Replay, Save, Stop

_UNDECIDED = ("BackupAndRestore", "SpotNotice", "SwapEMAWeights")
"""Classes of jalon's that keep a run or ask a machine: there is neither here."""
_NEVER = tuple(name for name in HOOKS if "batch" in name or "predict" in name or name == "on_before_optimizer_step")
_LOSSES = ("val_loss", "loss")


def replay(
    source: Any, callbacks: Any, *, metric: str | None = None, mode: Mode = "auto", learning_rate: float = START_RATE
) -> Replay:
    """Say what callbacks would have done in a training that was recorded.

    The callbacks are taken through the recorded epochs as ``fit`` takes them through its own: an own callback too. There is
    no model, and nothing is written: ``run.is_main`` is False, as in a process that leaves writing to another. What a
    record does not have is not told: batches.

    Args:
        source: A run's folder or its ``journal.jsonl``; a file of ``CSVLogger``; an event file of TensorBoard's, or the folder of
            a run's; Lightning's ``metrics.csv``; ``trainer_state.json`` of transformers; a pandas frame; a ``History``; a list
            with a dict for each epoch.
        callbacks: One callback, or a list, as for ``fit``. Those of jalon's that decide nothing are left out.
        metric: The metric by which to tell what is best. Defaults to what the first callback monitors, else ``val_loss`` or
            ``loss``.
        mode: Whether less (``"min"``) or more (``"max"``) of it is better; ``"auto"`` takes it from that callback or from the
            metric's name.
        learning_rate: The rate at the beginning, where the record tells none. Defaults to 0.001.

    Returns:
        What they would have done; printed, a table.

    Raises:
        ArgumentError: The source holds no record, or something in ``callbacks`` is none.
        MissingMetric: The record has no metric that a callback monitors.

    Example:
        >>> import jalon
        >>> from jalon.callbacks import EarlyStopping
        >>> curve = [0.9, 0.6, 0.5, 0.55, 0.56, 0.4]
        >>> print(jalon.replay([{"val_loss": value} for value in curve], EarlyStopping("val_loss", patience=2)))
        record      a list: 6 epochs
        ends        stopped after epoch 5: no improvement in val_loss for 2 epochs
        in memory   the weights of epoch 5
        best kept   val_loss 0.56, of epoch 5
        best there  val_loss 0.4, of epoch 6: a cost of 0.16 (40.00%)
        spared      1 epoch (17%)
    """
    return Replaying(read(source), callbacks, learning_rate=learning_rate).result(metric, mode)


class Replaying:
    """Takes callbacks through a record.

    Args:
        record: The record.
        callbacks: One callback, or a list.
        learning_rate: The rate at the beginning, where the record tells none.

    Raises:
        JalonError: What a callback refuses.
    """

    def __init__(self, record: Record, callbacks: Any, *, learning_rate: float = START_RATE) -> None:
        self.record = record
        given = list(CallbackList(callbacks))
        self.callbacks = [callback for callback in given if not _decides_nothing(callback)]
        self.notes = [*_left_out(given), *_unheard(self.callbacks)]
        self.disk: dict[Path, int] = {}
        self.deleted: list[Path] = []
        self._looked = 0
        self.epochs = 0
        self.left: str | None = None
        self.trainer = RecordAdapter(record, learning_rate=learning_rate)
        self.clock = _Clock()
        self.run = Run(self.trainer, epochs=record.epochs[-1].number + 1, clock=self.clock, rank=1, world_size=2)
        self.run.warns = True
        self.run.epoch = self.run.initial_epoch = record.epochs[0].number
        self.files = self.run.files = _Files(self.trainer)
        self.run.keeps, self.run.keeper = True, _Kept()
        self._play()

    def _play(self) -> None:
        told = CallbackList([*self.callbacks, History()])
        told.begin(self.run, KerasFace(self.run, self.record), {"verbose": 0, "epochs": self.run.epochs, "steps": None})
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            told.validate()
            with told.session():
                told.on_train_begin()
                for epoch in self.record.epochs:
                    self._epoch(told, epoch)
                    if self.run.stop_requested or self.run.leave_now:
                        break
                if self.run.leave_now:
                    self.left = getattr(self.run.left(), "why", "it was asked to")
                else:
                    told.on_train_end(dict(epoch.logs))
        for one in warned:
            if issubclass(one.category, JalonWarning):
                self.notes.append(str(one.message))
            else:
                warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)

    def _epoch(self, told: CallbackList, epoch: Epoch) -> None:
        run, logs = self.run, dict(epoch.logs)
        run.epoch, run.phase = epoch.number, "train"
        self.trainer.begin_epoch(epoch.number)
        told.on_epoch_begin(epoch.number)
        self.trainer.train()
        self.clock.now += epoch.seconds or 0.0
        validated = {name.removeprefix("val_"): value for name, value in logs.items() if name.startswith("val_")}
        if validated:
            run.phase = "validation"
            told.on_test_begin()
            told.on_test_end(validated)
        told.on_epoch_end(epoch.number, logs)
        run.phase = "idle"
        self.epochs += 1
        self._look_at_disk()

    def _look_at_disk(self) -> None:
        """Note which files would be there by now."""
        for epoch, path in self.trainer.written[self._looked :]:
            self.disk[path] = epoch
        self._looked = len(self.trainer.written)
        for path in self._superfluous():
            del self.disk[path]
            self.deleted.append(path)

    def _superfluous(self) -> list[Path]:
        """Return the files on the disk that those who wrote them no longer keep."""
        savers = [callback for callback in self.callbacks if isinstance(callback, ModelCheckpoint)]
        if all(saver.keep_last is saver.keep_best is None for saver in savers):
            savers = []
        kept = {Path(path) for saver in savers for track in saver.state_dict()["tracks"].values() for path, _ in track["saved"]}
        written = {path for saver in savers for path in self.files.by_writer[saver.name or type(saver).__name__]}
        gone = [path for path in self.disk if path in written and path not in kept]
        for callback in self.callbacks:
            if isinstance(callback, OrbaxCheckpoint) and callback.max_to_keep:
                own = [path for path in self.disk if path.parent == Path(callback.directory).absolute()]
                gone += own[: -callback.max_to_keep]
        return gone

    def result(self, metric: str | None = None, mode: Mode = "auto") -> Replay:
        """Return what was done.

        Args:
            metric: The metric by which to tell what is best.
            mode: Whether less or more of it is better.
        """
        metric, direction = objective_of(self.record, self.callbacks, metric, mode)
        values = self.record.values(metric) if metric and direction else {}
        there = {epoch: values[epoch] for epoch in (*self.disk.values(), self.trainer.weights) if epoch in values}
        stop = None
        if self.left is not None or self.run.stop_requested:
            reason = self.left or self.run.stop_reason or "a callback asked for it"
            stop = Stop(self.run.epoch, reason, left=self.left is not None)
        return Replay(
            self.record,
            self.epochs,
            stop,
            tuple(self.trainer.changes),
            tuple(Save(epoch, path) for epoch, path in self.trainer.written),
            tuple(self.deleted),
            dict(self.disk),
            self.trainer.weights,
            metric,
            direction,
            best_of(there, direction),
            best_of(values, direction),
            self.trainer.departs_at,
            tuple(self.notes),
        )


def best_of(values: dict[int, float], direction: Direction | None) -> Reached | None:
    """Return the best of values by epoch, the earliest of equals; ``None`` where there is none.

    Args:
        values: The values.
        direction: Whether less or more is better.
    """
    sign = 1 if direction == "min" else -1
    ranked = [(sign * value, epoch) for epoch, value in values.items() if not math.isnan(value)]
    if not ranked or direction is None:
        return None
    epoch = min(ranked)[1]
    return Reached(epoch, values[epoch])


def objective_of(record: Record, callbacks: Iterable[Any], metric: str | None, mode: Mode) -> tuple[str | None, Direction | None]:
    """Return the metric by which to compare, and its direction; ``None`` where there is none, or nobody says.

    Args:
        record: The record.
        callbacks: What is to be replayed; the first that monitors something says by what.
        metric: The metric, if the user names it.
        mode: Whether less or more of it is better, if the user says.

    Raises:
        ArgumentError: The record does not have it, or nobody says which way is better.
    """
    metrics = record.metrics
    if metric is not None and metric not in metrics:
        raise ArgumentError(f"replay: {record.name} does not report {metric!r}. Reported: {', '.join(metrics)}.")
    chosen, direction = metric, None if mode == "auto" else mode
    for callback in callbacks:
        monitor = getattr(callback, "monitor", None)
        if isinstance(monitor, str) and monitor in metrics and chosen in (None, monitor):
            chosen = monitor
            told: Any = getattr(callback, "mode", "auto")
            direction = direction or (told if told in ("min", "max") else None)
    chosen = chosen or next((name for name in _LOSSES if name in metrics), None)
    direction = direction or (direction_by_name(chosen) if chosen else None)
    if metric is not None and direction is None:
        raise ArgumentError(f"replay: whether less or more of {metric!r} is better is not known. Pass mode='min' or mode='max'.")
    return chosen, direction


def _decides_nothing(callback: Any) -> bool:
    """Return whether a callback of jalon's only observes, or does what is not done here."""
    kind = type(callback)
    own = kind.__module__.startswith("jalon.callbacks.")
    return isinstance(callback, Transform) or (own and (not kind.critical or kind.__name__ in _UNDECIDED))


def _left_out(given: Iterable[Any]) -> Iterator[str]:
    names = dict.fromkeys(type(callback).__name__ for callback in given if _decides_nothing(callback))
    if names:
        yield f"left out, since they decide nothing by a record: {', '.join(names)}"


def _unheard(callbacks: Iterable[Any]) -> Iterator[str]:
    """Say which callbacks wait for what no record has."""
    for callback in callbacks:
        optional = getattr(callback, "optional_hooks", ())
        missed = [hook for hook in _NEVER if hook not in optional and implementation(callback, hook) is not None]
        if missed:
            yield f"{type(callback).__name__} is not told of what a record does not have: {', '.join(missed)}"


class _Files(dict[str, Path]):
    """Is a run's ``files``, which notes what is put there: a callback that leaves writing to another process says so here."""

    def __init__(self, trainer: RecordAdapter) -> None:
        super().__init__()
        self.by_writer: dict[str, set[Path]] = defaultdict(set)
        self._trainer = trainer

    def __setitem__(self, name: str, path: Path) -> None:
        super().__setitem__(name, path)
        self.by_writer[name].add(path)
        self._trainer.written.append((self._trainer.weights, path))


class _Clock:
    """Tells the time of a record."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now


class _Kept:
    """Stands for what makes a run last, so that callbacks that leave it may do so."""

    position: Position | None = None
    finished = False

    def restore(self) -> None: ...

    def before_validation(self, position: Position) -> None: ...

    def save(self, position: Position) -> None: ...

    def finish(self) -> None: ...
