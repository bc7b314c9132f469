"""SwapEMAWeights: measure and predict with the moving average of the weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jalon.callbacks._arrays import to_numpy
from jalon.core.callback import Callback, Logs
from jalon.core.trainer import Averages, Snapshot
from jalon.errors import ArgumentError


class SwapEMAWeights(Callback):
    """Measure and predict with the moving average of the weights.

    Weights and average change places, in place, when validation, ``evaluate`` or ``predict`` begins, and back when it ends,
    by an exception too. The optimizer must keep an average: ``use_ema=True`` in ``jalon.Model.compile`` or in a Keras
    optimizer. Before its first step there is none, and the weights stay.

    With ``swap_on_epoch``, the average also stands in the model from here in the list to the end of ``on_epoch_end``, for a
    ``ModelCheckpoint`` that comes after this callback to save it. A training that goes on from such a file goes on from the
    average. It takes the memory of one more copy of the weights.

    Args:
        swap_on_epoch: Whether the average is in the model at each epoch's end too, until the next epoch begins. Defaults to
            False.

    Raises:
        ArgumentError: The optimizer keeps no average; before the first step of ``fit``.

    Example:
        >>> import torch
        >>> from jalon import Model
        >>> x, y = torch.rand(64, 2), torch.rand(64, 1)
        >>> model = Model(torch.nn.Linear(2, 1)).compile("sgd", loss="mse", use_ema=True, ema_momentum=0.9)
        >>> history = model.fit(x, y, epochs=2, validation_data=(x, y), callbacks=SwapEMAWeights(), verbose=0)
        >>> history.history["val_loss"][-1] == model.evaluate(x, y, verbose=0)  # fit ends with the average in the model
        True

    After a resume: training goes on from the weights themselves, although their average was in the model.

    Source: Keras's class of this name.
    """

    adds_metrics = False

    def __init__(self, swap_on_epoch: bool = False) -> None:
        self.swap_on_epoch = swap_on_epoch
        self._forget()

    def _forget(self) -> None:
        self._swapped = False
        self._weights: Snapshot | None = None
        self._memory: Snapshot | None = None

    def check_setup(self) -> None:
        """Refuse an optimizer that keeps no average."""
        self._averages()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Start afresh, so that one instance serves several trainings."""
        self._forget()

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._put_back()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Put the average into the model, if asked to.

        The average stays where it is as well: whichever epoch turns out to be the last, what ends ``fit`` finds it there.
        """
        if self.swap_on_epoch and self._weights is None:
            averages = self._averages()
            self._weights = self._memory = self.trainer.snapshot_weights(into=self._memory)
            averages.swap()
            averages.settle()

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._forget()

    def on_test_begin(self, logs: Logs | None = None) -> None:
        self._swap_in()

    def on_test_end(self, logs: Logs | None = None) -> None:
        self._swap_out()

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        self._swap_in()

    def on_predict_end(self, logs: Logs | None = None) -> None:
        self._swap_out()

    def on_exception(self, exc: BaseException) -> None:
        self._put_back()

    def close(self) -> None:
        self._swap_out()

    def state_dict(self) -> dict[str, Any]:
        """Return whether the average is in the model, with the weights themselves, as named arrays, where they are kept aside."""
        state: dict[str, Any] = {"swapped": self._swapped}
        if self._weights is not None:
            state["weights"] = {name: to_numpy(value) for name, value in self._weights.items()}
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._swapped = state["swapped"]
        self._weights = state.get("weights")

    def _swap_in(self) -> None:
        if not self._swapped and self._weights is None:
            self._averages().swap()
            self._swapped = True

    def _swap_out(self) -> None:
        if self._swapped:
            self._averages().swap()
            self._swapped = False

    def _put_back(self) -> None:
        self._swap_out()
        if self._weights is not None:
            self.trainer.restore_weights(self._weights)
            self._weights = None

    def _averages(self) -> Averages:
        averages = self.trainer.averages()
        if averages is None:
            raise ArgumentError(
                f"{type(self).__name__} must be used when `use_ema=True` is set on the optimizer. Received: a model whose "
                "weights have no average. Pass use_ema=True to jalon.Model.compile or to the Keras optimizer; for evaluate "
                "and predict, train first, or load a file with the optimizer's state."
            )
        return averages
