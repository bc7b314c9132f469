"""Progress in a notebook: one output area, with a bar, curves and a table, updated in place."""

from __future__ import annotations

import importlib
import sys
from collections import deque
from html import escape
from typing import Any, TextIO

from jalon.core.clock import Clock
from jalon.sinks.curves import Curves
from jalon.sinks.progress import (
    SEPARATOR,
    UNICODE,
    Progress,
    best_texts,
    count,
    duration,
    metric_texts,
    number,
    pace,
    remaining,
    report,
    summary,
    throughput,
)

ROWS = 20
"""How many lines stay in view; the curves show the rest, and the history holds it."""
STYLE = (
    "<style>.jalon table{border-collapse:collapse;font-variant-numeric:tabular-nums}"
    ".jalon tr,.jalon th,.jalon td{color:inherit;background:none;border:0;padding:0 .8em 0 0;text-align:right}"
    ".jalon .said{text-align:left}.jalon progress{width:14em;vertical-align:middle;accent-color:#0072B2}"
    ".jalon .curves{display:flex;flex-wrap:wrap;gap:.5em}</style>"
)
"""Takes the page's own colours, so that it is readable on light and on dark ones."""


def in_notebook(stream: TextIO) -> bool:
    """Return whether a stream goes to a notebook's output area, which a redirected one does not."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return getattr(shell, "kernel", None) is not None and hasattr(stream, "set_parent")


class Notebook:
    """Show progress as the bar of the running epoch, a curve for each metric, and a table of the finished epochs.

    At most one update per interval goes out on average: what ends an epoch may come early, and the next update then
    waits the longer.

    Args:
        clock: Tells the time.
    """

    interval = 0.2
    begins_by_title = False

    def __init__(self, *, clock: Clock) -> None:
        self._now = clock.monotonic
        self._due = self._now()
        self._rows: deque[Progress | str] = deque(maxlen=ROWS)
        self._told = 0
        self._curves = Curves()
        self._newest: Progress | None = None
        self._running: Progress | None = None
        self._handle: Any = None
        self._behind = False

    def begin(self, progress: Progress) -> None:
        """Put an empty bar in place."""
        self._running = self._newest = progress
        self._update()

    def draw(self, progress: Progress) -> None:
        """Move the bar, and the ends of the curves."""
        self._running = self._newest = progress
        self._curves.add_within(progress)
        self._update()

    def finish(self, progress: Progress) -> None:
        """Turn the bar into a row of the table and a point of each curve."""
        self._running, self._newest = None, progress
        if progress.epoch:
            self._curves.add(progress.epoch, progress.metrics)
        self._add(progress)

    def say(self, message: str) -> None:
        """Add a message as a row of its own."""
        self._add(message)

    def close(self) -> None:
        """Show what no update has shown yet."""
        if self._behind:
            self._send()

    def _add(self, row: Progress | str) -> None:
        self._rows.append(row)
        self._told += 1
        self._update(early=self.interval)

    def _update(self, *, early: float = 0.0) -> None:
        now = self._now()
        self._behind = True
        if now >= self._due - early:
            self._due = max(self._due, now) + self.interval
            self._send()

    def _send(self) -> None:
        self._behind = False
        bundle = {"text/html": self._html(), "text/plain": self._text()}
        if self._handle is None:
            self._handle = importlib.import_module("IPython.display").display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)

    def _left_out(self) -> list[str]:
        earlier = self._told - len(self._rows)
        return [f"({earlier} earlier lines)"] if earlier else []

    def _text(self) -> str:
        rows = [row if isinstance(row, str) else summary(row) for row in self._rows]
        running = [report(self._running)] if self._running else []
        return "\n".join([*self._left_out(), *rows, *running])

    def _html(self) -> str:
        epochs = [row for row in self._rows if isinstance(row, Progress)]
        names = list(dict.fromkeys(name for epoch in epochs for name in epoch.metrics))
        rows = [_cells(["", "steps", "time", "pace", *names], "th")] if epochs else []
        for row in (*self._left_out(), *self._rows):
            rows.append(_row(row, names) if isinstance(row, Progress) else _message(row, 4 + len(names)))
        table = f"<table>{''.join(rows)}</table>" if rows else ""
        return f'<div class="jalon">{STYLE}{_bar(self._running) if self._running else ""}{self._pictures()}{table}</div>'

    def _pictures(self) -> str:
        newest = self._newest
        if newest is None:
            return ""
        pictures = self._curves.pictures(self._running, newest.bests, newest.epoch)
        return f'<div class="curves">{pictures}</div>' if pictures else ""


def _row(progress: Progress, names: list[str]) -> str:
    values = [_value(progress, name) if name in progress.metrics else "" for name in names]
    return _cells([progress.title, count(progress), duration(progress.seconds), pace(progress.per_step), *values], "td")


def _value(progress: Progress, name: str) -> str:
    best = progress.bests.get(name)
    return f"{'★ ' if best is not None and best.ago == 0 else ''}{number(progress.metrics[name])}"


def _cells(texts: list[str], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(text)}</{tag}>" for text in texts) + "</tr>"


def _message(text: str, span: int) -> str:
    return f'<tr><td colspan="{span}" class="said">{escape(text)}</td></tr>'


def _bar(progress: Progress) -> str:
    place = "" if progress.total is None else f' value="{progress.seen}" max="{progress.total}"'
    texts = (
        progress.title,
        count(progress),
        remaining(progress),
        pace(progress.per_step),
        throughput(progress),
        *metric_texts(progress),
        *best_texts(progress, UNICODE),
        progress.rate,
        *progress.waits,
    )
    return f"<div><progress{place}></progress> {escape(SEPARATOR.join(text for text in texts if text))}</div>"
