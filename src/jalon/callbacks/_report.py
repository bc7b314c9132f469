"""Report: what a message says of a run, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from jalon.core.run import Best
from jalon.sinks.messages import Kind, Message
from jalon.sinks.progress import duration

MOST_METRICS = 12
LONGEST_REASON = 600


@dataclass(frozen=True, slots=True)
class Report:
    """Is how a run stands.

    Args:
        name: What the run is called.
        epochs_done: How many epochs are done.
        epochs: How many there will be, if that is known.
        metrics: What the last of them reported.
        best: The best value that was compared, if one was.
        seconds: How long the run has taken, if that is known.
        host: The machine.
    """

    name: str
    epochs_done: int
    epochs: int | None
    metrics: Mapping[str, float] = field(default_factory=dict)
    best: Best | None = None
    seconds: float | None = None
    host: str = ""

    def message(self, what: str, reason: str = "", *, kind: Kind = "info") -> Message:
        """Return a message.

        Args:
            what: What happened, in a word or two.
            reason: Why, or what there is to say of it.
            kind: How it is meant.

        Example:
            >>> report = Report("digits", 3, 20, {"loss": 0.25}, Best("loss", 0.2, 1), seconds=75.0, host="node7")
            >>> print(report.message("stopped", "no improvement in loss for 2 epochs").text)
            no improvement in loss for 2 epochs
            epoch 3 of 20, after 1:15, on node7
            loss 0.25
            best loss 0.2, in epoch 2
        """
        lines = [_clipped(reason), self._place(), self._metrics(), self._best()]
        return Message(f"{self.name}: {what}", "\n".join(filter(None, lines)), kind)

    def _place(self) -> str:
        of = f" of {self.epochs:,}" if self.epochs else ""
        after = f", after {duration(self.seconds)}" if self.seconds is not None else ""
        place = f"epoch {self.epochs_done:,}{of}" if self.epochs_done else f"no epoch{of} done"
        return f"{place}{after}{f', on {self.host}' if self.host else ''}"

    def _metrics(self) -> str:
        told = [f"{name} {value:.4g}" for name, value in self.metrics.items()]
        return ", ".join(told[:MOST_METRICS]) + (f" and {len(told) - MOST_METRICS} more" if len(told) > MOST_METRICS else "")

    def _best(self) -> str:
        best = self.best
        if best is None or not math.isfinite(best.value):
            return ""
        kept = f", kept in {best.path}" if best.path is not None else ""
        return f"best {best.monitor} {best.value:.4g}, in epoch {best.epoch + 1:,}{kept}"


def _clipped(text: str) -> str:
    text = text.strip()
    return text if len(text) <= LONGEST_REASON else text[:LONGEST_REASON].rstrip() + " …"
