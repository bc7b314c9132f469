"""Standardize: shift and scale each feature to mean 0 and variance 1."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jalon.callbacks._arguments import finite_number
from jalon.callbacks._arrays import to_numpy
from jalon.core.callback import Callback
from jalon.core.transform import Batch, Transform, TransformPhase
from jalon.errors import ArgumentError, DataError, NotReady

Array = NDArray[np.float64]
ANY = "*"
"""The name under which given statistics are kept: they hold for every array of the input."""


class _Constants(NamedTuple):
    """Is what one kind of array is shifted and divided by, and how many features it must have."""

    mean: Any
    scale: Any
    width: int | None


@dataclass(slots=True)
class _Moments:
    """Holds the count, the mean and the sum of squared deviations of what it has seen."""

    count: int
    mean: Array
    squares: Array

    @classmethod
    def of(cls, rows: Array) -> _Moments:
        # Seen from the first row, numbers far from 0 lose no digits, and those that never change give exactly 0.
        shifted = rows - rows[0]
        mean = shifted.mean(axis=0)
        return cls(len(rows), rows[0] + mean, np.square(shifted - mean).sum(axis=0))

    def merge(self, other: _Moments) -> _Moments:
        count = self.count + other.count
        shift = other.mean - self.mean
        mean = self.mean + shift * (other.count / count)
        squares = self.squares + other.squares + np.square(shift) * (self.count * other.count / count)
        return _Moments(count, mean, squares)


class Standardize(Callback, Transform):
    """Shift and scale each feature of the input to mean 0 and variance 1.

    Mean and variance are learned from the training data when training begins, are saved with the model, and are applied
    in training, validation and ``predict`` alike. A feature that never changes becomes 0.

    The input may be one array or a tuple, list or dict of arrays, of numpy or of torch on any device. One array of
    integers becomes ``float32``; among several, arrays of integers are left as they are, for they name things.

    Args:
        axis: The axis along which the features lie, each with its own mean and variance; ``None`` for one mean and
            variance in all. Defaults to -1, the last one.
        mean: The mean to take in place of the data's, one number per feature.
        variance: The variance to take in place of the data's, one number per feature.
        epsilon: The least standard deviation that is divided by. Defaults to 1e-7.

    Raises:
        ArgumentError: ``axis`` is the one that counts samples, or only one of ``mean`` and ``variance`` is given.
        DataError: The data has no features along ``axis``, another number of them than was learned, or is not finite.
        NotReady: It is used before it has learned.

    Example:
        >>> import numpy as np
        >>> standardize = Standardize()
        >>> standardize.fit_transform_begin([(np.array([[1.0, 10.0], [3.0, 30.0]]),)])
        >>> (x,) = standardize.transform_batch((np.array([[2.0, 40.0]]),), "predict")
        >>> x
        array([[0., 2.]])

    After a resume: mean and variance come back with the model.

    Source: Keras's ``layers.Normalization``; Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for
    computing sample variances", 1979.
    """

    def __init__(
        self,
        axis: int | None = -1,
        mean: ArrayLike | None = None,
        variance: ArrayLike | None = None,
        epsilon: float = 1e-7,
    ) -> None:
        if axis is not None and (isinstance(axis, bool) or not isinstance(axis, int) or axis == 0):
            raise ArgumentError(
                f"Standardize: axis must be None or a whole number other than 0, the axis that counts samples. Received: {axis=}."
            )
        if (mean is None) != (variance is None):
            raise ArgumentError(f"Standardize: mean and variance go together. Received: {mean=}, {variance=}.")
        self.axis = axis
        self.epsilon = finite_number(epsilon, name="epsilon", who="Standardize")
        if self.epsilon <= 0:
            raise ArgumentError(f"Standardize: epsilon must be more than 0. Received: {epsilon=}.")
        self._statistics: dict[str, tuple[Array, Array]] = {}
        self._constants: dict[tuple[Any, ...], _Constants] = {}
        self._given = mean is not None
        if mean is not None and variance is not None:
            self._statistics[ANY] = _checked(mean, variance)

    def fit_transform_begin(self, batches: Iterable[Batch]) -> None:
        """Learn mean and variance from one pass over the training data, unless they were given."""
        if self._given:
            return
        moments: dict[str, _Moments] = {}
        with np.errstate(invalid="ignore"):  # what is not finite is refused at the end, with its place
            for x, *_ in batches:
                for name, leaf in _leaves(x):
                    self._add(moments, name, self._rows(leaf, name))
        if not moments:
            raise DataError("Standardize: the training data holds no numbers. Pass some, or leave Standardize out.")
        self._take({name: (of.mean, of.squares / of.count) for name, of in moments.items()})

    def transform_batch(self, data: Batch, phase: TransformPhase) -> Batch:
        x, *rest = data
        return (_map_leaves(self._standardized, x), *rest)

    def transform_state(self) -> dict[str, Any]:
        """Return mean and variance, by the name of the array in the input, and how they are applied."""
        return {
            "axis": self.axis,
            "epsilon": self.epsilon,
            "mean": {name: mean for name, (mean, _) in self._statistics.items()},
            "variance": {name: variance for name, (_, variance) in self._statistics.items()},
        }

    def load_transform_state(self, state: Mapping[str, Any]) -> None:
        self.axis = state["axis"]
        self.epsilon = state["epsilon"]
        self._take({name: _checked(mean, state["variance"][name]) for name, mean in state["mean"].items()})

    def _add(self, moments: dict[str, _Moments], name: str, rows: Array) -> None:
        if not len(rows):
            return
        seen = _Moments.of(rows)
        if name in moments:
            self._check_width(seen.mean.size, moments[name].mean.size, name)
            seen = moments[name].merge(seen)
        moments[name] = seen

    def _take(self, statistics: dict[str, tuple[Array, Array]]) -> None:
        for name, (mean, variance) in statistics.items():
            wrong = np.flatnonzero(~np.isfinite(mean) | ~np.isfinite(variance))
            if wrong.size:
                raise DataError(
                    f"Standardize: {name} holds NaN or infinite values, in feature {wrong[0]}"
                    f"{f' and {wrong.size - 1} more' if wrong.size > 1 else ''}. Replace or drop them before training."
                )
        self._statistics = statistics
        self._constants.clear()

    def _rows(self, leaf: Any, name: str) -> Array:
        values = to_numpy(leaf).astype(np.float64)
        if self.axis is None:
            return values.reshape(-1, 1)
        axis = _feature_axis(self.axis, values.ndim, name)
        return np.moveaxis(values, axis, -1).reshape(-1, values.shape[axis])

    def _standardized(self, leaf: Any, name: str) -> Any:
        values = leaf if _is_floating(leaf) else _as_float32(leaf)
        key = (name, values.ndim, values.dtype, getattr(values, "device", None))
        constants = self._constants.get(key)
        if constants is None:
            constants = self._constants[key] = self._constants_for(values, name)
        if constants.width is not None:
            self._check_width(values.shape[self.axis], constants.width, name)
        return (values - constants.mean) / constants.scale

    def _constants_for(self, values: Any, name: str) -> _Constants:
        key = name if name in self._statistics else ANY
        if key not in self._statistics:
            learned = f"It has learned those of {', '.join(self._statistics)}. " if self._statistics else ""
            raise NotReady(
                f"Standardize has no mean and variance for {name}. {learned}"
                "Train with it in the list of callbacks, load a model that was trained so, or pass mean and variance."
            )
        mean, variance = self._statistics[key]
        after = 0 if self.axis is None else values.ndim - 1 - _feature_axis(self.axis, values.ndim, name)
        shape = (-1,) + (1,) * after
        scale = np.maximum(np.sqrt(variance), self.epsilon)
        one_for_all = self.axis is None or (key == ANY and mean.size == 1)
        return _Constants(
            mean=_like(mean.reshape(shape), values),
            scale=_like(scale.reshape(shape), values),
            width=None if one_for_all else mean.size,
        )

    def _check_width(self, received: int, known: int, name: str) -> None:
        if received != known:
            raise DataError(
                f"Standardize: {name} has {received} features along axis {self.axis}, "
                f"but mean and variance are known for {known}. Pass data of the same features."
            )


def _feature_axis(axis: int, ndim: int, name: str) -> int:
    """Return the place of the features' axis, counted from the left."""
    place = axis if axis > 0 else ndim + axis
    if not 0 < place < ndim:
        raise DataError(
            f"Standardize(axis={axis}): {name} has {ndim} ax{'i' if ndim == 1 else 'e'}s, "
            f"of which the first counts samples. Pass axis=None for one mean and variance in all, or another axis."
        )
    return place


