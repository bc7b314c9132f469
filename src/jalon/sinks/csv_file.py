"""CsvFile: a table that others can read while it grows, in rows and in columns."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from io import FileIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from jalon.errors import ArgumentError

MISSING = "NA"


class CsvFile:
    """Write a table row by row, each row whole to whoever reads the file meanwhile.

    Columns are those of the first row. A later row may bring new ones: the file is then replaced by one that has them at
    the right end, ``NA`` in the older rows. Text is UTF-8, lines end with CRLF as in Python's ``csv.excel``.

    Args:
        path: The file. Missing folders are made.
        separator: What stands between values, one character. Defaults to a comma.
        append: Whether to go on with the table that the file holds, if it holds one. A last row without its line's end is
            dropped. Defaults to starting anew.

    Raises:
        ArgumentError: ``separator`` is not a single character that can separate.

    Example:
        >>> table = CsvFile("table.csv")
        >>> table.write({"epoch": 0, "loss": 0.5})
        >>> table.write({"epoch": 1, "loss": 0.25, "rate": 0.1})
        >>> table.close()
        >>> print(table.path.read_text())
        epoch,loss,rate
        0,0.5,NA
        1,0.25,0.1
        <BLANKLINE>
    """

    def __init__(self, path: str | os.PathLike[str], *, separator: str = ",", append: bool = False) -> None:
        self.path = Path(os.path.realpath(path))  # what replaces the file must not replace a link to it
        self.separator = check_separator(separator, who="CsvFile")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.columns = read_columns(self.path, separator) if append else []
        self._waiting: list[Mapping[str, Any]] = []
        if not append:
            self.path.write_bytes(b"")
        self._open()
        self._drop_torn_row()

    def write(self, row: Mapping[str, Any]) -> None:
        """Add a row, and the columns that it is the first to have.

        Args:
            row: The values by column. What is absent is ``NA``.

        Raises:
            OSError: The row could not be written. It is kept, and comes before the next one.
        """
        self._waiting.append(row)
        self._write_waiting()

    def close(self) -> None:
        """Close the file. May be called twice.

        Raises:
            OSError: A row that waited for it could not be written.
        """
        try:
            if not self._file.closed:
                self._write_waiting()
        finally:
            self._file.close()

    def _open(self) -> None:
        # Unbuffered: a row is one write, so that a reader never sees a part of it.
        self._file: FileIO = open(self.path, "ab", buffering=0)  # noqa: SIM115
        self._length = self._file.seek(0, os.SEEK_END)
        self._writer = self._writer_to(SimpleNamespace(write=self._put))

    def _writer_to(self, target: Any) -> Any:
        return csv.writer(target, csv.excel, delimiter=self.separator)

    def _write_waiting(self) -> None:
        while self._waiting:
            row = self._waiting[0]
            new = [name for name in row if name not in self.columns]
            if new:
                self._take_in(new)
            self._writer.writerow([row.get(name, MISSING) for name in self.columns])
            del self._waiting[0]

    def _take_in(self, new: Sequence[str]) -> None:
        columns = [*self.columns, *new]
        if self.columns:
            self._widen(columns)
        else:
            self._writer.writerow(columns)
        self.columns = columns

    def _widen(self, columns: Sequence[str]) -> None:
        wider = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        try:
            self._copy_to(wider, columns)
            self._file.close()
            wider.replace(self.path)
        finally:
            wider.unlink(missing_ok=True)
            self._file.close()
            self._open()

    def _copy_to(self, wider: Path, columns: Sequence[str]) -> None:
        with open(self.path, newline="", encoding="utf-8-sig") as old, open(wider, "w", newline="", encoding="utf-8") as new:
            rows, writer = csv.reader(old, csv.excel, delimiter=self.separator), self._writer_to(new)
            next(rows)
            writer.writerow(columns)
            writer.writerows(row + [MISSING] * (len(columns) - len(row)) for row in rows)
            new.flush()
            os.fsync(new.fileno())
        shutil.copymode(self.path, wider)

    def _put(self, line: str) -> None:
        data = line.encode()
        try:
            written = self._file.write(data)
            if written != len(data):
                raise OSError(f"{self.path}: only {written} of {len(data)} bytes could be written.")
        except OSError:
            with suppress(OSError):
                self._file.truncate(self._length)  # half a row would spoil the next one
            raise
        self._length += len(data)

    def _drop_torn_row(self) -> None:
        if self._length:
            self._length = self.path.read_bytes().rfind(b"\n") + 1
            self._file.truncate(self._length)


def check_separator(separator: str, *, who: str) -> str:
    """Return a separator, or refuse it.

    Raises:
        ArgumentError: It is not a single character that can separate.
    """
    if not isinstance(separator, str) or len(separator) != 1 or separator in '"\r\n':
        raise ArgumentError(f"{who}: separator must be a single character, as ',' or ';'. Received: separator={separator!r}.")
    return separator


def read_columns(path: Path, separator: str) -> list[str]:
    """Return the names in a table's first line; none where there is no whole line."""
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8-sig", errors="replace") as file:
        line = file.readline()
    return next(csv.reader([line], csv.excel, delimiter=separator)) if line.endswith("\n") else []
