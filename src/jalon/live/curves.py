"""Curves: what a run has reported, in columns that grow, and reduced to what a screen can show."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MOST_ROWS = 1 << 21
"""Of more rows every second one is kept, so that memory stays bounded."""


class Table:
    """Holds values by row and column: a row for each epoch or step, NaN where it did not report a column.

    Example:
        >>> table = Table()
        >>> table.add(0, 10.0, {"loss": 0.5})
        >>> table.add(1, 11.0, {"loss": 0.25, "val_loss": 0.4})
        >>> table.column("val_loss").tolist(), len(table)
        ([nan, 0.4], 2)
    """

    def __init__(self) -> None:
        self.places = array("d")
        self.times = array("d")
        self._columns: dict[str, array[float]] = {}

    def __len__(self) -> int:
        return len(self.places)

    @property
    def names(self) -> list[str]:
        """The columns, in the order in which they were first reported."""
        return list(self._columns)

    def add(self, place: float, time: float, values: Mapping[str, float]) -> None:
        """Add a row. One that stands at the same place or before takes the place of those from there on.

        Args:
            place: The epoch or the step.
            time: In seconds since 1970.
            values: What was reported.
        """
        if self.places and place <= self.places[-1]:
            self.cut(place)
        rows = len(self.places)
        if rows >= MOST_ROWS:
            self._thin()
            rows = len(self.places)
        self.places.append(place)
        self.times.append(time)
        for name, value in values.items():
            column = self._columns.get(name)
            if column is None:
                column = self._columns[name] = array("d", [math.nan]) * rows
            elif len(column) < rows:
                column.extend([math.nan] * (rows - len(column)))
            column.append(value)

    def extend(self, places: Sequence[float], times: Sequence[float], columns: Mapping[str, array[float]]) -> bool:
        """Add many rows; return whether that could be done at once, as where they ascend from the last one on.

        Args:
            places: The epochs or steps.
            times: In seconds since 1970.
            columns: What was reported, by name, of each row.
        """
        rows = len(self.places)
        ascends = np.all(np.diff(np.asarray([*self.places[-1:], *places])) > 0)
        if not ascends or rows + len(places) > MOST_ROWS:
            return False
        self.places.extend(places)
        self.times.extend(times)
        for name, values in columns.items():
            column = self._columns.setdefault(name, array("d"))
            column.extend(array("d", [math.nan]) * (rows - len(column)))
            column.extend(values)
        return True

    def set(self, place: float, time: float, name: str, value: float) -> None:
        """Put one value where it belongs, in the row of its place if there is one, as files tell whose curves come one by one."""
        row = int(np.searchsorted(np.frombuffer(self.places), place)) if self.places else 0
        if row == len(self.places):
            self.add(place, time, {name: value})
        elif self.places[row] == place:
            column = self._columns.setdefault(name, array("d"))
            column.extend([math.nan] * (len(self.places) - len(column)))
            column[row] = value

    def cut(self, place: float) -> None:
        """Forget the rows from a place on."""
        keep = int(np.searchsorted(np.frombuffer(self.places), place)) if self.places else 0
        del self.places[keep:], self.times[keep:]
        for column in self._columns.values():
            del column[keep:]

    def column(self, name: str) -> Floats:
        """Return a column, with NaN where nothing was reported."""
        found = np.full(len(self.places), math.nan)
        values = self._columns.get(name)
        if values:
            found[: len(values)] = np.frombuffer(values)
        return found

    def last(self) -> dict[str, float]:
        """Return the newest value of each column."""
        return {name: column[-1] for name, column in self._columns.items() if column}

    def _thin(self) -> None:
        self.places, self.times = self.places[::2], self.times[::2]
        self._columns = {name: column[::2] for name, column in self._columns.items()}


def reduced(x: Floats, columns: Mapping[str, Floats], width: int) -> tuple[Floats, dict[str, Floats]]:
    """Return rows that draw the same picture on so many pixels: of each pixel's rows, those with the least and the most.

    Args:
        x: Where the rows stand, ascending.
        columns: The values, by name.
        width: How many pixels.

    Example:
        >>> x = np.arange(1e6)
        >>> y = np.zeros(1_000_000)
        >>> y[123_456], y[654_321] = 1.0, -1.0
        >>> kept, found = reduced(x, {"y": y}, 100)
        >>> len(kept) <= 202, float(found["y"].min()), float(found["y"].max())
        (True, -1.0, 1.0)
    """
    rows = len(x)
    if rows <= 2 * width:
        return x, dict(columns)
    per_pixel = math.ceil(rows / width)
    kept = np.zeros(rows, dtype=bool)
    kept[[0, -1]] = True
    for values in columns.values():
        whole = rows // per_pixel * per_pixel
        for begin, part in ((0, values[:whole].reshape(-1, per_pixel)), (whole, values[whole:].reshape(1, -1))):
            if part.size:
                firsts = begin + np.arange(len(part)) * part.shape[1]
                kept[firsts + np.argmin(np.where(np.isnan(part), np.inf, part), axis=1)] = True
                kept[firsts + np.argmax(np.where(np.isnan(part), -np.inf, part), axis=1)] = True
    return x[kept], {name: values[kept] for name, values in columns.items()}


def as_json(values: Floats) -> list[Any]:
    """Return values with six digits, ``None`` where there is none or where it is infinite."""
    return [float(f"{value:.6g}") if math.isfinite(value) else None for value in values.tolist()]