def _checked(mean: ArrayLike, variance: ArrayLike) -> tuple[Array, Array]:
    means, variances = (np.array(given, dtype=np.float64, ndmin=1) for given in (mean, variance))
    if means.shape != variances.shape or means.ndim != 1:
        raise ArgumentError(
            "Standardize: mean and variance must be one number per feature each. "
            f"Received: shapes {np.shape(mean)} and {np.shape(variance)}."
        )
    if (variances < 0).any():
        raise ArgumentError(f"Standardize: a variance is never negative. Received: variance={variance!r}.")
    return means, variances


def _leaves(x: Any) -> Iterator[tuple[str, Any]]:
    """Yield the arrays that are standardized, each with its name."""
    found: list[tuple[str, Any]] = []
    _map_leaves(lambda leaf, name: found.append((name, leaf)), x)
    return iter(found)


def _map_leaves(change: Any, x: Any, name: str = "x") -> Any:
    """Return the input with each array changed that is standardized: one alone, or each of floating numbers among several."""
    if isinstance(x, Mapping):
        return {key: _map_leaves(change, value, f"{name}.{key}") for key, value in x.items()}
    if isinstance(x, (tuple, list)):
        changed = [_map_leaves(change, value, f"{name}.{place}") for place, value in enumerate(x)]
        return type(x)._make(changed) if hasattr(x, "_make") else type(x)(changed)
    if name != "x" and not _is_floating(x):
        return x
    return change(x, name)


def _is_floating(x: Any) -> bool:
    if hasattr(x, "is_floating_point"):
        return bool(x.is_floating_point())
    return hasattr(x, "dtype") and np.issubdtype(x.dtype, np.floating)


def _as_float32(x: Any) -> Any:
    return x.float() if hasattr(x, "float") else x.astype(np.float32)


def _like(constant: Array, values: Any) -> Any:
    """Return a constant as what the values are: their framework, their type, their device."""
    return values.new_tensor(constant) if hasattr(values, "new_tensor") else constant.astype(values.dtype)
