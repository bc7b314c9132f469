"""Screen: rows folded to the width of a terminal, and plain lines anywhere else."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text


class Screen:
    """Show rows and lines on the standard output.

    What is shown comes from files: a sign that a terminal would obey is written as its code.
    """

    def __init__(self) -> None:
        self._console = Console(highlight=False, markup=False, emoji=False)

    def line(self, text: str = "", *, style: str = "") -> None:
        """Show a line.

        Args:
            text: What it says.
            style: How, on a terminal.
        """
        if self._console.is_terminal:
            self._console.print(Text(printable(text), style=style))
        else:
            self._put(printable(text))

    def rows(
        self, rows: Sequence[Sequence[str]], *, head: Sequence[str] = (), right: Collection[int] = (), styles: Mapping[str, str]
    ) -> None:
        """Show rows, their values below each other.

        Args:
            rows: The values of each row, as many in each; one row at least.
            head: What stands above them.
            right: The columns, from 0, whose values end at the same place.
            styles: How values are shown on a terminal, by value.
        """
        cleaned = [[printable(value) for value in row] for row in rows]
        if self._console.is_terminal:
            self._console.print(_table(cleaned, head, right, styles))
            return
        shown = [list(head), *cleaned] if head else cleaned
        widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
        for row in shown:
            cells = (
                value.rjust(width) if at in right else value.ljust(width)
                for at, (value, width) in enumerate(zip(row, widths, strict=True))
            )
            self._put("  ".join(cells).rstrip())

    def json(self, value: Any) -> None:
        """Show JSON. Numbers that it does not have are texts: ``"inf"``, ``"-inf"``, ``"nan"``.

        Args:
            value: Dicts, lists, texts, numbers; anything else as the text that it makes of itself.
        """
        self._put(json.dumps(_jsonable(value), indent=2))

    def _put(self, text: str) -> None:
        self._console.file.write(f"{text}\n")


def printable(text: str) -> str:
    """Return a text in which every sign that does not show itself is written as its code.

    Args:
        text: Any text.

    Example:
        >>> print(printable("red: \\x1b[31m"))
        red: \\x1b[31m
    """
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def _table(rows: Sequence[Sequence[str]], head: Sequence[str], right: Collection[int], styles: Mapping[str, str]) -> Table:
    """Return rows as a table. Of one with a head, names fold; of one without, what stands last."""
    table = Table(box=None, show_header=bool(head), show_edge=False, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    columns = len(rows[0])
    folding = 0 if head else columns - 1
    for at in range(columns):
        justify: JustifyMethod = "right" if at in right else "left"
        table.add_column(head[at] if head else "", overflow="fold", justify=justify, no_wrap=at != folding)
    for row in rows:
        table.add_row(*(Text(value, style=styles.get(value, "")) for value in row))
    return table


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _jsonable(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
