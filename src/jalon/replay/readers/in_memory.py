"""Records in memory: a pandas frame, a ``History`` of jalon's or Keras's, or a list with a dict for each epoch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
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
    if isinstance(getattr(source, "history", None), Mapping) and hasattr(source, "epoch"):
        return _columns(source.epoch, source.history)
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


def _columns(epochs: Sequence[int], history: Mapping[str, Sequence[Any]]) -> Record:
    """Return the record in Keras's history. A metric with fewer values than epochs does not say which epochs they are of."""
    whole = {name: values for name, values in history.items() if len(values) == len(epochs)}
    rows = ({name: values[place] for name, values in whole.items()} for place in range(len(epochs)))
    record = _rows("a history", zip(epochs, rows, strict=True))
    short = sorted(history.keys() - whole.keys())
    return (
        replace(record, notes=(f"reported in some epochs only, and not said in which: {', '.join(short)}",)) if short else record
    )


def _frame(frame: Any) -> Record:
    """Return the record in a frame with a column ``epoch``, or whose index counts them. A NaN says nothing was reported."""
    numbers = frame["epoch"] if "epoch" in frame.columns else frame.index
    rows = ({key: value for key, value in numbers_of(row).items() if not math.isnan(value)} for row in frame.to_dict("records"))
    return _rows("a frame", zip(numbers, rows, strict=True))
