"""ProgbarLogger: show progress where the training is watched."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from math import inf
from typing import Any, ClassVar, TextIO

from jalon.callbacks._arguments import name_todays_spelling
from jalon.callbacks._ending import Ending
from jalon.callbacks._standing import Standing
from jalon.core.callback import Callback, Logs
from jalon.core.clock import SYSTEM_CLOCK, Clock
from jalon.errors import ArgumentError
from jalon.sinks.notebook import Notebook, in_notebook
from jalon.sinks.progress import Display, Progress
from jalon.sinks.terminal import Bar, Lines, moves


class ProgbarLogger(Callback):
    """Show how far training has come, with its metrics.

    On a terminal: one moving line, with what others print above it. In a notebook: a bar, curves that grow, and a table of
    the last epochs. Into a pipe or a log file: one line per epoch, and one a minute within long epochs; no control characters.
    ``fit(verbose=...)`` chooses: 0 nothing, 1 or ``"auto"`` all of this, 2 one line per epoch anywhere.

    Beside the metrics stand the best value so far of each that a callback compares (else of ``val_loss``, or ``loss``)
    and how long ago it was, the learning rate, and after how many epochs without an improvement a callback stops the
    training or reduces the rate. A narrow terminal gets less of it.

    Validation within ``fit`` is silent. At the end it is said why training ended early, which epoch was best and where
    its weights are, which files were written, and what went wrong on the way. Where ``on_epoch_end`` of other callbacks
    adds metrics, they are shown too, wherever the callbacks stand in the list.

    Args:
        count_mode: Keras 2's. Steps are counted, whichever it names.
        clock: Tells the time.

    Raises:
        ArgumentError: ``count_mode`` is neither ``"steps"`` nor ``"samples"``.

    Example:
        >>> progbar = ProgbarLogger()

    Source: Keras, ``keras.callbacks.ProgbarLogger``.
    """

    order: ClassVar[int] = 100
    """Last, so that an epoch's line holds the metrics that others add, and the last line is the last."""
    critical: ClassVar[bool] = False
    lazy_logs: ClassVar[bool] = True
    adds_metrics: ClassVar[bool] = False
    optional_hooks: ClassVar[frozenset[str]] = frozenset(
        f"on_{what}" for what in ("train_batch_end", "test_begin", "test_batch_end", "test_end", "exception")
    ) | frozenset(f"on_predict_{what}" for what in ("begin", "batch_end", "end"))

    def __init__(self, count_mode: str | None = None, *, clock: Clock = SYSTEM_CLOCK) -> None:
        if count_mode is not None:
            if count_mode not in ("steps", "samples"):
                raise ArgumentError(
                    f"ProgbarLogger: count_mode must be 'steps', or better left out. Received: count_mode={count_mode!r}."
                )
            name_todays_spelling(f"count_mode={count_mode!r}", "Steps are counted; leave it out.", who=type(self).__name__)
        self._clock = clock
        self._now = clock.monotonic
        self._display: Display | None = None
        self._speaker: Callable[[str], None] | None = None
        self._standing: Standing | None = None
        self._ending: Ending | None = None
        self._epoch = 0
        self._steps: int | None = None
        self._total: int | None = None
        self._begin_count("", None)
        self._due = inf

    def skips_hook(self, hook: str) -> bool:
        """Return whether nothing is shown: ``verbose=0``, or another process is the one that writes."""
        return not self.params.get("verbose", 1) or not self.run.is_main

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Open the display."""
        self._open()
        self._standing, self._ending = Standing(self.run), Ending(self.run, epochs=self.params.get("epochs", 1))
        self._steps = self.params.get("steps")

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Show which epoch begins."""
        if self._standing is not None:
            self._standing.begin_epoch()
        self._epoch = epoch + 1
        epochs = self.params.get("epochs", 1)
        self._begin(f"Epoch {self._epoch}/{epochs}" if epochs > 1 else "", self._steps)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Count the step; look at the metrics only where they are drawn."""
        self._seen = batch + 1
        self._last = now = self._now()
        if now >= self._due:
            self._tick(logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Write the epoch's line. A length that was unknown is known from now on."""
        if self.params.get("steps") is None:
            self._steps = self._total = self._seen
        self._seen = self._seen or self._total or 0  # a loop without batches tells of none
        if self._standing is not None:
            self._standing.end_epoch(epoch, logs or {})
        self._finish(logs)

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Say what there is to know at the end."""
        if self._display is not None and self._ending is not None:
            for line in self._ending.lines(epoch=self._epoch):
                self._display.say(line)
        self.close()

    def on_exception(self, exc: BaseException) -> None:
        """Leave the line in hand where it is, and say below it what there is to know."""
        if self._display is not None and self._ending is not None:
            self._display.close()
            for line in self._ending.lines(epoch=self._epoch, fault=exc):
                self._say(line)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Open the display for ``evaluate``."""
        if self._standing is None:
            self._begin_alone()

    def on_test_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Count the step of ``evaluate``."""
        if self._standing is None:
            self.on_train_batch_end(batch, logs)

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Write the line of ``evaluate``."""
        if self._standing is None:
            self._finish_alone(logs)

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Open the display for ``predict``."""
        self._begin_alone()

    def on_predict_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Count the step of ``predict``; its logs hold outputs, no metrics."""
        self.on_train_batch_end(batch)

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """Write the line of ``predict``."""
        self._finish_alone(None)

    def close(self) -> None:
        """End the line in hand and give the run its speaker back."""
        display, self._display = self._display, None
        self._standing = None
        if self._ending is not None:
            self._ending.close()
            self._ending = None
        self._due = inf
        if display is None:
            return
        if self.run.speaker == self._say and self._speaker is not None:
            self.run.speaker = self._speaker
        display.close()

    def _open(self) -> None:
        self.close()
        if sys.stdout is None or self.skips_hook("on_train_begin"):
            return
        self._display = display_for(sys.stdout, self.params.get("verbose", 1), self._clock)
        self._speaker, self.run.speaker = self.run.speaker, self._say

    def _say(self, message: str) -> None:
        # Whoever speaks may be critical: an output that is gone must not reach them. Drawing reports it.
        if self._display is not None:
            with suppress(OSError, ValueError):
                self._display.say(message)

    def _begin_alone(self) -> None:
        self._open()
        self._begin("", self.params.get("steps"))

    def _finish_alone(self, logs: Logs | None) -> None:
        if self._total is None:
            self._total = self._seen
        self._finish(logs)
        self.close()

    def _begin(self, title: str, total: int | None) -> None:
        if self._display is not None:
            self._begin_count(title, total)
            self._display.begin(Progress(title) if self._display.begins_by_title else self._progress(None))

    def _begin_count(self, title: str, total: int | None) -> None:
        self._title = title
        self._total = total
        self._seen = 0
        self._first: tuple[int, float] | None = None
        self._began = self._last = self._now()
        self._due = -inf  # the first step is always looked at, to be kept out of the pace

    def _finish(self, logs: Logs | None) -> None:
        if self._display is not None:
            self._due = inf
            self._display.finish(self._progress(logs))

    def _tick(self, logs: Mapping[str, Any] | None) -> None:
        display = self._display
        if display is None:
            return
        if self._first is None:
            self._first = (self._seen, self._last)
            self._due = self._began + display.interval
            if self._last < self._due:
                return
        self._due = self._last + display.interval
        display.draw(self._progress(logs))

    def _progress(self, logs: Mapping[str, Any] | None) -> Progress:
        if self._total is None and self._standing is not None:
            self._total = self.params.get("steps")  # some loops learn it from the first epoch's data
        total = None if self._total is None else max(self._total, self._seen)
        metrics, standing = dict(logs or {}), self._standing
        return Progress(
            title=self._title,
            seen=self._seen,
            total=total,
            seconds=self._now() - self._began,
            per_step=self._per_step(),
            metrics=metrics,
            batch_size=self.run.batch_size,
            bests={} if standing is None else standing.bests(self._epoch - 1),
            rate="" if standing is None else standing.rate(metrics),
            waits=() if standing is None else standing.waits(),
            epoch=0 if standing is None else self._epoch,
        )

    def _per_step(self) -> float:
        """Return the seconds that a step takes; the first one, which often compiles or warms up, only while alone."""
        if self._first is not None and self._seen > self._first[0]:
            return (self._last - self._first[1]) / (self._seen - self._first[0])
        return (self._last - self._began) / max(1, self._seen)


def display_for(stream: TextIO, verbose: int | str, clock: Clock) -> Display:
    """Return the display that suits a stream."""
    if verbose == 2:
        return Lines(stream, interval=inf)
    if in_notebook(stream):
        return Notebook(clock=clock)
    return Bar(stream) if moves(stream) else Lines(stream)
