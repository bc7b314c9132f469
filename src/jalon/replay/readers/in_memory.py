"""Records in memory: a pandas frame, a ``History``, or a list with a dict for each epoch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from jalon.errors import ArgumentError
from jalon.replay.record import Gathered, Record, numbers_of


def read(source: Any, *, kinds: str) -> Record:
    """Return the record in an object.

    Args:
        source: The object.
        kinds: What there could be, for the message.

    Raises:
        ArgumentError: It is none that holds a record.
    """
    if hasattr(source, "to_dict") and hasattr(source, "columns"):
        return _frame(source)
    if hasattr(source, "rows_from") and hasattr(source, "epoch"):
        return _rows("a history", source.rows_from(0))
    if isinstance(source, Iterable) and not isinstance(source, (bytes, Mapping)):
        rows = list(source)
        if all(isinstance(row, Mapping) for row in rows):
            return _rows("a list", [(row.get("epoch", place), row) for place, row in enumerate(rows)])
    raise ArgumentError(f"replay: no record can be read from a {type(source).__name__}. {kinds}")


def _rows(name: str, rows: Iterable[tuple[Any, Mapping[str, Any]]]) -> Record:
    gathered = Gathered(name)
    for number, row in rows:
        gathered.add(int(number), {key: value for key, value in numbers_of(row).items() if key != "epoch"})
    return gathered.record()


def _frame(frame: Any) -> Record:
    """Return the record in a frame with a column ``epoch``, or whose index counts them. A NaN says nothing was reported."""
    numbers = frame["epoch"] if "epoch" in frame.columns else frame.index
    rows = ({key: value for key, value in numbers_of(row).items() if not math.isnan(value)} for row in frame.to_dict("records"))
    return _rows("a frame", zip(numbers, rows, strict=True))
