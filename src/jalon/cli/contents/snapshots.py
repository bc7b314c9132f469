"""Snapshots, and the folders in which ``BackupAndRestore`` keeps a run: snapshots, its name and its history."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from jalon.cli.contents import tables
from jalon.cli.contents.found import Found
from jalon.store import snapshot
from jalon.store.lock import LOCK_NAME
from jalon.store.snapshot import MANIFEST, Damaged

IDENTITY = "run.json"
HISTORY = "history.jsonl"
_BRING_BACK = "Bring back what was there from a copy, or delete the folder to train anew."
_DIGITS = 8
_HEAD = b'{"sha256":"'


def is_snapshot(folder: Path) -> bool:
    """Return whether a folder is a snapshot, whole or not: by its number, or by its manifest.

    Args:
        folder: The folder.
    """
    if _is_numbered(folder):
        return True
    try:
        if not stat.S_ISREG(os.lstat(folder / MANIFEST).st_mode):
            return False
        with open(folder / MANIFEST, "rb") as file:
            return file.read(len(_HEAD)) == _HEAD
    except OSError:
        return False


def is_backup(folder: Path) -> bool:
    """Return whether a run is kept in a folder.

    Args:
        folder: The folder.
    """
    return is_identity(folder / IDENTITY) or any(map(_is_numbered, folder.iterdir()))


def is_identity(path: Path) -> bool:
    """Return whether a file says which run is kept in its folder.

    Args:
        path: The file.
    """
    return path.name == IDENTITY and path.is_file() and not path.is_symlink() and path.with_name(LOCK_NAME).is_file()


def look(folder: Path) -> Found:
    """Return what a snapshot is about, the size and the checksum of each of its files checked.

    Args:
        folder: Its folder.
    """
    found = Found(folder, "snapshot")
    if not os.path.lexists(folder / MANIFEST):
        found.state, found.reason = "not finished", "is not finished: it does not exist for a resume"
        found.remedy = "The next backup deletes it."
        return found
    try:
        manifest = snapshot.read_manifest(folder)
        files = {name: {"bytes": record.size, "sha256": record.sha256} for name, record in manifest.files.items()}
        found.facts = manifest.about | {"files": files}
        snapshot.read(folder)
    except Damaged as exc:
        found.damaged(str(exc).removeprefix(f"{folder}{os.sep}"), "No training goes on from it; the next backups replace it.")
    return found


def look_into(folder: Path) -> Iterator[Found]:
    """Yield what is kept of a run: its snapshots, the oldest first, its name and its history.

    The snapshot that a resume goes on from says so. Where there is none, the folder itself is said to be damaged.

    Args:
        folder: The folder.
    """
    there = [look(path) for path in sorted(filter(_is_numbered, folder.iterdir()), key=lambda path: int(path.name))]
    there = [found for found in there if not _is_deleted(found)]
    newest = next((found for found in reversed(there) if found.state == "whole"), None)
    if newest is None:
        broken = any(found.state == "damaged" for found in there)
        remedy = _BRING_BACK if broken else "The next start trains from the beginning."
        yield Found(folder, "backup").damaged("has no whole snapshot to go on from", remedy)
    else:
        newest.resumes = True
        newest.note = "a resume finds the training finished" if newest.facts.get("finished") else "a resume goes on from here"
    yield from there
    if is_identity(folder / IDENTITY):
        yield look_identity(folder / IDENTITY)
    if (folder / HISTORY).is_file() or (newest is not None and "history" in newest.facts):
        yield _history(folder / HISTORY, newest)


def look_identity(path: Path) -> Found:
    """Return what says which run is kept in a folder.

    Args:
        path: The file ``run.json``.
    """
    found = Found(path, "name of the run", note="it carries no checksum")
    try:
        said = json.loads(path.read_bytes())
        found.facts = {"id": said["id"], "fingerprint": dict(said["fingerprint"])}
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        found.damaged(f"is damaged ({type(exc).__name__})", _BRING_BACK)
    return found


def _history(path: Path, newest: Found | None) -> Found:
    """Return the history up to the snapshot that a resume goes on from; the resume cuts off what follows."""
    if path.is_symlink():
        return Found(path, "history").damaged("is a link, and no file of its own", _BRING_BACK)
    counted = {} if newest is None else newest.facts.get("history") or {}
    found = tables.look_history(path, counted.get("bytes"))
    missing = counted.get("rows", 0) - found.facts.get("rows", 0)
    if newest is not None and missing > 0 and found.state == "whole":
        found.damaged(f"lacks {missing:,} of the rows that {newest.path.name} counts on", "Bring it back from a copy.")
    return found


def _is_numbered(path: Path) -> bool:
    return len(path.name) >= _DIGITS and path.name.isdecimal() and path.is_dir() and not path.is_symlink()


def _is_deleted(found: Found) -> bool:
    """Return whether a training that goes on has deleted a snapshot while it was being read: its manifest goes first."""
    return found.state == "damaged" and not os.path.lexists(found.path / MANIFEST)
