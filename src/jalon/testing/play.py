"""play: a run by script, through every hook, with no model to train."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from jalon.callbacks.history import History
from jalon.core.callback_list import CallbackList
from jalon.core.clock import Clock
from jalon.core.logs import BatchLogs
from jalon.core.run import Run
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
    loop = _Loop(told, run, trainer, batches, batch_logs)
    told.begin(run, FakeModel(trainer, run), {"verbose": verbose, "epochs": run.epochs, "steps": batches})
    told.validate()
    with told.session():
        told.on_train_begin()
        if state is not None:
            CallbackList(callbacks).load_state_dict(state)
        last: Logs = {}
        begin = max(run.initial_epoch, first_epoch)  # a callback may have put back a later epoch
        for epoch, last in enumerate(script[begin - first_epoch :], begin):
            loop.epoch(epoch, last)
            if run.stop_requested:
                break
        told.on_train_end(dict(last))
    return run


@dataclass(slots=True)
class _Loop:
    told: CallbackList
    run: Run
    trainer: FakeTrainer
    batches: int
    batch_logs: Callable[[int, int], Logs] | None

    def epoch(self, epoch: int, logs: Logs) -> None:
        trained = {name: value for name, value in logs.items() if not name.startswith("val_")}
        validated = {name.removeprefix("val_"): value for name, value in logs.items() if name.startswith("val_")}
        self.run.epoch, self.run.phase = epoch, "train"
        self.told.on_epoch_begin(epoch)
        for batch in range(self.batches):
            self.batch(batch, trained if self.batch_logs is None else self.batch_logs(epoch, batch))
            if self.run.stop_requested:
                break
        if validated:
            self.validation(validated)
        self.told.on_epoch_end(epoch, dict(logs))
        self.run.commit()
        self.run.phase = "idle"

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
