"""The body of a loop written by hand that logs a recorded curve."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jalon
from jalon.callbacks import History


def logged(callbacks: list, curve: list[dict[str, float]], step: Callable[[], None], **trained: Any) -> History:
    """Take a step in each epoch, log what was recorded of it, and return the history."""
    loop = jalon.Loop(callbacks, epochs=len(curve), verbose=0, **trained)
    for epoch in loop:
        row = curve[epoch]
        for _ in loop.batches([0]):
            step()
            loop.log(**{name: value for name, value in row.items() if not name.startswith("val_")})
        with loop.validation():
            for _ in loop.batches([0]):
                loop.log(**{name.removeprefix("val_"): value for name, value in row.items() if name.startswith("val_")})
    return loop.history
