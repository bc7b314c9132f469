"""Training: one training by a loop that is written by hand, from its first hook to its end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, NoReturn

from jalon.callbacks.history import History
from jalon.core.callback_list import CallbackList
from jalon.core.logs import BatchLogs
from jalon.core.run import Position, Run
from jalon.core.signals import leaving_on_signals
from jalon.core.transform import Transform
from jalon.engines.loop.means import Means
from jalon.engines.loop.place import LoopPlace
from jalon.engines.loop.preparing import Preparation, rows_of
from jalon.engines.loop.support import SUPPORT, WITHOUT_STEPS
from jalon.errors import NotReady, Preempted

Evaluating = AbstractContextManager[Any]


class Training:
    """Tells callbacks of one training, and hands out its batches.

    Args:
        callbacks: Who is told.
        run: Where the training stands.
        place: Where its data and its means stand.
        model: What callbacks get as ``self.model``.
        params: ``{"verbose", "epochs", "steps"}``.

    Attributes:
        ended: Whether all callbacks are closed.
        raised: What the training itself has raised to be left.
        history: Its history.
    """

    def __init__(self, callbacks: CallbackList, run: Run, place: LoopPlace, model: Any, params: Mapping[str, Any]) -> None:
        self.run, self.place = run, place
        self.ended = False
        self.history = next(callback for callback in callbacks if isinstance(callback, History))
        self._callbacks = callbacks
        self._session = ExitStack()
        self.raised: BaseException | None = None
        self._given: Any = None
        self._unended: int | None = None
        self._validation: _Validation | None = None
        self._steps: int | None = params["steps"]
        self._params = dict(params)
        self._begin(model)

    # ---- from the beginning to the end -----------------------------------------------------------------------------------

    def _begin(self, model: Any) -> None:
        run, callbacks = self.run, self._callbacks
        run.keeps = True
        self._session.enter_context(callbacks.session())
        try:
            callbacks.begin(run, model, self._params)
            self._listen_to_steps()
            self._preparation = Preparation([one for one in callbacks if isinstance(one, Transform)], run.trainer)
            callbacks.validate(self._support)
            if run.keeper is not None and not run.keeper.finished:
                self._session.enter_context(leaving_on_signals(run))
            self._begins = callbacks.batch_hooks["on_train_batch_begin"]
            self._ends = callbacks.batch_hooks["on_train_batch_end"]
        except BaseException as exc:
            self.fail(exc)
            raise

    def _listen_to_steps(self) -> None:
        """Have optimizers tell of their steps where somebody listens, and note whether they can."""
        telling = getattr(getattr(self.run.trainer, "host", None), "telling_of_steps", None)
        self._support = WITHOUT_STEPS if telling is None else SUPPORT
        if telling is not None and self._callbacks.listens("on_before_optimizer_step"):
            self._session.enter_context(telling(lambda: self._callbacks.before_optimizer_step(self.run.step)))

    def epochs(self) -> Iterator[int]:
        """Yield the epochs; whoever iterates sees to it that this ends by :meth:`leave` or :meth:`fail`, where it ends early."""
        run = self.run
        keeper = run.keeper
        if keeper is not None and keeper.finished:
            keeper.restore()
            self._close()
            return
        start = self._go_on()
        for epoch in range(start.epoch, run.epochs):
            if run.leave_now:
                self._leave(Position(epoch, 0))
            self._begin_epoch(epoch, begun=epoch == start.epoch and start.batch > 0)
            yield epoch
            self._end_epoch()
            if run.stop_requested:
                break
        self._finish()

    def _go_on(self) -> Position:
        """Begin, having put back what an earlier start left, if one is gone on with."""
        run = self.run
        run.phase = "train"
        self._callbacks.on_train_begin({})
        position = None if run.keeper is None else run.keeper.position
        if position is not None and position.batch:
            run.epoch = position.epoch
            self._callbacks.on_epoch_begin(run.epoch, {})
        run.restore()
        self.place.go_to_the_top()
        if position is None:
            return Position(run.initial_epoch, 0)
        self._preparation.is_learned = True
        if run.stop_requested and not position.batch:
            return Position(run.epochs, 0)
        return position

    def _begin_epoch(self, epoch: int, *, begun: bool) -> None:
        run = self.run
        if begun:
            return
        run.epoch, run.batch = epoch, 0
        self.place.begin_epoch()
        self._callbacks.on_epoch_begin(epoch, {})
        self.place.note_the_top(wanted=run.keeper is not None)

    def _end_epoch(self) -> None:
        run, place = self.run, self.place
        self._settle()
        place.catch_up(at_last=True)
        logs = place.means.read() | place.validated
        self._callbacks.on_epoch_end(run.epoch, dict(logs))
        place.begin_epoch()
        place.logs = logs
        run.commit()
        if run.leave_now:
            self._leave(Position(run.epoch + 1, 0))

    def _finish(self) -> None:
        run = self.run
        self._callbacks.on_train_end(dict(self.place.logs))
        if run.keeper is not None:
            run.keeper.finish()
        self._close()

    def _close(self) -> None:
        self.ended = True
        self.run.phase = "idle"
        self._session.close()

    def leave(self) -> None:
        """End the training where the loop was left by ``break`` or ``return``: with the epoch in hand, as a stop does."""
        try:
            self.run.stop("the loop was left by break or return")
            self._validation = None
            self._end_epoch()
            self._finish()
        except BaseException as exc:
            self.fail(exc)
            raise

    def fail(self, exc: BaseException) -> None:
        """Tell every callback of an exception and close it, unless that is done."""
        if self.ended:
            return
        self.ended = True
        exc = self.raised or exc
        self._session.__exit__(type(exc), exc, exc.__traceback__)
        self.run.phase = "idle"

    def _leave(self, position: Position) -> NoReturn:
        """Leave the training, what is kept of it brought up to date."""
        if self.run.keeper is not None:
            self.run.keeper.save(position)
        self._raise_left()

    def _raise_left(self) -> NoReturn:
        self.raised = self.run.left()
        raise self.raised

    # ---- batches -----------------------------------------------------------------------------------------------------------

    def batches(self, data: Any, steps: int | None) -> Iterator[Any]:
        """Yield the batches of a pass, of the training or of the validation that is under way."""
        self._settle()
        if self._validation is not None:
            return self._validation.batches(data, steps)
        return self._train(data, steps)

    def _train(self, data: Any, steps: int | None) -> Iterator[Any]:
        run, place = self.run, self.place
        place.catch_up()
        if place.is_passed_over:
            place.end_pass()
            return
        key = f"train-{place.calls}"
        source = place.open(key, data, steps)
        self._preparation.learn(source.plain_pass, steps)
        self._tell_steps(source.steps)
        run.batch_size = run.batch_size or getattr(source, "batch_size", None)
        prepare = self._preparation.function("train")
        logs = BatchLogs(place.means.read, lambda: place.means.updates)
        place.begin_pass(key)
        try:
            if run.stop_requested and place.batches:  # asked for within the epoch, before an interruption perhaps
                return
            for batch in source.epoch():
                number = place.batches
                if self._begins:
                    run.batch = number
                    self._callbacks.tell_batch("on_train_batch_begin", number, {})
                run.batch = number
                self._given = batch
                self._unended = number
                yield batch if prepare is None else prepare(batch)
                self._settle(logs)
                if run.stop_requested:
                    break
                if run.leave_now:
                    self._leave(Position(run.epoch, place.batches))
        finally:
            self._given = None
            if not self.ended:
                place.end_pass()

    def _settle(self, logs: BatchLogs | None = None) -> None:
        """Tell of the end of the batch that was handed out last."""
        number = self._unended
        if number is None:
            return
        self._unended = None
        self.place.batches = number + 1
        self.run.step += 1
        if self._ends:
            if logs is None:
                logs = BatchLogs(self.place.means.read, lambda: 0)
            self._callbacks.tell_batch("on_train_batch_end", number, logs)

    def _tell_steps(self, steps: int | None) -> None:
        """Let callbacks know how long an epoch is, once its data is known."""
        if self._steps is None and steps is not None:
            self._steps = steps
            for callback in self._callbacks:
                callback.set_params(self._params | {"steps": steps})

    def log(self, values: Mapping[str, Any], weight: float | None) -> None:
        """Take in what the batch in hand, or the epoch, came to."""
        if self.place.is_catching_up:
            return
        if weight is None:
            given = self._given if self._validation is None else self._validation.given
            weight = 1 if given is None else rows_of(given)
        means = self.place.means if self._validation is None else self._validation.means
        for name, value in values.items():
            means.add(name, value, weight)

    # ---- validation --------------------------------------------------------------------------------------------------------

    @contextmanager
    def validating(self, evaluating: Evaluating) -> Iterator[dict[str, float]]:
        """Let what is handed out and logged in the block be a validation; yields what becomes its values at its end."""
        if self._validation is not None:
            raise NotReady("Loop.validation: a validation is under way. End its block before the next one begins.")
        run, place = self.run, self.place
        given, values = self._given, dict[str, float]()
        place.catch_up()
        passed_over = place.is_passed_over
        if not passed_over:
            self._note_before_validation()
        self._validation = validation = _Validation(self, passed_over=passed_over)
        run.phase = "validation"
        try:
            if not passed_over:
                self._callbacks.on_test_begin({})
            with evaluating:
                yield values
            if not passed_over:
                validation.settle()
                values |= validation.means.read()
                self._callbacks.on_test_end(dict(values))
                place.validated |= {_as_validated(name): value for name, value in values.items()}
        finally:
            self._validation, self._given = None, given
            run.phase = "train"
        place.validations += 1
        place.catch_up()

    def _note_before_validation(self) -> None:
        """Let the keeper know how things stand, unless a batch is in hand, to which nobody could come back."""
        if self.run.keeper is not None and self._unended is None:
            self.run.keeper.before_validation(Position(self.run.epoch, self.place.batches))


class _Validation:
    """Hands out the batches of a validation.

    Args:
        training: Where it is under way.
        passed_over: Whether it was done before an interruption.

    Attributes:
        means: What was logged in it.
        given: The batch in hand.
    """

    def __init__(self, training: Training, *, passed_over: bool) -> None:
        self.means = Means()
        self.given: Any = None
        self._training = training
        self._passed_over = passed_over
        self._calls = self._number = 0
        self._unended: int | None = None
        self._logs = BatchLogs(self.means.read, lambda: self.means.updates)

    def batches(self, data: Any, steps: int | None) -> Iterator[Any]:
        self.settle()
        if self._passed_over:
            return
        training = self._training
        callbacks, place, run = training._callbacks, training.place, training.run
        source = place.open(f"validation-{place.validations}-{self._calls}", data, steps)
        self._calls += 1
        prepare = training._preparation.function("validation")
        begins = callbacks.batch_hooks["on_test_batch_begin"]
        try:
            for batch in source.epoch():
                if begins:
                    callbacks.tell_batch("on_test_batch_begin", self._number, {})
                self.given = batch
                self._unended = self._number
                self._number += 1
                yield batch if prepare is None else prepare(batch)
                self.settle()
                if run.leave_now:
                    training._raise_left()
        finally:
            self.given = None

    def settle(self) -> None:
        """Tell of the end of the batch that was handed out last."""
        number, self._unended = self._unended, None
        if number is not None and self._training._callbacks.batch_hooks["on_test_batch_end"]:
            self._training._callbacks.tell_batch("on_test_batch_end", number, self._logs)


def _as_validated(name: str) -> str:
    return name if name.startswith("val_") else f"val_{name}"


def late(training: Training) -> None:
    """Close a training that a program has left open to its end."""
    if not training.ended:
        training.fail(Preempted("the program ended within the loop"))


def no_evaluation() -> Evaluating:
    """Return a block in which nothing is different."""
    return nullcontext()
