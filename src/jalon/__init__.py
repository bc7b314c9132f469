"""jalon: training callbacks for any loop.

Write the callback once. Run it under any loop. Lose nothing when the machine dies.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jalon import bridges, callbacks
    from jalon.callbacks.callback_list import CallbackList
    from jalon.check.checking import check
    from jalon.core.cadence import every
    from jalon.core.callback import Callback
    from jalon.core.costs import measuring
    from jalon.core.run import Run
    from jalon.core.trainer import TrainerAdapter
    from jalon.core.transform import Transform
    from jalon.engines.loop.loop import Loop
    from jalon.engines.loop.tree import Tree
    from jalon.engines.torch.model import Model
    from jalon.replay.grid import replay_grid
    from jalon.replay.replaying import replay

__version__ = "0.1.0"

_HOMES = {
    "Callback": "jalon.core.callback",
    "CallbackList": "jalon.callbacks.callback_list",
    "Loop": "jalon.engines.loop.loop",
    "Model": "jalon.engines.torch.model",
    "Run": "jalon.core.run",
    "TrainerAdapter": "jalon.core.trainer",
    "Transform": "jalon.core.transform",
    "Tree": "jalon.engines.loop.tree",
    "every": "jalon.core.cadence",
    "replay_grid": "jalon.replay.grid",
    "measuring": "jalon.core.costs",
}

__all__ = [
    "Callback",
    "CallbackList",
    "Loop",
    "Model",
    "Run",
    "TrainerAdapter",
    "Transform",
    "Tree",
    "bridges",
    "callbacks",
    "check",
    "every",
    "measuring",
    "replay",
    "replay_grid",
]


def __getattr__(name: str) -> Any:
    if name in ("bridges", "callbacks", "check", "replay"):
        return importlib.import_module(f"jalon.{name}")
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'jalon' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
