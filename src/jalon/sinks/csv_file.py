"""CsvFile: a table that others can read while it grows, in rows and in columns."""

from __future__ import annotations

import csv
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from io import FileIO
from itertools import islice
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

    Nothing is touched before :meth:`open` or the first row. What fails is tried again with the next row.

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
        self.columns: list[str] = []
        self._append = append
        self._file: FileIO | None = None
        self._length: int | None = None  # not seen yet
        self._rows = 0
        self._waiting: list[Mapping[str, Any]] = []
        self._writer = self._writer_to(SimpleNamespace(write=self._put))

    def open(self) -> None:
        """Make the file, or read how far it is. Does nothing where that is done.

        Raises:
            OSError: The system refuses.
        """
        self._opened()

    def _opened(self) -> FileIO:
        if self._file is not None:
            return self._file
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._remove_leftovers()
        if self._append:
            self.columns = read_columns(self.path, self.separator)
        else:
            self.path.write_bytes(b"")
        file = FileIO(self.path, "a")
        try:
            self._take(file)
        except BaseException:
            file.close()
            raise
        self._append = True  # once begun, it is gone on with
        return file

    def _take(self, file: FileIO) -> None:
        length = file.seek(0, os.SEEK_END)
        if length:
            length = self.path.read_bytes().rfind(b"\n") + 1
            file.truncate(length)
            self._rows = self._count_rows()
        self._file, self._length = file, length

    def write(self, row: Mapping[str, Any]) -> None:
        """Add a row, and the columns that it is the first to have.

        Args:
            row: The values by column. What is absent is ``NA``.

        Raises:
            OSError: The row could not be written. It is kept, and comes before the next one.
        """
        self._waiting.append(row)
        self._write_waiting()

    def position(self) -> dict[str, Any]:
        """Return how far the table is, as plain data for :meth:`cut_back`; the rows that are kept for a disk with room too."""
        if self._length is None:
            with suppress(OSError):
                self.open()
        return {
            "columns": list(self.columns),
            "rows": self._rows,
            "bytes": self._length,
            "waiting": [{name: str(value) for name, value in row.items()} for row in self._waiting],
        }

    def cut_back(self, position: Mapping[str, Any]) -> bool:
        """Make the table what it was at a position: rows and columns that came after it go.

        Args:
            position: What :meth:`position` returned.

        Returns:
            Whether it could be done. Where rows are gone, or the file holds another table, it stays as it is.

        Raises:
            OSError: The table could not be written.
        """
        columns, rows, length = position["columns"], position["rows"], position["bytes"]
        self._waiting = list(position["waiting"])
        if length is None:
            return True
        file = self._opened()
        if length == 0 or (self.columns == columns and self._ends_a_line(length)):
            file.truncate(length)
            self._length = length
        elif self.columns[: len(columns)] == columns and self._rows >= rows:
            self._replace(columns, rows)
        else:
            return False
        self.columns, self._rows = list(columns), rows
        return True

    def close(self) -> None:
        """Close the file. May be called twice.

        Raises:
            OSError: A row that waited for it could not be written.
        """
        try:
            self._write_waiting()
        finally:
            self._let_go()

    def _let_go(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _writer_to(self, target: Any) -> Any:
        return csv.writer(target, csv.excel, delimiter=self.separator)

    def _write_waiting(self) -> None:
        while self._waiting:
            self.open()
            row = self._waiting[0]
            new = [name for name in row if name not in self.columns]
            if new:
                self._take_in(new)
            self._writer.writerow([row.get(name, MISSING) for name in self.columns])
            self._rows += 1
            del self._waiting[0]

    def _take_in(self, new: Sequence[str]) -> None:
        columns = [*self.columns, *new]
        if self.columns:
            self._replace(columns)
        else:
            self._writer.writerow(columns)
        self.columns = columns

    def _replace(self, columns: Sequence[str], rows: int | None = None) -> None:
        """Put the rows of the table, or the first ones, in its place, with other columns at the right end."""
        other = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        try:
            self._copy_to(other, columns, rows)
            self._let_go()
            other.replace(self.path)
        finally:
            other.unlink(missing_ok=True)
        self.open()

    def _copy_to(self, other: Path, columns: Sequence[str], rows: int | None) -> None:
        with open(self.path, newline="", encoding="utf-8-sig") as old, open(other, "w", newline="", encoding="utf-8") as new:
            there, writer = csv.reader(old, csv.excel, delimiter=self.separator), self._writer_to(new)
            next(there)
            writer.writerow(columns)
            for row in islice(there, rows):
                writer.writerow((row + [MISSING] * (len(columns) - len(row)))[: len(columns)])
            new.flush()
            os.fsync(new.fileno())
        shutil.copymode(self.path, other)

    def _count_rows(self) -> int:
        with open(self.path, newline="", encoding="utf-8-sig", errors="replace") as file:
            lines = file.readlines()
        with suppress(csv.Error):  # a text that is too long for it
            return max(0, sum(1 for _ in csv.reader(lines, csv.excel, delimiter=self.separator)) - 1)
        return max(0, len(lines) - 1)

    def _ends_a_line(self, length: int) -> bool:
        with open(self.path, "rb") as file:
            file.seek(length - 1)
            return file.read(1) == b"\n"

    def _remove_leftovers(self) -> None:
        """Remove the tables that a process was writing when it was killed."""
        name = re.compile(re.escape(f".{self.path.name}.") + r"\d+\.tmp")
        with suppress(OSError):
            for path in self.path.parent.iterdir():
                if name.fullmatch(path.name):
                    path.unlink()

    def _put(self, line: str) -> None:
        # Unbuffered: a row is one write, so that a reader never sees a part of it.
        data, file = line.encode(), self._opened()
        length = self._length or 0
        try:
            written = file.write(data)
            if written != len(data):
                raise OSError(f"{self.path}: only {written} of {len(data)} bytes could be written.")
        except OSError:
            with suppress(OSError):
                file.truncate(length)  # half a row would spoil the next one
            raise
        self._length = length + len(data)


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
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8-sig", errors="replace") as file:
        line = file.readline()
    return next(csv.reader([line], csv.excel, delimiter=separator)) if line.endswith("\n") else []
