"""Leaves of a tree of arrays: on the host and back, whatever they are; and their names, from the places where they hang."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from jalon.errors import ArgumentError


def is_leaf(value: Any) -> bool:
    """Return whether something holds numbers; what else hangs in a tree, as a function, stays as it is."""
    return hasattr(value, "dtype") or isinstance(value, (bool, int, float, complex))


def on_host(value: Any) -> Any:
    """Return an array as numpy's, in memory of its own."""
    return np.array(_jax().random.key_data(value) if _is_key(value) else value)


def copied(value: Any) -> Any:
    """Return a copy of an array where it is: a step that is given JAX's arrays for good may take the memory of the original."""
    if _is_of_jax(value):
        return _jax().numpy.copy(value)
    return np.array(value) if isinstance(value, np.ndarray) else value


def like(own: Any, value: Any) -> Any:
    """Return a value as an array is: of its type, and on its devices."""
    return _like(own, value, getattr(own, "dtype", None))


def as_saved(own: Any, value: Any) -> Any:
    """Return a saved value in place of an array: of the type it had, which a first step may have changed, and on its devices."""
    return _like(own, value, value.dtype)


def _like(own: Any, value: Any, dtype: Any) -> Any:
    if _is_key(own) and not _is_key(value):
        return _jax().random.wrap_key_data(_jax().numpy.asarray(value), impl=_jax().random.key_impl(own))
    if _is_of_jax(own):
        return _like_jax(own, value, dtype)
    if isinstance(own, (np.ndarray, np.generic)):
        made = np.array(value, dtype=dtype)
        return made if isinstance(own, np.ndarray) else made[()]
    return type(own)(np.asarray(value).item())


def _like_jax(own: Any, value: Any, dtype: Any) -> Any:
    jnp = _jax().numpy
    if _is_key(own):
        made = jnp.copy(value)
    elif own.weak_type and not own.shape:  # what it is multiplied with keeps its type
        made = jnp.asarray(np.asarray(value, dtype).item())
    else:
        made = jnp.array(value, dtype=dtype)
    return _jax().device_put(made, own.sharding) if own.committed else made


def shape_of(value: Any) -> tuple[int, ...]:
    """Return an array's shape as it is on the host."""
    return tuple(np.shape(_jax().random.key_data(value) if _is_key(value) else value))


def type_of(value: Any) -> str:
    """Return an array's type in words."""
    return str(value.dtype) if hasattr(value, "dtype") else type(value).__name__


def _jax() -> Any:
    return sys.modules["jax"]


def _is_of_jax(value: Any) -> bool:
    return "jax" in sys.modules and isinstance(value, _jax().Array)


def _is_key(value: Any) -> bool:
    return _is_of_jax(value) and bool(_jax().dtypes.issubdtype(value.dtype, _jax().dtypes.prng_key))


# ---- trees -----------------------------------------------------------------------------------------------------------


def named(tree: Any, front: str = "") -> dict[str, Any]:
    """Return the leaves of a tree by name.

    Args:
        tree: Dicts, lists, tuples and named tuples; where JAX is loaded, all that it takes for a tree.
        front: What their names begin with.

    Raises:
        ArgumentError: Two leaves have one name.

    Example:
        >>> named({"dense": {"kernel": 1.0, "bias": 2.0}, "scales": [3.0, 4.0]})
        {'dense.bias': 2.0, 'dense.kernel': 1.0, 'scales.0': 3.0, 'scales.1': 4.0}
    """
    found: dict[str, Any] = {}
    for path, leaf in _flat(tree):
        if is_leaf(leaf):
            name = ".".join([front, *path] if front else path) or "0"
            if name in found:
                raise ArgumentError(f"A tree of arrays has two of one name: {name!r}. Name them otherwise.")
            found[name] = leaf
    return found


def with_leaves(tree: Any, leaves: Mapping[str, Any], front: str = "") -> Any:
    """Return a tree with some of its leaves exchanged, by the names that :func:`named` gives them."""

    def exchanged(path: list[str], leaf: Any) -> Any:
        name = ".".join([front, *path] if front else path) or "0"
        return leaves.get(name, leaf) if is_leaf(leaf) else leaf

    if "jax" in sys.modules:
        return _jax().tree_util.tree_map_with_path(lambda path, leaf: exchanged([_word(key) for key in path], leaf), tree)
    return _mapped(exchanged, tree, [])


def _flat(tree: Any) -> Iterator[tuple[list[str], Any]]:
    if "jax" in sys.modules:
        for path, leaf in _jax().tree_util.tree_flatten_with_path(tree)[0]:
            yield [_word(key) for key in path], leaf
        return
    found: list[tuple[list[str], Any]] = []
    _mapped(lambda path, leaf: found.append((path, leaf)), tree, [])
    yield from found


def _word(key: Any) -> str:
    """Return what a step of one of JAX's paths is called."""
    return str(next(getattr(key, of) for of in ("key", "name", "idx") if hasattr(key, of)))


def _mapped(function: Callable[[list[str], Any], Any], tree: Any, path: list[str]) -> Any:
    if isinstance(tree, dict):
        made = {key: _mapped(function, tree[key], [*path, str(key)]) for key in sorted(tree)}
        return type(tree)((key, made[key]) for key in tree)
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(_mapped(function, one, [*path, name]) for name, one in zip(tree._fields, tree, strict=True)))
    if isinstance(tree, (list, tuple)):
        return type(tree)(_mapped(function, one, [*path, str(place)]) for place, one in enumerate(tree))
    return None if tree is None else function(path, tree)
