"""scikit-learn: estimators that learn by ``partial_fit``, in a loop of the user's."""

from __future__ import annotations

from typing import Any

from jalon.bridges.sklearn_bridge.host import EstimatorHost
from jalon.core.trainer import TrainerAdapter
from jalon.errors import ArgumentError


def loop_adapter(model: Any, optimizer: Any) -> TrainerAdapter:
    """Return what answers for an estimator in ``jalon.Loop``.

    Raises:
        ArgumentError: It cannot be trained in a loop, or there is an optimizer, which scikit-learn does not know.
    """
    if optimizer is not None:
        raise ArgumentError(
            f"Loop: an estimator of scikit-learn has its optimizer in itself. Leave out optimizer=. Received: {optimizer!r:.80}."
        )
    return EstimatorHost(model)


def adapter(model: Any) -> TrainerAdapter:
    """Return what answers for an estimator."""
    return EstimatorHost(model)


def join(callback: Any, model: Any) -> None:
    """Do nothing: a callback has its run from the loop."""
