"""The state of what a user names, as plain data: tensors, arrays and tuples come back as what they were."""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from jalon.callbacks import _randomness
from jalon.errors import ArgumentError, StateMismatch

_KINDS = ("torch", "jax", "tuple")


def refuse_stateless(state: Mapping[str, Any]) -> None:
    """Refuse what has no state that can be taken and put back.

    Raises:
        ArgumentError: Something has neither ``state_dict`` and ``load_state_dict`` nor is it a generator of random numbers.
    """
    for name, one in state.items():
        if not isinstance(name, str):
            raise ArgumentError(f"Loop: state must map names to objects. Received: the name {name!r}.")
        if not (hasattr(one, "state_dict") and hasattr(one, "load_state_dict")) and not _is_generator(one):
            raise ArgumentError(
                f"Loop: state[{name!r}] must have state_dict() and load_state_dict(), or be a generator of random numbers. "
                f"Received: {one!r:.80}. Put trees of arrays into a jalon.Tree."
            )


def state_of(name: str, one: Any) -> Any:
    """Return an object's state as plain data.

    Raises:
        ArgumentError: Its ``state_dict`` holds something that is neither plain data nor an array.
    """
    if isinstance(one, random.Random):
        return {"python": _randomness.python_state(one)}
    if isinstance(one, np.random.Generator):
        return {"numpy": one.bit_generator.state}
    if isinstance(one, np.random.RandomState):
        return {"numpy": one.get_state(legacy=False)}
    if hasattr(one, "get_state"):
        return {"torch": one.get_state().numpy()}
    return _encoded(one.state_dict(), name)


def load_state(name: str, one: Any, state: Any) -> None:
    """Give an object its state back.

    Raises:
        StateMismatch: It cannot take it.
    """
    if isinstance(one, random.Random):
        _randomness.load_python_state(one, state["python"])
    elif isinstance(one, np.random.Generator):
        one.bit_generator.state = state["numpy"]
    elif isinstance(one, np.random.RandomState):
        one.set_state(state["numpy"])
    elif hasattr(one, "get_state"):
        one.set_state(sys.modules["torch"].from_numpy(state["torch"]))
    else:
        try:
            one.load_state_dict(_decoded(state))
        except (KeyError, TypeError, ValueError, RuntimeError) as exc:
            raise StateMismatch(f"Loop: state[{name!r}] does not take back what it had saved: {exc}.") from exc


def is_random(one: Any) -> bool:
    """Return whether something is a generator of random numbers."""
    return _is_generator(one)


def _is_generator(one: Any) -> bool:
    if isinstance(one, (random.Random, np.random.Generator, np.random.RandomState)):
        return True
    torch: Any = sys.modules.get("torch")
    return torch is not None and isinstance(one, torch.Generator)


def _encoded(value: Any, where: str) -> Any:
    torch: Any = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        from jalon.engines.torch.structures import as_plain

        return {"$": "torch", "value": as_plain(value)}
    if isinstance(value, (np.ndarray, np.generic, str, bool, int, float, type(None))):
        return value
    if type(value).__module__.startswith("jax"):
        return {"$": "jax", "value": np.array(value)}
    if isinstance(value, Mapping):
        return {key: _encoded(one, f"{where}.{key}") for key, one in value.items()}
    if isinstance(value, tuple):
        return {"$": "tuple", "value": [_encoded(one, where) for one in value]}
    if isinstance(value, (list, set, frozenset)):
        return [_encoded(one, where) for one in value]
    raise ArgumentError(
        f"Loop: state[{where!r}] cannot be saved: it is a {type(value).__name__}, neither an array nor plain data. "
        "Let state_dict() return plain data."
    )


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(one) for one in value]
    if not isinstance(value, Mapping):
        return value
    kind = value.get("$")
    if kind not in _KINDS:
        return {key: _decoded(one) for key, one in value.items()}
    if kind == "torch":
        from jalon.engines.torch.structures import from_plain

        return from_plain(value["value"])
    if kind == "jax":
        return sys.modules["jax"].numpy.asarray(value["value"])
    return tuple(_decoded(one) for one in value["value"])
