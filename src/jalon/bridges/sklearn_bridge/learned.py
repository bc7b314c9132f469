"""What an estimator has learned, as JSON values and arrays: all its attributes but the arguments of its constructor.

A JSON object has one key, the kind of its content. Objects that hang in an estimator, as the optimizer of an ``MLPClassifier``,
are never made by what a file says: they are those that the estimator has, or those that an estimator like it makes in
``partial_fit``, and take their attributes from the file.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone

from jalon.callbacks import _randomness
from jalon.errors import ArgumentError, CheckpointMismatch

_GLOBAL = np.random.mtrand._rand

_ABSENT = object()

Arrays = dict[str, Any]


def attributes(owner: Any) -> dict[str, Any]:
    """Return the attributes of an object that are no arguments of its constructor, and the generators that it draws from."""
    own = set(owner.get_params(deep=False)) if isinstance(owner, BaseEstimator) else set()
    drawn_from = (np.random.RandomState,)
    return {name: value for name, value in vars(owner).items() if name not in own or isinstance(value, drawn_from)}


def laid_out(owner: Any) -> tuple[Any, Arrays]:
    """Return what an estimator has learned: JSON values, and the arrays and numbers that they name.

    Raises:
        ArgumentError: It holds something that cannot be saved.
    """
    arrays: Arrays = {}
    try:
        return _Layer(arrays).attributes(owner, ""), arrays
    except RecursionError:
        raise ArgumentError(
            f"Loop: what a {type(owner).__name__} has learned cannot be saved: its parts hang in one another without an end."
        ) from None


class _Layer:
    """Lays values out. One array that hangs at two places is laid out once.

    Args:
        arrays: Where arrays and numbers go to.
    """

    def __init__(self, arrays: Arrays) -> None:
        self._arrays = arrays
        self._known: dict[int, str] = {}

    def attributes(self, owner: Any, front: str) -> dict[str, Any]:
        return {name: self.value(value, f"{front}{name}") for name, value in attributes(owner).items()}

    def value(self, value: Any, name: str) -> Any:
        if value is None or isinstance(value, str):
            return value
        if isinstance(value, np.generic):  # a float64 is a float too
            return {"scalar": self._put(name, value)}
        if isinstance(value, (bool, int, float)):
            return {"number": self._put(name, value)}
        if isinstance(value, np.ndarray):
            return self._array(value, name)
        if isinstance(value, (list, tuple)):
            return self._several(value, name)
        if isinstance(value, dict):
            return {"dict": [[self.value(key, name), self.value(one, f"{name}.{key}")] for key, one in value.items()]}
        if isinstance(value, np.random.RandomState):
            return "global random" if value is _GLOBAL else {"random": self.value(value.get_state(legacy=False), name)}
        return self._object(value, name)

    def _put(self, name: str, value: Any) -> str:
        self._arrays[name] = np.array(value)
        return name

    def _array(self, value: Any, name: str) -> Any:
        if value.dtype.kind in "biufc":
            known = self._known.setdefault(id(value), name)
            return {"array": known if known != name else self._put(name, value)}
        if not all(isinstance(one, str) for one in value.ravel().tolist()):
            raise ArgumentError(f"Loop: {name!r} of the estimator cannot be saved: it is an array of {value.dtype}.")
        return {"texts": [value.dtype.str, list(value.shape), value.ravel().tolist()]}

    def _several(self, value: Any, name: str) -> Any:
        kinds = {type(one) for one in value}
        if kinds and (kinds == {int} or kinds <= {float, np.float64}):
            return {"numbers": [type(value).__name__, self._put(name, value)]}
        items = [self.value(one, f"{name}.{place}") for place, one in enumerate(value)]
        return {type(value).__name__ if type(value) in (list, tuple) else "list": items}

    def _object(self, value: Any, name: str) -> Any:
        if not hasattr(value, "__dict__"):
            return {"compiled": type(value).__name__}  # partial_fit makes it anew
        if type(value).__module__.partition(".")[0] in ("builtins", "scipy"):
            raise ArgumentError(f"Loop: {name!r} of the estimator cannot be saved: it is a {type(value).__name__}.")
        return {"object": [type(value).__name__, self.attributes(value, f"{name}.")]}


def put_back(owner: Any, told: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
    """Let an estimator have learned what was laid out.

    Args:
        owner: The estimator.
        told: The JSON values.
        arrays: The arrays and numbers that they name. Those that are missing stay what they are.

    Raises:
        CheckpointMismatch: It was laid out of another kind of estimator.
    """
    is_fresh = not told.keys() <= vars(owner).keys()
    model = _one_like(owner, told, arrays) if is_fresh and _holds_objects(told) else owner
    values = _Putter(arrays).attributes(model, told)
    for name in attributes(owner).keys() - told.keys():
        delattr(owner, name)
    vars(owner).update(values)


def _holds_objects(told: Any) -> bool:
    if isinstance(told, list):
        return any(map(_holds_objects, told))
    return isinstance(told, dict) and (not {"object", "compiled"}.isdisjoint(told) or any(map(_holds_objects, told.values())))


def _one_like(owner: Any, told: Mapping[str, Any], arrays: Mapping[str, Any]) -> Any:
    """Return an estimator with the same arguments that has seen a batch of zeros, for the objects that hang in it."""
    classes = _Putter(arrays).attributes(None, {"": told["classes_"]})[""] if "classes_" in told else None
    rows = 1 if classes is None else len(classes)
    x = np.zeros((rows, int(arrays["n_features_in_"])))
    outputs = int(arrays.get("n_outputs_", 1))
    random = _randomness.random_state()
    made = clone(owner)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if classes is not None:
                made.partial_fit(x, classes, classes=classes)
            else:
                made.partial_fit(x, np.zeros(rows if outputs == 1 else (rows, outputs)))
    except Exception as exc:
        raise CheckpointMismatch(
            f"It was saved of an estimator in which objects hang, and this {type(owner).__name__} has none yet: {exc}. "
            "Let it see one batch by partial_fit before it is loaded."
        ) from exc
    finally:
        _randomness.load_random_state(random)
    return made


class _Putter:
    """Puts values together again.

    Args:
        arrays: The arrays and numbers.
    """

    def __init__(self, arrays: Mapping[str, Any]) -> None:
        self._arrays = arrays
        self._shared: dict[str, Any] = {}

    def attributes(self, owner: Any, told: Mapping[str, Any]) -> dict[str, Any]:
        own = {} if owner is None else vars(owner)
        values = {name: self.value(one, own.get(name)) for name, one in told.items()}
        return {name: value for name, value in values.items() if value is not _ABSENT}

    def value(self, told: Any, own: Any) -> Any:
        if told == "global random":
            return _GLOBAL
        if not isinstance(told, dict):
            return told
        ((kind, content),) = told.items()
        return getattr(self, f"_{kind}")(content, own)

    def _number(self, name: str, own: Any) -> Any:
        return np.asarray(self._arrays[name]).item() if name in self._arrays else own

    def _scalar(self, name: str, own: Any) -> Any:
        return np.asarray(self._arrays[name])[()] if name in self._arrays else own

    def _numbers(self, content: Any, own: Any) -> Any:
        kind, name = content
        return (tuple if kind == "tuple" else list)(self._arrays[name].tolist()) if name in self._arrays else own

    def _array(self, name: str, own: Any) -> Any:
        if name not in self._arrays:
            return own
        return self._shared.setdefault(name, np.array(self._arrays[name]))

    def _texts(self, content: Any, own: Any) -> Any:
        dtype, shape, texts = content
        return np.array(texts, dtype=object if dtype == "|O" else dtype).reshape(shape)

    def _list(self, content: Any, own: Any) -> Any:
        held = own if isinstance(own, (list, tuple)) and len(own) == len(content) else [None] * len(content)
        return [self.value(one, each) for one, each in zip(content, held, strict=True)]

    def _tuple(self, content: Any, own: Any) -> Any:
        return tuple(self._list(content, own))

    def _dict(self, content: Any, own: Any) -> Any:
        held = own if isinstance(own, dict) else {}
        keys = [self.value(key, None) for key, _ in content]
        return {key: self.value(one, held.get(key)) for key, (_, one) in zip(keys, content, strict=True)}

    def _random(self, content: Any, own: Any) -> Any:
        made = own if isinstance(own, np.random.RandomState) and own is not _GLOBAL else np.random.RandomState()
        made.set_state(self.value(content, None))
        return made

    def _compiled(self, content: Any, own: Any) -> Any:
        return _ABSENT if own is None else own

    def _object(self, content: Any, own: Any) -> Any:
        kind, told = content
        if type(own).__name__ != kind:
            raise CheckpointMismatch(
                f"It was saved of an estimator in which a {kind} hangs; here it is a {type(own).__name__}. Make the estimator "
                "with the same arguments, and let it see one batch by partial_fit before it is loaded."
            )
        for name in attributes(own).keys() - told.keys():
            delattr(own, name)
        vars(own).update(self.attributes(own, told))
        return own
