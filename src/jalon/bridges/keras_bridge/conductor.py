"""Conductor: keeps the run of callbacks that were given to Keras directly."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import keras

from jalon.bridges.keras_bridge.adapter import KerasAdapter
from jalon.bridges.keras_bridge.bridged_list import BridgedList
from jalon.bridges.keras_bridge.call import call_under_way, list_that_calls
from jalon.bridges.keras_bridge.keras_run import KerasRun
from jalon.bridges.keras_bridge.support import SUPPORT
from jalon.callbacks.progbar_logger import ProgbarLogger
from jalon.core.callback import Callback, Logs
from jalon.core.callback_list import validate
from jalon.errors import WithoutBridge

_told: list[bool] = []


def join(callback: Callback, model: Any) -> None:
    """Let a callback share the run of the list of Keras's that it stands in."""
    calling = list_that_calls()
    if calling is None or isinstance(calling, BridgedList):
        return
    conductor = next((one for one in calling.callbacks if isinstance(one, Conductor)), None)
    if conductor is None:
        conductor = Conductor(model)
        calling.callbacks.insert(0, conductor)  # the list then comes to this callback a second time, which does no harm
        # Keras may call batch hooks on threads of its own, where nothing that saves or counts is safe.
        calling._async_train = calling._async_test = calling._async_predict = False
    conductor.admit(callback)
    if isinstance(callback, ProgbarLogger) and isinstance(calling.callbacks[-1], keras.callbacks.ProgbarLogger):
        calling.callbacks.pop()  # the one that Keras adds where it sees none of its own


class Conductor(Callback):
    """Keeps the counters of a run that Keras's ``fit`` conducts, and has setups checked before it begins.

    It stands first in Keras's list.

    Args:
        model: What is trained.
    """

    def __init__(self, model: Any) -> None:
        self._members: list[Callback] = []
        self._fitting = False
        self._shared = KerasRun(KerasAdapter(model))
        self._shared.commits_epochs = False

    def admit(self, callback: Callback) -> None:
        """Give a callback the run."""
        if callback not in self._members:
            self._members.append(callback)
            callback.set_run(self._shared)

    def set_model(self, model: Any) -> None:
        """Keep the model that is known."""

    def set_params(self, params: Mapping[str, Any]) -> None:
        self._shared.epochs = params.get("epochs", 1)
        self._shared.params = params

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Begin the run: what cannot work is refused here."""
        run, call = self._shared, call_under_way()
        if call is not None:
            run.trainer.announce(validates=call.validates, steps=call.steps)
            run.batch_size = call.batch_size
            run.history = getattr(getattr(call.model, "history", None), "history", run.history)
        run.begin(0 if call is None else call.initial_epoch)
        self._fitting = True
        _tell_once()
        validate(self._members, run, SUPPORT)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._shared.begin_epoch(epoch)

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self._shared.batch = batch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._shared.end_batch(batch)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        self._shared.phase = "validation" if self._fitting else "test"

    def on_test_end(self, logs: Logs | None = None) -> None:
        self._shared.phase = "train" if self._fitting else "idle"

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        self._shared.phase = "predict"

    def on_predict_end(self, logs: Logs | None = None) -> None:
        self._shared.phase = "idle"

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._fitting = False
        self._shared.end()


def _tell_once() -> None:
    if not _told:
        _told.append(True)
        warnings.warn(
            "jalon's callbacks were given to Keras directly. They take the same decisions, but without: order, "
            "on_exception and close when fit raises, and going on when a callback that only observes fails. "
            "To have these, pass callbacks=jalon.bridges.keras([...]).",
            WithoutBridge,
            stacklevel=2,
        )
