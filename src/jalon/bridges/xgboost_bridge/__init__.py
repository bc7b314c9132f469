"""XGBoost: what answers for its boosters, and what conducts a run in its ``train`` and ``cv``."""

from typing import Any

from jalon.bridges.xgboost_bridge.adapter import XGBoostAdapter as adapter

__all__ = ["adapter", "join"]


def join(callback: Any, model: Any) -> None:
    """Do nothing: XGBoost takes no callbacks of jalon's without the bridge."""
