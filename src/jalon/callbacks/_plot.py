"""The drawing of a history, by matplotlib without its global state."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jalon.core.run import Best

RATE = "learning_rate"
WIDTH = 7.0
HEIGHT = 2.4
"""Inches: of the figure, and of each metric's part of it."""
FEW = 30
"""Epochs up to which each has its dot: a line through one alone is not seen."""


class HistoryFigure(Figure):
    """Is a figure that notebooks show, although it is none of pyplot's."""

    def _repr_png_(self) -> bytes:
        image = io.BytesIO()
        self.savefig(image, format="png")
        return image.getvalue()


def draw(epochs: Sequence[int], rows: Sequence[dict[str, Any]], best: Best | None) -> Figure:
    """Return a figure with one part for each metric, and one for the learning rate."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    parts = list(dict.fromkeys(name.removeprefix("val_") for name in names if name != RATE)) + [RATE] * (RATE in names)
    figure = HistoryFigure(figsize=(WIDTH, HEIGHT * max(1, len(parts))), layout="constrained")
    marker = "." if len(epochs) <= FEW else ""
    axes: list[Axes] = list(figure.subplots(max(1, len(parts)), sharex=True, squeeze=False)[:, 0])
    for ax, part in zip(axes, parts, strict=False):
        for name in (part, f"val_{part}"):
            if name in names:
                heights = [_height(row.get(name)) for row in rows]
                ax.plot(epochs, heights, "-" if name == part else "--", color="C0", marker=marker, label=name)
        ax.set_ylabel(part)
        if best is not None:
            ax.axvline(best.epoch, color="C1", linewidth=1, label=f"best {best.monitor}: {best.value:.4g}")
        if part == RATE:
            ax.set_yscale("log")
        ax.legend()
    axes[-1].set_xlabel("epoch")
    return figure


def png(epochs: Sequence[int], rows: Sequence[dict[str, Any]], best: Best | None) -> bytes:
    """Return the picture that ``draw`` makes, in PNG."""
    image = io.BytesIO()
    draw(epochs, rows, best).savefig(image, format="png")
    return image.getvalue()


def _height(value: Any) -> float:
    return value if isinstance(value, float) else math.nan
