"""Record: what a training reported, epoch by epoch, wherever that was read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from jalon.core.logs import scalar
from jalon.errors import ArgumentError

RATES = ("learning_rate", "lr")
"""The names under which an epoch reports its learning rate."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """Is one epoch of a record.

    Args:
        number: Its number, from 0.
        logs: What it reported.
        seconds: How long it took, if that is known.
    """

    number: int
    logs: Mapping[str, float]
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """Is what a training reported.

    Args:
        name: Where it comes from.
        epochs: Its epochs, by number.
        notes: What is to be known of how it was read.
        rates_at_end: Whether the learning rate that an epoch reports may be the one that its callbacks have set at its end, as
            in event files: TensorBoard's callback looks at it when its turn comes.

    Example:
        >>> record = Record("by hand", (Epoch(0, {"loss": 0.5}), Epoch(1, {"loss": 0.25, "val_loss": 0.5})))
        >>> record.metrics
        ('loss', 'val_loss')
        >>> record.values("val_loss")
        {1: 0.5}
    """

    name: str
    epochs: tuple[Epoch, ...]
    notes: tuple[str, ...] = ()
    rates_at_end: bool = False

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of all that is reported, in the order of their appearance."""
        return tuple(dict.fromkeys(name for epoch in self.epochs for name in epoch.logs))

    def values(self, metric: str) -> dict[int, float]:
        """Return a metric's value by epoch, as far as it was reported.

        Args:
            metric: Its name.
        """
        return {epoch.number: epoch.logs[metric] for epoch in self.epochs if metric in epoch.logs}

    @property
    def reported_rates(self) -> dict[int, float]:
        """The learning rate by epoch, as far as it was reported."""
        return next((found for name in RATES if (found := self.values(name))), {})

    @property
    def rates(self) -> dict[int, float]:
        """The learning rate that each epoch was trained with, as far as that is known."""
        reported = self.reported_rates
        if not self.rates_at_end:
            return reported
        before = [next(iter(reported.values()), 0.0), *reported.values()]
        return dict(zip(reported, before, strict=False))


@dataclass(slots=True)
class Gathered:
    """Gathers a record from pieces.

    Args:
        name: Where it comes from.
    """

    name: str
    rows: dict[int, dict[str, float]] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    rates_at_end: bool = False

    def add(self, number: int, values: Mapping[str, float], *, seconds: float | None = None) -> None:
        """Add what is said of an epoch to what is known of it.

        Args:
            number: Its number.
            values: What it reported.
            seconds: How long it took, if that is said.
        """
        self.rows.setdefault(number, {}).update(values)
        if seconds is not None:
            self.seconds[number] = seconds

    def begin_again(self, number: int) -> None:
        """Forget all epochs from one on, which come anew.

        Args:
            number: The first of them.
        """
        for gone in [known for known in self.rows if known >= number]:
            del self.rows[gone]
            self.seconds.pop(gone, None)

    def record(self) -> Record:
        """Return what was gathered.

        Raises:
            ArgumentError: Nothing was.
        """
        rows = {number: row for number, row in sorted(self.rows.items()) if row}
        if not rows:
            raise ArgumentError(f"replay: {self.name} holds no epoch that reports a number. Choose the record of a training.")
        epochs = tuple(Epoch(number, row, self.seconds.get(number)) for number, row in rows.items())
        return Record(self.name, epochs, (*self.notes, *_missing(list(rows))), self.rates_at_end)


def _missing(numbers: list[int]) -> Iterator[str]:
    """Say which epochs are not there: callbacks count those they are told of."""
    first, last = numbers[0], numbers[-1]
    if first > 0:
        yield f"the record begins with epoch {first + 1:,}"
    missing = last - first + 1 - len(numbers)
    if missing:
        yield f"{missing:,} of the epochs from {first + 1:,} to {last + 1:,} are not recorded, and not counted"


def numbers_of(values: Mapping[str, object]) -> dict[str, float]:
    """Return the values that are numbers, as floats; also those that JSON can only write as texts, as ``"NaN"``.

    Args:
        values: Values by name.
    """
    found = {name: _number(value) for name, value in values.items()}
    return {name: value for name, value in found.items() if value is not None}


def _number(value: object) -> float | None:
    if not isinstance(value, str):
        return scalar(value)
    try:
        return float(value)
    except ValueError:
        return None
