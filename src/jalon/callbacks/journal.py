"""Journal: keep a record of a run in its folder, where others can follow it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jalon.callbacks._configuration import configuration
from jalon.core.callback import Callback, Logs
from jalon.core.logs import numbers_of
from jalon.core.run import Best
from jalon.errors import Preempted
from jalon.store.journal import JournalWriter
from jalon.store.process import identity

_LONGEST_TEXT = 1000


class Journal(Callback):
    """Keep a record of a run in its folder: what each epoch reports, saves, rates, warnings, commands, and how it ended.

    ``jalon watch`` shows it, ``jalon runs`` and ``jalon plot`` read it, and so may anybody: it is a line of JSON for each
    record. ``fit(run_dir=…)`` and ``jalon.Loop(run_dir=…)`` keep one by themselves.

    Of batches, some are recorded: at most ten a second, of the first 10,000 steps each, of the next ones every second, then every
    fourth, and so on, so that a training of any length leaves a journal of bounded size. A thread of its own writes; training
    never waits for it.

    Args:
        run_dir: The run's folder. Missing folders are made.

    Example:
        >>> from jalon.testing import play
        >>> run = play(Journal("runs/a"), [{"loss": 0.5}, {"loss": 0.25}])
        >>> from jalon.store.journal import records
        >>> [record["kind"] for record in records(Path("runs/a/journal.jsonl")) if record["kind"] != "batch"]
        ['begin', 'epoch', 'epoch', 'end']

    After a resume: the journal goes on with a record that says where; what it holds from after that moment is void.
    """

    order = sys.maxsize
    critical = False
    lazy_logs = True
    adds_metrics = False
    optional_hooks = frozenset({"on_train_batch_end"})
    every_seconds = 0.1
    """Between two batches that are recorded passes so much time at least."""
    every_step_until = 10_000
    """From this step on every second batch is recorded, from twice this step on every fourth, and so on."""

    def __init__(self, run_dir: str | os.PathLike[str]) -> None:
        self.run_dir = os.fsdecode(run_dir)
        self._writer: JournalWriter | None = None
        self._restart()

    def _restart(self) -> None:
        self._next_second = self._next_step = 0.0
        self._epoch_began: float | None = None
        self._told_bests: dict[str, Best] = {}
        self._told_stop = False

    # ---- begin and end ---------------------------------------------------------------------------------------------------

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.close()
        self._restart()
        run = self.run
        if not run.is_main:
            return
        goes_on = run.resumed and run.callbacks is not None  # a foreign loop gives no state back
        self._writer = JournalWriter(Path(self.run_dir), anew=not goes_on, now=self._now)
        self._monotonic = run.clock.monotonic
        if self._record not in run.recorders:
            run.recorders.append(self._record)
        if not goes_on:
            self._tell_beginning()

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if self._writer is not None and self.run.resumed:
            self._next_step = self.run.step
            self._told_bests = dict(self.run.bests)
            self._told_stop = self.run.stop_requested
            self._tell_beginning()

    def growing_files(self) -> Iterable[Path]:
        return [] if self._writer is None else [self._writer.path]

    def write_growing_files(self) -> None:
        """Write what waits, so that a backup finds in the journal what it counts on."""
        writer = self._writer
        if writer is not None:
            try:
                writer.write()
            except OSError as exc:
                writer.fault = exc

    def on_train_end(self, logs: Logs | None = None) -> None:
        run = self.run
        self._tell_stop()
        outcome = "stopped" if run.stop_requested else "finished"
        self._record("end", {"outcome": outcome, "reason": run.stop_reason, "epoch": run.epoch, "seconds": run.elapsed})

    def on_exception(self, exc: BaseException) -> None:
        left = self.run.leave_now or isinstance(exc, (Preempted, KeyboardInterrupt))
        text = (str(exc) or type(exc).__name__)[:_LONGEST_TEXT]
        if not left:
            self._record("error", {"error": type(exc).__name__, "text": text})
        outcome, reason = ("left", text) if left else ("failed", f"{type(exc).__name__}: {text}")
        self._record("end", {"outcome": outcome, "reason": reason, "epoch": self.run.epoch, "seconds": self.run.elapsed})

    def close(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def _tell_beginning(self) -> None:
        run = self.run
        position: dict[str, Any] = {"step": run.step}
        if run.keeper is not None and run.keeper.position is not None:
            position |= run.keeper.position._asdict()
        self._record(
            "begin",
            {
                "id": run.id,
                "resumed": run.resumed,
                "position": position if run.resumed else {"epoch": run.initial_epoch, "batch": 0, "step": 0},
                "process": identity(),
                **configuration(run, self.params),
            },
        )

    def _now(self) -> dict[str, Any]:
        run = self.run
        return {"epoch": run.epoch, "batch": run.batch, "step": run.step, "phase": run.phase, "ended": self._writer is None}

    # ---- what happens ----------------------------------------------------------------------------------------------------

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        if self._writer is not None:
            self._epoch_began = self._monotonic()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        if self._writer is None or self._monotonic() < self._next_second:
            return
        run = self.run
        if run.step >= self._next_step:
            self._next_second = self._monotonic() + self.every_seconds
            self._next_step = run.step + (1 << (run.step // self.every_step_until).bit_length())
            self._record("batch", {"epoch": run.epoch, "batch": batch, "step": run.step, "logs": numbers_of(logs or {})})

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self._writer is None:
            return
        run, began = self.run, self._epoch_began
        facts: dict[str, Any] = {"epoch": epoch, "step": run.step, "batches": run.batch + 1}
        if began is not None:
            facts["seconds"] = self._monotonic() - began
        facts["logs"] = run.trainer.reported_rates() | numbers_of(logs or {})
        if run.bests != self._told_bests:
            new = {name: best for name, best in run.bests.items() if best != self._told_bests.get(name)}
            facts["bests"] = {name: {"value": best.value, "epoch": best.epoch} for name, best in new.items()}
            self._told_bests = dict(run.bests)
        self._record("epoch", facts)
        self._tell_stop()
        self._raise_what_went_wrong()

    def _tell_stop(self) -> None:
        run = self.run
        if run.stop_requested and not self._told_stop:
            self._told_stop = True
            self._record("stop", {"epoch": run.epoch, "step": run.step, "reason": run.stop_reason})

    def _record(self, kind: str, facts: Mapping[str, Any]) -> None:
        writer = self._writer
        if writer is None:
            return
        writer.append({"kind": kind, "time": self.run.clock.wall(), **facts})
        if kind == "command":  # it is on record before a step is taken with what it changed
            self.write_growing_files()

    def _raise_what_went_wrong(self) -> None:
        writer = self._writer
        if writer is not None and writer.fault is not None:
            fault, writer.fault = writer.fault, None
            raise fault
