"""The loops: training, validation, prediction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import nn

from jalon.callbacks.history import History
from jalon.core.callback_list import CallbackList
from jalon.core.logs import BatchLogs
from jalon.core.run import Phase, Position, Run
from jalon.core.signals import leaving_on_signals
from jalon.core.transform import Transform
from jalon.engines.torch.objective import Tracker
from jalon.engines.torch.sources import Source

if TYPE_CHECKING:
    from jalon.engines.torch.model import Model


@dataclass(slots=True)
class FitLoop:
    """Trains a model: the drawn loop of :mod:`jalon.core.hooks`.

    Args:
        model: What is trained; compiled.
        train: Where training batches come from.
        validation: Where validation batches come from, if there is validation.
        validates_after: Says of an epoch whether validation follows it.
        callbacks: Who is told.
        run: Where the training stands.
        steps_per_execution: Batches between two looks at the callbacks.
        verbose: As given to ``fit``.

    Attributes:
        tracker: The running loss and metrics of the epoch in hand.
        trained: Whether the batches of the epoch in hand are done, and its validation is what comes next.
        logs: What the last epoch reported.
    """

    model: Model
    train: Source
    validation: Source | None
    validates_after: Callable[[int], bool]
    callbacks: CallbackList
    run: Run
    steps_per_execution: int
    verbose: Any
    tracker: Tracker = field(init=False)
    trained: bool = field(init=False, default=False)
    logs: dict[str, float] = field(init=False, default_factory=dict)

    def __call__(self) -> History:
        """Train, and return the history."""
        history = next(callback for callback in self.callbacks if isinstance(callback, History))
        params = {"verbose": self.verbose, "epochs": self.run.epochs, "steps": self.train.steps}
        self.run.keeps = True
        with self.callbacks.session():
            self.callbacks.begin(self.run, self.model, params)
            self._prepare()
            self.callbacks.validate()
            keeper = self.run.keeper
            if keeper is not None and keeper.finished:
                keeper.restore()
            else:
                with nullcontext() if keeper is None else leaving_on_signals(self.run):
                    self._train()
        return history

    def _prepare(self) -> None:
        """Let transforms learn, and send a batch through, so that what cannot work is refused before anything is touched."""
        transforms = [callback for callback in self.callbacks if isinstance(callback, Transform)]
        if transforms:
            self.model.transforms = []
        for transform in transforms:
            transform.fit_transform_begin(self.model.prepared(batch, "train") for batch in self.train.plain_pass())
            self.model.transforms.append(transform)
        self.model.build(self.model.prepared(self.train.first(), "train"))
        hook = self.callbacks.before_optimizer_step if self.callbacks.listens("on_before_optimizer_step") else None
        self.model.optimizer.before_step = hook
        self.tracker = Tracker(self.model.objective)

    def _train(self) -> None:
        run, callbacks = self.run, self.callbacks
        run.phase = "train"
        self.model.module.train()
        callbacks.on_train_begin({})
        start = self._go_on()
        for epoch in range(start.epoch, run.epochs):
            if run.leave_now:
                raise run.left()
            if not self._epoch(epoch, begun=epoch == start.epoch and start.batch > 0) or run.stop_requested:
                break
        if run.epochs > 0:
            self.model.end_training()
        callbacks.on_train_end(dict(self.logs))
        if run.keeper is not None:
            run.keeper.finish()
        run.phase = "idle"
        if run.leave_now:
            raise run.left()

    def _go_on(self) -> Position:
        """Return where training begins, having put back what an earlier one left, if one is gone on with."""
        run = self.run
        position = None if run.keeper is None else run.keeper.position
        if position is not None and position.batch:
            run.epoch, run.batch = position.epoch, position.batch - 1
            self.callbacks.on_epoch_begin(run.epoch, {})
        run.restore()
        if position is None:
            return Position(run.initial_epoch, 0)
        if run.stop_requested and not position.batch:
            return Position(run.epochs, 0)
        self.trained = self.trained or run.stop_requested
        return position

    def _epoch(self, epoch: int, *, begun: bool) -> bool:
        """Train for an epoch, or for what is left of one; return whether there was any data."""
        run, callbacks = self.run, self.callbacks
        if not begun:
            run.epoch, run.batch = epoch, 0
            callbacks.on_epoch_begin(epoch, {})
            self.tracker.reset()
        if not self.trained and self._batches() == 0:
            run.stop("the data ended: a generator can be read once; pass steps_per_epoch, or a Dataset")
            return False
        logs = self.tracker.read()
        if self.validation is not None and self.validates_after(epoch):
            logs |= self._validate(self.validation)
        callbacks.on_epoch_end(epoch, dict(logs))
        self.model.end_epoch(logs)
        self.logs, self.trained = logs, False
        run.commit()
        if run.leave_now:
            self._leave(Position(epoch + 1, 0))
        return True

    def _batches(self) -> int:
        """Train on the batches that are left of an epoch, and return how many it had."""
        run, callbacks, tracker = self.run, self.callbacks, self.tracker
        begins = callbacks.batch_hooks["on_train_batch_begin"]
        ends = callbacks.batch_hooks["on_train_batch_end"]
        logs = BatchLogs(tracker.read, lambda: tracker.updates)
        step = self.model.train_function(tracker)
        execution = self.steps_per_execution
        done = self.train.done
        for data in self.train.epoch():
            if begins and done % execution == 0:
                run.batch = done
                callbacks.tell_batch("on_train_batch_begin", done, {})
            run.batch = done
            step(data)
            done += 1
            run.step += 1
            if done % execution:
                continue
            if ends:
                callbacks.tell_batch("on_train_batch_end", done - 1, logs)
            if run.stop_requested:
                break
            if run.leave_now:
                self._leave(Position(run.epoch, done))
        self.trained = done > 0
        planned = self.train.steps
        if planned is not None and 0 < done < planned and not run.stop_requested:
            run.stop(f"the data ended after {done} of {planned} batches")
        if done % execution and ends:
            callbacks.tell_batch("on_train_batch_end", done - 1, logs)
        return done

    def _validate(self, source: Source) -> dict[str, float]:
        if self.run.keeper is not None:
            self.run.keeper.before_validation(Position(self.run.epoch, self.run.batch + 1))
        logs = evaluate(self.model, source, self.callbacks, self.run, phase="validation")
        self.run.phase = "train"
        return {f"val_{name}": value for name, value in logs.items()}

    def _leave(self, position: Position) -> NoReturn:
        """Leave the training, what is kept of it brought up to date."""
        if self.run.keeper is not None:
            self.run.keeper.save(position)
        raise self.run.left()


def evaluate(model: Model, source: Source, callbacks: CallbackList, run: Run, *, phase: Phase) -> dict[str, float]:
    """Measure a model on every batch of a source, and return loss and metrics by name."""
    run.phase = phase
    tracker = Tracker(model.objective)
    begins = callbacks.batch_hooks["on_test_batch_begin"]
    ends = callbacks.batch_hooks["on_test_batch_end"]
    logs = BatchLogs(tracker.read, lambda: tracker.updates)
    step = model.test_function(tracker, "validation" if phase == "validation" else "test")
    callbacks.on_test_begin({})
    with evaluating(model.module):
        for number, data in enumerate(source.epoch()):
            if begins:
                callbacks.tell_batch("on_test_batch_begin", number, {})
            step(data)
            if ends:
                callbacks.tell_batch("on_test_batch_end", number, logs)
            if run.leave_now:
                raise run.left()
    values = tracker.read()
    callbacks.on_test_end(dict(values))
    return values


def predict(model: Model, source: Source, callbacks: CallbackList, run: Run) -> list[Any]:
    """Return what a model makes of every batch of a source."""
    run.phase = "predict"
    step = model.predict_function()
    begins = callbacks.batch_hooks["on_predict_batch_begin"]
    ends = callbacks.batch_hooks["on_predict_batch_end"]
    outputs = []
    callbacks.on_predict_begin({})
    with evaluating(model.module):
        for number, data in enumerate(source.epoch()):
            if begins:
                callbacks.tell_batch("on_predict_batch_begin", number, {})
            outputs.append(step(data))
            if ends:
                callbacks.tell_batch("on_predict_batch_end", number, {"outputs": outputs[-1]})
    callbacks.on_predict_end({})
    return outputs


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module into evaluation, without gradients, and leave each part in the mode it was in."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part in training:
            part.training = True


@contextmanager
def random_numbers_kept(device: torch.device) -> Iterator[None]:
    """Leave the random numbers to come as they were."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        yield
