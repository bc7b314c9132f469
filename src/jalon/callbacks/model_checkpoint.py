"""ModelCheckpoint: save the model as training goes on."""

from __future__ import annotations

import copy
import errno
import math
import os
import shutil
import string
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from jalon.callbacks._arguments import name_todays_spelling
from jalon.callbacks._saving import kept_number, refuse_late_metrics, save_cadence, shown
from jalon.callbacks.monitor_callback import MonitorCallback
from jalon.core.cadence import Cadence, Ticker
from jalon.core.callback import Logs
from jalon.core.logs import scalar
from jalon.core.monitor import Mode, Monitor
from jalon.core.run import Best
from jalon.core.trainer import Write
from jalon.errors import ArgumentError, JalonWarning, MissingMetric, SaveFailed
from jalon.store.atomic import make_folder, refuse_unwritable, remove_leftovers
from jalon.store.retention import Saved, superfluous
from jalon.store.writer import WRITER, Outcome


class ModelCheckpoint(MonitorCallback):
    """Save the model as training goes on: each time, or only when a metric has improved.

    A file is either whole or not there: it is written beside its final name and then renamed, and old files are deleted
    after that. Training waits only while the model is copied; another thread writes the copy. The next save, the end of
    training and an exception wait for it.

    A value improves where it beats the best so far; NaN never does, and an epoch that does not report the metric, as one
    without validation, saves nothing that depends on it. A save that fails, as on a full disk, leaves the old file in
    place and the best value as it was; a warning says so, and training goes on.

    Args:
        filepath: Where to. Its suffix names the format, one that the trainer can write (``.safetensors``, ``.h5``, ``.pt`` or
            ``.pt2`` with ``jalon.Model``). May hold ``{epoch}`` and, where batches are counted, ``{batch}``, both from 1,
            ``{monitor}``, and any metric, as in ``"{epoch:02d}-{val_loss:.2f}.h5"``. Missing folders are made.
        monitor: The metric to compare, or several, each with a best of its own; then ``filepath`` holds ``{monitor}``.
            Defaults to ``"val_loss"``.
        verbose: 1 to be told of each decision. Defaults to 0.
        save_best_only: Save only what improves on the best so far. Defaults to False.
        save_weights_only: Leave out what only going on needs, as the optimizer's state. Defaults to False.
        mode: ``"min"`` where less is better, ``"max"`` where more is, ``"auto"`` to take it from the metric. Defaults to
            ``"auto"``.
        save_freq: ``"epoch"``, a number of training batches, counted across epochs, or ``every(epochs=…)``,
            ``every(steps=…)``, ``every(seconds=…)``. Defaults to ``"epoch"``.
        initial_value_threshold: The value to beat from the start, with ``save_best_only``. Defaults to none.
        keep_last: How many of the newest files written by this callback to keep. Defaults to all.
        keep_best: How many of the best files written by this callback to keep; a model that would not be among them is
            not saved. With ``keep_last`` too, a file is kept for either reason. Defaults to all.
        background: Whether another thread writes the copy while training goes on. Defaults to True.
        period: Keras 2's spelling of ``save_freq=every(epochs=…)``.
        options: Keras 2's; without effect.
        save_format: Keras 2's; without effect, since the suffix names the format.

    Raises:
        ArgumentError: An argument cannot be what it is, or the trainer cannot write such a file.
        CheckpointError: No file can be written at ``filepath``; when training begins.
        MissingMetric: Nothing reports ``monitor`` or a metric in ``filepath``; as early as that can be known.

    Example:
        >>> import tempfile
        >>> from jalon.testing import play
        >>> saver = ModelCheckpoint(tempfile.mkdtemp() + "/{epoch}.json", save_best_only=True)
        >>> run = play(saver, [{"val_loss": 0.5}, {"val_loss": 0.7}, {"val_loss": 0.4}])
        >>> run.bests["val_loss"].path.name, saver.best
        ('3.json', 0.4)

    A second training of the same model goes on from the best so far, as in Keras, so that a worse model never overwrites
    a better one; a training of another model starts afresh.

    After a resume: the best values, the files written and what was counted are those from before.

    Source: Keras's class of this name.
    """

    adds_metrics = False
    lazy_logs = True

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str | Sequence[str] = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: Mode = "auto",
        save_freq: str | int | Cadence = "epoch",
        initial_value_threshold: float | None = None,
        *,
        keep_last: int | None = None,
        keep_best: int | None = None,
        background: bool = True,
        period: int | None = None,
        options: Any = None,
        save_format: str | None = None,
    ) -> None:
        who = type(self).__name__
        if period is not None:
            name_todays_spelling(f"period={period!r}", f"Write save_freq=every(epochs={period!r}).", who=who)
            save_freq = Cadence(epochs=period)
        if options is not None:
            name_todays_spelling("options=…", "It has no effect; leave it out.", who=who)
        if save_format is not None:
            name_todays_spelling(f"save_format={save_format!r}", "The suffix names the format; leave it out.", who=who)
        self._template = _Template(filepath, who)
        self.filepath = self._template.text
        self.monitor = monitor  # type: ignore[assignment]  # it may name several
        self.mode = mode
        self.verbose = verbose
        self.save_best_only = save_best_only
        self.save_weights_only = save_weights_only
        self.save_freq = save_freq
        self.keep_last = kept_number(keep_last, "keep_last", who)
        self.keep_best = kept_number(keep_best, "keep_best", who)
        self.background = background
        self._compares = save_best_only or keep_best is not None
        names: list[Any] = list(monitor) if isinstance(monitor, (list, tuple)) else [monitor]
        self._tracks = [_Track(Monitor(name, mode=mode, best=initial_value_threshold, who=who)) for name in names]
        self._named = [Monitor(name, mode="min", who=f"{who}, whose filepath has {{{name}}},") for name in self._template.metrics]
        self.initial_value_threshold = scalar(initial_value_threshold)
        self._ticker = Ticker(save_cadence(save_freq, who))
        self._refuse_contradictions(who, names)
        self._monitor = self._tracks[0].monitor
        self._trained: Any = None
        self._troubled: set[str] = set()
        self._pending: deque[_Pending] = deque()

    def _refuse_contradictions(self, who: str, names: list[str]) -> None:
        """Refuse arguments that do not go together, whatever is going to be trained."""
        fields, by_batch = self._template.fields, self._ticker.cadence.by_batch
        if not names or len(set(names)) < len(names):
            raise ArgumentError(f"{who}: monitor must name one metric or several different ones. Received: {self.monitor!r}.")
        if len(names) > 1 and not self._compares:
            raise ArgumentError(f"{who}: several monitors need save_best_only=True or keep_best. Received: {names!r}.")
        if len(names) > 1 and "monitor" not in fields:
            raise ArgumentError(f"{who}: with several monitors filepath must hold {{monitor}}. Received: {self.filepath!r}.")
        if len(names) > 1 and self.initial_value_threshold is not None:
            raise ArgumentError(f"{who}: initial_value_threshold goes with one monitor. Received: {names!r}.")
        if (self.keep_last or self.keep_best) and not fields - {"monitor"}:
            raise ArgumentError(
                f"{who}: to keep several files, filepath must differ from one to the next; put {{epoch}} into it. "
                f"Received: {self.filepath!r}."
            )
        if "batch" in fields and not by_batch:
            raise ArgumentError(f"{who}: {{batch}} needs save_freq to count batches or seconds. Received: {self.save_freq!r}.")
        if by_batch:
            refuse_late_metrics([*(names if self._compares else ()), *self._template.metrics], self.save_freq, who)

    @property
    def best(self) -> float | None:
        """The best value so far that is in a file, of the first monitor where there are several."""
        self._settle()
        return self._monitor.best

    @best.setter
    def best(self, value: float | None) -> None:
        self._monitor.best = value

    def skips_hook(self, hook: str) -> bool:
        """Return whether a hook is not needed at this cadence."""
        unused = ("on_epoch_end",) if self._ticker.cadence.by_batch else ("on_train_batch_end", "on_epoch_begin")
        return hook in unused and getattr(type(self), hook) is getattr(ModelCheckpoint, hook)

    def awaited_metrics(self) -> Iterable[Monitor]:
        """Return the metrics that are compared, and those that ``filepath`` names."""
        compared = [track.monitor for track in self._tracks] if self._compares else []
        return (*compared, *self._named)

    def check_setup(self) -> None:
        """Refuse a format that the trainer cannot write, and a place where nothing can be written."""
        who = type(self).__name__
        fault = self.trainer.suffix_fault(self.filepath, weights_only=self.save_weights_only)
        if fault is not None:
            raise ArgumentError(f"{who}: filepath {fault}. Received: {self.filepath!r}.")
        if self.run.is_main:
            refuse_unwritable(self._template.probe, who)
            remove_leftovers(self._template.probe, same_suffix=bool(self._template.fields))

    def rehearse(self, folder: Path) -> None:
        self._template = _Template(folder / self.filepath.replace(os.sep, "_"), type(self).__name__)
        self.filepath = self._template.text
        self._ticker = Ticker(Cadence(steps=1) if self._ticker.cadence.by_batch else Cadence(epochs=1))
        self.initial_value_threshold = None
        for track in self._tracks:
            track.monitor.best = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Start afresh with another model; with the same one, go on."""
        if self._trained is not None and self._trained is not self.model:
            for track in self._tracks:
                track.monitor.best = self.initial_value_threshold
            self._tracks = [_Track(track.monitor) for track in self._tracks]
            self._ticker = Ticker(self._ticker.cadence)
        self._trained = self.model
        for monitor in (*(track.monitor for track in self._tracks), *self._named):
            monitor.restart(monitor.best)
        self._ticker.begin_training(now=self.run.clock.monotonic())

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Count batches from the epoch's first on."""
        self._ticker.begin_epoch(epoch)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Save if enough batches have passed, or enough time. One call may stand for several batches."""
        if self._ticker.after_steps(self._ticker.steps_up_to(batch), now=self.run.clock.monotonic()):
            epoch = self.run.epoch if self._ticker.epoch is None else self._ticker.epoch
            self._consider_all(_Moment(epoch, batch, dict(logs or {})))

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Save if enough epochs have passed."""
        if self._ticker.after_epoch(now=self.run.clock.monotonic()):
            self._consider_all(_Moment(epoch, None, dict(logs or {})))

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Wait until the last save is on the disk, and delete what is not kept."""
        self._settle()
        for track in self._tracks:
            self._delete_superfluous(track)

    def close(self) -> None:
        """Wait until what was saved is on the disk."""
        self._settle()

    def state_dict(self) -> dict[str, Any]:
        """Return the best values, the files written and what was counted.

        What is being written counts as written: whoever saves this state makes sure that it was. What is to be deleted then
        counts as there, so that after an interruption it still is deleted. After a save that failed there is no telling
        beforehand, so that it is waited for.
        """
        if self._troubled or any(save.outcome.done() and save.outcome.exception() for save in self._pending):
            self._settle()
        return {
            "tracks": {track.monitor.name: track.state_dict() for track in map(self._expected, self._tracks)},
            "counted": self._ticker.state_dict(now=self.run.clock.monotonic()),
        }

    def expected_bests(self) -> list[Best]:
        """Return the best of each monitor that is in a file, or is going to be once what is being written is written."""
        return [track.reached for track in map(self._expected, self._tracks) if track.reached is not None]

    def _expected(self, track: _Track) -> _Track:
        """Return what a track is going to be once what is being written for it is written."""
        monitor = copy.copy(track.monitor)
        expected = _Track(monitor, list(track.saved), track.reached)
        for save in self._pending:
            if save.track is track:
                expected.take_in(save.file, save.at, improved=save.improved)
        return expected

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what ``state_dict`` returned."""
        for track in self._tracks:
            if track.monitor.name in state["tracks"]:
                self._load_track(track, state["tracks"][track.monitor.name])
        self._ticker.load_state_dict(state["counted"], now=self.run.clock.monotonic())

    def _load_track(self, track: _Track, state: Mapping[str, Any]) -> None:
        name = track.monitor.name
        track.monitor.best = state["best"]
        track.saved = [Saved(Path(path), value) for path, value in state["saved"]]
        if state["best_path"] is not None:
            track.reached = self.run.bests[name] = Best(name, state["best"], state["best_epoch"], Path(state["best_path"]))

    # ---- one save ----------------------------------------------------------------------------------------------------

    def _consider_all(self, at: _Moment) -> None:
        self._settle()
        for track in self._tracks:
            self._consider(track, at)

    def _consider(self, track: _Track, at: _Moment) -> None:
        monitor = track.monitor
        value = self._read(monitor, at) if self._compares else scalar(at.logs.get(monitor.name))
        improved = self._compares and value is not None and monitor.improves(value, monitor.best)
        if self.save_best_only and not improved:
            if monitor.name in at.logs:
                self._say(at, f"{monitor.name} did not improve from {shown(monitor.best)}")
            return
        path = self._path(monitor.name, at)
        if path is None:
            return
        file = Saved(path, None if value is None or math.isnan(value) else value)
        if self._wants(track, file, at):
            self._start(track, file, at, improved=improved)

    def _read(self, monitor: Monitor, at: _Moment) -> float | None:
        if at.batch is not None and monitor.name not in at.logs:
            raise MissingMetric(monitor.who, monitor.name, at.logs, when=f"batch {at.batch + 1} of epoch {at.epoch + 1}")
        return monitor.read(at.logs, self.trainer, epoch=at.epoch)

    def _path(self, monitor: str, at: _Moment) -> Path | None:
        """Return the file's name, or ``None`` where this epoch lacks a metric that the name takes."""
        values: dict[str, Any] = {"epoch": at.epoch + 1, "monitor": monitor}
        if at.batch is not None:
            values["batch"] = at.batch + 1
        for named in self._named:
            value = self._read(named, at)
            if value is None:
                return None
            values[named.name] = value
        return self._template.filled(values)

    def _wants(self, track: _Track, file: Saved, at: _Moment) -> bool:
        """Return whether to save what is good enough to be, and say why."""
        name, best = track.monitor.name, track.monitor.best
        if self.save_best_only:
            self._say(at, f"{name} improved from {shown(best)} to {file.value:.5f}, saving model to {file.path}")
            return True
        if self.keep_best is not None and not self._would_stay(track, file):
            self._say(at, f"{name} is not among the best {self.keep_best}")
            return False
        self._say(at, f"saving model to {file.path}")
        return True

    def _would_stay(self, track: _Track, file: Saved) -> bool:
        namesake = next((old for old in track.saved if old.path == file.path), None)
        if namesake is not None and (file.value is None or not track.monitor.improves(file.value, namesake.value)):
            return False
        return file not in self._superfluous(track.with_newest(file), track.monitor)

    def _superfluous(self, saved: list[Saved], monitor: Monitor) -> list[Saved]:
        return superfluous(saved, keep_last=self.keep_last, keep_best=self.keep_best, direction=monitor.direction or "min")

    def _start(self, track: _Track, file: Saved, at: _Moment, *, improved: bool) -> None:
        """Copy the model and have the copy written."""
        if not self.run.is_main:
            self._keep(track, file, at, improved=improved)
            return
        about = {"epoch": at.epoch, "monitor": track.monitor.name, "value": file.value}
        if at.batch is not None:
            about["batch"] = at.batch
        outcome = WRITER.submit(self._frozen(file.path, about))
        self._pending.append(_Pending(track, file, at, improved, outcome))
        if not self.background:
            self._settle()

    def _frozen(self, path: Path, about: Mapping[str, Any]) -> Write:
        """Copy the model and return what writes the copy, or what raises the reason why it could not be copied."""
        try:
            make_folder(path.parent)
            return self.trainer.freeze(path, weights_only=self.save_weights_only, about=about)
        except OSError as exc:
            return partial(_raise, exc)

    def _settle(self) -> None:
        """Wait for what is being written, and draw the consequences."""
        while self._pending:
            save = self._pending[0]
            fault = save.outcome.exception()
            self._pending.popleft()
            if fault is None:
                self._troubled.discard(save.track.monitor.name)
                self._say(save.at, f"finished saving model to {save.file.path}")
                self._keep(save.track, save.file, save.at, improved=save.improved)
            elif isinstance(fault, OSError):
                failure = _failure(type(self).__name__, save.file.path, save.at, fault)
                self._warn_once(save.track.monitor.name, SaveFailed, failure)
            else:
                raise fault

    def _keep(self, track: _Track, file: Saved, at: _Moment, *, improved: bool) -> None:
        track.take_in(file, at, improved=improved)
        self.run.files[self.name or type(self).__name__] = file.path
        where = {"epoch": at.epoch} if at.batch is None else {"epoch": at.epoch, "batch": at.batch}
        self.run.record("save", **where, path=str(file.path), monitor=track.monitor.name, value=file.value, best=improved)
        if improved and track.reached is not None:
            self.run.bests[track.monitor.name] = track.reached
        self._delete_superfluous(track)

    def _delete_superfluous(self, track: _Track) -> None:
        for old in self._superfluous(track.saved, track.monitor):
            if self._delete(old.path):
                track.saved.remove(old)

    def _delete(self, path: Path) -> bool:
        """Delete a file; one that cannot be deleted stays in the list, to be tried again."""
        if not self.run.is_main:
            return True
        try:
            path.unlink(missing_ok=True)
        except OSError as exc:
            self._warn_once(
                "",
                JalonWarning,
                f"{type(self).__name__} cannot delete {path}: {exc.strerror}. It is tried again after the next save; "
                "delete it by hand if it stays.",
            )
            return False
        return True

    def _warn_once(self, what: str, category: type[Warning], message: str) -> None:
        if what not in self._troubled:
            self._troubled.add(what)
            self.run.record("warning", who=type(self).__name__, text=message)
            warnings.warn(message, category, stacklevel=2)

    def _say(self, at: _Moment, message: str) -> None:
        if self.verbose > 0:
            self.run.say(f"Epoch {at.epoch + 1}: {message}")


