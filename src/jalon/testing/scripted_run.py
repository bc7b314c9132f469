"""play: a run by script, through every hook, with no model to train."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from jalon.callbacks.history import History
from jalon.core.callback_list import CallbackList
from jalon.core.clock import Clock
from jalon.core.logs import BatchLogs
from jalon.core.run import Position, Run
from jalon.testing.clock import ManualClock
from jalon.testing.trainer import FakeModel, FakeTrainer

Logs = Mapping[str, Any]


def play(
    callbacks: Any,
    epochs: Iterable[Logs],
    *,
    batches: int = 1,
    batch_logs: Callable[[int, int], Logs] | None = None,
    trainer: FakeTrainer | None = None,
    clock: Clock | None = None,
    first_epoch: int = 0,
    state: Mapping[str, Any] | None = None,
    verbose: int = 1,
) -> Run:
    """Take callbacks through a training that reports what a script says.

    Every hook of ``fit`` is reached, in the order of ``fit``; a stop is honoured as ``fit`` does it. An epoch with
    ``val_`` metrics has a validation of one batch.

    Args:
        callbacks: One callback, or a list. A ``History`` is added where there is none.
        epochs: What each epoch reports.
        batches: Training batches per epoch.
        batch_logs: Returns what is reported after a batch, given the epoch's number and the batch's. By default the
            epoch's own metrics.
        trainer: What answers the callbacks; by default one that reports the metrics of ``epochs``.
        clock: Tells the time; by default it stands still.
        first_epoch: The number of the first epoch.
        state: What ``CallbackList(callbacks).state_dict()`` returned, for a training that goes on.
        verbose: What ``params`` says of it.

    Returns:
        The run, with its history and its reason for stopping.

    Example:
        >>> from jalon.callbacks import EarlyStopping
        >>> run = play(EarlyStopping("loss", patience=2), [{"loss": 3.0}, {"loss": 4.0}, {"loss": 5.0}, {"loss": 6.0}])
        >>> run.history
        {'loss': [3.0, 4.0, 5.0]}
        >>> run.stop_reason
        'no improvement in loss for 2 epochs'
    """
    script = list(epochs)
    told = CallbackList(callbacks)
    if not any(isinstance(callback, History) for callback in told):
        told = CallbackList([callbacks, History()])
    trainer = trainer or FakeTrainer(metrics=dict.fromkeys(name for logs in script for name in logs) or None)
    run = Run(trainer, epochs=first_epoch + len(script), initial_epoch=first_epoch, clock=clock or ManualClock())
    run.keeps = True
    told.begin(run, FakeModel(trainer, run), {"verbose": verbose, "epochs": run.epochs, "steps": batches})
    told.validate()
    with told.session():
        if run.keeper is not None and run.keeper.finished:
            run.restore()
        else:
            _Loop(told, run, trainer, batches, batch_logs).play(script, first_epoch, CallbackList(callbacks), state)
    return run


@dataclass(slots=True)
class _Loop:
    told: CallbackList
    run: Run
    trainer: FakeTrainer
    batches: int
    batch_logs: Callable[[int, int], Logs] | None

    def play(self, script: list[Logs], first_epoch: int, callbacks: CallbackList, state: Mapping[str, Any] | None) -> None:
        run, told = self.run, self.told
        told.on_train_begin()
        if state is not None:
            callbacks.load_state_dict(state)
        begin, done = self._go_on()
        last: Logs = {}
        for epoch, last in enumerate(script[begin - first_epoch :], begin):
            self.epoch(epoch, last, done)
            done = 0
            if run.stop_requested:
                break
        told.on_train_end(dict(last))
        if run.keeper is not None:
            run.keeper.finish()

    def _go_on(self) -> Position:
        """Return where to begin, having put back what an earlier run left, if one is gone on with."""
        run = self.run
        position = None if run.keeper is None else run.keeper.position
        if position is not None and position.batch:
            run.epoch = position.epoch
            self.told.on_epoch_begin(run.epoch)
        run.restore()
        if run.stop_requested and position is not None and not position.batch:
            return Position(run.epochs, 0)
        return position or Position(run.initial_epoch, 0)

    def epoch(self, epoch: int, logs: Logs, done: int) -> None:
        trained = {name: value for name, value in logs.items() if not name.startswith("val_")}
        validated = {name.removeprefix("val_"): value for name, value in logs.items() if name.startswith("val_")}
        self.run.epoch, self.run.phase = epoch, "train"
        if not done:
            self.told.on_epoch_begin(epoch)
        for batch in range(done, 0 if done and self.run.stop_requested else self.batches):
            self.batch(batch, trained if self.batch_logs is None else self.batch_logs(epoch, batch))
            if self.run.stop_requested:
                break
            if self.run.leave_now:
                self.leave(Position(epoch, batch + 1))
        if validated:
            self.validation(validated)
        self.told.on_epoch_end(epoch, dict(logs))
        self.run.commit()
        self.run.phase = "idle"
        if self.run.leave_now:
            self.leave(Position(epoch + 1, 0))

    def leave(self, position: Position) -> NoReturn:
        if self.run.keeper is not None:
            self.run.keeper.save(position)
        raise self.run.left()

    def batch(self, batch: int, logs: Logs) -> None:
        self.run.batch = batch
        self.told.tell_batch("on_train_batch_begin", batch, {})
        self.told.before_optimizer_step(self.run.step)
        self.trainer.step()
        self.run.step += 1
        self.told.tell_batch("on_train_batch_end", batch, _view(logs))

    def validation(self, logs: Logs) -> None:
        self.run.phase = "validation"
        self.told.on_test_begin()
        self.told.tell_batch("on_test_batch_begin", 0, {})
        self.told.tell_batch("on_test_batch_end", 0, _view(logs))
        self.told.on_test_end(dict(logs))


def _view(logs: Logs) -> BatchLogs:
    return BatchLogs(lambda: dict(logs), lambda: 0)
