"""CallbackList: Keras's constructor for a list of callbacks in a loop written by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jalon.callbacks.history import History
from jalon.callbacks.progbar_logger import ProgbarLogger
from jalon.core import callback_list
from jalon.core.callback import Logs
from jalon.core.run import run_of


class CallbackList(callback_list.CallbackList):
    """Tell a list of callbacks what happens in a loop written by hand.

    Made with a model, it can be told at once: the callbacks have the model, the parameters and a run that they share.

    Args:
        callbacks: One callback, or a list that may hold lists.
        add_history: Whether to add a ``History`` where there is none. Defaults to False.
        add_progbar: Whether to add a ``ProgbarLogger`` where there is none. Defaults to False.
        model: What is trained, with as many of Keras's names (``optimizer.learning_rate``, ``get_weights`` …) as the
            callbacks need. Defaults to none, to be given by ``set_model``.
        **params: What the callbacks get as ``params``: ``verbose``, ``epochs``, ``steps``.

    Raises:
        ArgumentError: Something in the list is not a callback.

    Example:
        >>> from jalon.callbacks import EarlyStopping
        >>> class Net:
        ...     stop_training = False
        >>> net = Net()
        >>> told = CallbackList([EarlyStopping("loss", patience=1)], add_history=True, model=net, epochs=9)
        >>> told.on_train_begin()
        >>> for epoch, loss in enumerate([3.0, 2.0, 4.0, 1.0]):
        ...     told.on_epoch_begin(epoch)
        ...     told.on_epoch_end(epoch, {"loss": loss})
        ...     if net.stop_training:
        ...         break
        >>> told.on_train_end()
        >>> net.history.history
        {'loss': [3.0, 2.0, 4.0]}

    Source: Keras's class of this name.
    """

    def __init__(
        self,
        callbacks: Any = None,
        add_history: bool = False,
        add_progbar: bool = False,
        model: Any = None,
        **params: Any,
    ) -> None:
        super().__init__(callbacks)
        added: list[Any] = []
        if add_history and not any(isinstance(one, History) for one in self):
            added.append(History())
        if add_progbar and not any(isinstance(one, ProgbarLogger) for one in self):
            added.append(ProgbarLogger())
        super().__init__([*self.callbacks, *added])
        self.model: Any = None
        self.params: dict[str, Any] = params
        if model is not None:
            self.set_model(model)

    def append(self, callback: Any) -> None:
        """Add a callback."""
        super().__init__([*self.callbacks, callback])
        if self.model is not None:
            self.set_model(self.model)

    def set_model(self, model: Any) -> None:
        """Hand every callback the model, the parameters and the run that belongs to the model."""
        self.model = model
        run = run_of(model)
        run.commits_epochs = True
        run.epochs = self.params.get("epochs", run.epochs)
        self.begin(run, model, self.params)

    def set_params(self, params: Mapping[str, Any]) -> None:
        """Hand every callback the parameters."""
        self.params = dict(params)
        for callback in self:
            callback.set_params(dict(params))

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Tell that training begins."""
        self._running().set_stop(False)
        super().on_train_begin(logs)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Tell that an epoch begins."""
        self._running().epoch = epoch
        super().on_epoch_begin(epoch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Tell that an epoch ended, and let callbacks make it last."""
        super().on_epoch_end(epoch, logs)
        self._running().commit()

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Tell that a training batch begins."""
        self._running().batch = batch
        self.tell_batch("on_train_batch_begin", batch, logs or {})

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Tell that a training batch is done."""
        run = self._running()
        run.batch, run.step = batch, run.step + 1
        self.tell_batch("on_train_batch_end", batch, logs or {})

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Tell that a batch of validation begins."""
        self.tell_batch("on_test_batch_begin", batch, logs or {})

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Tell that a batch of validation is done."""
        self.tell_batch("on_test_batch_end", batch, logs or {})

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Tell that a batch of prediction begins."""
        self.tell_batch("on_predict_batch_begin", batch, logs or {})

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Tell that a batch of prediction is done."""
        self.tell_batch("on_predict_batch_end", batch, logs or {})

    on_batch_begin = on_train_batch_begin
    on_batch_end = on_train_batch_end
