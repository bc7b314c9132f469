"""What tests of callbacks need: scripted runs, a trainer with nothing to train, a clock moved by hand."""

from __future__ import annotations

from jalon.testing.clock import ManualClock
from jalon.testing.play import play
from jalon.testing.trainer import FakeModel, FakeTrainer

__all__ = ["FakeModel", "FakeTrainer", "ManualClock", "play"]
