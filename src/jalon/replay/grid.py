"""replay_grid: many policies over recorded runs: what each would have kept, and what it would have cost in epochs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jalon.core.monitor import Mode
from jalon.core.trainer import Direction
from jalon.errors import ArgumentError
from jalon.replay.adapter import START_RATE
from jalon.replay.grid_result import GridResult
from jalon.replay.outcomes import outcomes
from jalon.replay.policies import Family, Policy, expand, families_of
from jalon.replay.readers import read
from jalon.replay.record import Record
from jalon.replay.replaying import objective_of


def replay_grid(
    sources: Any,
    policies: Mapping[Any, Mapping[str, Any]] | Sequence[Family],
    *,
    sample: int | None = None,
    seed: int = 0,
    metric: str | None = None,
    mode: Mode = "auto",
    learning_rate: float = START_RATE,
) -> GridResult:
    """Try many policies on recorded runs: the best that each would have kept, against the epochs that it would have taken.

    Args:
        sources: One source, as for :func:`jalon.replay`, or several: a list of them, or a mapping of names to them.
        policies: By callback class, its options; of one given as a list or a range, each value is tried, with each of the others.
        sample: How many policies to draw at random from these, in place of all. Defaults to all.
        seed: Of that drawing. Defaults to 0.
        metric: The metric by which to tell what is best. Defaults to what the first callback monitors.
        mode: Whether less (``"min"``) or more (``"max"``) of it is better; ``"auto"`` takes it from that callback or from the
            metric's name.
        learning_rate: The rate at the beginning, where a record tells none. Defaults to 0.001.

    Returns:
        What they came to; printed, tables.

    Raises:
        ArgumentError: A source holds no record, an option cannot be what it is, or there is nothing to compare by.
        MissingMetric: A record has no metric that a callback monitors.

    Example:
        >>> import jalon
        >>> from jalon.callbacks import EarlyStopping
        >>> curve = [0.9, 0.6, 0.5, 0.55, 0.56, 0.4, 0.41, 0.42]
        >>> rows = [{"val_loss": value} for value in curve]
        >>> result = jalon.replay_grid(rows, {EarlyStopping: {"patience": range(1, 5), "restore_best_weights": True}})
        >>> for policy in result.front():
        ...     print(result.policies[policy], "takes", result.epochs[policy, 0], "epochs and keeps", result.values[policy, 0])
        patience=1 takes 4 epochs and keeps 0.5
        patience=3 takes 8 epochs and keeps 0.4
    """
    records = _records(sources)
    families = families_of(policies) if isinstance(policies, Mapping) else list(policies)
    chosen = expand(families, sample=sample, seed=seed)
    if not families or not chosen:
        raise ArgumentError("replay_grid: there is no policy to try. Give a callback's class with options to try.")
    metric, direction = _objective(records, chosen[0], metric, mode)
    found = [
        outcomes(record, [one.callbacks() for one in chosen], metric=metric, direction=direction, learning_rate=learning_rate)
        for record in records.values()
    ]
    return GridResult(
        tuple(chosen),
        tuple(records),
        tuple(records.values()),
        metric,
        direction,
        _columns([one.epochs for one in found]),
        _columns([one.stopped for one in found]),
        _columns([one.kept for one in found]),
        _columns([one.value for one in found]),
        _columns([one.changes for one in found]),
        _columns([one.departs for one in found]),
    )


def _columns(arrays: Iterable[NDArray[Any]]) -> NDArray[Any]:
    return np.stack(list(arrays), axis=1)


def _records(sources: Any) -> dict[str, Record]:
    """Return the records by name."""
    if isinstance(sources, Mapping):
        return {str(name): read(source) for name, source in sources.items()}
    rows = isinstance(sources, (list, tuple)) and all(isinstance(one, Mapping) for one in sources)
    if not isinstance(sources, (list, tuple)) or rows:
        record = read(sources)
        return {record.name: record}
    records = [read(source) for source in sources]
    names = [record.name for record in records]
    if len(set(names)) < len(names):
        names = [f"{name} {place}" for place, name in enumerate(names, start=1)]
    return dict(zip(names, records, strict=True))


def _objective(records: Mapping[str, Record], policy: Policy, metric: str | None, mode: Mode) -> tuple[str, Direction]:
    """Return the metric by which to compare in all records, and its direction.

    Raises:
        ArgumentError: There is none, or nobody says which way is better.
    """
    told = {objective_of(record, policy.callbacks(), metric, mode) for record in records.values()}
    chosen, direction = next(iter(told)) if len(told) == 1 else (None, None)
    if chosen is None:
        raise ArgumentError("replay_grid: there is no metric to compare all these runs by. Pass metric='...' that all report.")
    if direction is None:
        raise ArgumentError(f"replay_grid: whether less or more of {chosen!r} is better is not known. Pass mode='min' or 'max'.")
    return chosen, direction
