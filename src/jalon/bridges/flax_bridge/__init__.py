"""Flax: modules of NNX and their optimizers, trained by a loop of the user's."""

from __future__ import annotations

from typing import Any

from jalon.bridges.flax_bridge.host import NnxHost
from jalon.core.trainer import TrainerAdapter


def loop_adapter(model: Any, optimizer: Any) -> TrainerAdapter:
    """Return what answers for modules and their optimizers in ``jalon.Loop``."""
    return NnxHost(model, optimizer)


def adapter(model: Any) -> TrainerAdapter:
    """Return what answers for a module whose optimizer nobody gave."""
    return NnxHost(model, None)


def join(callback: Any, model: Any) -> None:
    """Do nothing: a callback has its run from the loop."""
