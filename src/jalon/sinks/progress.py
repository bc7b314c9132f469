"""Progress as text: what a line says and how it fits a width."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, Self

from jalon.core.logs import scalar

SEPARATOR = " - "
INDENT = "  "
NARROW = 60
CELLS = 20


class Reached(NamedTuple):
    """Is the best value of a metric so far.

    Args:
        value: The value.
        ago: How many epochs before the one in hand it was reached; 0 for that one itself.
    """

    value: float
    ago: int


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
        batch_size: Samples in a step; ``None`` where that is not known.
        bests: The best values so far, by metric.
        rate: The learning rate as text; may be empty.
        waits: What callbacks will do before long, what matters most first, as ``"stop in 4"``.
        epoch: The epoch's number, from 1; 0 where there is none.
    """

    title: str
    seen: int = 0
    total: int | None = None
    seconds: float = 0.0
    per_step: float = 0.0
    metrics: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int | None = None
    bests: Mapping[str, Reached] = field(default_factory=dict)
    rate: str = ""
    waits: Sequence[str] = ()
    epoch: int = 0

    @property
    def share(self) -> float:
        """The part that is done, from 0 to 1."""
        return min(1.0, self.seen / self.total) if self.total else 1.0


class Display(Protocol):
    """Is where progress shows.

    Attributes:
        interval: Seconds between two drawings within one epoch.
        begins_by_title: Whether of what begins its title alone is shown, or nothing.
    """

    interval: float
    begins_by_title: bool

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
    """Is what a line is made of. What is done and what is not differ in shape and the best has a mark: no colour tells alone.

    Args:
        done: The part of the bar that is done.
        rest: The part that is not.
        mark: The sign of a best value.
        done_colour: Switches to the colour of what is done.
        rest_colour: Switches to the colour of what is not.
        mark_colour: Switches to the colour of the mark.
        plain: Switches colours off; empty where there are none.
    """

    done: str = "━"
    rest: str = "─"
    mark: str = "★"
    done_colour: str = ""
    rest_colour: str = ""
    mark_colour: str = ""
    plain: str = ""

    def bar(self, share: float, cells: int) -> str:
        """Return a bar without colours."""
        done = int(share * cells)
        return self.done * done + self.rest * (cells - done)

    def paint(self, line: str, bar: str) -> str:
        """Return a line with its bar and its marks coloured."""
        if not self.plain:
            return line
        line = line.replace(self.mark, f"{self.mark_colour}{self.mark}{self.plain}")
        done = bar.rstrip(self.rest)
        painted = f"{self.done_colour}{done}{self.plain}{self.rest_colour}{bar[len(done) :]}{self.plain}"
        return line.replace(bar, painted, 1) if bar else line


UNICODE = Style()
ASCII = Style("=", ".", "*")
WORDS = Style("=", ".", "best")
"""For lines that are kept, and searched with other tools."""


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


def throughput(progress: Progress) -> str:
    """Return how many samples a second takes as text, or nothing where that cannot be told.

    Example:
        >>> throughput(Progress("", per_step=0.007, batch_size=32))
        '4,570 samples/s'
    """
    if not progress.per_step or not progress.batch_size:
        return ""
    rounded = float(f"{progress.batch_size / progress.per_step:.3g}")
    return f"{rounded:,.0f} samples/s" if rounded >= 100 else f"{rounded:g} samples/s"


def ago(epochs: int, *, short: bool = False) -> str:
    """Return how long ago something was as text."""
    return f"{epochs} ago" if short else f"{epochs} epoch{'' if epochs == 1 else 's'} ago"


def metric_texts(progress: Progress) -> list[str]:
    """Return each metric as text."""
    return [f"{name}: {number(value)}" for name, value in progress.metrics.items()]


def best_texts(progress: Progress, style: Style, *, without: Collection[str] = (), short: bool = False) -> list[str]:
    """Return each best value so far as text."""
    bests = ((name, best) for name, best in progress.bests.items() if name not in without)
    return [f"{style.mark} {name}: {number(best.value)}, {ago(best.ago, short=short)}" for name, best in bests]


def marked_texts(progress: Progress, style: Style, *, short: bool = False) -> list[str]:
    """Return each metric of an epoch that has ended as text: marked where it is the best so far, else with the best beside it."""
    texts = []
    for name, text in zip(progress.metrics, metric_texts(progress), strict=True):
        best = progress.bests.get(name)
        if best is not None:
            earlier = f"({style.mark} {number(best.value)}, {ago(best.ago, short=short)})"
            text += f" {earlier if best.ago else style.mark}"
        texts.append(text)
    return [*texts, *best_texts(progress, style, without=progress.metrics, short=short)]


