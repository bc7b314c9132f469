"""Time what the bar costs a training step, on a real terminal.

    .venv/bin/python benchmarks/bar.py [--rounds 51]

An epoch has 10,000 steps of 100 µs: it is drawn 20 times. The time of the steps is told by a clock that is moved, not waited
for, so that what is measured is the bar alone: its epoch's begin, a look at the clock per step, the drawings and the epoch's
line, divided by the steps. Shown are two metrics, the best so far, the rate and two countdowns, at 120 columns. The floor is
a bar written by hand in the loop: a look at the clock per step, and at each twentieth of a second a line of the two metrics.
Both are measured against the empty loop, alternating; printed are medians, in µs a step: of the time that passes, and of the
processor's, which others at work on the machine lengthen less.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Callable
from time import perf_counter, thread_time
from typing import Any

from fit import terminal

from jalon import CallbackList, Run
from jalon.callbacks import EarlyStopping, ProgbarLogger, ReduceLROnPlateau
from jalon.core.logs import BatchLogs
from jalon.testing import FakeModel, FakeTrainer, ManualClock

STEPS = 10_000
STEP_SECONDS = 1e-4
METRICS = {"loss": 0.25, "accuracy": 0.9}
HOOK = "on_train_batch_end"


def empty(clock: ManualClock) -> None:
    for _ in range(STEPS):
        clock.now += STEP_SECONDS


def by_hand(clock: ManualClock) -> None:
    out, due, width = sys.stdout, clock.monotonic(), 20
    for step in range(STEPS):
        clock.now += STEP_SECONDS
        now = clock.monotonic()
        if now >= due:
            due = now + 0.05
            done = width * step // STEPS
            values = " - ".join(f"{name}: {value:.4f}" for name, value in METRICS.items())
            out.write(f"\r{step}/{STEPS} {'━' * done}{'─' * (width - done)} {values}\x1b[K")
            out.flush()
    out.write("\n")


class Training:
    """Is a training whose callbacks are told of epochs, and of nothing else."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.run = Run(FakeTrainer(), epochs=10_000)
        self.run.batch_size = 32
        self.told = CallbackList([EarlyStopping(patience=9_999), ReduceLROnPlateau(patience=9_999), ProgbarLogger(clock=clock)])
        self.told.begin(self.run, FakeModel(self.run.trainer, self.run), {"verbose": 1, "epochs": 10_000, "steps": STEPS})
        self.told.on_train_begin()
        self.epoch(clock)

    def epoch(self, clock: ManualClock) -> None:
        """Go through an epoch, which improves on nothing but the first."""
        run, told = self.run, self.told
        told.on_epoch_begin(run.epoch)
        hooks, seen = told.batch_hooks[HOOK], 0
        logs = BatchLogs(lambda: dict(METRICS), lambda: seen)
        for step in range(STEPS):
            clock.now += STEP_SECONDS
            seen = step
            if hooks:
                told.tell_batch(HOOK, step, logs)
        told.on_epoch_end(run.epoch, METRICS | {"val_loss": 0.25})
        run.epoch += 1

    def end(self) -> None:
        with self.told.session():
            self.told.on_train_end()


def per_step(epoch: Callable[[ManualClock], Any], clock: ManualClock) -> tuple[float, float]:
    """Return the µs of a step: what passed, and what the processor was busy for."""
    began, busy = perf_counter(), thread_time()
    epoch(clock)
    return (perf_counter() - began) / STEPS * 1e6, (thread_time() - busy) / STEPS * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=51)
    rounds = parser.parse_args().rounds
    os.environ.update(TERM="xterm-256color", COLUMNS="120")
    os.environ.pop("CI", None)
    clock = ManualClock()
    with terminal() as shown:
        training = Training(clock)
        measured = [[per_step(epoch, clock) for epoch in (empty, by_hand, training.epoch)] for _ in range(rounds)]
        training.end()
    for place, what in enumerate(("time", "processor")):
        hand, ours = ([one[which][place] - one[0][place] for one in measured] for which in (1, 2))
        ratio = statistics.median(bar / written for bar, written in zip(ours, hand, strict=True))
        print(
            f"{what:<10} by hand {statistics.median(hand):6.3f} µs a step, ProgbarLogger {statistics.median(ours):6.3f} "
            f"(target: at most 1), {ratio:.1f} × the one by hand",
            file=shown,
        )


if __name__ == "__main__":
    main()
