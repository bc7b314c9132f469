"""What tests of callbacks need: scripted runs, a trainer with nothing to train, a clock moved by hand, the contract."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jalon.testing.clock import ManualClock
    from jalon.testing.contract import BrokenContract, check_callback
    from jalon.testing.crash import Crash, CrashPoint
    from jalon.testing.scripted_run import play
    from jalon.testing.trainer import FakeModel, FakeTrainer

_HOMES = {
    "BrokenContract": "jalon.testing.contract",
    "Crash": "jalon.testing.crash",
    "CrashPoint": "jalon.testing.crash",
    "FakeModel": "jalon.testing.trainer",
    "FakeTrainer": "jalon.testing.trainer",
    "ManualClock": "jalon.testing.clock",
    "check_callback": "jalon.testing.contract",
    "play": "jalon.testing.scripted_run",
}

__all__ = ["BrokenContract", "Crash", "CrashPoint", "FakeModel", "FakeTrainer", "ManualClock", "check_callback", "play"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:  # on first use: the plugin for pytest loads this package in every session
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'jalon.testing' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
