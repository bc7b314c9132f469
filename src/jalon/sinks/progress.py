"""Progress as text: what a line says and how it fits a width."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from jalon.core.logs import scalar

SEPARATOR = " - "
CELLS = 20
SHAPES = ((CELLS, True), (CELLS, False), (CELLS // 2, False), (CELLS // 4, False), (0, False))
"""The cells of the bar, and whether the time per step is shown: what a moving line gives up, in turn, for want of room."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Is how far an epoch, an evaluation or a prediction has come.

    Args:
        title: What is under way, as ``"Epoch 3/50"``; may be empty.
        seen: Steps done.
        total: Steps to do; ``None`` while unknown.
        seconds: Time since it began.
        per_step: Seconds a step takes; 0 while no step was timed.
        metrics: The values so far, by name.
    """

    title: str
    seen: int = 0
    total: int | None = None
    seconds: float = 0.0
    per_step: float = 0.0
    metrics: Mapping[str, Any] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """The part that is done, from 0 to 1."""
        return min(1.0, self.seen / self.total) if self.total else 1.0


class Display(Protocol):
    """Is where progress shows.

    Attributes:
        interval: Seconds between two drawings within one epoch.
    """

    interval: float

    def begin(self, progress: Progress) -> None:
        """Show that an epoch, an evaluation or a prediction begins."""
        ...

    def draw(self, progress: Progress) -> None:
        """Show how far it has come."""
        ...

    def finish(self, progress: Progress) -> None:
        """Show how it ended, for good."""
        ...

    def say(self, message: str) -> None:
        """Show a message whole."""
        ...

    def close(self) -> None:
        """Leave what was shown complete. May be called twice."""
        ...


@dataclass(frozen=True, slots=True)
class Style:
    """Is what a bar is made of. What is done and what is not differ in shape, not in colour alone."""

    done: str = "━"
    rest: str = "─"
    done_colour: str = ""
    rest_colour: str = ""
    plain: str = ""

    def bar(self, share: float, cells: int) -> str:
        """Return a bar without colours."""
        done = int(share * cells)
        return self.done * done + self.rest * (cells - done)

    def paint(self, line: str, bar: str) -> str:
        """Return a line with its bar coloured."""
        if not self.plain or not bar:
            return line
        done = bar.rstrip(self.rest)
        return line.replace(bar, f"{self.done_colour}{done}{self.plain}{self.rest_colour}{bar[len(done) :]}{self.plain}", 1)


UNICODE = Style()
ASCII = Style("=", ".")


def number(value: object) -> str:
    """Return a metric's value as text, with four decimals.

    Example:
        >>> number(0.22151), number(0.0005)
        ('0.2215', '5.0000e-04')
    """
    single = scalar(value)
    if single is None:
        return " ".join(str(value).split())
    return f"{single:.4f}" if abs(single) > 1e-3 else f"{single:.4e}"


def duration(seconds: float) -> str:
    """Return a time as text.

    Example:
        >>> duration(7.2), duration(75), duration(3675)
        ('7s', '1:15', '1:01:15')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02d}:{rest:02d}"
    return f"{minutes}:{rest:02d}" if minutes else f"{rest}s"


def pace(per_step: float) -> str:
    """Return the time that a step takes as text, or nothing while no step was timed.

    Example:
        >>> pace(0.00048), pace(0.007), pace(2.0)
        ('480us/step', '7ms/step', '2s/step')
    """
    if not per_step:
        return ""
    if per_step >= 1:
        return f"{per_step:.0f}s/step"
    return f"{per_step * 1e3:.0f}ms/step" if per_step >= 1e-3 else f"{per_step * 1e6:.0f}us/step"


def count(progress: Progress) -> str:
    """Return the steps done and to do as text, of one width throughout an epoch."""
    if progress.total is None:
        return f"{progress.seen}/Unknown"
    return f"{progress.seen:>{len(str(progress.total))}}/{progress.total}"


def remaining(progress: Progress) -> str:
    """Return the time it will still take as text, or the time it took while that cannot be told."""
    if progress.total is None or not progress.seen:
        return duration(progress.seconds)
    return f"ETA {duration(progress.per_step * max(0, progress.total - progress.seen))}"


def metric_texts(progress: Progress) -> list[str]:
    """Return each metric as text."""
    return [f"{name}: {number(value)}" for name, value in progress.metrics.items()]


def columns(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(sign) in "WF" else not unicodedata.combining(sign) for sign in text)


def layout(progress: Progress, width: int, style: Style = UNICODE) -> str:
    """Return the moving line, never wider than the terminal. Metrics are left out from the last one on."""
    metrics = metric_texts(progress)
    line, bar = _fitting_head(progress, width, metrics[:1], style)
    room = width - len(line)
    for metric in metrics:
        room -= len(SEPARATOR) + columns(metric)
        if room < 0:
            break
        line += SEPARATOR + metric
    return style.paint(line, bar)


def _fitting_head(progress: Progress, width: int, first: list[str], style: Style) -> tuple[str, str]:
    """Return the line without metrics, and its bar, so that the first metric still fits if it can."""
    for wanted in (columns(SEPARATOR + first[0]) if first else 0, 0):
        for cells, timed in SHAPES:
            line, bar = _head(progress, style.bar(progress.share, cells), remaining(progress), timed)
            if len(line) + wanted <= width:
                return line, bar
    return line[:width], ""


def bar_line(progress: Progress, style: Style = UNICODE) -> str:
    """Return the line that a finished bar leaves, with every metric."""
    line, bar = _head(progress, style.bar(progress.share, CELLS), duration(progress.seconds), timed=True)
    return style.paint(SEPARATOR.join([line, *metric_texts(progress)]), bar)


def _head(progress: Progress, bar: str, time: str, timed: bool) -> tuple[str, str]:
    """Return the line without metrics, of signs one column wide each, and its bar."""
    bar = "" if progress.total is None else bar
    return " ".join(part for part in (count(progress), bar, time, pace(progress.per_step) if timed else "") if part), bar


def report(progress: Progress) -> str:
    """Return a whole line about an epoch that is under way."""
    percent = "" if progress.total is None else f"{progress.share:.0%}"
    parts = (progress.title, percent, count(progress), remaining(progress), pace(progress.per_step), *metric_texts(progress))
    return SEPARATOR.join(part for part in parts if part)


def summary(progress: Progress) -> str:
    """Return a whole line about an epoch that has ended."""
    parts = (progress.title, count(progress), duration(progress.seconds), pace(progress.per_step), *metric_texts(progress))
    return SEPARATOR.join(part for part in parts if part)
