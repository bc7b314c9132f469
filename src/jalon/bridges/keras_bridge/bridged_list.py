"""BridgedList: Keras's kind of list of callbacks, conducted by jalon."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NoReturn

import keras as keras_
from keras.src.utils import python_utils  # how Keras turns what a step returns into logs

from jalon.bridges.keras_bridge import resuming
from jalon.bridges.keras_bridge.adapter import KerasAdapter
from jalon.bridges.keras_bridge.call import Call, HearsOfFailure, call_under_way, tell_of_failures
from jalon.bridges.keras_bridge.keras_run import KerasRun
from jalon.bridges.keras_bridge.support import SUPPORT
from jalon.callbacks.history import History
from jalon.callbacks.progbar_logger import ProgbarLogger
from jalon.core.callback import Logs
from jalon.core.callback_list import CallbackList
from jalon.core.logs import BatchLogs
from jalon.core.run import Phase, Position
from jalon.core.signals import leaving_on_signals
from jalon.errors import NotReady


def keras(callbacks: Any) -> BridgedList:
    """Return a list of callbacks for Keras's ``fit``, ``evaluate`` or ``predict``, conducted by jalon.

    It adds what Keras's own list cannot give: callbacks run by their ``order``, setups are checked before the first step,
    a stop has a reason, there is one progress bar, a callback that only observes does not end training when it fails, and
    ``on_exception`` and ``close`` reach every callback when ``fit`` raises.

    Args:
        callbacks: One callback or a list, of jalon's, of Keras's, or both.

    Raises:
        ArgumentError: Something in the list is not a callback.

    Example::

        model.fit(x, y, epochs=50, callbacks=jalon.bridges.keras([EarlyStopping(patience=3), CSVLogger("training.log")]))
    """
    return BridgedList(callbacks)


class BridgedList(HearsOfFailure):
    """Is a list of callbacks of Keras's kind, conducted by jalon.

    Args:
        callbacks: One callback or a list that may hold lists.
    """

    def __init__(self, callbacks: Any = None) -> None:
        super().__init__()
        self._given = CallbackList(callbacks)
        self.callbacks = list(self._given)
        self._list = self._given
        self._session: ExitStack | None = None
        self._fitting = False
        self._logs: Any = {}
        self._batch = 0
        self._batch_logs = BatchLogs(lambda: python_utils.pythonify_logs(self._logs), lambda: self._batch)
        tell_of_failures()

    def set_model(self, model: Any) -> None:
        """Take the model, where a loop written by hand gives it."""
        self._model = model

    def set_params(self, params: Any) -> None:
        """Take the parameters, where a loop written by hand gives them."""
        self.params = params

    @property
    def run(self) -> KerasRun:
        """The running training.

        Raises:
            NotReady: None has begun.
        """
        if not isinstance(self._list.run, KerasRun):
            raise NotReady("This list conducts no run yet.")
        return self._list.run

    # ---- the life of a run -------------------------------------------------------------------------------------------

    def _begin(self, phase: Phase) -> None:
        call = call_under_way()
        model = self._model if call is None else call.model
        params = dict(self.params or {}) if call is None else _params(call)
        run = KerasRun(KerasAdapter(model), epochs=params.get("epochs", 1))
        run.phase, run.batch_size = phase, None if call is None else call.batch_size
        if phase == "train":
            run.begin(0 if call is None else call.initial_epoch)
            run.trainer.announce(validates=call is None or call.validates, steps=params.get("steps"))
            run.keeps = True
        self._list = CallbackList([*self._given, *self._added(phase, params)])
        self.callbacks = list(self._list)
        self._session = ExitStack()
        self._session.enter_context(self._list.session())
        self._guarded(self._list.begin, run, model, params)
        if phase == "train":
            self._guarded(self._list.validate, SUPPORT)
            if run.keeper is not None:
                self._session.enter_context(leaving_on_signals(run))
                resuming.say_if_the_order_is_lost()

    def _added(self, phase: Phase, params: dict[str, Any]) -> list[Any]:
        """Return the history and the progress bar that Keras would have added."""
        added: list[Any] = []
        if phase == "train" and not any(isinstance(one, (History, keras_.callbacks.History)) for one in self._given):
            added.append(History())
        bars = (ProgbarLogger, keras_.callbacks.ProgbarLogger)
        if params.get("verbose", 0) != 0 and not any(isinstance(one, bars) for one in self._given):
            added.append(ProgbarLogger())
        return added

    def _guarded(self, act: Callable[..., object], *args: Any) -> None:
        try:
            act(*args)
        except BaseException as exc:
            self.failed(exc)
            raise

    def failed(self, exc: BaseException) -> None:
        """Tell every callback of an exception and close it, unless that is done."""
        session, self._session = self._session, None
        if session is not None:
            self._fitting = False
            session.__exit__(type(exc), exc, exc.__traceback__)
            self.run.end()

    def _end(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()
            self.run.end()

    # ---- the hooks of Keras's list -------------------------------------------------------------------------------------

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._begin("train")
        self._fitting = True
        keeper = self.run.keeper
        if keeper is None or not keeper.finished:
            self._guarded(self._list.on_train_begin, {})
        self._guarded(self.run.restore)
        if keeper is not None and (keeper.finished or (keeper.position is not None and self.run.stop_requested)):
            self.run.initial_epoch = self.run.epochs  # nothing is left to train

    def on_train_end(self, logs: Logs | None = None) -> None:
        keeper = self.run.keeper
        if keeper is None or not keeper.finished:
            self._guarded(self._list.on_train_end, python_utils.pythonify_logs(logs))
        if keeper is not None and not keeper.finished:
            self._guarded(keeper.finish)
        self._fitting = False
        self._end()

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self.run.begin_epoch(epoch)
        self._guarded(self._list.on_epoch_begin, epoch, {})

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._guarded(self._list.on_epoch_end, epoch, python_utils.pythonify_logs(logs))
        self._guarded(self.run.commit)
        if self.run.leave_now:
            self._guarded(self._leave, Position(epoch + 1, 0))

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self.run.batch = batch
        self._tell_batch("on_train_batch_begin", batch, {})

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self.run.end_batch(batch)
        self._tell_batch("on_train_batch_end", batch, logs)
        if self.run.leave_now:
            self._guarded(self._leave)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        if self._fitting:
            self.run.phase = "validation"
        else:
            self._begin("test")
        self._guarded(self._list.on_test_begin, {})

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self._tell_batch("on_test_batch_begin", batch, {})

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._tell_batch("on_test_batch_end", batch, logs)
        if self.run.leave_now:
            self._guarded(self._leave)

    def on_test_end(self, logs: Logs | None = None) -> None:
        self._guarded(self._list.on_test_end, python_utils.pythonify_logs(logs))
        if self._fitting:
            self.run.phase = "train"
        else:
            self._end()

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        self._begin("predict")
        self._guarded(self._list.on_predict_begin, {})

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self._tell_batch("on_predict_batch_begin", batch, {})

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if self._list.batch_hooks["on_predict_batch_end"]:
            self._guarded(self._list.tell_batch, "on_predict_batch_end", batch, python_utils.pythonify_logs(logs))

    def on_predict_end(self, logs: Logs | None = None) -> None:
        self._guarded(self._list.on_predict_end, {})
        self._end()

    def _leave(self, position: Position | None = None) -> NoReturn:
        """Leave the training. Within an epoch Keras cannot go on, so that the backup of the last one stands."""
        if position is not None and self.run.keeper is not None:
            self.run.keeper.save(position)
        raise self.run.left()

    def _tell_batch(self, name: str, batch: int, logs: Any) -> None:
        if self._list.batch_hooks[name]:
            self._logs = logs
            self._batch += 1
            self._guarded(self._list.tell_batch, name, batch, self._batch_logs)


def _params(call: Call) -> dict[str, Any]:
    return {"verbose": call.verbose, "epochs": call.epochs, "steps": call.steps}