def columns(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(sign) in "WF" else not unicodedata.combining(sign) for sign in text)


def layout(progress: Progress, width: int, style: Style = UNICODE) -> str:
    """Return the moving line, never wider than the terminal."""
    parts = _Parts.of(progress, style)
    for _ in parts.giving_way():
        if parts.width <= width:
            return style.paint(_joined(parts.head, *parts.tail), parts.bar)
    return parts.head[:width]


@dataclass(slots=True)
class _Parts:
    """Is what a moving line is put together from."""

    progress: Progress
    style: Style
    count: str
    cells: int
    time: str
    pace: str
    throughput: str
    metrics: list[str]
    bests: list[str]
    rate: str
    waits: list[str]

    @classmethod
    def of(cls, progress: Progress, style: Style) -> Self:
        """Return all parts."""
        return cls(
            progress=progress,
            style=style,
            count=count(progress),
            cells=CELLS,
            time=remaining(progress),
            pace=pace(progress.per_step),
            throughput=throughput(progress),
            metrics=metric_texts(progress),
            bests=best_texts(progress, style),
            rate=progress.rate,
            waits=list(progress.waits),
        )

    @property
    def bar(self) -> str:
        """The bar, without colours."""
        return "" if self.progress.total is None else self.style.bar(self.progress.share, self.cells)

    @property
    def head(self) -> str:
        """The part that stays, of signs one column wide each."""
        return " ".join(filter(None, (self.count, self.bar, self.time, self.pace)))

    @property
    def tail(self) -> list[str]:
        """What follows it."""
        return list(filter(None, (self.throughput, *self.metrics, *self.bests, self.rate, *self.waits)))

    @property
    def width(self) -> int:
        """The columns that the line takes."""
        return len(self.head) + sum(len(SEPARATOR) + _width(part, self.style) for part in self.tail)

    def giving_way(self) -> Iterator[None]:
        """Leave out one part after the other: this is the order in which they go where the terminal is narrow."""
        yield
        self.throughput = ""
        yield
        self.pace = ""
        yield
        self.cells = CELLS // 2
        yield
        self.rate = ""
        yield
        while len(self.waits) > 1:
            self.waits.pop()
            yield
        while len(self.metrics) > 1:
            self.metrics.pop(-2 if self.metrics[-1].startswith("loss: ") else -1)
            yield
        self.bests = best_texts(self.progress, self.style, short=True)
        yield
        self.cells = CELLS // 4
        yield
        self.waits.clear()
        yield
        while self.bests:
            self.bests.pop()
            yield
        self.cells = 0
        yield
        self.metrics.clear()
        yield


def bar_line(progress: Progress, width: int, style: Style = UNICODE) -> str:
    """Return what a finished bar leaves, whole: a line, or several where the terminal is narrow."""
    marked = marked_texts(progress, style, short=width < NARROW)
    parts = [throughput(progress), *marked, progress.rate, *progress.waits]
    for cells in (CELLS, CELLS // 2, CELLS // 4, 0):
        bar = "" if progress.total is None else style.bar(progress.share, cells)
        head = " ".join(part for part in (count(progress), bar, duration(progress.seconds), pace(progress.per_step)) if part)
        if len(head) <= width:
            break
    return style.paint(_folded(head, parts, width, style), bar)


def _folded(head: str, parts: Iterable[str], width: int, style: Style) -> str:
    """Return parts in rows of a width; a part that alone is wider is not broken."""
    text, room = head, width - len(head)
    for part in filter(None, parts):
        needed = len(SEPARATOR) + _width(part, style)
        if needed > room:
            text, room = f"{text}\n{INDENT}{part}", width - len(INDENT) - needed + len(SEPARATOR)
        else:
            text, room = text + SEPARATOR + part, room - needed
    return text


def _width(part: str, style: Style) -> int:
    """Return the columns of a part, in which the mark takes one."""
    return columns(part.replace(style.mark, "*"))


def report(progress: Progress) -> str:
    """Return a whole line about an epoch that is under way."""
    percent = "" if progress.total is None else f"{progress.share:.0%}"
    return _joined(
        progress.title,
        percent,
        count(progress),
        remaining(progress),
        pace(progress.per_step),
        throughput(progress),
        *metric_texts(progress),
        *best_texts(progress, WORDS),
        progress.rate,
        *progress.waits,
    )


def summary(progress: Progress) -> str:
    """Return a whole line about an epoch that has ended."""
    return _joined(
        progress.title,
        count(progress),
        duration(progress.seconds),
        pace(progress.per_step),
        throughput(progress),
        *marked_texts(progress, WORDS),
        progress.rate,
        *progress.waits,
    )


def _joined(*parts: str) -> str:
    return SEPARATOR.join(part for part in parts if part)
