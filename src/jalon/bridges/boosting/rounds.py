"""Rounds: callbacks in a training by boosting, from its beginning to its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from jalon.bridges.boosting.adapter import BoosterAdapter
from jalon.bridges.boosting.model import BoosterModel
from jalon.callbacks.history import History
from jalon.core.callback_list import CallbackList
from jalon.core.loop_support import LoopSupport
from jalon.core.run import Position, Run
from jalon.core.signals import leaving_on_signals


class Rounds:
    """Tells callbacks of one training by boosting, in which a round is an epoch.

    Args:
        callbacks: Who is told.
        adapter: Answers for the booster.
        loop: What the library gives to callbacks.
        epochs: How many rounds there are to be.
        rank: The place of this process among those that train together.
        world_size: How many processes train together.

    Attributes:
        history: What the training reported.
        run: Where it stands.
    """

    def __init__(
        self,
        callbacks: CallbackList,
        adapter: BoosterAdapter,
        *,
        loop: LoopSupport,
        epochs: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        known = next((callback for callback in callbacks if isinstance(callback, History)), None)
        self.history = History() if known is None else known
        self.run = Run(adapter, epochs=epochs, rank=rank, world_size=world_size)
        self._list = callbacks if known is not None else CallbackList([*callbacks, self.history])
        self._adapter = adapter
        self._loop = loop
        self._hearing = Hearing(self.fail)
        self._stack = ExitStack()
        self._is_open = False
        self._logs: dict[str, float] = {}

    def hearing(self) -> Hearing:
        """Return a block: of an exception that leaves it every callback is told, and closed."""
        return self._hearing

    def at_end(self, action: Callable[[], object]) -> None:
        """Have something done when everything is closed, whatever ends the training. Before ``begin``."""
        self._stack.callback(action)

    def begin(self) -> None:
        """Begin the training, or take up the one that is kept."""
        run = self.run
        run.phase, run.keeps, self._is_open = "train", True, True
        with self.hearing():
            self._stack.enter_context(self._list.session())
            self._list.begin(run, BoosterModel(self._adapter, run), {"verbose": 1, "epochs": run.epochs, "steps": 1})
            self._list.validate(self._loop)
            if run.keeper is not None:
                self._stack.enter_context(leaving_on_signals(run))
            if not self._is_finished:
                self._list.on_train_begin({})
            run.restore()

    @property
    def _is_finished(self) -> bool:
        return self.run.keeper is not None and self.run.keeper.finished

    def is_over(self, epoch: int) -> bool:
        """Return whether no round is left to train."""
        return epoch >= self.run.epochs or self.run.stop_requested or self._is_finished

    def begin_round(self, epoch: int) -> None:
        """Tell that a round begins."""
        self.run.epoch = epoch
        with self.hearing():
            self._list.on_epoch_begin(epoch, {})

    def end_round(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Tell what a round has brought, and commit it."""
        run = self.run
        run.step += 1
        self._logs = dict(logs)
        with self.hearing():
            self._list.on_epoch_end(epoch, self._logs)
            run.commit()
            if run.leave_now:
                if run.keeper is not None:
                    run.keeper.save(Position(epoch + 1, 0))
                raise run.left()

    def end(self) -> None:
        """Tell that training ended, and close everything, unless that is done."""
        if not self._is_open:
            return
        with self.hearing():
            if not self._is_finished:
                self._list.on_train_end(self._logs)
                if self.run.keeper is not None:
                    self.run.keeper.finish()
            self._is_open = False
            self.run.phase = "idle"
            self._stack.close()

    def fail(self, exc: BaseException) -> None:
        """Tell every callback of the exception that ends the training, and close it, unless that is done."""
        if self._is_open:
            self._is_open = False
            self.run.phase = "idle"
            self._stack.__exit__(type(exc), exc, exc.__traceback__)


class Hearing:
    """Is a block of which somebody hears the exception that leaves it; one that is passed several times a round.

    Args:
        hear: Takes the exception.
    """

    __slots__ = ("_hear",)

    def __init__(self, hear: Callable[[BaseException], None]) -> None:
        self._hear = hear

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, exc: BaseException | None, traceback: Any) -> None:
        if exc is not None:
            self._hear(exc)
