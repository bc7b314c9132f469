"""A block in which Python code may write files in one folder alone."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jalon.errors import ArgumentError

_here = threading.local()
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = frozenset({"os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate", "os.link", "os.symlink", "shutil.rmtree"})
_hooked: list[bool] = []


@contextmanager
def writing_only_in(folder: Path, *, who: str) -> Iterator[None]:
    """Let what this thread does in the block write files in a folder alone; reading goes on as ever.

    It sees what Python opens, removes and renames. What a library written in C opens by itself it does not see.

    Args:
        folder: The folder.
        who: Who is at work, for the message.

    Raises:
        ArgumentError: Something was to be written elsewhere; nothing has been.
    """
    if not _hooked:
        _hooked.append(True)  # a hook of this kind stays to the end of the process
        sys.addaudithook(_look)
    before = getattr(_here, "allowed", None)
    _here.allowed = (folder.resolve(), who)
    try:
        yield
    finally:
        _here.allowed = before


def _look(event: str, arguments: tuple[Any, ...]) -> None:
    allowed = getattr(_here, "allowed", None)
    if allowed is None:
        return
    if event == "open":
        path, mode, flags = arguments
        by_mode = isinstance(mode, str) and set("wax+") & set(mode)
        if by_mode or (isinstance(flags, int) and flags & _WRITES):
            _refuse_outside(path, *allowed)
    elif event in _CHANGES:
        for path in arguments[: 2 if event in ("os.rename", "os.link", "os.symlink") else 1]:
            _refuse_outside(path, *allowed)


def _refuse_outside(path: Any, folder: Path, who: str) -> None:
    if isinstance(path, (str, bytes, os.PathLike)):
        place = Path(os.path.realpath(os.fsdecode(path)))
        if not place.is_relative_to(folder) and not place.is_relative_to("/dev"):
            raise ArgumentError(
                f"{who} would write {place}, which is not done in a dry run. "
                "Override rehearse(folder) in its class, to write in that folder then."
            )
