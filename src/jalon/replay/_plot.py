"""The drawing of a grid of policies, by matplotlib without its global state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from jalon.callbacks._plot import HistoryFigure

if TYPE_CHECKING:
    from jalon.replay.grid_result import GridResult

_SIZE = (7.0, 4.2)
_HEADROOM = 1.15


def draw(result: GridResult) -> Figure:
    """Return a figure: a dot for each policy, the front as a line, and the one to choose named.

    Args:
        result: What the policies come to.
    """
    figure = HistoryFigure(figsize=_SIZE, layout="constrained")
    axes = figure.subplots()
    alone = len(result.records) == 1
    spent = result.epochs[:, 0] if alone else result.spent.mean(axis=1)
    lost, marked = result.lost.mean(axis=1), result.decisions_only
    for chosen, color, label in ((~marked, "C0", "policies"), (marked, "C2", "decisions only")):
        if chosen.any():
            axes.scatter(spent[chosen], lost[chosen], s=9, alpha=0.5, color=color, linewidths=0, label=label, rasterized=True)
    front, choice = result.front(), result.choose()
    axes.plot(spent[front], lost[front], "-o", color="C1", markersize=3, linewidth=1, drawstyle="steps-post", label="front")
    axes.plot(spent[choice], lost[choice], "*", color="C3", markersize=12, label=f"choose {result.policies[choice]}")
    axes.set_xlabel("epochs" if alone else "share of the epochs, mean over the runs")
    axes.set_ylabel(f"improvement of {result.metric} lost")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_ylim(0 - 0.03 * max(lost.max(), 0.01), max(lost.max(), 0.01) * _HEADROOM)
    if not alone:
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.legend()
    return figure
