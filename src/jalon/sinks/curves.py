"""Curves: small drawings of metrics that grow with the epochs, as SVG."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any

from jalon.core.logs import scalar
from jalon.sinks.progress import Progress, Reached

Point = tuple[float, float]

TRAINING, VALIDATION = "#0072B2", "#D55E00"
"""Okabe's and Ito's blue and vermilion: everybody tells them apart, on light and on dark ground; and the second is dashed."""
MOST = 200
"""Points that a line has at most: of a longer one every second is kept, then every fourth."""
WIDTH, HEIGHT = 250, 120
LEFT, TOP, RIGHT, BOTTOM = 44, 20, 12, 16
"""The margins around the lines, in pixels: for the numbers, the title, the mark of the best and the epochs."""


class Line:
    """Is a metric over the epochs, in a bounded number of points."""

    def __init__(self) -> None:
        self.points: list[Point] = []
        self._every = 1
        self._added = 0

    def add(self, epoch: float, value: float) -> None:
        """Add a value; the newest is always among the points."""
        if self.points and (self._added - 1) % self._every:
            self.points.pop()  # it was there as the newest alone
        self.points.append((epoch, value))
        self._added += 1
        if len(self.points) > MOST:
            self.points = self.points[::2]
            self._every *= 2


class Curves:
    """Draws a metric and its validation in one picture each, in the order in which they were first reported."""

    def __init__(self) -> None:
        self._lines: dict[str, Line] = {}
        self._first: dict[str, Line] = {}

    def add_within(self, progress: Progress) -> None:
        """Add what the first epoch, which may be the only one, has come to so far."""
        if progress.epoch and progress.total and not self._lines:
            for name, value in progress.metrics.items():
                number = scalar(value)
                if number is not None:
                    self._first.setdefault(name, Line()).add(_place(progress), number)

    def add(self, epoch: int, metrics: Mapping[str, Any]) -> None:
        """Add what an epoch has reported, as far as it is numbers.

        Args:
            epoch: The epoch's number, from 1.
            metrics: Its metrics by name.
        """
        for name, value in metrics.items():
            number = scalar(value)
            if number is not None:
                self._lines.setdefault(name, Line()).add(epoch, number)

    def pictures(self, running: Progress | None, bests: Mapping[str, Reached], epoch: int) -> str:
        """Return the pictures, or nothing before there is a line.

        Args:
            running: The epoch under way, up to which the lines of the training are drawn.
            bests: The best values so far.
            epoch: The number of the epoch that ``bests`` count from.
        """
        parts = dict.fromkeys(name.removeprefix("val_") for name in (*self._first, *self._lines))
        marks = {name: (float(epoch - best.ago), best.value) for name, best in bests.items()}
        return "".join(self._picture(part, running, marks) for part in parts)

    def _picture(self, part: str, running: Progress | None, marks: Mapping[str, Point]) -> str:
        lines = {name: self._points(name, running) for name in (part, f"val_{part}")}
        frame = _Frame([point for points in lines.values() for point in points])
        drawn = [
            _curve(frame, points, TRAINING if name == part else VALIDATION, dashed=name != part) for name, points in lines.items()
        ]
        stars = [_star(frame, marks[name], TRAINING if name == part else VALIDATION) for name in lines if name in marks]
        texts = "".join([*_titles(part, lines), *frame.labels()])
        return (
            f'<svg role="img" aria-label="{escape(part)}" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
            f'fill="currentColor" font-size="10">{frame.border()}{"".join(drawn)}{"".join(stars)}{texts}</svg>'
        )

    def _points(self, name: str, running: Progress | None) -> list[Point]:
        points = list(self._lines[name].points) if name in self._lines else []
        if len(points) < 2 and name in self._first:
            points = [*self._first[name].points, *points]
        value = scalar(running.metrics.get(name)) if running is not None else None
        if running is not None and value is not None and running.total:
            points.append((_place(running), value))
        return points


class _Frame:
    """Turns epochs and values into places within a picture.

    Args:
        points: All that are to be drawn.
    """

    def __init__(self, points: Iterable[Point]) -> None:
        finite = [point for point in points if math.isfinite(point[1])]
        self._epochs = _span([epoch for epoch, _ in finite])
        self._values = _span([value for _, value in finite])

    def place(self, point: Point) -> str:
        """Return where a point is, as two numbers."""
        (first, last), (least, most) = self._epochs, self._values
        x = LEFT + (WIDTH - LEFT - RIGHT) * _share(point[0], first, last)
        y = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * _share(point[1], least, most)
        return f"{x:.1f} {y:.1f}"

    def border(self) -> str:
        """Return the lines at the left and below."""
        bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
        return f'<path d="M{LEFT} {TOP}V{bottom}H{right}" fill="none" stroke="currentColor" stroke-opacity=".4"/>'

    def labels(self) -> Iterator[str]:
        """Yield the least and the greatest value and the first and the last epoch."""
        (first, last), (least, most) = self._epochs, self._values
        yield _text(LEFT - 4, TOP + 8, f"{most:.3g}", anchor="end")
        yield _text(LEFT - 4, HEIGHT - BOTTOM, f"{least:.3g}", anchor="end")
        yield _text(LEFT, HEIGHT - 4, f"{first:.0f}")
        yield _text(WIDTH - RIGHT, HEIGHT - 4, f"{last:.0f}" if last >= 1 else f"{last:.2g}", anchor="end")


def _place(progress: Progress) -> float:
    """Return how many epochs are done, with the part of the one in hand."""
    return progress.epoch - 1 + progress.share


def _titles(part: str, lines: Mapping[str, list[Point]]) -> Iterator[str]:
    yield f'<text x="{LEFT}" y="12" font-weight="bold">{escape(part)}</text>'
    if lines[f"val_{part}"]:
        right, sign = WIDTH - RIGHT, f'<tspan fill="{TRAINING}">━</tspan> training '
        validation = f'<tspan fill="{VALIDATION}">╍</tspan> validation'
        yield f'<text x="{right}" y="12" text-anchor="end">{sign if lines[part] else ""}{validation}</text>'


def _curve(frame: _Frame, points: list[Point], colour: str, *, dashed: bool) -> str:
    """Return a line through points, with gaps where there is no number, and a dot at its end."""
    steps, pen = [], "M"
    for point in points:
        finite = math.isfinite(point[1])
        steps += [pen + frame.place(point)] if finite else []
        pen = "L" if finite else "M"
    if not steps:
        return ""
    dash = ' stroke-dasharray="4 2"' if dashed else ""
    x, y = steps[-1][1:].split()
    path = f'<path d="{"".join(steps)}" fill="none" stroke="{colour}" stroke-width="1.5"{dash}/>'
    return f'{path}<circle cx="{x}" cy="{y}" r="2" fill="{colour}"/>'


def _star(frame: _Frame, at: Point, colour: str) -> str:
    x, y = map(float, frame.place(at).split())
    return _text(round(x, 1), round(y + 4, 1), "★", anchor="middle", colour=colour)


def _text(x: float, y: float, text: str, *, anchor: str = "start", colour: str = "currentColor") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'


def _span(numbers: list[float]) -> tuple[float, float]:
    return (min(numbers), max(numbers)) if numbers else (0.0, 0.0)


def _share(number: float, least: float, most: float) -> float:
    return 0.5 if most == least else (number - least) / (most - least)
