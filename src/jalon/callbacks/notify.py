"""Notify: send messages of how a training goes to chats, mail, desktops and webhooks."""

from __future__ import annotations

import importlib.util
import math
import os
import socket
import sys
import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

from jalon.callbacks._arguments import finite_number
from jalon.callbacks._report import Report
from jalon.callbacks._stall_watch import StallWatch
from jalon.callbacks.history import History
from jalon.core.callback import Callback, Logs
from jalon.core.logs import numbers_of, scalar
from jalon.core.monitor import Mode, Monitor
from jalon.core.run import Best
from jalon.errors import ArgumentError, CallbackDegraded, Preempted, UnknownName
from jalon.sinks.address import Address
from jalon.sinks.messages import PAUSES, Kind, Messenger
from jalon.sinks.progress import duration

Event = Literal["end", "stop", "error", "best", "nan", "stalled"]
EVENTS: tuple[Event, ...] = get_args(Event)
_LOOK_SECONDS = 10.0
"""How long between two looks at the loss within an epoch."""


class Notify(Callback):
    """Send messages of how a training goes to chats, mail, desktops and webhooks.

    A message says what happened and why, how far the training is, what the last epoch reported, what the best is and where it is
    kept; where the service takes pictures, with that of the curves. The events:

    - ``"end"``: it has trained all its epochs.
    - ``"stop"``: it ends before that, and why: by a callback, a command, Ctrl-C, a signal, or since its time is over.
    - ``"error"``: an exception has ended it.
    - ``"best"``: an epoch has beaten the best one before. At most one such message in ``best_every`` seconds; a best that comes
      sooner is told when they are over, unless a better one has come.
    - ``"nan"``: ``loss`` or ``val_loss`` is NaN or infinite, for the first time. Within an epoch it is looked at every ten
      seconds.
    - ``"stalled"``: no batch and no epoch has ended for ``stalled_after`` seconds, unless it is paused. A process that is killed
      or hangs as a whole can't tell; ``jalon watch --notify`` does.

    Threads of their own send, one for each service, and try three times. Training never waits for them, and its end for at most
    ``timeout`` seconds. What does not arrive is lost; for each service the first is warned of. Of several processes the main one
    sends.

    Nothing but the scheme of an address is ever shown, logged, recorded or sent, in an exception's text either. Better still it
    does not stand in the program: ``Notify(os.environ["NOTIFY_URL"])``.

    Args:
        *urls: Addresses of services as Apprise has them, ``"slack://…"``, ``"mailto://…"``, ``"json://host/path"`` for a webhook.
        on: The events to tell of. Defaults to ``("end", "stop", "error")``.
        monitor: The metric that ``"best"`` compares. Defaults to ``"val_loss"``.
        mode: ``"min"`` where less of it is better, ``"max"`` where more is, ``"auto"`` to take it from the metric. Defaults to
            ``"auto"``.
        best_every: Seconds between two messages of a best; 0 to tell of each. Defaults to 600.
        stalled_after: Seconds without a batch or an epoch after which a training has stalled. Defaults to 600.
        picture: Send the picture of the curves along; needs matplotlib, and takes the training less than a second. Defaults to
            True.
        title: What the run is called in messages. Defaults to its folder's name, else the program's.
        timeout: How many seconds the end of training waits for messages. Defaults to 10.

    Raises:
        ArgumentError: An argument cannot be what it is.
        MissingPackage: Apprise is not installed.

    Example:
        >>> notify = Notify("json://localhost/hook", on=("end", "stop", "error", "best"))
        >>> notify.on
        ('end', 'stop', 'error', 'best')

    After a resume: what was told is not told again, and the best goes on from the value before.
    """

    order = sys.maxsize  # who comes before has decided, saved and added
    critical = False
    lazy_logs = True
    adds_metrics = False
    optional_hooks = frozenset({"on_train_batch_end", "on_test_batch_end"})
    pauses = PAUSES
    """Seconds before the second attempt to send a message, and before the third."""

    _is_mute = False

    def __init__(
        self,
        *urls: str,
        on: Event | Iterable[Event] = ("end", "stop", "error"),
        monitor: str = "val_loss",
        mode: Mode = "auto",
        best_every: float = 600.0,
        stalled_after: float = 600.0,
        picture: bool = True,
        title: str | None = None,
        timeout: float = 10.0,
    ) -> None:
        self._addresses = _addresses(urls)
        self._new_messenger()  # refuses what cannot be sent to
        self.on = _events(on)
        self.monitor = monitor
        self.mode = mode
        self.best_every = _seconds(best_every, "best_every", zero=True)
        self.stalled_after = _seconds(stalled_after, "stalled_after")
        self.picture = picture
        self.title = title
        self.timeout = _seconds(timeout, "timeout")
        self._monitor = Monitor(monitor, mode=mode, who="Notify")
        self._messenger: Messenger | None = None
        self._watch: StallWatch | None = None
        self._restart()

    def _restart(self) -> None:
        self._monitor.restart()
        self._best: Best | None = None
        self._untold_best: Best | None = None
        self._best_told_at = -math.inf
        self._told_nan = False
        self._rows: dict[int, dict[str, float]] = {}
        self._count = 0
        self._paused = False
        self._next_look = 0.0
        self._warned: set[str] = set()

    # ---- begin and end ---------------------------------------------------------------------------------------------------

    def rehearse(self, folder: Path) -> None:
        self._is_mute = True

    def skips_hook(self, hook: str) -> bool:
        """Return whether nothing is sent, as in a dry run, or no event asked for happens in a hook."""
        if hook == "on_train_batch_end":
            return self._is_mute or not {"nan", "stalled"} & set(self.on)
        return self._is_mute or (hook == "on_test_batch_end" and "stalled" not in self.on)

    def awaited_metrics(self) -> Iterable[Monitor]:
        return (self._monitor,) if "best" in self.on else ()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.close()
        self._restart()
        run = self.run
        if not run.is_main:
            return
        self._messenger = self._new_messenger()
        if self.picture and importlib.util.find_spec("matplotlib") is None:
            run.say("Notify: messages go without the curves, since matplotlib is missing. Install it: pip install 'jalon[plot]'")
        if "stalled" in self.on:
            if self._hear not in run.recorders:
                run.recorders.append(self._hear)
            self._watch = StallWatch(self.stalled_after, count=self._progress, tell=self._tell_stall, clock=run.clock)
            self._watch.start()

    def state_dict(self) -> dict[str, Any]:
        best = self._best
        return {
            "best": None if best is None else {"value": best.value, "epoch": best.epoch},
            "told_nan": self._told_nan,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        best = state["best"]
        if best is not None:
            self._best = Best(self.monitor, best["value"], best["epoch"])
            self._monitor.best = best["value"]
        self._told_nan = state["told_nan"]

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Tell that it is over, and wait for messages on their way."""
        run = self.run
        if run.stop_requested:
            self._tell("stop", "stopped", run.stop_reason or "", kind="warning")
        else:
            self._tell("end", "finished", kind="success")
        self.close()

    def on_exception(self, exc: BaseException) -> None:
        text = "Ctrl-C" if isinstance(exc, KeyboardInterrupt) else str(exc).strip()
        if self.run.leave_now or isinstance(exc, (Preempted, KeyboardInterrupt)):
            self._tell("stop", "left", text, kind="warning")
        else:
            self._tell("error", "failed", f"{type(exc).__name__}: {text}" if text else type(exc).__name__, kind="failure")

    def close(self) -> None:
        """Wait for messages on their way, for ``timeout`` seconds at most."""
        if self._watch is not None:
            self._watch.over.set()
            self._watch = None
        if self._messenger is not None:
            self._messenger.settle(self.timeout)
            self._look_back()
            self._messenger = None

    # ---- what happens ----------------------------------------------------------------------------------------------------

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._count += 1

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._count += 1
        if "nan" in self.on and not self._told_nan:
            now = self.run.clock.monotonic()
            if now >= self._next_look:
                self._next_look = now + _LOOK_SECONDS
                self._look_for_nan(logs or {}, f"in epoch {self.run.epoch + 1:,}, batch {batch + 1:,}")

    def on_test_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._count += 1

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._count += 1
        self._look_back()
        self._rows[epoch] = numbers_of(logs or {})
        if "nan" in self.on and not self._told_nan:
            self._look_for_nan(logs or {}, f"at the end of epoch {epoch + 1:,}")
        if "best" in self.on:
            self._compare(epoch, logs or {})

    def _look_for_nan(self, logs: Mapping[str, Any], where: str) -> None:
        for name in ("loss", "val_loss"):
            value = scalar(logs.get(name))
            if value is not None and not math.isfinite(value):
                self._told_nan = True
                self._tell("nan", f"{name} is {value}", where, kind="failure")
                return

    def _compare(self, epoch: int, logs: Mapping[str, Any]) -> None:
        value = self._monitor.read(logs, self.trainer, epoch=epoch)
        if value is not None and self._monitor.improved(value):
            beaten, self._best = self._best, Best(self.monitor, value, epoch)
            if beaten is not None:
                self._untold_best = self._best
        now, best = self.run.clock.monotonic(), self._untold_best
        if best is not None and now - self._best_told_at >= self.best_every:
            self._untold_best, self._best_told_at = None, now
            self._tell("best", f"best {best.monitor} {best.value:.4g}", kind="success")

    def _hear(self, kind: str, facts: Mapping[str, Any]) -> None:
        if kind == "command" and facts["outcome"] == "done" and facts["command"] in ("pause", "resume", "stop"):
            self._paused = facts["command"] == "pause"

    def _progress(self) -> int | None:
        return None if self._paused else self._count

    def _tell_stall(self, seconds: float) -> None:
        self._tell("stalled", "stalled", f"no batch and no epoch has ended for {duration(seconds)}", kind="warning")

    # ---- messages --------------------------------------------------------------------------------------------------------

    def _tell(self, event: Event, what: str, reason: str = "", *, kind: Kind) -> None:
        if event not in self.on or not self.run.is_main:
            return
        if self._messenger is None:  # as where a callback has failed before training began
            self._messenger = self._new_messenger()
        said = self._report().message(what, self._messenger.hide(reason), kind=kind)
        # Drawn here, not by the thread that sends: one that the process's end finds within C++ would abort it.
        self._messenger.send(replace(said, picture=self._picture() if self._messenger.takes_pictures else None))

    def _picture(self) -> bytes | None:
        rows = self._all_rows() if self.picture else {}
        if not rows or importlib.util.find_spec("matplotlib") is None:
            return None
        from jalon.callbacks._plot import png

        epochs = sorted(rows)
        with suppress(Exception):  # a message is worth more than its picture
            return png(epochs, [rows[epoch] for epoch in epochs], self._shown_best())
        return None

    def _new_messenger(self) -> Messenger:
        return Messenger(self._addresses, who="Notify", pauses=self.pauses)

    def _report(self) -> Report:
        run, last = self.run, max(self._rows, default=None)
        done = (run.epoch if self._rows or run.resumed else 0) if last is None else last + 1
        return Report(
            self.title or _name_of(run.run_dir),
            done,
            run.epochs,
            {} if last is None else self._rows[last],
            self._shown_best(),
            run.elapsed,
            socket.gethostname(),
        )

    def _shown_best(self) -> Best | None:
        """Return the best to be shown: with its file, where the callback that saves it has told."""
        bests = self.run.bests
        return bests.get(self.monitor) or self._best or next(iter(bests.values()), None)

    def _all_rows(self) -> dict[int, dict[str, Any]]:
        """Return what each epoch has reported, those before an interruption included."""
        history = next((one for one in self.run.callbacks or () if isinstance(one, History)), None)
        return {**(dict(history.rows_from(0)) if history is not None else {}), **self._rows}

    def _look_back(self) -> None:
        """Warn of what went wrong, once for each service, in the thread that trains."""
        for fault in [] if self._messenger is None else self._messenger.faults():
            service = fault.partition(" ")[0]
            if service not in self._warned:
                self._warned.add(service)
                warnings.warn(
                    f"Notify: a message did not arrive by {fault}. It is lost; training goes on. Check the address, and that "
                    "the service can be reached from this machine.",
                    CallbackDegraded,
                    stacklevel=3,
                )


def _addresses(urls: Iterable[str]) -> tuple[Address, ...]:
    found = tuple(urls)
    if not found or not all(isinstance(one, str) and one.strip() for one in found):
        raise ArgumentError("Notify: the addresses of the services come first, as in Notify('slack://…'). One is missing.")
    return tuple(Address(one.strip()) for one in found)


def _events(on: Event | Iterable[Event]) -> tuple[Event, ...]:
    asked = (on,) if isinstance(on, str) else tuple(on)
    for name in asked:
        if name not in EVENTS:
            raise UnknownName("event", str(name), EVENTS, where="Notify")
    return asked


def _seconds(value: float, name: str, *, zero: bool = False) -> float:
    number = finite_number(value, name=name, who="Notify")
    if number < 0 or (number == 0 and not zero):
        raise ArgumentError(
            f"Notify: {name} must be {'0 seconds or more' if zero else 'above 0 seconds'}. Received: {name}={value!r}."
        )
    return number


def _name_of(run_dir: Path | None) -> str:
    if run_dir is not None:
        return Path(os.path.abspath(run_dir)).name  # noqa: PTH100  # a link is the name that was given
    program = Path(sys.argv[0] if sys.argv else "")
    name = program.parent.name if program.name == "__main__.py" else program.name
    return name if name not in ("", "-c", "-m") else "training"
