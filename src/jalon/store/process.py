"""Which process is which: its number, since when it runs, and on which machine; and whether it still lives."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

_STARTED_FIELD = 19
"""The place of a process's start among the fields of ``/proc/<pid>/stat`` that follow its name."""


def identity() -> dict[str, Any]:
    """Return what tells this process from every other one, of this machine and of others, as JSON values.

    Example:
        >>> is_alive(identity())
        True
    """
    return {"pid": os.getpid(), "started": _started(os.getpid())} | _place()


def is_alive(process: Mapping[str, Any]) -> bool | None:
    """Return whether a process lives, or ``None`` where that cannot be seen from here, as on another machine.

    Args:
        process: What ``identity`` returned there.
    """
    here = _place()
    if process.get("host") != here["host"] or process.get("namespace") != here["namespace"]:
        return None
    pid = process.get("pid")
    if process.get("boot") != here["boot"] or not isinstance(pid, int) or pid <= 0:
        return False
    started = _started(pid)
    if started is not None or Path("/proc/self/stat").exists():
        return started is not None and started == process.get("started")
    return _answers(pid)


@cache
def _place() -> dict[str, Any]:
    """Return the machine, its start, and the space in which numbers of processes hold, as a container has its own."""
    return {
        "host": socket.gethostname(),
        "boot": _text("/proc/sys/kernel/random/boot_id"),
        "namespace": _link("/proc/self/ns/pid"),
    }


def _started(pid: int) -> int | None:
    """Return when a process that lives was started, in the system's ticks, where Linux tells it."""
    said = _text(f"/proc/{pid}/stat")
    if said is None:
        return None
    fields = said.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[_STARTED_FIELD])  # it has ended, and nobody has taken note of it


def _answers(pid: int) -> bool | None:
    if os.name == "nt":
        return None  # to ask there is to send Ctrl-C
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _text(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _link(path: str) -> str | None:
    try:
        return str(Path(path).readlink())
    except OSError:
        return None
