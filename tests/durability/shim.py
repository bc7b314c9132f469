"""Drives the watcher of file calls (shim.c) from within the process that it watches."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Mode = Literal["count", "kill before", "kill within", "fail once", "fail from"]

_MODES: dict[str, int] = {"count": 1, "kill before": 2, "kill within": 3, "fail once": 4, "fail from": 5}


@dataclass(frozen=True, slots=True)
class Watch:
    """Is what is done to the file calls of a process.

    Args:
        mode: ``count`` and no more; ``kill before`` a call, or ``within`` a write, half of which is done; ``fail once``, or
            every call ``from`` one on.
        at: The number of that call, from 1.
        errno: The error of a call that fails.
        closes: Whether to count ``close`` too, which can fail but changes nothing.
    """

    mode: Mode = "count"
    at: int = 0
    errno: int = 0
    closes: bool = False


@contextmanager
def watching(folder: Path, watch: Watch, log: str | None) -> Iterator[None]:
    """Watch the calls on what lies under a folder, and write them to a log that lies elsewhere."""
    library = ctypes.CDLL(None)
    if log is not None:
        library.shim_log(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC))
    library.shim_watch(os.fsencode(folder), int(watch.closes))
    library.shim_arm(_MODES[watch.mode], ctypes.c_long(watch.at), watch.errno)
    try:
        yield
    finally:
        library.shim_off()


def calls() -> int:
    """Return how many calls there were."""
    library = ctypes.CDLL(None)
    library.shim_calls.restype = ctypes.c_long
    return int(library.shim_calls())


def kinds() -> str:
    """Return a letter for each call: open to (r)ead, (o)pen to write, (w)rite, (s)ync, re(n)ame, (u)nlink, (m)kdir and so on."""
    library = ctypes.CDLL(None)
    library.shim_kinds.restype = ctypes.c_void_p
    return ctypes.string_at(library.shim_kinds(), calls()).decode()


def mark(text: str) -> None:
    """Put a word into the log, where there is one."""
    ctypes.CDLL(None).shim_mark(text.encode())
