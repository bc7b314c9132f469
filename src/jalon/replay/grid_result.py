"""GridResult: what many policies come to over recorded runs, and which of them to prefer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from jalon._optional import require
from jalon.core.trainer import Direction
from jalon.replay.policies import Policy
from jalon.replay.record import Record
from jalon.replay.replaying import best_of
from jalon.replay.result import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TOLERANCE = 0.01
"""Which share of the improvement may be lost for the sake of fewer epochs, unless it is said otherwise."""
MARK = "decisions only"
"""What stands beside policies that would have changed the learning rate, and with it the curves."""
SHOWN = 20
"""How many rows of the front are printed."""


@dataclass(frozen=True)
class GridResult:
    """Is what many policies come to over recorded runs. Printed, it is the front and what to choose.

    Arrays have a row for each policy and a column for each run.

    Args:
        policies: The policies.
        names: The names of the runs.
        records: The runs.
        metric: The metric by which to tell what is best.
        direction: Whether less or more of it is better.
        epochs: How many epochs would have been trained.
        stopped: Whether the policy asked for the end.
        kept: The epoch that is the best kept, from 0; -1 where there is none.
        values: The metric's value there; NaN where there is none.
        changes: How often the learning rate would have been changed.
        departs: Whether that would have changed the curves, so that what comes after is no more than what the policy decides.
    """

    policies: tuple[Policy, ...]
    names: tuple[str, ...]
    records: tuple[Record, ...]
    metric: str
    direction: Direction
    epochs: NDArray[np.int64]
    stopped: NDArray[np.bool_]
    kept: NDArray[np.int64]
    values: NDArray[np.float64]
    changes: NDArray[np.int64]
    departs: NDArray[np.bool_]

    @cached_property
    def spent(self) -> NDArray[np.float64]:
        """The share of each run's epochs that would have been trained."""
        spent: NDArray[np.float64] = self.epochs / np.array([len(record.epochs) for record in self.records])
        return spent

    @cached_property
    def lost(self) -> NDArray[np.float64]:
        """The share of each run's improvement, from its first value to its best, that would not have been kept; at most 1."""
        sign = 1.0 if self.direction == "min" else -1.0
        lost = np.zeros_like(self.values)
        for run, record in enumerate(self.records):
            values = record.values(self.metric)
            best, first = best_of(values, self.direction), next(filter(math.isfinite, values.values()), math.nan)
            if best is not None:
                span, short = sign * (first - best.value), sign * (self.values[:, run] - best.value)
                lost[:, run] = np.minimum(short / span, 1.0) if 0 < span < math.inf else np.sign(short)
        return np.where(np.isnan(lost), 1.0, lost)

    @property
    def decisions_only(self) -> NDArray[np.bool_]:
        """Which policies would have changed the curves of a run: of these the decisions are told, and not what came of them."""
        return np.asarray(self.departs.any(axis=1))

    def front(self) -> list[int]:
        """Return the policies than which none keeps more in as few epochs, on the average over the runs; few epochs first.

        Of policies that come to the same, the first one that leaves the curves as they were recorded stands for all.
        """
        spent, lost = self.spent.mean(axis=1), self.lost.mean(axis=1)
        found, least = list[int](), np.inf
        for place in self._order(spent, lost):
            if lost[place] < least:
                found.append(int(place))
                least = lost[place]
        return found

    def choose(self, *, tolerance: float = TOLERANCE, runs: Sequence[int] | None = None) -> int:
        """Return the policy that takes the fewest epochs of those that lose hardly more than the best does.

        Args:
            tolerance: Which share of the improvement it may lose beyond that. Defaults to 0.01.
            runs: The runs to choose by, by number. Defaults to all.
        """
        chosen = list(range(len(self.records))) if runs is None else list(runs)
        spent, lost = self.spent[:, chosen].mean(axis=1), self.lost[:, chosen].mean(axis=1)
        order = self._order(spent, lost)
        good = order[lost[order] <= lost.min() + tolerance]
        return int(good[0])

    def _order(self, spent: NDArray[np.float64], lost: NDArray[np.float64]) -> NDArray[np.intp]:
        """Return the policies, those of few epochs first, and of equals those that leave the curves as they were recorded."""
        return np.lexsort((np.arange(len(spent)), self.decisions_only, lost, spent))

    def left_out(self, *, tolerance: float = TOLERANCE) -> list[int]:
        """Return for each run the policy that is chosen by all the others, to be judged on a run that it was not tuned on.

        Args:
            tolerance: As for :meth:`choose`.
        """
        runs = range(len(self.records))
        return [self.choose(tolerance=tolerance, runs=[run for run in runs if run != out]) for out in runs]

    # ---- how it is told --------------------------------------------------------------------------------------------------

    def lines(self) -> Iterator[str]:
        """Yield what there was to try."""
        runs, better = counted(len(self.records), "run"), "less" if self.direction == "min" else "more"
        yield f"{counted(len(self.policies), 'policy', 'policies')} over {runs}, by {self.metric} ({better} is better)"
        for name, record in zip(self.names, self.records, strict=True):
            best = best_of(record.values(self.metric), self.direction)
            told = "" if best is None else f", the best {best.value:.5g} in epoch {best.epoch + 1:,}"
            yield f"{name}: {counted(len(record.epochs), 'epoch')}{told}"
        marked = int(self.decisions_only.sum())
        if marked:
            yield f"{counted(marked, 'policy', 'policies')} {MARK}: with another learning rate the curves would be others"

    @property
    def front_head(self) -> tuple[str, ...]:
        """What stands above :meth:`front_rows`."""
        return ("policy", "epochs", self.metric if len(self.records) == 1 else "", "lost", "")

    def front_rows(self) -> Iterator[tuple[str, ...]]:
        """Yield a row for each policy of the front: itself, its epochs, what it keeps, what is lost, and its mark."""
        alone = len(self.records) == 1
        for policy in self.front():
            epochs = f"{self.epochs[policy, 0]:,}" if alone else f"{self.spent[policy].mean():.1%}"
            value = f"{self.values[policy, 0]:.5g}" if alone else ""
            mark = MARK if self.decisions_only[policy] else ""
            yield str(self.policies[policy]), epochs, value, f"{self.lost[policy].mean():.2%}", mark

    @property
    def choice_head(self) -> tuple[str, ...]:
        """What stands above :meth:`choice_rows`."""
        return ("run left out", "chosen by the others", "epochs", "lost", "by its own")

    def choice_rows(self) -> Iterator[tuple[str, ...]]:
        """Yield a row for each run: the policy chosen by the others, what it comes to here, and what the one chosen here does."""
        if len(self.records) < 2:
            return
        for run, policy in enumerate(self.left_out()):
            own = self.choose(runs=[run])
            epochs = f"{self.epochs[policy, run]:,} of {len(self.records[run].epochs):,}"
            here = f"{self.epochs[own, run]:,}, {self.lost[own, run]:.2%}"
            yield self.names[run], str(self.policies[policy]), epochs, f"{self.lost[policy, run]:.2%}", here

    def choice_line(self) -> str:
        """Return which policy is chosen by all runs."""
        policy = self.choose()
        mark = f" ({MARK})" if self.decisions_only[policy] else ""
        return (
            f"choose {self.policies[policy]}{mark}: {self.spent[policy].mean():.1%} of the epochs, "
            f"{self.lost[policy].mean():.2%} of the improvement lost"
        )

    def __str__(self) -> str:
        parts = ["\n".join(self.lines()), aligned(self.front_head, in_short(list(self.front_rows())))]
        choices = list(self.choice_rows())
        parts += [aligned(self.choice_head, choices)] if choices else []
        return "\n\n".join([*parts, self.choice_line()])

    def plot(self, path: str | Path | None = None) -> Figure:
        """Draw every policy by epochs and by what it loses, and the front.

        Args:
            path: A file to write, its suffix naming the format; none by default.

        Raises:
            MissingPackage: matplotlib is not installed.
        """
        require("matplotlib", extra="plot", who="GridResult.plot")
        from jalon.replay._plot import draw

        figure = draw(self)
        if path is not None:
            figure.savefig(path)
        return figure


def in_short(rows: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return some of many rows, from the first to the last.

    Args:
        rows: The rows.
    """
    if len(rows) <= SHOWN:
        return rows
    return [rows[place] for place in np.unique(np.linspace(0, len(rows) - 1, SHOWN).round().astype(int))]


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows as lines, their values below each other, empty columns left out.

    Args:
        head: What stands above them.
        rows: The rows.
    """
    shown = [columns for columns in zip(head, *rows, strict=True) if any(columns)]
    widths = [max(map(len, column)) for column in shown]
    lines = zip(*shown, strict=True)
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