@dataclass(slots=True)
class _Track:
    """Is one monitor, the files written for it, in order, and when it was best."""

    monitor: Monitor
    saved: list[Saved] = field(default_factory=list)
    reached: Best | None = None

    def take_in(self, file: Saved, at: _Moment, *, improved: bool) -> None:
        self.saved = self.with_newest(file)
        if improved and file.value is not None:
            self.monitor.best = file.value
            self.reached = Best(self.monitor.name, file.value, at.epoch, file.path)

    def state_dict(self) -> dict[str, Any]:
        return {
            "best": self.monitor.best,
            "best_epoch": self.reached and self.reached.epoch,
            "best_path": self.reached and str(self.reached.path),
            "saved": [[str(file.path), file.value] for file in self.saved],
        }

    def with_newest(self, file: Saved) -> list[Saved]:
        return [*(old for old in self.saved if old.path != file.path), file]


@dataclass(frozen=True, slots=True)
class _Moment:
    epoch: int
    batch: int | None
    logs: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Pending:
    """Is a save under way."""

    track: _Track
    file: Saved
    at: _Moment
    improved: bool
    outcome: Outcome


class _Template:
    """Is a path with fields to fill in.

    Args:
        filepath: The path.
        who: Whose argument it is, for messages.
    """

    def __init__(self, filepath: str | os.PathLike[str], who: str) -> None:
        if not isinstance(filepath, (str, os.PathLike)) or not os.fspath(filepath):
            raise ArgumentError(f"{who}: filepath must be a path, as 'model.h5'. Received: {filepath!r}.")
        self.text = os.fspath(filepath)
        try:
            self.fields = set(_fields(self.text))
            self.text.format_map(_Anything(epoch=1, batch=1, monitor=""))
        except ValueError as exc:
            raise ArgumentError(
                f"{who}: filepath is no valid template: {exc}. Received: {self.text!r}. "
                "Fields are {epoch}, {batch}, {monitor} and metrics, as {val_loss:.2f}; a brace is written twice."
            ) from exc

    @property
    def metrics(self) -> list[str]:
        """The metrics it takes."""
        return sorted(self.fields - {"epoch", "batch", "monitor"})

    @property
    def suffix(self) -> str:
        """The suffix of every file of this name."""
        return Path(self.text).suffix

    @property
    def probe(self) -> Path:
        """A path that can be written to if any of this name can, as far as that can be told beforehand."""
        if not self.fields:
            return self.filled({})
        folder = Path(self.text).parent
        while "{" in str(folder):
            folder = folder.parent
        return folder / f"checkpoint{self.suffix}"

    def filled(self, values: Mapping[str, Any]) -> Path:
        """Return the path with its fields filled in."""
        return Path(self.text.format_map(values))


def _raise(exc: OSError) -> None:
    raise exc


def _fields(template: str) -> Iterator[str]:
    for _, name, spec, _ in string.Formatter().parse(template):
        if name is not None:
            if not name or name.isdecimal() or set(".[") & set(name) or "{" in (spec or ""):
                raise ValueError(f"{{{name}}} is not the name of one metric")
            yield name


class _Anything(dict[str, Any]):
    """Fills a field with something that takes any format, to try the rest of a template."""

    def __missing__(self, name: str) -> _Anything:
        return self

    def __format__(self, spec: str) -> str:
        return ""


def _failure(who: str, path: Path, at: _Moment, exc: OSError) -> str:
    reason, remedy = exc.strerror or str(exc), "Check that the folder is there and can be written to."
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        folder = next(folder for folder in path.absolute().parents if folder.exists())
        reason += f" ({shutil.disk_usage(folder).free:,} bytes free)"
        remedy = "Free space there, or save less, as with keep_last or save_weights_only=True."
    return (
        f"{who}: the model of epoch {at.epoch + 1} was not saved to {path}: {reason}. "
        f"What was saved before is intact, and training goes on. {remedy}"
    )
