"""Destination: the base of callbacks that report a run to a service of tracking, whether that answers or not."""

from __future__ import annotations

import sys
import warnings
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from jalon.callbacks._arguments import batches_between, finite_number
from jalon.callbacks._configuration import flat_configuration
from jalon.core.callback import Callback, Logs
from jalon.core.logs import numbers_of
from jalon.errors import ArgumentError, CallbackDegraded, Preempted
from jalon.sinks.courier import Courier

Outcome = Literal["finished", "failed", "killed", "preempted"]

MOST_POINTS = 100_000
"""How many points wait for a service that does not answer; the oldest ones are lost."""
_PIECE = 1000
_MOST_ERRANDS = 8
_PREFIX = "batch_"


@dataclass(frozen=True, slots=True)
class Point:
    """Is what an epoch or a batch reported.

    Args:
        step: The epoch, from 0; of a batch, how many steps are done.
        time: When, in seconds since 1970.
        values: What.
        of_batch: Whether it is a batch's.
    """

    step: int
    time: float
    values: Mapping[str, float]
    of_batch: bool = False


class Destination(Callback):
    """Report a run to a service, from a thread of its own.

    A subclass says how a run is begun there, told of and ended; all three are called in that thread and may raise what they will.
    What could not be told is tried again with what comes next.

    Args:
        update_freq: ``"epoch"``; or ``"batch"`` or a number of batches, to report batches that often besides.
        timeout: How many seconds the beginning and the end of training wait for the service; the end does not for one that
            has never answered.
    """

    order = sys.maxsize  # who comes before has added to the logs
    critical = False
    lazy_logs = True
    adds_metrics = False
    optional_hooks = frozenset({"on_train_batch_end"})

    _is_mute = False

    def __init__(self, *, update_freq: int | Literal["epoch", "batch"], timeout: float) -> None:
        who = type(self).__name__
        self.update_freq = update_freq
        self._batches = batches_between(update_freq, who=who)
        self.timeout = finite_number(timeout, name="timeout", who=who)
        if self.timeout <= 0:
            raise ArgumentError(f"{who}: timeout must be above 0 seconds. Received: timeout={timeout!r}.")
        self._id: str | None = None
        self._restart()

    def _restart(self) -> None:
        self._courier: Courier | None = None
        self._points: deque[Point] = deque(maxlen=MOST_POINTS)
        self._faults: deque[str] = deque()
        self._piece: list[Point] = []
        self._warned = self._answered = self._begun = self._joins = self._asked = False

    # ---- what a subclass says ------------------------------------------------------------------------------------------------

    @abstractmethod
    def _joined(self) -> str | None:
        """Return the name of the run that the user has begun there, if there is one. Called in the thread that trains."""

    @abstractmethod
    def _begin(self, name: str | None, config: Mapping[str, Any]) -> str:
        """Begin a run at the service or go on with one; return its name.

        Args:
            name: The run to go on with.
            config: How the run is set up.
        """

    @abstractmethod
    def _report(self, points: Sequence[Point]) -> None:
        """Tell of epochs and batches."""

    @abstractmethod
    def _end(self, outcome: Outcome, reason: str | None) -> None:
        """End the run at the service."""

    # ---- begin and end -------------------------------------------------------------------------------------------------------

    def rehearse(self, folder: Path) -> None:
        self._is_mute = True

    def skips_hook(self, hook: str) -> bool:
        """Return whether nothing is told, as in a dry run, or not of batches."""
        return self._is_mute or (hook == "on_train_batch_end" and self._batches is None)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Begin a run at the service, unless its name comes with the state of a training that is gone on with."""
        self.close()
        self._restart()
        if not self.run.is_main:
            return
        self._id = self._joined()
        self._joins = self._id is not None
        self._courier = Courier(f"jalon-{type(self).__name__.lower()}", most=_MOST_ERRANDS)
        self._config = flat_configuration(self.run, self.params)
        if not (self.run.resumed and self.run.callbacks is not None):
            self._start()

    def state_dict(self) -> dict[str, Any]:
        return {"run": self._id}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if self._courier is not None and not self._begun:
            self._id = self._id or state["run"]
            self._start()

    def _start(self) -> None:
        """Begin, and wait for it a while: the first backup has the run's name then, and what is wrong is said at once."""
        self._send(self._ensure_begun)
        self._settle()

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Tell that it is over, and wait for the service for ``timeout`` seconds at most."""
        self._finish("finished", self.run.stop_reason)

    def on_exception(self, exc: BaseException) -> None:
        if isinstance(exc, Preempted) or self.run.leave_now:
            self._finish("preempted", str(exc))
        elif isinstance(exc, KeyboardInterrupt):
            self._finish("killed", "Ctrl-C")
        else:
            self._finish("failed", f"{type(exc).__name__}: {exc}")

    def _finish(self, outcome: Outcome, reason: str | None) -> None:
        if self._courier is None:
            return
        self._send(partial(self._end_begun, outcome, reason))
        if self._answered:  # a service that never has is not waited for again
            self._settle()
        self._courier = None

    def close(self) -> None:
        self._courier = None

    # ---- what happens --------------------------------------------------------------------------------------------------------

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        step = self.run.step
        if self._courier is not None and self._batches is not None and step % self._batches == 0:
            self._add(Point(step, self.run.clock.wall(), _prefixed(numbers_of(logs or {})), of_batch=True))

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Tell what the epoch reports, and the learning rate."""
        if self._courier is not None:
            self._look_back()
            self._add(Point(epoch, self.run.clock.wall(), self.trainer.reported_rates() | numbers_of(logs or {})))

    def _add(self, point: Point) -> None:
        self._points.append(point)
        if not self._asked:
            self._asked = True
            self._send(self._flush)

    # ---- in the thread -------------------------------------------------------------------------------------------------------

    def _send(self, action: Callable[[], None]) -> None:
        if self._courier is not None:
            self._courier.send(partial(self._guarded, action))

    def _guarded(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as exc:  # noqa: BLE001  # whatever the service's package raises, training does not end by it
            self._faults.append(f"{type(exc).__name__}: {exc}")

    def _ensure_begun(self) -> None:
        if not self._begun:
            self._id = self._begin(self._id, self._config)
            self._answered = self._begun = True

    def _end_begun(self, outcome: Outcome, reason: str | None) -> None:
        if self._answered:
            self._flush()
            if not self._joins:
                self._end(outcome, reason)

    def _flush(self) -> None:
        """Tell of all that waits; what the service does not take is kept for the next time."""
        self._asked = False
        self._ensure_begun()
        while self._piece or self._points:
            while self._points and len(self._piece) < _PIECE:
                self._piece.append(self._points.popleft())
            self._report(self._piece)
            self._piece = []

    # ---- back in the thread that trains --------------------------------------------------------------------------------------

    def _settle(self) -> None:
        if self._courier is not None and not self._courier.settle(self.timeout):
            self._faults.append(f"no answer within {self.timeout:g} seconds")
        self._look_back()

    def _look_back(self) -> None:
        """Warn once of what went wrong."""
        if self._faults and not self._warned:
            self._warned = True
            warnings.warn(
                f"{type(self).__name__}: the service does not take what the training reports: {self._hidden(self._faults[0])}. "
                "Training goes on, and it is tried again with each epoch. Check its address and that you are logged in there.",
                CallbackDegraded,
                stacklevel=3,
            )
        self._faults.clear()

    def _hidden(self, text: str) -> str:
        return text


def _prefixed(values: Mapping[str, float]) -> dict[str, float]:
    return {f"{_PREFIX}{name}": value for name, value in values.items()}
