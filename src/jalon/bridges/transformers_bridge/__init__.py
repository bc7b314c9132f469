"""transformers: what answers for its models, and the callback that conducts a run in its ``Trainer``."""

from __future__ import annotations

from typing import Any

from jalon._optional import require
from jalon.core.callback import Callback
from jalon.core.trainer import TrainerAdapter

require("transformers", extra="transformers", who="jalon.bridges.transformers")

__all__ = ["adapter", "join"]


def adapter(model: Any) -> TrainerAdapter:
    """Return what answers for a model outside of a ``Trainer``."""
    from jalon.engines.torch.module_adapter import ModuleAdapter

    return ModuleAdapter(model)


def join(callback: Callback, model: Any) -> None:
    """Do nothing: a callback has its run from the bridge."""
