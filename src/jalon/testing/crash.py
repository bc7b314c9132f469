"""CrashPoint: a training that breaks off at a given moment."""

from __future__ import annotations

from typing import Any, NoReturn

from jalon.core.callback import Callback
from jalon.core.hooks import HOOKS
from jalon.errors import UnknownName


class Crash(Exception):
    """Is what a crash point raises."""


class CrashPoint(Callback):
    """Break a training off at a moment of it, as a power cut would.

    Put it last into the list, and every other callback has been told of that moment.

    Args:
        hook: The hook in which to break off.
        epoch: The epoch, from 0.
        batch: The batch in that epoch, from 0, where the hook is one of a batch.

    Raises:
        UnknownName: There is no such hook.

    Example:
        >>> from jalon.testing import play
        >>> try:
        ...     play([CrashPoint("on_epoch_end", epoch=1)], [{"loss": 3.0}, {"loss": 2.0}, {"loss": 1.0}])
        ... except Crash as crash:
        ...     print(crash)
        on_epoch_end of epoch 1
    """

    optional_hooks = frozenset(HOOKS)

    def __init__(self, hook: str, *, epoch: int = 0, batch: int = 0) -> None:
        if hook not in HOOKS:
            raise UnknownName("hook", hook, HOOKS, where="CrashPoint")
        self.hook, self.epoch, self.batch = hook, epoch, batch
        setattr(self, hook, self._reached)

    def _reached(self, *arguments: Any, **named: Any) -> None:
        numbers = HOOKS[self.hook].arguments
        here = self.run.epoch == self.epoch or self.hook in ("on_train_begin", "on_train_end")
        if here and ("batch" not in numbers or arguments[0] == self.batch):
            self._break_off()

    def _break_off(self) -> NoReturn:
        at = f", batch {self.batch}" if "batch" in HOOKS[self.hook].arguments else ""
        raise Crash(f"{self.hook} of epoch {self.epoch}{at}")
