"""BackupAndRestore: go on with an interrupted training where it was last backed up."""

from __future__ import annotations

import datetime
import errno
import math
import os
import shutil
import sys
import warnings
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import asdict
from functools import cache, partial
from operator import index
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from jalon.callbacks._arrays import to_numpy
from jalon.callbacks._backup import IDENTITY, BackupFolder, Content, Superseded
from jalon.callbacks._randomness import load_random_state, random_state
from jalon.callbacks._saving import expected_bests
from jalon.callbacks.history import History
from jalon.core.cadence import Cadence, Ticker
from jalon.core.callback import Callback, Logs
from jalon.core.logs import scalar
from jalon.core.run import Position
from jalon.errors import ArgumentError, CheckpointError, JalonWarning, SaveFailed
from jalon.store import atomic
from jalon.store.snapshot import MANIFEST, Snapshot
from jalon.store.writer import WRITER

Resume = Literal["auto"] | bool

_PACKAGES = ("jalon", "numpy", "torch", "keras", "jax", "tensorflow")
_fits: Counter[str] = Counter()
"""How many trainings of this process have ended, by their ``run_dir``."""


class BackupAndRestore(Callback):
    """Back up the training as it goes on, and go on from there when it is started again after an interruption.

    Start the interrupted program again as it is. Under ``jalon.Model.fit`` the training then goes on with the batch after the
    last backup, and ends as if nothing had happened: weights, optimizer, scheduler, random numbers, the order of the data,
    half-done metrics, the state of every callback and the history are put back, and log files are cut back to where they
    were. Under ``jalon.bridges.keras`` it goes on with the epoch after the last one that was backed up. In Keras's own list,
    and in a loop written by hand, weights, optimizer and epoch are put back, as Keras does it.

    When the training has ended as planned or by a stop, the backup is deleted, so that the next one begins at its beginning;
    after an exception, a kill or a power cut it is there. A backup is either whole or not there, at whatever moment the
    process dies, and the one before it is kept: where the newest was damaged since, training goes on from the other and says
    so. A backup of another model, optimizer or kind of data is refused, and what differs is named.

    SIGTERM, SIGINT (Ctrl-C) and SIGUSR1, with which schedulers announce the end of a job, let the step end, back up, and leave
    with the signal's exit code.

    An epoch or a batch whose loss is NaN or infinite is not backed up, and a training that ends with such a loss, as by
    ``TerminateOnNaN``, keeps the backup from before. A backup that cannot be written, as on a full disk, leaves the old one
    in place; a warning says so, and training goes on.

    Backups are copied when they are due, and written at most four times a second: of shorter epochs, and on a slower disk, the
    newest is. A kill then costs that much work at most, which is done again; whatever else ends the training costs none.

    Args:
        backup_dir: The folder, of this callback alone. Missing folders are made.
        save_freq: ``"epoch"``, or a number of training batches, counted across epochs. False backs up nothing of its own
            accord, and still goes on from a backup that is there. Defaults to ``"epoch"``.
        double_checkpoint: Keras's; the backup before the newest is always kept.
        delete_checkpoint: Whether to delete the backup when training has ended. Where it stays, the same training started
            again has nothing left to do and returns its history, and one with more epochs goes on. Defaults to True.
        every_seconds: Back up after a batch besides, once so many seconds have passed since the last backup. Defaults to
            never.
        background: Whether another thread writes what was copied while training goes on. Defaults to True.
        resume: ``"auto"`` goes on where there is something to go on with; True insists on it; False begins anew, and what is
            there is deleted. Defaults to ``"auto"``.

    Raises:
        ArgumentError: An argument cannot be what it is.
        CheckpointError: Nothing can be written in ``backup_dir``, or what is backed up there is damaged; when training begins.
        CheckpointMismatch: What is backed up there belongs to another training.
        FolderInUse: Another process backs up there.

    Example:
        >>> from jalon.testing import play
        >>> class PowerCut(Callback):
        ...     def on_epoch_begin(self, epoch, logs=None):
        ...         if epoch == 2:
        ...             raise RuntimeError("power cut")
        >>> script = [{"loss": 0.8}, {"loss": 0.4}, {"loss": 0.2}, {"loss": 0.1}]
        >>> try:
        ...     run = play([BackupAndRestore("backup"), PowerCut()], script)
        ... except RuntimeError:
        ...     run = play(BackupAndRestore("backup"), script)
        Going on with epoch 3 from backup.
        >>> run.history
        {'loss': [0.8, 0.4, 0.2, 0.1]}

    Source: Keras's class of this name.
    """

    adds_metrics = False
    lazy_logs = True
    order = sys.maxsize
    rest_seconds: ClassVar[float] = 0.25
    """Between two writes passes so much time at least; of shorter epochs the newest is written."""

    def __init__(
        self,
        backup_dir: str | os.PathLike[str],
        save_freq: Literal["epoch", False] | int = "epoch",
        double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
        *,
        every_seconds: float | None = None,
        background: bool = True,
        resume: Resume = "auto",
    ) -> None:
        who = type(self).__name__
        self.backup_dir = _path_text(backup_dir, who=who)
        self.save_freq = save_freq
        self.double_checkpoint = double_checkpoint
        self.delete_checkpoint = delete_checkpoint
        self.every_seconds = every_seconds
        self.background = background
        if resume not in ("auto", True, False):
            raise ArgumentError(f"{who}: resume must be 'auto', True or False. Received: resume={resume!r}.")
        self.resume = resume
        batches = _batches(save_freq, who=who)
        cadences = [] if batches is None else [Cadence(steps=batches)]
        cadences += [] if every_seconds is None else [Cadence(seconds=every_seconds)]
        self._tickers = [Ticker(cadence) for cadence in cadences]
        self._folder = BackupFolder(Path(self.backup_dir), who=who)
        self._run_dir: str | None = None
        self._forget()

    @classmethod
    def of_run(cls, run_dir: str | os.PathLike[str], *, resume: Resume = "auto") -> Self:
        """Return what makes the next training of this process last in a run's folder, of which it is not the first perhaps."""
        place = _path_text(run_dir, who="run_dir")
        key = os.path.realpath(place)
        ordinal = _fits[key] + 1
        folder = Path(place) if ordinal == 1 else Path(place, f"fit-{ordinal}")
        made = cls(folder / "backup", delete_checkpoint=False, every_seconds=60, resume=resume)
        made._run_dir = key
        return made

    @property
    def run_folder(self) -> Path:
        """The folder of the run that is backed up."""
        return Path(self.backup_dir).parent

    def _forget(self) -> None:
        self.position: Position | None = None
        self.finished = False
        self._snapshot: Snapshot | None = None
        self._save_is_due = self._ended_soundly = False
        self._told: set[str] = set()
        self._writes: list[tuple[Future[None], Content]] = []
        self._held: Content | None = None
        self._reached = Position(0, 0)
        self._rests_until = -math.inf
        self._at_validation: tuple[Position, dict[str, Any], int] | None = None

    # ---- the names that Keras's has ----------------------------------------------------------------------------------

    @property
    def _current_epoch(self) -> int:
        """The epoch in hand, from 0; at an epoch's end the next."""
        return self._reached.epoch

    @property
    def _last_batch_seen(self) -> int:
        """The last batch of it that is done."""
        return self._reached.batch - 1

    @property
    def _weights_path(self) -> Path:
        """The weights of the newest backup."""
        return self._path_of(f"model{self._suffix}", 0)

    @property
    def _prev_weights_path(self) -> Path:
        """The weights of the backup before it."""
        return self._path_of(f"model{self._suffix}", 1)

    @property
    def _training_metadata_path(self) -> Path:
        """What the newest backup says of itself."""
        return self._path_of(MANIFEST, 0)

    @property
    def _prev_training_metadata_path(self) -> Path:
        """What the backup before it says of itself."""
        return self._path_of(MANIFEST, 1)

    def _path_of(self, name: str, place: int) -> Path:
        self._settle()
        folders = sorted(path.parent for path in Path(self.backup_dir).glob(f"*/{MANIFEST}"))
        return folders[-1 - place] / name if len(folders) > place else Path(self.backup_dir, name)

    @property
    def _suffix(self) -> str:
        """The preferred format that holds weights without the structure: in Keras not the first, which needs every class."""
        preferred = next(iter(self.trainer.suffixes), "")
        return ".weights.h5" if self.trainer.suffix_fault(f"latest{preferred}", weights_only=True) else preferred

    # ---- before training -----------------------------------------------------------------------------------------------

    def skips_hook(self, hook: str) -> bool:
        """Return whether batches need not be counted."""
        counts = self._tickers or type(self).on_train_batch_end is not BackupAndRestore.on_train_batch_end
        return hook == "on_train_batch_end" and not counts

    def rehearse(self, folder: Path) -> None:
        self.backup_dir, self.resume = str(folder), "auto"
        self._folder = BackupFolder(folder, who=type(self).__name__)

    def check_setup(self) -> None:
        """Claim the folder, and find what there is to go on with."""
        if self.run.keeps:
            self._find()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Go on from the backup where the loop does no more than Keras's; others call ``restore``."""
        if not self.run.keeps:
            self._find()
            if self._snapshot is not None:
                self._load_model(self._snapshot)
        for ticker in self._tickers:
            ticker.begin_training(now=self.run.clock.monotonic())
        if self._commit not in self.run.commits:
            self.run.commits.append(self._commit)
        self.run.files[self.name or type(self).__name__] = Path(self.backup_dir)

    def _find(self) -> None:
        """Claim the folder, settle whether this is a new run, and refuse what is another training's."""
        self.close()
        self._forget()
        if not self.run.is_main:
            return
        if self.run.keeps and self.run.keeper is not None:
            raise ArgumentError(f"{type(self).__name__}: a training is backed up in one place. Received: two of them.")
        atomic.refuse_unwritable(Path(self.backup_dir, IDENTITY), type(self).__name__)
        try:
            self._folder.claim()
            self._settle_what_it_is()
        except BaseException as exc:
            self._folder.release()
            if isinstance(exc, OSError) and not isinstance(exc, CheckpointError):
                reason = _reason(exc, self.backup_dir)
                raise CheckpointError(f"{type(self).__name__} cannot back up in {self.backup_dir}: {reason}") from exc
            raise
        if self.run.keeps:
            self.run.keeper = self

    def _settle_what_it_is(self) -> None:
        """Settle whether this is a new training or one to go on with."""
        found = [] if self.resume is False else self._kept()
        if self.resume is True and not found:
            raise CheckpointError(f"{type(self).__name__}: there is nothing to go on with in {self.backup_dir}.")
        if found:
            self._choose(found)
        else:
            self.run.id = self._folder.begin(self.trainer.fingerprint())

    def _kept(self) -> list[Snapshot]:
        identity = self._folder.identity()
        if identity is None:
            return []
        found = self._folder.find()
        if found:
            self._folder.refuse_other(identity["fingerprint"], self.trainer.fingerprint())
            self.run.id = identity["id"]
        return found

    def _choose(self, found: list[Snapshot]) -> None:
        """Take the newest; of a training that is to go on beyond its end, the newest from before that end."""
        newest = found[0]
        finished = newest.about["finished"]
        if finished and newest.about["stop_reason"] is None and self.run.epochs > newest.about["epoch"]:
            newest = next((one for one in found if not one.about["finished"]), newest)
            finished = False
        self._snapshot, self.finished = newest, finished
        self.run.resumed = True
        within = newest.about["batch"] if self.run.keeps and self.trainer.resumes_within_epochs else 0
        self.position = Position(newest.about["epoch"], within)
        self.run.initial_epoch = newest.about["epoch"]

    # ---- what the driver of a run calls ----------------------------------------------------------------------------------

    def restore(self) -> None:
        """Put everything back as it was, or keep how it is at the beginning."""
        snapshot = self._snapshot
        if snapshot is None:
            self._keep_the_beginning()
            return
        try:
            self._put_back(snapshot)
        except OSError as exc:
            if isinstance(exc, CheckpointError):
                raise
            reason = _reason(exc, self.backup_dir)
            raise CheckpointError(f"{type(self).__name__} cannot go on from {self.backup_dir}: {reason}") from exc
        self._say_where(snapshot)
        if self.finished:
            self._count_fit()

    def _put_back(self, snapshot: Snapshot) -> None:
        self._load_model(snapshot)
        state = self._folder.read_state(snapshot)
        self._load_history(snapshot)
        if state is not None:
            self._load(state)

    def before_validation(self, position: Position) -> None:
        """Note how things stand, in case training has to be left while the validation runs."""
        state, count = self._state()
        self._at_validation = (position, state, count)

    def save(self, position: Position) -> None:
        """Back up now, although it is not due, and wait until that is on the disk."""
        self._save(position)
        self._settle()

    def finish(self) -> None:
        """Delete the backup, or keep how training ended."""
        if self._ended_soundly and self.delete_checkpoint:
            self._delete()
        elif self._ended_soundly:
            self._save(Position(self.run.epoch + 1, 0), finished=True)
            self._settle()
        self._count_fit()

    # ---- the hooks -------------------------------------------------------------------------------------------------------

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        for ticker in self._tickers:
            ticker.begin_epoch(epoch)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Back up if enough batches have passed, or enough time. One call may stand for several batches."""
        self._reached = Position(self.run.epoch, batch + 1)
        now = self.run.clock.monotonic()
        due = [ticker.after_steps(ticker.steps_up_to(batch), now=now) for ticker in self._tickers]
        if any(due) and self._is_sound(logs):
            self._save(Position(self.run.epoch, batch + 1))

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Back up what the epoch has brought, unless the loop has a better moment for it."""
        self._at_validation = None
        self._reached = Position(epoch + 1, 0)
        self._save_is_due = self.save_freq == "epoch" and self._is_sound(logs)
        if not self.run.commits_epochs:
            self.run.epoch = epoch
            self._commit()

    def _commit(self) -> None:
        """Back up when a scheduler has stepped too, and callbacks after this one have done their work."""
        if self._save_is_due:
            self._save_is_due = False
            self._save(Position(self.run.epoch + 1, 0))

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Delete the backup where the loop does no more than Keras's, unless training has failed by its loss."""
        self._settle()
        self._ended_soundly = self._is_sound(logs)
        if not self.run.keeps and self._ended_soundly and self.delete_checkpoint:
            self._delete()

    def on_exception(self, exc: BaseException) -> None:
        """Back up a training that is left while its validation runs, as it was before that."""
        if self._at_validation is not None and self.run.leave_now and exc is self.run.left():
            position, state, count = self._at_validation
            self._save(position, state=state, count=count)
        if isinstance(exc, Exception) and self.run.keeper is self:
            self._count_fit()

    def close(self) -> None:
        """Wait for what is being written, and let others write there."""
        self._settle()
        self._folder.release()

    def _count_fit(self) -> None:
        if self._run_dir is not None:
            _fits[self._run_dir] += 1

    # ---- save ------------------------------------------------------------------------------------------------------------

    def _is_sound(self, logs: Mapping[str, Any] | None) -> bool:
        """Return whether the loss is finite, and say once that the backup is kept where it is not."""
        loss = scalar((logs or {}).get("loss"))
        if loss is None or math.isfinite(loss):
            return True
        if "loss" not in self._told:
            self._told.add("loss")
            self.run.say(
                f"{type(self).__name__}: the loss is {loss}. The model is not backed up as it is; "
                f"what was backed up before stays in {self.backup_dir}."
            )
        return False

    def _state(self) -> tuple[dict[str, Any], int]:
        """Return all but the model as plain data, and how many epochs the history has."""
        run, history = self.run, self._history()
        callbacks = {} if run.callbacks is None else run.callbacks.state_dict(without=History)
        state = {
            "run": run.state_dict(),
            "callbacks": _plain(callbacks),
            "trainer": self.trainer.loop_state(),
            "random": random_state(),
        }
        return state, 0 if history is None else len(history.epoch)

    def _save(self, position: Position, *, state: dict[str, Any] | None = None, count: int = 0, finished: bool = False) -> None:
        """Copy everything, and have the copy written, now or when the last write is a moment ago."""
        if not self.run.is_main:
            return
        self._settle(wait=False)
        try:
            content = self._copied(position, state=state, count=count, finished=finished)
        except OSError as exc:
            self._warn_of(exc)
            return
        self._drop_held()
        self._held = content
        now = self.run.clock.monotonic()
        for ticker in self._tickers:
            ticker.begin_rest(now=now)
        if now >= self._rests_until:
            self._write_held()
        if not self.background:
            self._settle()

    def _drop_held(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            self._folder.snapshots.discard(held.folder)

    def _write_held(self) -> None:
        """Have the copy that is held written. One that still waits for another write gives way to it."""
        held, self._held = self._held, None
        if held is None:
            return
        if self._writes and self._writes[-1][0].cancel():
            self._folder.snapshots.discard(self._writes.pop()[1].folder)
        self._writes.append((WRITER.submit(partial(self._folder.write, held)), held))
        self._rests_until = self.run.clock.monotonic() + self.rest_seconds

    def _copied(self, position: Position, *, state: dict[str, Any] | None, count: int, finished: bool) -> Content:
        own = [outcome for outcome, _ in self._writes]
        after = [outcome for outcome in WRITER.pending() if outcome not in own]
        if state is None and self.run.keeps:
            state, count = self._state()
        folder = self._folder.snapshots.begin()
        try:
            about = {"epoch": position.epoch, "batch": position.batch}
            write_model = self.trainer.freeze(folder / f"model{self._suffix}", weights_only=False, about=about, exposed=False)
        except BaseException:
            self._folder.snapshots.discard(folder)
            raise
        content = Content(folder, write_model, about | self._about(finished=finished), state, after=after)
        history, told = self._history(), self.run.callbacks
        if history is not None:
            content.rows, content.count = history.rows_from, count
        if told is not None:
            growing = [callback for callback in told if isinstance(callback, Callback)]
            content.growing = [path for callback in growing for path in callback.growing_files()]
            content.write_growing = [callback.write_growing_files for callback in growing]
        return content

    def _about(self, *, finished: bool) -> dict[str, Any]:
        run = self.run
        return {
            "finished": finished,
            "stop_reason": run.stop_reason,
            "id": run.id,
            "bests": self._bests(),
            "versions": _versions(),
            "written_at": datetime.datetime.fromtimestamp(run.clock.wall(), datetime.UTC).isoformat(timespec="seconds"),
        }

    def _bests(self) -> list[dict[str, Any]]:
        return [asdict(best) | {"path": best.path and str(best.path)} for best in expected_bests(self.run).values()]

    def _history(self) -> History | None:
        """Return the history of the run; all that there may be are the same."""
        told = self.run.callbacks
        return None if told is None else next((callback for callback in told if isinstance(callback, History)), None)

    def _keep_the_beginning(self) -> None:
        """Make the first backup, before anything is logged that would have to be told from what another start logs."""
        position = Position(self.run.initial_epoch, 0)
        try:
            self._folder.write(self._copied(position, state=None, count=0, finished=False))
        except OSError as exc:
            reason = _reason(exc, self.backup_dir)
            raise CheckpointError(f"{type(self).__name__} cannot back up in {self.backup_dir}: {reason}") from exc

    def _settle(self, *, wait: bool = True) -> None:
        """Have everything written and wait for it, or look what is done, and say if it failed."""
        if wait:
            self._write_held()
        while self._writes and (wait or self._writes[0][0].done()):
            outcome, _ = self._writes.pop(0)
            fault = outcome.exception()
            if fault is None:
                self._told.discard("save")
            elif isinstance(fault, OSError):
                self._warn_of(fault)
            else:
                raise fault
        undeleted, self._folder.undeleted = self._folder.undeleted, None
        if undeleted is not None:
            self._warn_once("delete", JalonWarning, self._undeleted(undeleted))

    def _warn_of(self, fault: OSError) -> None:
        if not isinstance(fault, Superseded):  # what it counted on has been warned of
            self._warn_once(
                "save",
                SaveFailed,
                f"{type(self).__name__}: nothing was backed up in {self.backup_dir}: {_reason(fault, self.backup_dir)} "
                "The backup from before is intact, and training goes on.",
            )

    def _warn_once(self, what: str, category: type[Warning], message: str) -> None:
        if what not in self._told:
            self._told.add(what)
            self.run.record("warning", who=type(self).__name__, text=message)
            warnings.warn(message, category, stacklevel=2)

    def _undeleted(self, exc: OSError) -> str:
        return (
            f"{type(self).__name__} cannot delete {exc.filename or self.backup_dir}: {exc.strerror}. "
            "Delete it by hand if it stays: a training that finds a backup goes on from it."
        )

    def _delete(self) -> None:
        if not self.run.is_main:
            return
        self._settle()
        try:
            self._folder.remove()
        except OSError as exc:
            self._warn_once("delete", JalonWarning, self._undeleted(exc))

    # ---- restore ---------------------------------------------------------------------------------------------------------

    def _load_model(self, snapshot: Snapshot) -> None:
        self.trainer.load(snapshot.path / f"model{self._suffix}")

    def _load_history(self, snapshot: Snapshot) -> None:
        rows = self._folder.read_history(snapshot)
        for callback in self.run.callbacks or ():
            if isinstance(callback, History):
                callback.begin_with(rows)

    def _load(self, state: Mapping[str, Any]) -> None:
        run = self.run
        run.load_state_dict(state["run"])
        if run.callbacks is not None:
            run.callbacks.load_state_dict(state["callbacks"], without=History)
        self.trainer.load_loop_state(state["trainer"])
        load_random_state(state["random"])

    def _say_where(self, snapshot: Snapshot) -> None:
        if not self.params.get("verbose", 1):
            return
        epoch, batch = self.position or (0, 0)
        reason = snapshot.about["stop_reason"]
        if self.finished:
            ended = f"it stopped before epoch {epoch + 1}: {reason}" if reason else f"it has trained {epoch} epochs"
            self.run.say(f"The training in {self.backup_dir} is finished: {ended}. Its history is returned.")
        else:
            self.run.say(f"Going on with epoch {epoch + 1}{f', batch {batch + 1},' if batch else ''} from {self.backup_dir}.")


def _plain(value: Any) -> Any:
    """Return a state with tensors as arrays."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return to_numpy(value) if hasattr(value, "detach") else value


@cache
def _versions() -> dict[str, str]:
    loaded = {name: sys.modules[name] for name in _PACKAGES if name in sys.modules}
    return {"python": sys.version.split()[0]} | {name: str(getattr(it, "__version__", "")) for name, it in loaded.items()}


def _reason(exc: OSError, folder: str) -> str:
    """Return why something could not be written, and what to do."""
    told = exc.strerror or str(exc)
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        with suppress(OSError):
            told += f" ({shutil.disk_usage(folder).free:,} bytes free)"
        return f"{told}. Free space for two backups there."
    return f"{told}. Check that the folder is there and can be written to."


# ---- the arguments ---------------------------------------------------------------------------------------------------------


def _path_text(backup_dir: Any, *, who: str) -> str:
    if not backup_dir:
        raise ArgumentError(f"{who}: Empty `backup_dir` argument passed. Received: {backup_dir!r}. Pass the path of a folder.")
    try:
        return os.fsdecode(backup_dir)
    except TypeError as exc:
        raise ArgumentError(f"{who}: backup_dir must be the path of a folder. Received: {backup_dir!r}.") from exc


def _batches(save_freq: Any, *, who: str) -> int | None:
    """Return after how many batches to back up, or ``None`` where batches do not count."""
    if save_freq is False or (isinstance(save_freq, str) and save_freq == "epoch"):
        return None
    try:
        number = 0 if isinstance(save_freq, bool) else index(save_freq)
    except TypeError:
        number = 0
    if number < 1:
        raise ArgumentError(
            f"{who}: Invalid value for argument `save_freq`. Received: save_freq={save_freq!r}. "
            "Expected 'epoch', a positive whole number of batches, or False."
        )
    return number
