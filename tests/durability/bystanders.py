"""Callbacks that stand by a training: one does something to the disk, one measures what is in use."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from jalon.callbacks import Callback


def fill(folder: Path) -> None:
    """Take all bytes of a disk, and all names of files."""
    with suppress(OSError), open(folder / "filler", "wb", buffering=0) as file:
        while file.write(bytes(1 << 16)):
            pass
    with suppress(OSError):
        for number in range(1000):
            (folder / f"filler-{number}").touch()


class Interference(Callback):
    """Does something to the disk as an epoch begins.

    Args:
        what: What to do, by the number of the epoch, from 0: to ``fill`` the disk with a file, to ``free`` it, to make the
            folders that are written to ``immutable``, or ``mutable`` again.
    """

    lazy_logs = True

    def __init__(self, what: Mapping[int, str]) -> None:
        self.what = what

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if epoch in self.what:
            getattr(self, self.what[epoch])()

    def fill(self) -> None:
        fill(Path())

    def free(self) -> None:
        for path in Path().glob("filler*"):
            path.unlink()

    def immutable(self) -> None:
        subprocess.run(["chattr", "+i", "saved", "run/backup"], check=True)

    def mutable(self) -> None:
        subprocess.run(["chattr", "-i", "saved", "run/backup"], check=True)


class Meter(Callback):
    """Measures at each epoch's end: open files, threads, generations of the backup, and bytes on the disk."""

    lazy_logs = True
    order = -1

    def __init__(self) -> None:
        self.rows: list[tuple[int, int, int, int]] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        generations = sum(path.name.isdecimal() for path in Path("run/backup").iterdir())
        size = sum(path.stat().st_size for folder in ("run", "saved") for path in Path(folder).rglob("*") if path.is_file())
        self.rows.append((len(list(Path("/proc/self/fd").iterdir())), threading.active_count(), generations, size))
