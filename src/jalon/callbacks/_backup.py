"""BackupFolder: where a run is kept, for one process at a time: whose run it is, its snapshots and its history."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import uuid
import warnings
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jalon.core.trainer import Write
from jalon.errors import CheckpointError, CheckpointMismatch, JalonWarning
from jalon.store import atomic, plain
from jalon.store.lock import FolderLock
from jalon.store.snapshot import Damaged, FileRecord, Snapshot, Snapshots, write_file

IDENTITY = "run.json"
HISTORY = "history.jsonl"
STATE = "state.safetensors"
PARTS = {"run", "callbacks", "trainer", "random"}
GENERATIONS = 2
"""How many snapshots there are, so that one that was damaged since has another before it."""


@dataclass(slots=True)
class Content:
    """Is what a snapshot will hold, as it was at one moment.

    Args:
        folder: Where it goes.
        write_model: Writes the model.
        about: What it is of, as JSON values.
        state: All but the model, as plain data; ``None`` where only the model can be kept.
        rows: The history: for each epoch its number and what it reported. It may grow afterwards.
        growing: Files whose length the state tells.
        write_growing: Write what waits to be written to such files, or to others that are to be on the disk with them.
        after: What others were writing before it and has to be on the disk for it to hold true.
    """

    folder: Path
    write_model: Write
    about: dict[str, Any]
    state: dict[str, Any] | None = None
    rows: Callable[[int], list[Any]] = lambda _: []
    count: int = 0
    growing: Iterable[Path] = ()
    write_growing: Iterable[Callable[[], None]] = ()
    after: list[Future[None]] = field(default_factory=list)


class Superseded(OSError):
    """Says that what a snapshot counts on was not written, so that it does not hold true."""


class BackupFolder:
    """Keeps a run in a folder.

    Args:
        path: The folder.
        who: Whose argument it is, for messages.

    Attributes:
        undeleted: Why something that is no longer needed could not be deleted, the last time.
    """

    def __init__(self, path: Path, *, who: str) -> None:
        self.path = path
        self.who = who
        self.snapshots = Snapshots(path)
        self._lock = FolderLock(path, who=who)
        self._forget_history()
        self.undeleted: OSError | None = None
        self._entered: set[tuple[Path, int]] = set()

    def __deepcopy__(self, memo: object) -> BackupFolder:
        return BackupFolder(self.path, who=self.who)  # what is claimed and counted is the original's

    def _forget_history(self) -> None:
        self._rows_written = self._history_bytes = 0
        self._history_sha256 = hashlib.sha256()

    # ---- whose it is -------------------------------------------------------------------------------------------------

    def claim(self) -> None:
        """Let no other process write here.

        Raises:
            FolderInUse: Another one does.
            OSError: The folder cannot be made.
        """
        atomic.make_folder(self.path)
        self._lock.acquire()
        atomic.remove_leftovers(self.path / IDENTITY)
        with suppress(OSError):
            self.snapshots.sweep()

    def release(self) -> None:
        """Let others write here. May run twice."""
        self._lock.release()

    def identity(self) -> dict[str, Any] | None:
        """Return the name of the run that is kept here and what it has to have in common with another, if there is one."""
        try:
            said: dict[str, Any] = json.loads((self.path / IDENTITY).read_bytes())
            return {"id": str(said["id"]), "fingerprint": dict(said["fingerprint"])}
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, RecursionError) as exc:
            raise CheckpointError(
                f"{self.who}: {self.path / IDENTITY} is damaged. Put back what was there, or delete {self.path} to train anew."
            ) from exc

    def begin(self, fingerprint: Mapping[str, Any]) -> str:
        """Begin to keep a new run, and return its name. One that was begun and never got as far as a snapshot keeps its name."""
        known = None if next(self.snapshots.newest_first(), None) else self.identity()
        name: str = uuid.uuid4().hex if known is None else known["id"]
        if known is None:
            self.delete()
        else:  # its name is not given up for a moment, or its logs would be nobody's
            self._delete_content()
        atomic.write_bytes(self.path / IDENTITY, [json.dumps({"id": name, "fingerprint": dict(fingerprint)}).encode()])
        return name

    def refuse_other(self, kept: Mapping[str, Any], given: Mapping[str, Any]) -> None:
        """Refuse a training that is another one than the one kept here, and name what differs."""
        names = dict.fromkeys((*kept, *given))
        told = [
            f"{name} was {kept.get(name, 'not there')}, is {given.get(name, 'not there')}"
            for name in names
            if kept.get(name) != given.get(name)
        ]
        if told:
            shown = "; ".join(told[:5]) + (f"; and {len(told) - 5} more" if len(told) > 5 else "")
            raise CheckpointMismatch(
                f"{self.who}: another training is kept in {self.path}: {shown}. Choose another folder for this one, or delete "
                "that one to train anew."
            )

    # ---- write -------------------------------------------------------------------------------------------------------

    def write(self, content: Content) -> None:
        """Make a snapshot, and delete those that are no longer needed.

        Raises:
            OSError: The system refuses; what was kept before is intact.
            Superseded: What it counts on was not written.
        """
        try:
            if any(outcome.cancelled() or outcome.exception() for outcome in content.after):
                raise Superseded("what was saved before it was not written")
            self.snapshots.make(content.folder)
            content.write_model()
            written = {} if content.state is None else {STATE: self._write_state(content.state, content)}
            self.snapshots.commit(content.folder, content.about, written=written)
        except BaseException:
            self.snapshots.discard(content.folder)
            raise
        self.tidy()

    def tidy(self) -> None:
        """Delete snapshots that are no longer needed, and what writers that died have left."""
        try:
            self.snapshots.keep(GENERATIONS)
        except OSError as exc:
            self.undeleted = exc

    def _write_state(self, state: Mapping[str, Any], content: Content) -> FileRecord:
        record = write_file(content.folder / STATE, plain.encode(state))
        for write in content.write_growing:
            write()
        for path in content.growing:
            with suppress(FileNotFoundError):
                self._sync(path)
        self._extend_history(content)
        content.about["history"] = {
            "rows": content.count,
            "bytes": self._history_bytes,
            "sha256": self._history_sha256.hexdigest(),
        }
        return record

    def _sync(self, path: Path) -> None:
        """Put a file on the disk and, where it is another than the last time, the entry in its folder."""
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            entry = (path, os.fstat(file.fileno()).st_ino)
        if entry not in self._entered:
            atomic.sync_folder(path.parent)
            self._entered.add(entry)

    def _extend_history(self, content: Content) -> None:
        """Write the rows that are new."""
        rows = content.rows(self._rows_written)[: content.count - self._rows_written]
        if not rows:
            return
        data = b"".join(map(_line, rows))
        with open(self.path / HISTORY, "ab", buffering=0) as file:
            if file.tell() > self._history_bytes:  # what a write that failed has left
                file.truncate(self._history_bytes)
            if file.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path / HISTORY))
            os.fsync(file.fileno())
        if not self._history_bytes:
            atomic.sync_folder(self.path)
        self._rows_written, self._history_bytes = content.count, self._history_bytes + len(data)
        self._history_sha256.update(data)

    def delete(self) -> None:
        """Delete all that is kept here; what others put there stays. Without its identity, nothing that is left counts.

        Raises:
            OSError: Something cannot be deleted.
        """
        (self.path / IDENTITY).unlink(missing_ok=True)
        atomic.sync_folder(self.path)
        self._delete_content()

    def _delete_content(self) -> None:
        self.snapshots.clear()
        (self.path / HISTORY).unlink(missing_ok=True)
        self._rows_written, self._history_bytes, self._history_sha256 = 0, 0, hashlib.sha256()

    def remove(self) -> None:
        """Delete all that is kept here and let others write here, and the folder with it where nothing else is in it.

        Raises:
            OSError: Something cannot be deleted.
        """
        try:
            self.delete()
            self._lock.path.unlink(missing_ok=True)
        finally:
            self.release()
        with suppress(OSError):
            self.path.rmdir()

    # ---- read --------------------------------------------------------------------------------------------------------

    def find(self) -> list[Snapshot]:
        """Return the snapshots that are whole, the newest first, and warn of one that is not.

        Raises:
            CheckpointError: There are snapshots, and none is whole.
        """
        found = list(self.snapshots.newest_first())
        whole = [one for one in found if isinstance(one, Snapshot)]
        faults = [str(one) for one in found if isinstance(one, Damaged)]
        if faults and not whole:
            raise CheckpointError(
                f"{self.who} cannot go on from {self.path}: {'; '.join(faults)}. Put back what was there, or delete {self.path} "
                "to train from the beginning."
            )
        if faults and isinstance(found[0], Damaged):
            warnings.warn(
                f"{self.who}: {faults[0]}. Training goes on from the backup before it, with epoch {whole[0].about['epoch'] + 1}.",
                JalonWarning,
                stacklevel=2,
            )
        if all(isinstance(one, Snapshot) for one in found[:GENERATIONS]):
            self.tidy()  # what was killed before it could
        return whole[:GENERATIONS]

    def read_state(self, snapshot: Snapshot) -> dict[str, Any] | None:
        """Return what a snapshot holds beside the model, or ``None`` where it holds the model alone."""
        path = snapshot.path / STATE
        if STATE not in snapshot.manifest.files:
            return None
        try:
            state: dict[str, Any] = plain.decode(path.read_bytes())
        except CheckpointError as exc:
            raise CheckpointError(f"{self.who}: {path} cannot be read. {exc}") from exc
        if not isinstance(state, dict) or not state.keys() >= PARTS:
            raise CheckpointError(f"{self.who}: {path} holds something else than the state of a training.")
        return state

    def read_history(self, snapshot: Snapshot) -> list[tuple[int, dict[str, Any]]]:
        """Return the rows up to a snapshot, and cut off what was written after it.

        Raises:
            CheckpointError: Rows are missing, or are not what was written.
        """
        said = snapshot.about.get("history", {"rows": 0, "bytes": 0})
        path = self.path / HISTORY
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise CheckpointError(f"{self.who}: {path} is no file of its own, but a link or a folder.")
        if said["bytes"] > (path.stat().st_size if path.exists() else 0):
            raise CheckpointError(f"{self.who}: {path} is damaged: it has fewer than {said['rows']} rows.")
        with open(path if said["rows"] else os.devnull, "rb") as file:
            data = file.read(said["bytes"])
        lines, sha256 = data.splitlines(), hashlib.sha256(data)
        if len(lines) != said["rows"]:
            raise CheckpointError(f"{self.who}: {path} is damaged: it has {len(lines)} of {said['rows']} rows.")
        if lines and sha256.hexdigest() != said["sha256"]:
            raise CheckpointError(f"{self.who}: {path} is damaged: its rows do not have their checksum.")
        if path.exists():
            os.truncate(path, said["bytes"])
        self._rows_written, self._history_bytes, self._history_sha256 = said["rows"], said["bytes"], sha256
        rows = map(json.loads, lines)
        return [(row["epoch"], row["logs"]) for row in rows]


def _line(row: tuple[int, Mapping[str, Any]]) -> bytes:
    epoch, logs = row
    return json.dumps({"epoch": epoch, "logs": logs}, default=_told).encode() + b"\n"


def _told(value: Any) -> Any:
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else str(value)
