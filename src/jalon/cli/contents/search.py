"""Which reader a path is for, and what there is to read in a folder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jalon.cli.contents import checkpoints, event_files, hdf5, orbax_saves, snapshots, tables
from jalon.cli.contents.apart import read_apart
from jalon.cli.contents.found import Found
from jalon.errors import MissingPackage
from jalon.store.event_records import MARK
from jalon.store.snapshot import MANIFEST

_TEMP = re.compile(r"\.(?P<name>.+)\.tmp-(?P<pid>\d+)-\d+")


def search(path: Path) -> Iterator[Found]:
    """Yield what there is at a path: a file, a folder that is one thing, or all that is in a folder.

    Of a folder, everything is yielded that jalon writes. Folders in it are searched too, but neither hidden ones nor links.

    Args:
        path: A file or a folder.
    """
    try:
        yield from _at(path)
    except MissingPackage as exc:
        yield _unchecked(path, str(exc), "")
    except OSError as exc:
        yield _unchecked(path, f"cannot be read: {exc.strerror or exc}", "Run this as somebody who may read it.")


def _at(path: Path) -> Iterator[Found]:
    if not path.is_dir():
        found = _in_file(path)
        if found is not None:
            yield found
    elif orbax_saves.is_save(path):
        yield orbax_saves.look(path)
    elif snapshots.is_snapshot(path):
        yield snapshots.look(path)
    else:
        yield from _in_folder(path)


def _in_folder(folder: Path) -> Iterator[Found]:
    is_backup = snapshots.is_backup(folder) and not any(map(orbax_saves.is_save, folder.iterdir()))
    seen = [] if not is_backup else list(snapshots.look_into(folder))
    yield from seen
    known = {one.path for one in seen}
    for path in sorted(folder.iterdir(), key=_natural):
        if path.is_dir() and (path.is_symlink() or path.name.startswith(".")):
            continue
        if path not in known:
            yield from search(path)


def _in_file(path: Path) -> Found | None:
    """Return what a file holds; ``None`` where it is none of those that jalon writes."""
    if not path.is_file():
        return None
    if path.name == MANIFEST and path.is_symlink():
        return Found(path, "manifest").damaged("is a link, and no file of its own", "Bring it back from a copy.")
    with open(path, "rb"):  # whether it may be read is the system's answer, not the reader's
        pass
    temp = _TEMP.fullmatch(path.name)
    if temp is not None:
        return _left_over(path, temp["name"], temp["pid"])
    if path.suffix == ".h5":
        return read_apart(checkpoints.look, path)
    if path.suffix == ".keras":
        return read_apart(hdf5.look_keras, path)
    if path.suffix in checkpoints.SUFFIXES:
        return checkpoints.look(path)
    if f".{MARK}." in path.name:
        return event_files.look(path)
    if path.name == snapshots.HISTORY:
        return tables.look_history(path)
    if snapshots.is_identity(path):
        return snapshots.look_identity(path)
    separator = tables.separator_of(path)
    return None if separator is None else tables.look(path, separator)


def _left_over(path: Path, name: str, pid: str) -> Found:
    return Found(
        path,
        "temporary file",
        state="not finished",
        reason=f"is {name} as process {pid} was writing it: it does not exist for a reader",
        remedy=f"Delete it if that process is gone; {name} is what it was before.",
    )


def _unchecked(path: Path, reason: str, remedy: str) -> Found:
    return Found(path, "file" if path.is_file() else "folder", state="not checked", reason=reason, remedy=remedy or None)


def _natural(path: Path) -> list[Any]:
    """Return what sorts 9 before 10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", path.name)]
