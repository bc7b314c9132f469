"""Cadence: how often something is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jalon.errors import ArgumentError


@dataclass(frozen=True, slots=True)
class Cadence:
    """Says how often something is done, by epochs, by steps or by time. Exactly one is set.

    Args:
        epochs: Every so many epochs.
        steps: Every so many training batches, counted across epochs.
        seconds: Every so many seconds, looked at after each batch.
    """

    epochs: int | None = None
    steps: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        given = {
            unit: n for unit, n in (("epochs", self.epochs), ("steps", self.steps), ("seconds", self.seconds)) if n is not None
        }
        if len(given) != 1:
            raise ArgumentError(f"every: give one of epochs=, steps= or seconds=. Received: {given or 'none'}.")
        ((unit, n),) = given.items()
        kind = (int, float) if unit == "seconds" else int
        if not isinstance(n, kind) or isinstance(n, bool) or not n > 0:
            raise ArgumentError(
                f"every: {unit} must be a positive {'number' if unit == 'seconds' else 'whole number'}. Received: {n!r}."
            )

    @property
    def by_batch(self) -> bool:
        """Whether it has to be looked at after each batch."""
        return self.epochs is None


def every(*, epochs: int | None = None, steps: int | None = None, seconds: float | None = None) -> Cadence:
    """Return a cadence.

    Example:
        >>> every(seconds=600)
        Cadence(epochs=None, steps=None, seconds=600)
    """
    return Cadence(epochs=epochs, steps=steps, seconds=seconds)


class Ticker:
    """Follows a cadence: tells when it is due.

    Args:
        cadence: How often.
        now: The present time in monotonic seconds.

    Attributes:
        epoch: The epoch whose batches are counted, ``None`` before the first.
    """

    def __init__(self, cadence: Cadence, *, now: float = 0.0) -> None:
        self.cadence = cadence
        self.steps_since = 0
        self.epochs_since = 0
        self.last = now
        self.epoch: int | None = None
        self._last_batch: int | None = None

    def begin_training(self, *, now: float) -> None:
        """Count time and batches from here; what was counted of a cadence goes on."""
        self.last = now
        self.epoch = self._last_batch = None

    def begin_rest(self, *, now: float) -> None:
        """Count time from here."""
        self.last = now

    def begin_epoch(self, epoch: int) -> None:
        """Count an epoch's batches from its first on; one that is gone on with, from where it was."""
        if epoch != self.epoch:
            self.epoch, self._last_batch = epoch, None

    def steps_up_to(self, batch: int) -> int:
        """Return how many batches are done since it was last asked. One call may stand for several.

        Args:
            batch: The last of them, by its number in the epoch, from 0.
        """
        last, self._last_batch = self._last_batch, batch
        return batch + 1 if last is None or batch <= last else batch - last

    def state_dict(self, *, now: float) -> dict[str, Any]:
        """Return what was counted."""
        return {
            "steps_since": self.steps_since,
            "epochs_since": self.epochs_since,
            "seconds_since": now - self.last,
            "epoch": self.epoch,
            "last_batch": self._last_batch,
        }

    def load_state_dict(self, state: Mapping[str, Any], *, now: float) -> None:
        """Take back what ``state_dict`` returned."""
        self.steps_since = state["steps_since"]
        self.epochs_since = state["epochs_since"]
        self.last = now - state["seconds_since"]
        self.epoch, self._last_batch = state["epoch"], state["last_batch"]

    def after_steps(self, steps: int, *, now: float) -> bool:
        """Count training batches and return whether it is due."""
        self.steps_since += steps
        if self.cadence.steps is not None and self.steps_since >= self.cadence.steps:
            return self._rest(now)
        return self.cadence.seconds is not None and now - self.last >= self.cadence.seconds and self._rest(now)

    def after_epoch(self, *, now: float) -> bool:
        """Count an epoch and return whether it is due."""
        self.epochs_since += 1
        return self.cadence.epochs is not None and self.epochs_since >= self.cadence.epochs and self._rest(now)

    def _rest(self, now: float) -> bool:
        self.steps_since = self.epochs_since = 0
        self.last = now
        return True
