"""Steering: take commands to a running training from its folder."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from jalon.callbacks._steerable import set_number
from jalon.core.callback import Callback, Logs
from jalon.core.run import Position
from jalon.errors import ArgumentError, JalonError
from jalon.store.control import Command, Inbox, Outcome
from jalon.store.journal import JOURNAL, records

Point = Literal["batch", "epoch"]

_REPEATED = ("set", "stop")
_NEVER = threading.Event()
"""Is waited for while a training is paused; signals come through."""
_REASON = "a command asked for it"
_LONGEST_REST_SECONDS = 2.0
_LATE = "The training had ended before it could be done."


class Steering(Callback):
    """Take commands to a running training from its folder: pause, go on, stop, save now, set a number, take a note.

    They come from ``jalon stop RUN`` and the like, and from the page that ``jalon watch`` shows. A command is carried out
    after the batch in hand, or at the end of the epoch where a loop has no batches, and is answered. ``fit(run_dir=…)`` and
    ``jalon.Loop(run_dir=…)`` take commands by themselves.

    The learning rate can be set, and each number that a callback declares in ``steerable``, as ``EarlyStopping.patience``.

    Of several processes that train together the main one reads, and all carry out the command at the same step.

    Args:
        run_dir: The run's folder. Nothing is made in it before the first command.

    Raises:
        ArgumentError: Several processes train together in a loop that gives them no way to agree.

    Example:
        >>> from jalon.store.control import send
        >>> from jalon.testing import play
        >>> class Impatient(Callback):
        ...     def on_epoch_begin(self, epoch, logs=None):
        ...         if epoch == 0:
        ...             _ = send(Path("runs/a"), "stop", {"at": "epoch"}, time=1.0)
        >>> run = play([Impatient(), Steering("runs/a")], [{"loss": 0.5}] * 9)
        >>> run.history, run.stop_reason
        ({'loss': [0.5]}, 'a command asked for it')

    After a resume: what was set stays set. A command that was carried out after the moment to which the training was put back is
    carried out again at the same step, so that the training ends as if nothing had happened; this takes a ``Journal`` of the same
    folder.
    """

    order = sys.maxsize
    """Last of all, when the others are done with the batch: what is saved is of one moment."""
    lazy_logs = True
    adds_metrics = False
    optional_hooks = frozenset({"on_train_batch_end"})
    decides_alike = True
    every_seconds = 0.25
    """Between two looks at the folder passes so much time at least."""
    rest = 100
    """And so many times what a look takes, as on a network's disk, up to two seconds."""

    def __init__(self, run_dir: str | os.PathLike[str]) -> None:
        self.run_dir = os.fsdecode(run_dir)
        self._inbox = Inbox(Path(self.run_dir))
        self._restart()

    def _restart(self) -> None:
        self._next_look = 0.0
        self._moment = self._next_moment = 0
        self._looked_at: tuple[int, float] | None = None
        self._set: dict[str, float] = {}
        self._stops_after_epoch = self._saves_after_epoch = self._is_paused = False
        self._repeats: list[dict[str, Any]] = []

    def check_setup(self) -> None:
        """Refuse what would have to be done by several processes at the same step, where they cannot agree on one."""
        if self.run.share is None:
            raise ArgumentError(
                f"{type(self).__name__}: commands cannot be given to a training by several processes under this loop, in which "
                f"they cannot agree on a step. Received: {self.run.world_size} of them. Leave {type(self).__name__} out."
            )

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._restart()
        self._monotonic = self.run.clock.monotonic
        if self._at_commit not in self.run.commits:
            self.run.commits.append(self._at_commit)
        self._refuse_all("The process that it was meant for has ended.")

    def state_dict(self) -> dict[str, Any]:
        """Return the numbers that were set, and what is to be done after the epoch."""
        return {"set": dict(self._set), "stops_after_epoch": self._stops_after_epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, value in state["set"].items():
            self._set[name] = value
            with suppress(ArgumentError):  # of a callback that has other bounds by now
                set_number(self.run, name, value)
        self._stops_after_epoch = state["stops_after_epoch"]
        self._repeats = self._shared(self._commands_after(self.run.step) if self.run.is_main else [])

    def _shared(self, value: Any) -> Any:
        return value if self.run.share is None else self.run.share(value)

    def _commands_after(self, step: int) -> list[dict[str, Any]]:
        """Return what was carried out after a step, before an interruption that took it back."""
        kept: list[dict[str, Any]] = []
        for record in records(Path(self.run_dir) / JOURNAL):
            if record["kind"] == "begin" and isinstance(record.get("position"), dict):
                kept = [one for one in kept if one["step"] <= record["position"].get("step", 0)] if record.get("resumed") else []
            elif record["kind"] == "command" and record.get("outcome") == "done" and record.get("command") in _REPEATED:
                kept.append(record)
        return [record for record in kept if record["step"] > step or (record["step"] == step and record["at"] == "epoch")]

    # ---- the safe points -------------------------------------------------------------------------------------------------

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        if self._repeats:
            self._repeat("batch")
        if self._is_due():
            self._look("batch", batch)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Stop where that was asked for, before the epoch is backed up."""
        if self._stops_after_epoch:
            self._stops_after_epoch = False
            self.run.stop(_REASON)
        if not self.run.commits_epochs:
            self._at_commit()

    def _at_commit(self) -> None:
        """Look once more when all is done with the epoch, whose backup comes after this."""
        if self._repeats:
            self._repeat("epoch")
        if self._saves_after_epoch:
            self._saves_after_epoch = False
            self._save(Position(self.run.epoch + 1, 0))
        if self._is_due():
            self._look("epoch", self.run.batch)
            if self._stops_after_epoch:
                self._stops_after_epoch = False
                self.run.stop(_REASON)

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._refuse_all(_LATE)

    def on_exception(self, exc: BaseException) -> None:
        self._refuse_all(_LATE)

    def _is_due(self) -> bool:
        """Return whether to look at the folder: several processes count moments, so that all look at the same one."""
        if self.run.world_size == 1:
            return self._monotonic() >= self._next_look
        self._moment += 1
        return self._moment > self._next_moment

    def _look(self, point: Point, batch: int) -> None:
        began = self._monotonic()
        waiting = self._waiting()
        rest = max(self.every_seconds, min(self.rest * (self._monotonic() - began), _LONGEST_REST_SECONDS))
        for command in waiting:
            self._carry_out(command, point, batch)
        for command in self._while_paused():
            self._carry_out(command, point, batch)
        self._rest(rest)

    def _waiting(self) -> list[Command]:
        commands: list[Command] = self._shared(self._inbox.waiting() if self.run.is_main else [])
        return commands

    def _while_paused(self) -> Iterator[Command]:
        """Yield the commands that come while the training is paused; it goes on with one of them, or where it has to end."""
        while self._is_paused and not self._shared(self.run.leave_now or self.run.stop_requested):
            if self.run.is_main:
                _NEVER.wait(max(self.every_seconds / 2, 0.01))
            yield from self._waiting()

    def _rest(self, seconds: float) -> None:
        """Look at nothing for a while, which several processes count in moments, as fast as they came of late."""
        now = self._monotonic()
        self._next_look = now + seconds
        if self.run.world_size > 1:
            before, self._looked_at = self._looked_at, (self._moment, now)
            moments = 1 if before is None else seconds * (self._moment - before[0]) / max(now - before[1], 1e-6)
            self._next_moment = self._moment + self._shared(max(1, round(moments)))

    # ---- what can be asked for -------------------------------------------------------------------------------------------

    def _carry_out(self, command: Command, point: Point, batch: int) -> None:
        acts: dict[str, Callable[..., str]] = {
            "pause": self._pause,
            "resume": self._go_on,
            "stop": self._stop,
            "save": lambda: self._save_now(point, batch),
            "set": self._set_number,
            "note": self._note,
        }
        outcome: Outcome = "done"
        try:
            text = acts[command.name](**command.arguments)
        except JalonError as exc:
            outcome, text = "refused", str(exc)
        self._tell(command, outcome, text, point)

    def _tell(self, command: Command, outcome: Outcome, text: str, point: Point) -> None:
        run = self.run
        facts = {"command": command.name, "arguments": command.arguments, "outcome": outcome, "text": text}
        run.record("command", **facts, epoch=run.epoch, step=run.step, at=point)
        if not run.is_main:
            return
        with suppress(OSError):  # nobody is to lose a training by asking
            self._inbox.answer(command, outcome, text, time=run.clock.wall())

    def _refuse_all(self, text: str) -> None:
        if self.run.is_main:
            for command in self._inbox.waiting():
                with suppress(OSError):
                    self._inbox.answer(command, "refused", text, time=self.run.clock.wall())

    def _repeat(self, point: Point) -> None:
        """Carry out again what was carried out at this step before an interruption."""
        step = self.run.step
        while self._repeats and (self._repeats[0]["step"], self._repeats[0]["at"] == "epoch") <= (step, point == "epoch"):
            record = self._repeats.pop(0)
            command = Command("", record["command"], record["arguments"])
            with suppress(JalonError):
                (self._stop if command.name == "stop" else self._set_number)(**command.arguments)
            self.run.record("command", **{key: record[key] for key in record if key not in ("kind", "time")}, repeated=True)

    def _pause(self) -> str:
        self._is_paused = True
        return f"Paused in epoch {self.run.epoch + 1}, after step {self.run.step}."

    def _go_on(self) -> str:
        if not self._is_paused:
            raise ArgumentError("It was not paused.")
        self._is_paused = False
        return f"Going on in epoch {self.run.epoch + 1}, after step {self.run.step}."

    def _stop(self, at: Point) -> str:
        if at == "epoch":
            self._stops_after_epoch, self._is_paused = True, False
            return f"It stops at the end of epoch {self.run.epoch + 1}."
        self.run.stop(_REASON)
        return f"Stopped in epoch {self.run.epoch + 1}, after step {self.run.step}."

    def _save_now(self, point: Point, batch: int) -> str:
        run = self.run
        if run.keeper is None:
            raise ArgumentError("Nothing keeps this training: pass run_dir to fit, or add BackupAndRestore to the callbacks.")
        if point == "batch" and not run.trainer.resumes_within_epochs:
            self._saves_after_epoch = True
            return f"It is saved at the end of epoch {run.epoch + 1}."
        self._save(Position(run.epoch, batch + 1) if point == "batch" else Position(run.epoch + 1, 0))
        return f"Saved in epoch {run.epoch + 1}, after step {run.step}."

    def _save(self, position: Position) -> None:
        run = self.run
        if run.keeper is not None:
            run.keeper.save(position)
            run.record("save", epoch=run.epoch, step=run.step, path=None, monitor=None, value=None, best=False)

    def _set_number(self, name: str, value: float) -> str:
        was, now = set_number(self.run, name, value)
        self._set.pop(name, None)
        if name != "learning_rate":  # which the optimizer's own state holds
            self._set[name] = now
        self.run.record("rate" if name == "learning_rate" else "set", epoch=self.run.epoch, who=name, was=was, value=now)
        return f"{name} was {was:g} and is {now:g}, after step {self.run.step}."

    def _note(self, text: str) -> str:
        self.run.record("note", epoch=self.run.epoch, step=self.run.step, text=text)
        return "Noted."
