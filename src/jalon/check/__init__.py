"""What is wrong with a list of callbacks, before the first step. Callable: ``jalon.check(callbacks)``."""

from __future__ import annotations

import sys
from types import ModuleType

from jalon.check.checking import check, ignoring
from jalon.check.finding import Finding, Findings

__all__ = ["Finding", "Findings", "check", "ignoring"]


class _CallableModule(ModuleType):
    """Lets ``jalon.check(...)`` and ``jalon.check.ignoring(...)`` both be what they read like."""

    __call__ = staticmethod(check)


sys.modules[__name__].__class__ = _CallableModule
