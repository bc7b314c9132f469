"""Tables that grow row by row: those of ``CSVLogger``, and a backup's ``history.jsonl``."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

from jalon.cli.contents.found import Found

SUFFIXES = (".csv", ".log", ".tsv", ".txt")
_HEAD = re.compile(rb"(?:\xef\xbb\xbf)?epoch([^\w\r\n])")
_NO_CHECKSUM = "it carries no checksum"
_DROPPED = "A training that goes on with it drops that row; or delete it in an editor."
_TO_MEND = "Mend the line in an editor, or bring the file back from a copy."


def separator_of(path: Path) -> str | None:
    """Return what stands between the values of a table of ``CSVLogger``; ``None`` where a file does not begin as one.

    Args:
        path: The file.
    """
    if path.suffix not in SUFFIXES:
        return None
    with open(path, "rb") as file:
        head = _HEAD.match(file.read(16))
    return None if head is None else head[1].decode("latin-1")


def look(path: Path, separator: str) -> Found:
    """Return what a table holds: each row is looked at.

    Args:
        path: The file.
        separator: What stands between its values.
    """
    found = Found(path, "table of epochs", note=_NO_CHECKSUM)
    whole, is_torn = _whole_lines(path.read_bytes())
    try:
        rows = csv.reader(io.StringIO(whole.decode("utf-8-sig"), newline=""), csv.excel, delimiter=separator, strict=True)
        columns = next(rows, [])
        lengths = [len(row) for row in rows]
    except (csv.Error, UnicodeDecodeError) as exc:
        return found.damaged(f"is damaged: {exc}", _TO_MEND)
    found.facts = {"rows": len(lengths), "columns": columns}
    uneven = next((number for number, length in enumerate(lengths, start=1) if length != len(columns)), None)
    if uneven is not None:
        return found.damaged(
            f"is damaged: row {uneven:,} has {lengths[uneven - 1]} values and the first line {len(columns)}", _TO_MEND
        )
    return _torn(found, len(lengths)) if is_torn else found


def look_history(path: Path, length: int | None = None) -> Found:
    """Return what the history of a run holds: each row is looked at.

    Args:
        path: The file ``history.jsonl``; one that is not there has no rows.
        length: How many bytes count. Defaults to all.
    """
    found = Found(path, "history", note=_NO_CHECKSUM)
    whole, is_torn = _whole_lines(path.read_bytes()[:length] if path.is_file() else b"")
    lines = whole.splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            json.loads(line)
        except ValueError:
            return found.damaged(f"is damaged: line {number:,} is no JSON", _TO_MEND)
    found.facts = {"rows": len(lines)}
    return _torn(found, len(lines)) if is_torn else found


def _whole_lines(data: bytes) -> tuple[bytes, bool]:
    end = data.rfind(b"\n") + 1
    return data[:end], end < len(data)


def _torn(found: Found, rows: int) -> Found:
    return found.damaged(f"ends within a row, after {rows:,} whole ones", _DROPPED)
