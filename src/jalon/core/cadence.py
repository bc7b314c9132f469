"""Cadence: how often something is done."""

from __future__ import annotations

from dataclasses import dataclass

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
    """

    def __init__(self, cadence: Cadence, *, now: float = 0.0) -> None:
        self.cadence = cadence
        self.steps_since = 0
        self.epochs_since = 0
        self.last = now

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
