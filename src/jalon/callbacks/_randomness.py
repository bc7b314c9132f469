"""Python's and numpy's random numbers as plain data, to go on drawing where it was left."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def random_state() -> dict[str, Any]:
    """Return where Python's and numpy's random numbers stand."""
    state = np.random.get_state(legacy=False)
    return {
        "python": python_state(random),
        "numpy": {name: dict(part) if isinstance(part, dict) else part for name, part in state.items()},
    }


def load_random_state(state: Mapping[str, Any]) -> None:
    """Let both go on from what ``random_state`` returned."""
    load_python_state(random, state["python"])
    np.random.set_state(state["numpy"])


def python_state(source: Any) -> list[Any]:
    """Return where a ``random.Random`` stands, or the module ``random``."""
    version, words, gauss = source.getstate()
    return [version, np.array(words, np.uint32), gauss]


def load_python_state(source: Any, state: Sequence[Any]) -> None:
    """Let it go on from what ``python_state`` returned."""
    version, words, gauss = state
    source.setstate((version, tuple(words.tolist()), gauss))
