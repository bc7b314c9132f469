"""Python's and numpy's random numbers as plain data, to go on drawing where it was left."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np


def random_state() -> dict[str, Any]:
    """Return where Python's and numpy's random numbers stand."""
    version, words, gauss = random.getstate()
    state = np.random.get_state(legacy=False)
    return {
        "python": [version, np.array(words, np.uint32), gauss],
        "numpy": {name: dict(part) if isinstance(part, dict) else part for name, part in state.items()},
    }


def load_random_state(state: Mapping[str, Any]) -> None:
    """Let both go on from what ``random_state`` returned."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
    np.random.set_state(state["numpy"])
