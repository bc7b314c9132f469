"""Loops that others own: one function each, loaded on first use, which makes that loop's own kind of callback."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jalon.bridges.keras_bridge.bridged_list import keras
    from jalon.bridges.lightgbm_bridge.bridge import lightgbm
    from jalon.bridges.lightning_bridge.callbacks import lightning
    from jalon.bridges.transformers_bridge.callbacks import transformers
    from jalon.bridges.xgboost_bridge.bridge import xgboost

_HOMES = {
    "keras": "jalon.bridges.keras_bridge.bridged_list",
    "lightgbm": "jalon.bridges.lightgbm_bridge.bridge",
    "lightning": "jalon.bridges.lightning_bridge.callbacks",
    "transformers": "jalon.bridges.transformers_bridge.callbacks",
    "xgboost": "jalon.bridges.xgboost_bridge.bridge",
}

__all__ = ["keras", "lightgbm", "lightning", "transformers", "xgboost"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'jalon.bridges' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
