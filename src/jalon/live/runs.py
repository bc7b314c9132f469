"""Runs: the runs in a folder, found by what they have written, and those that are looked at kept up to date."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

from jalon.live.record import CsvRun, EventRun, JournalRun, RunRecord, is_csv_log
from jalon.store.event_records import MARK
from jalon.store.journal import JOURNAL

_MOST_FOLDERS = 20_000
_MOST_OPEN = 64
_DEEPEST = 6
_PASSED_OVER = {"backup", "control", "__pycache__", "node_modules"}
_TABLES = (".csv", ".log", ".tsv")


class Runs:
    """Finds the runs in a folder and in those in it.

    A run is a folder with a journal; or a table of ``CSVLogger``; or a folder with event files, those of its ``train`` and
    ``validation`` being one run. Links are not followed, so that nothing outside of the folder is read.

    Args:
        folder: The folder.

    Attributes:
        lock: Held by whoever reads a run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = threading.RLock()
        self._open: OrderedDict[str, RunRecord] = OrderedDict()

    def find(self) -> dict[str, RunRecord]:
        """Return the runs that are there now, by their place in the folder."""
        with self.lock:
            return self._find()

    def _find(self) -> dict[str, RunRecord]:
        found = {}
        for kind, path in _search(self.folder):
            id = path.relative_to(self.folder).as_posix()  # noqa: A001
            known = self._open.get(id)
            found[id] = known if known is not None and type(known) is kind else kind(id, path)
        for id, run in found.items():  # noqa: A001
            self._open[id] = run
        while len(self._open) > max(_MOST_OPEN, len(found)):
            self._open.popitem(last=False)
        for id in [id for id in self._open if id not in found]:  # noqa: A001
            del self._open[id]
        return found

    def get(self, id: str) -> RunRecord | None:  # noqa: A002
        """Return a run by its place in the folder, or ``None`` where there is none there. No other path is ever looked at."""
        run = self._open.get(id)
        return run if run is not None else self.find().get(id)


def _search(top: Path) -> Iterator[tuple[type[RunRecord], Path]]:
    for number, (folder, folders, files) in enumerate(os.walk(top)):
        place = Path(folder)
        if number >= _MOST_FOLDERS:
            return
        depth = len(place.relative_to(top).parts)
        folders[:] = [] if depth >= _DEEPEST else sorted(n for n in folders if n[0] != "." and n not in _PASSED_OVER)
        regular = [name for name in sorted(files) if not (place / name).is_symlink()]
        if JOURNAL in regular:
            yield JournalRun, place
            continue
        if any(MARK in name for name in regular) or any(_has_events(place / name) for name in ("train", "validation")):
            yield EventRun, place
            folders[:] = []
        for name in regular:
            if name.endswith(_TABLES) and is_csv_log(place / name):
                yield CsvRun, place / name


def _has_events(folder: Path) -> bool:
    try:
        return any(MARK in name for name in os.listdir(folder))  # noqa: PTH208  # of a folder that may hold very many
    except OSError:
        return False
