"""A recorded run fed to callbacks, and grids of policies. Callable: ``jalon.replay(source, callbacks)``."""

from __future__ import annotations

import sys
from types import ModuleType

from jalon.replay.record import Epoch, Record
from jalon.replay.replaying import replay
from jalon.replay.result import Change, Replay, Save, Stop

__all__ = ["Change", "Epoch", "Record", "Replay", "Save", "Stop", "replay"]


class _CallableModule(ModuleType):
    """Lets ``jalon.replay(...)`` and ``jalon.replay.Record`` both be what they read like."""

    __call__ = staticmethod(replay)


sys.modules[__name__].__class__ = _CallableModule
