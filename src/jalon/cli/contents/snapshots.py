"""Snapshots, and the folders of them that ``BackupAndRestore`` keeps."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from jalon.cli.contents.found import Found
from jalon.store import snapshot
from jalon.store.snapshot import MANIFEST, Damaged

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
        with open(folder / MANIFEST, "rb") as file:
            return file.read(len(_HEAD)) == _HEAD
    except OSError:
        return False


def is_backup(folder: Path) -> bool:
    """Return whether a folder has snapshots in it.

    Args:
        folder: The folder.
    """
    return any(_is_numbered(path) and path.is_dir() and not path.is_symlink() for path in folder.iterdir())


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
        found.facts = dict(manifest.about)
        found.facts["files"] = {name: {"bytes": record.size, "sha256": record.sha256} for name, record in manifest.files.items()}
        snapshot.read(folder)
    except Damaged as exc:
        found.damaged(str(exc).replace(f"{folder}{os.sep}", ""), "No resume goes on from it; the next backups replace it.")
    return found


def look_into(folder: Path) -> Iterator[Found]:
    """Yield each snapshot of a backup, the oldest first; the one that a resume goes on from says so.

    Where there is none to go on from, the folder itself is said to be damaged.

    Args:
        folder: The backup's folder.
    """
    there = [look(path) for path in sorted(filter(_is_numbered, folder.iterdir()), key=lambda path: int(path.name))]
    there = [found for found in there if not _is_deleted(found)]
    newest = next((found for found in reversed(there) if found.state == "whole"), None)
    if newest is not None:
        newest.resumes, newest.note = True, "a resume goes on from here"
    yield from there
    if newest is None:
        yield Found(folder, "backup").damaged(
            "has no whole snapshot to go on from", "Bring one back from a copy, or delete the folder to begin anew."
        )


def _is_numbered(path: Path) -> bool:
    return len(path.name) >= _DIGITS and path.name.isdecimal()


def _is_deleted(found: Found) -> bool:
    """Return whether a training that goes on has deleted a snapshot while it was being read: its manifest goes first."""
    return found.state == "damaged" and not os.path.lexists(found.path / MANIFEST)
