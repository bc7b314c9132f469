"""Reading in a process of its own: HDF5's library may crash on a damaged file, or never come back from it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from jalon.cli.contents.found import Found

_SECONDS = 60.0
_BYTES_PER_SECOND = 10_000_000
"""What the slowest of disks reads."""

Look = Callable[[Path], Found]


def read_apart(look: Look, path: Path) -> Found:
    """Return what a reader finds in a file; that it is damaged, where the reader dies of it or does not come to an end.

    Args:
        look: The reader, a function of a module.
        path: The file.
    """
    found = _reader().read(look, path)
    if isinstance(found, str):
        _reader.cache_clear()
        return Found(path, f"{path.suffix} file").damaged(f"is damaged: {found}", "Bring it back from a copy, or save it again.")
    if isinstance(found, Exception):
        raise found
    return found


class Reader:
    """Is a process that reads files, one after the other."""

    def __init__(self) -> None:
        processes = get_context("spawn")
        self._asking, answering = processes.Pipe()
        self._process = processes.Process(target=_serve, args=(answering,), daemon=True)
        self._process.start()
        answering.close()

    def read(self, look: Look, path: Path) -> Found | Exception | str:
        """Return what a reader finds or raises, or, where it does neither, what it does; the process is gone then.

        Args:
            look: The reader, a function of a module.
            path: The file.
        """
        self._asking.send((look, path))
        if not self._asking.poll(_SECONDS + path.stat().st_size / _BYTES_PER_SECOND):
            self._process.kill()
            return "reading it does not come to an end"
        try:
            found: Found | Exception = self._asking.recv()
        except EOFError:
            return "reading it ends the process that does"
        return found


def _serve(answering: Connection) -> None:
    while True:
        try:
            look, path = answering.recv()
        except EOFError:
            return
        try:
            answering.send(look(path))
        except Exception as exc:  # noqa: BLE001  # the one who asked raises it
            answering.send(exc)


@cache
def _reader() -> Reader:
    return Reader()
