"""EstimatorHost: answers callbacks on behalf of an estimator of scikit-learn."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from jalon.bridges.sklearn_bridge.learned import laid_out, put_back
from jalon.core.trainer import Direction, Snapshot, TrainerAdapter, Write, direction_by_name
from jalon.core.transform import Transform
from jalon.engines.transforms import describe_transform, read_transforms
from jalon.errors import ArgumentError, CheckpointMismatch, NotReady
from jalon.store import arrays
from jalon.store.arrays import Stored

_RATES = ("eta0", "learning_rate_init")
"""What scikit-learn's estimators call the rate that they begin with."""
_BY_RATE = ("constant", "invscaling", "adaptive")
"""The rules by which they learn at that rate, or at one that they reckon from it."""


class EstimatorHost(TrainerAdapter):
    """Answers callbacks on behalf of an estimator of scikit-learn that learns by ``partial_fit``.

    What it has learned are its weights: all attributes but the arguments of its constructor. A file holds them as numbers and
    arrays under their names; none is pickled.

    Args:
        estimator: The estimator.

    Attributes:
        transforms: What prepares the batches; saved with the estimator.

    Raises:
        ArgumentError: It has no ``partial_fit``.

    Example:
        >>> from sklearn.linear_model import SGDRegressor
        >>> model = SGDRegressor(learning_rate="constant", eta0=0.1).partial_fit([[1.0], [2.0]], [1.0, 2.0])
        >>> host = EstimatorHost(model)
        >>> host.learning_rates(), host.snapshot_weights()["coef_"].shape
        ([0.1], (1,))
    """

    def __init__(self, estimator: Any) -> None:
        if not hasattr(estimator, "partial_fit"):
            raise ArgumentError(
                f"Loop: {type(estimator).__name__} has no partial_fit, by which a loop could train it. Pass an estimator that "
                "has one, as SGDClassifier, MLPClassifier or MiniBatchKMeans."
            )
        self._estimator = estimator
        self.transforms: list[Transform] = []

    @property
    def suffixes(self) -> tuple[str, ...]:
        return (arrays.SUFFIX,)

    @property
    def iterations(self) -> int:
        return 0  # the loop counts

    @property
    def validates(self) -> bool:
        return True

    def metric_names(self) -> frozenset[str] | None:
        return None

    def metric_direction(self, metric: str) -> Direction | None:
        return direction_by_name(metric)

    # ---- the rate --------------------------------------------------------------------------------------------------------

    def _rate_name(self) -> str | None:
        """Return what the rate is called, where the estimator goes by it."""
        if getattr(self._estimator, "learning_rate", "constant") not in _BY_RATE:
            return None
        return next((name for name in _RATES if hasattr(self._estimator, name)), None)

    def learning_rates(self) -> list[float]:
        name = self._rate_name()
        return [] if name is None else [float(getattr(self._estimator, name))]

    def rate_fault(self) -> str | None:
        if self._rate_name() is not None:
            return None
        own = type(self._estimator).__name__
        if hasattr(self._estimator, "learning_rate"):
            return (
                f"{own}(learning_rate={self._estimator.learning_rate!r}) reckons its rate itself. Pass learning_rate='constant' "
                "and eta0= to it, or leave out the callback."
            )
        return f"{own} has no learning rate to set. Leave out the callback."

    def set_learning_rates(self, rates: Sequence[float]) -> None:
        """Let the estimator learn at another rate from the next ``partial_fit`` on.

        Raises:
            NotReady: It has none; the message says what to do.
            ArgumentError: Not one rate, or one that is no rate.
        """
        name, own, fault = self._rate_name(), self._estimator, self.rate_fault()
        if name is None:
            raise NotReady(fault)
        if len(rates) != 1 or not (math.isfinite(rates[0]) and rates[0] > 0):
            raise ArgumentError(
                f"{type(own).__name__} has one learning rate, a finite number above 0. Received: {[*map(float, rates)]}."
            )
        rate = float(rates[0])
        setattr(own, name, rate)
        optimizer = getattr(own, "_optimizer", None)  # that of a multi-layer perceptron keeps it once it has begun
        for attribute in ("learning_rate_init", "learning_rate"):
            if hasattr(optimizer, attribute):
                setattr(optimizer, attribute, rate)

    # ---- what it has learned -----------------------------------------------------------------------------------------------

    def snapshot_weights(self, into: Snapshot | None = None) -> Snapshot:
        return laid_out(self._estimator)[1]

    def restore_weights(self, snapshot: Mapping[str, Any]) -> None:
        put_back(self._estimator, laid_out(self._estimator)[0], snapshot)

    def named_weights(self) -> Iterator[tuple[str, Any]]:
        for name, value in laid_out(self._estimator)[1].items():
            yield name.replace(".", "/"), value

    def freeze(self, path: Path, *, weights_only: bool, about: Mapping[str, Any], exposed: bool = True) -> Write:
        told, named = laid_out(self._estimator)
        kept: dict[str, Any] = {"class": type(self._estimator).__name__, "learned": told}
        if not weights_only:
            kept["learning_rates"] = self.learning_rates()
        described = {"transforms": [describe_transform(one) for one in self.transforms]} if self.transforms else {}
        return partial(arrays.write, path, Stored(named, about={**about, **described, "estimator": kept}), exposed=exposed)

    def load(self, path: Path) -> None:
        """Put back what ``freeze`` wrote.

        Raises:
            CheckpointError: The file is missing or damaged.
            CheckpointMismatch: It belongs to another kind of estimator; nothing is changed.
        """
        stored = arrays.read(path)
        kept = stored.about.get("estimator", {"class": "model"})
        own = type(self._estimator).__name__
        if kept["class"] != own:
            raise CheckpointMismatch(f"{path} belongs to another kind of estimator: a {kept['class']}. Here it is a {own}.")
        transforms = read_transforms(stored.about.get("transforms", []), self.transforms, path)
        try:
            put_back(self._estimator, kept["learned"], stored.weights)
        except CheckpointMismatch as exc:
            raise CheckpointMismatch(f"{path}: {exc}") from exc
        if transforms:
            self.transforms = transforms
        if kept.get("learning_rates"):
            self.set_learning_rates(kept["learning_rates"])

    def fingerprint(self) -> dict[str, Any]:
        """Return its class and the arguments of its constructor, but for the rate, which callbacks may have set."""
        arguments = self._estimator.get_params()
        plain = {
            name: one for name, one in arguments.items() if name not in _RATES and isinstance(one, (str, int, float, type(None)))
        }
        return {"model": type(self._estimator).__name__} | {f"argument {name}": one for name, one in plain.items()}
