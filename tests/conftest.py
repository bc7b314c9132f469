"""What every test may use."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings

from jalon.core.callback_list import CallbackList
from jalon.core.run import Run
from jalon.testing import FakeModel, FakeTrainer, ManualClock

# One process, one backend of Keras; scripts/test runs what concerns Keras on the others too.
os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

settings.register_profile("jalon", deadline=None)  # the machine may be busy
settings.load_profile("jalon")


@pytest.fixture
def begin() -> Callable[..., CallbackList]:
    """Return a function that makes a list of callbacks and begins a run with it."""

    def begin(callbacks: Any, *, trainer: FakeTrainer | None = None) -> CallbackList:
        trainer = trainer or FakeTrainer()
        told, run = CallbackList(callbacks), Run(trainer, clock=ManualClock())
        told.begin(run, FakeModel(trainer, run), {"verbose": 1, "epochs": 1, "steps": 1})
        return told

    return begin
