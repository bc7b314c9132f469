"""Lightning, under both its names: what answers for its modules, and the callback that conducts a run in its ``Trainer``."""

from __future__ import annotations

from typing import Any

from jalon.core.callback import Callback
from jalon.core.trainer import TrainerAdapter

__all__ = ["adapter", "join"]


def adapter(model: Any) -> TrainerAdapter:
    """Return what answers for a module outside of a ``Trainer``."""
    from jalon.engines.torch.module_adapter import ModuleAdapter

    return ModuleAdapter(model)


def join(callback: Callback, model: Any) -> None:
    """Do nothing: a callback has its run from the bridge."""
