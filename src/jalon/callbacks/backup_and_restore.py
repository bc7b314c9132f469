"""BackupAndRestore: go on with an interrupted training where it was last backed up."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import re
import warnings
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from operator import index
from pathlib import Path
from typing import Any, Literal

from jalon.core.cadence import Cadence, Ticker
from jalon.core.callback import Callback, Logs
from jalon.core.logs import scalar
from jalon.errors import ArgumentError, CheckpointError, JalonWarning, SaveFailed
from jalon.store import atomic

_METADATA = "training_metadata.json"


class BackupAndRestore(Callback):
    """Back up the training as it goes on, and go on from there when it is started again after an interruption.

    Start the interrupted program again as it is: weights and optimizer are put back as training begins, and training goes
    on with the epoch that was not done. When it has ended as planned or by a stop, the backup is deleted, so that the next
    training begins at its beginning; after an exception, a kill or a power cut it is there.

    A backup is either whole or not there, at whatever moment the process dies: the new weights are written beside the old,
    then the metadata, which name them, replace the old ones, and only then the old weights are deleted. A backup that was
    damaged since is never loaded: the one before it is, with ``double_checkpoint``, or training is refused.

    An epoch or a batch whose loss is NaN or infinite is not backed up, and a training that ends with such a loss, as by
    ``TerminateOnNaN``, keeps the backup from before. A backup that cannot be written, as on a full disk, leaves the old one
    in place; a warning says so, and training goes on.

    Args:
        backup_dir: The folder, of this callback alone. Missing folders are made.
        save_freq: ``"epoch"``, or a number of training batches, counted across epochs. A backup from the middle of an epoch
            holds the weights of its batch, and the epoch in hand is run again from its start. False backs up nothing, and
            still goes on from a backup that is there. Defaults to ``"epoch"``.
        double_checkpoint: Whether to keep the backup before the newest too. Defaults to False.
        delete_checkpoint: Whether to delete the backup when training has ended. Where it stays, the next training goes on
            from it: with as many epochs there is nothing left to do. Defaults to True.

    Raises:
        ArgumentError: An argument cannot be what it is.
        CheckpointError: Nothing can be written in ``backup_dir``, or what is backed up there is damaged or belongs to another
            model; when training begins.

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
        >>> run.initial_epoch, run.history
        (2, {'loss': [0.2, 0.1]})

    Source: Keras's class of this name.
    """

    adds_metrics = False
    lazy_logs = True

    def __init__(
        self,
        backup_dir: str | os.PathLike[str],
        save_freq: Literal["epoch", False] | int = "epoch",
        double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
    ) -> None:
        self.backup_dir = _path_text(backup_dir, who=type(self).__name__)
        self.save_freq = save_freq
        self.double_checkpoint = double_checkpoint
        self.delete_checkpoint = delete_checkpoint
        batches = _batches(save_freq, who=type(self).__name__)
        self._ticker = None if batches is None else Ticker(Cadence(steps=batches))
        self._folder = Path(self.backup_dir)
        self._training_metadata_path = self._folder / _METADATA
        self._prev_training_metadata_path = self._folder / f"{_METADATA}.bkp"
        self._current_epoch = 0
        self._last_batch_seen = 0
        self._save_is_due = False
        self._told_of_loss = False

    @property
    def _weights_path(self) -> Path:
        """The weights of the present backup."""
        return self._weights_named_in(self._training_metadata_path)

    @property
    def _prev_weights_path(self) -> Path:
        """The weights of the backup before it."""
        return self._weights_named_in(self._prev_training_metadata_path)

    @property
    def _suffix(self) -> str:
        """The preferred format that holds weights without the structure: in Keras not the first, which needs every class."""
        preferred = next(iter(self.trainer.suffixes), "")
        return ".weights.h5" if self.trainer.suffix_fault(f"latest{preferred}", weights_only=True) else preferred

    def skips_hook(self, hook: str) -> bool:
        """Return whether batches need not be counted."""
        counts = self._ticker is not None or type(self).on_train_batch_end is not BackupAndRestore.on_train_batch_end
        return hook == "on_train_batch_end" and not counts

    def check_setup(self) -> None:
        """Refuse a folder in which nothing can be written."""
        if self.run.is_main:
            atomic.refuse_unwritable(self._training_metadata_path, type(self).__name__)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Go on from the backup, if there is one."""
        self._current_epoch = self.run.initial_epoch
        if self._ticker is not None:
            self._ticker = Ticker(self._ticker.cadence)
        self._save_is_due = self._told_of_loss = False
        if self._commit not in self.run.commits:
            self.run.commits.append(self._commit)
        self.run.files[self.name or type(self).__name__] = self._folder
        backup = self._find()
        if backup is not None:
            self.trainer.load(self._folder / backup.weights)
            self._current_epoch = self.run.initial_epoch = backup.epoch

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._current_epoch = epoch
        if self._ticker is not None:
            self._ticker.begin_epoch(epoch)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Back up if enough batches have passed. One call may stand for several batches."""
        self._last_batch_seen = batch
        ticker = self._ticker
        if ticker is not None and ticker.after_steps(ticker.steps_up_to(batch), now=0.0) and self._is_sound(logs):
            self._save()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Back up what the epoch has brought, unless the loop has a better moment for it."""
        self._save_is_due = self.save_freq == "epoch" and self._is_sound(logs)
        self._current_epoch, self._last_batch_seen = epoch + 1, 0
        if not self.run.commits_epochs:
            self._commit()

    def _commit(self) -> None:
        """Back up when a scheduler has stepped too, and callbacks after this one have done their work."""
        if self._save_is_due:
            self._save_is_due = False
            self._save()

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Delete the backup, unless training has failed by its loss."""
        if self._is_sound(logs) and self.delete_checkpoint and self.run.is_main:
            self._delete_all_but(())
            with suppress(OSError):  # what others put there stays
                self._folder.rmdir()

    # ---- save ------------------------------------------------------------------------------------------------------------

    def _is_sound(self, logs: Mapping[str, Any] | None) -> bool:
        """Return whether the loss is finite, and say once that the backup is kept where it is not."""
        loss = scalar((logs or {}).get("loss"))
        if loss is None or math.isfinite(loss):
            return True
        if not self._told_of_loss:
            self._told_of_loss = True
            self.run.say(
                f"{type(self).__name__}: the loss is {loss}. The model is not backed up as it is; "
                f"what was backed up before stays in {self.backup_dir}."
            )
        return False

    def _save(self) -> None:
        if not self.run.is_main:
            return
        try:
            self._replace_backup()
        except OSError as exc:
            warnings.warn(
                f"{type(self).__name__}: nothing was backed up in {self.backup_dir}: {exc.strerror or exc}. "
                "The backup from before is intact, and training goes on. Check that the folder can be written to and has "
                "space for one backup more.",
                SaveFailed,
                stacklevel=2,
            )

    def _replace_backup(self) -> None:
        """Write weights under an unused name; the metadata, which name them, make them the backup."""
        atomic.make_folder(self._folder)
        present, previous = _told(self._training_metadata_path), _told(self._prev_training_metadata_path)
        taken = {backup.weights for backup in (present, previous) if backup is not None}
        path = next(path for path in map(self._numbered, itertools.count(1)) if path.name not in taken)
        position = {"epoch": self._current_epoch, "batch": self._last_batch_seen}
        self.trainer.freeze(path, weights_only=False, about=position)()
        backup = _Backup(**position, weights=path.name, sha256=_digest(path))
        kept = {_METADATA, backup.weights}
        if self.double_checkpoint and present is not None:
            present.write(self._prev_training_metadata_path)
            kept |= {self._prev_training_metadata_path.name, present.weights}
        backup.write(self._training_metadata_path)
        self._delete_all_but(kept)

    def _numbered(self, number: int) -> Path:
        return self._folder / f"latest-{number}{self._suffix}"

    def _delete_all_but(self, kept: Collection[str]) -> None:
        """Delete what this callback wrote, and what a killed process left half written."""
        own = re.compile(rf"\.?(latest(-\d+)?{re.escape(self._suffix)}|{re.escape(_METADATA)})(\.bkp)?(\.tmp-.*)?")
        paths = self._folder.iterdir() if self._folder.is_dir() else ()
        for path in sorted(paths, reverse=True):  # the older metadata, metadata, weights: what is named is always there
            if path.name not in kept and own.fullmatch(path.name):
                self._delete(path)

    def _delete(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as exc:
            warnings.warn(
                f"{type(self).__name__} cannot delete {path}: {exc.strerror}. Delete it by hand: a training that finds a "
                "backup goes on from it.",
                JalonWarning,
                stacklevel=2,
            )

    # ---- restore ---------------------------------------------------------------------------------------------------------

    def _find(self) -> _Backup | None:
        """Return the newest backup that is whole, or ``None`` where there is none at all."""
        faults = []
        for metadata in (self._training_metadata_path, self._prev_training_metadata_path):
            try:
                backup = _checked(metadata)
            except _Damaged as exc:
                faults.append(str(exc))
                continue
            if backup is None:
                continue
            if faults:
                self._fall_back(backup, faults[0])
            return backup
        if faults:
            raise CheckpointError(
                f"{type(self).__name__} cannot go on from {self.backup_dir}: {'; '.join(faults)}. Put back what was there, or "
                f"delete {self.backup_dir} to train from the beginning; with double_checkpoint=True one backup more is kept."
            )
        return None

    def _fall_back(self, backup: _Backup, fault: str) -> None:
        """Let the backup before the newest be the newest."""
        warnings.warn(
            f"{type(self).__name__}: {fault}. Training goes on from the backup before it, with epoch {backup.epoch + 1}.",
            JalonWarning,
            stacklevel=2,
        )
        if self.run.is_main:
            backup.write(self._training_metadata_path)

    def _weights_named_in(self, metadata: Path) -> Path:
        backup = _told(metadata)
        return self._numbered(1) if backup is None else self._folder / backup.weights


# ---- the metadata ----------------------------------------------------------------------------------------------------------


class _Damaged(Exception):
    """Says which file of a backup is damaged, and how."""


@dataclass(frozen=True, slots=True)
class _Backup:
    """Is what the metadata say.

    Args:
        epoch: The epoch to go on with, from 0.
        batch: The last batch done in it.
        weights: The name of the file that belongs to them.
        sha256: Its digest; Keras leaves none.
    """

    epoch: int
    batch: int
    weights: str
    sha256: str | None = None

    def write(self, path: Path) -> None:
        atomic.write_bytes(path, [json.dumps(asdict(self)).encode()])


def _read(path: Path) -> _Backup | None:
    """Return what a metadata file says, or ``None`` where there is no such file. Keras's own is understood."""
    try:
        content = json.loads(path.read_bytes())
        weights = content.get("weights", path.name.replace(_METADATA, "latest.weights.h5"))
        if Path(weights).name != weights:
            raise ValueError("weights in another folder")
        return _Backup(index(content["epoch"]), index(content["batch"]), weights, content.get("sha256"))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise _Damaged(f"{path} is damaged") from exc


def _told(path: Path) -> _Backup | None:
    """Return what a metadata file says, or ``None`` where it says nothing."""
    with suppress(_Damaged):
        return _read(path)
    return None


def _checked(path: Path) -> _Backup | None:
    """Return what a metadata file says, if the weights are what they were, or ``None`` where there is no such file."""
    try:
        backup = _read(path)
        if backup is not None and backup.sha256 not in (None, _digest(path.with_name(backup.weights))):
            raise _Damaged(f"{path.with_name(backup.weights)} is damaged")
    except OSError as exc:
        raise _Damaged(f"{exc.filename or path} cannot be read: {exc.strerror}") from exc
    return backup


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
