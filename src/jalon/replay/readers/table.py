"""Tables with a row an epoch, as ``CSVLogger`` writes them, or several rows, as Lightning's ``metrics.csv``."""

from __future__ import annotations

import csv
import math
from pathlib import Path

from jalon.errors import ArgumentError
from jalon.replay.record import Gathered, Record, numbers_of

_SEPARATORS = ",;\t| "
_UNMEANT = ("epoch", "step", "")


def read(path: Path) -> Record:
    """Return the record in a table that has a column ``epoch``.

    What several rows say of one epoch is put together. Where an epoch comes again after later ones, training began again
    there, and the earlier rows from it on do not count.

    Args:
        path: The file. A last row that is torn is passed over.

    Raises:
        ArgumentError: It has no column ``epoch``.
    """
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    lines = text[: text.rfind("\n") + 1].splitlines()
    head = lines[0] if lines else ""
    separator = next((sign for sign in _SEPARATORS if "epoch" in _cells(head, sign)), None)
    if separator is None:
        raise ArgumentError(f"replay: {path} has no column 'epoch'. Its first line: {head[:80]!r}. Choose a table of epochs.")
    gathered, last = Gathered(str(path)), -1
    for row in csv.DictReader(lines, delimiter=separator, restkey="", restval=""):
        said = numbers_of(row)
        number = said.get("epoch", math.nan)
        if math.isfinite(number):
            if number < last:
                gathered.begin_again(int(number))
                gathered.notes.append(f"epoch {int(number) + 1} comes again after epoch {last + 1}: only what comes later counts")
            last = int(number)
            gathered.add(last, {name: value for name, value in said.items() if name not in _UNMEANT})
    return gathered.record()


def _cells(line: str, separator: str) -> list[str]:
    return next(csv.reader([line], delimiter=separator), [])
