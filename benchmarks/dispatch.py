"""What it costs to tell callbacks of a training step.

    python benchmarks/dispatch.py

Two things are measured, each against its floor in the same round, the medians of many rounds printed:

- a batch hook that nobody overrides: the loop with its ``if`` against the empty loop (target: at most 30 ns a step);
- seven callbacks of which two override ``on_train_batch_end`` and take the lazy view: ``CallbackList.tell_batch`` against
  two direct calls (target: at most 0.5 µs a step, calls included).
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

from jalon import Callback, CallbackList, Run
from jalon.core.logs import BatchLogs
from jalon.testing import FakeModel, FakeTrainer

HOOK = "on_train_batch_end"


class Silent(Callback):
    """Takes part at epoch ends alone."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        pass


class Watching(Callback):
    """Takes part in each batch, and asks for no value."""

    lazy_logs = True

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        pass


def begun(callbacks: list[Callback]) -> CallbackList:
    trainer = FakeTrainer()
    told, run = CallbackList(callbacks), Run(trainer)
    told.begin(run, FakeModel(trainer, run), {})
    return told


def empty_loop(steps: range) -> None:
    for _ in steps:
        pass


def checked_loop(steps: range, told: CallbackList) -> None:
    hooks = told.batch_hooks[HOOK]
    for batch in steps:
        if hooks:
            told.tell_batch(HOOK, batch, {})


def direct_calls(steps: range, told: CallbackList, view: BatchLogs) -> None:
    first, second = told.batch_hooks[HOOK]
    for batch in steps:
        first(batch, view)
        second(batch, view)


def told_loop(steps: range, told: CallbackList, view: BatchLogs) -> None:
    hooks = told.batch_hooks[HOOK]
    for batch in steps:
        if hooks:
            told.tell_batch(HOOK, batch, view)


def per_step(loop: Callable[..., None], steps: range, *args: Any) -> float:
    """Return the nanoseconds of one step."""
    begin = perf_counter_ns()
    loop(steps, *args)
    return (perf_counter_ns() - begin) / len(steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1001)
    parser.add_argument("--steps", type=int, default=500)
    options = parser.parse_args()

    steps = range(options.steps)
    nobody = begun([Silent() for _ in range(7)])
    two_of_seven = begun([Silent(), Watching(), Silent(), Silent(), Watching(), Silent(), Silent()])
    view = BatchLogs(lambda: {"loss": 0.5}, lambda: 0)
    rounds = [
        (
            per_step(empty_loop, steps),
            per_step(checked_loop, steps, nobody),
            per_step(direct_calls, steps, two_of_seven, view),
            per_step(told_loop, steps, two_of_seven, view),
        )
        for _ in range(options.rounds)
    ]
    unused = statistics.median(checked - empty for empty, checked, _, _ in rounds)
    direct, told = (statistics.median(round_[place] for round_ in rounds) for place in (2, 3))
    ratio = statistics.median(told / direct for _, _, direct, told in rounds)
    print(f"a batch hook nobody overrides   {unused:6.1f} ns a step (target: at most 30)")
    print(f"two of seven, called directly   {direct:6.1f} ns a step")
    print(f"two of seven, by tell_batch     {told:6.1f} ns a step (target: at most 500), {ratio:.1f} × the direct calls")


if __name__ == "__main__":
    main()
