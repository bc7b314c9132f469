"""Reading in a process of its own: HDF5's library may end the process that opens a damaged file."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from multiprocessing import get_context
from pathlib import Path

from jalon.cli.contents.found import Found


def read_apart(look: Callable[[Path], Found], path: Path) -> Found:
    """Return what a reader finds in a file; that it is damaged, where reading it ends the process.

    Args:
        look: The reader, a function of a module.
        path: The file.
    """
    try:
        return _readers().submit(look, path).result()
    except BrokenProcessPool:
        _readers.cache_clear()
        return Found(path, f"{path.suffix} file").damaged(
            "is damaged: reading it ends the process that does", "Bring it back from a copy, or save it again."
        )


@cache
def _readers() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn"))
