"""LightGBM: what answers for its boosters, and what conducts a run in its ``train`` and ``cv``."""

from typing import Any

from jalon.bridges.lightgbm_bridge.adapter import LightGBMAdapter as adapter

__all__ = ["adapter", "join"]


def join(callback: Any, model: Any) -> None:
    """Do nothing: LightGBM takes no callbacks of jalon's without the bridge."""
