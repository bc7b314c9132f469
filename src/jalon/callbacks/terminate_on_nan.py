"""TerminateOnNaN: end training when the loss is NaN or infinite."""

from __future__ import annotations

import math

from jalon.core.callback import Callback, Logs
from jalon.core.logs import scalar


class TerminateOnNaN(Callback):
    """End training when the loss is NaN or infinite.

    It looks at ``loss`` after every training batch, and at an epoch's end where a loop has no batches. To know it the value
    must be there, so that a GPU is waited for at each batch.

    Args:
        raise_error: Raise an error, in place of a stop after which the epoch's end and ``on_train_end`` are reached as
            usual. Defaults to False.

    Raises:
        RuntimeError: The loss is NaN or infinite, with ``raise_error``; in training.

    Example:
        >>> from jalon.testing import play
        >>> run = play(TerminateOnNaN(), [{"loss": 0.5}, {"loss": float("nan")}, {"loss": 0.25}])
        Batch 0: Invalid loss, terminating training
        >>> run.history, run.stop_reason
        ({'loss': [0.5, nan]}, 'loss is nan at batch 0')

    Source: Keras's class of this name.
    """

    lazy_logs = True
    adds_metrics = False
    optional_hooks = frozenset({"on_train_batch_end"})

    def __init__(self, raise_error: bool = False) -> None:
        self.raise_error = raise_error

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._look(logs, "batch", batch)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Look at the epoch's loss, which is the first one to be seen where a loop has no batches."""
        if not self.run.stop_requested:
            self._look(logs, "epoch", epoch + 1)

    def _look(self, logs: Logs | None, what: str, number: int) -> None:
        loss = None if logs is None else scalar(logs.get("loss"))
        if loss is None or math.isfinite(loss):
            return
        if self.raise_error:
            raise RuntimeError(
                f"NaN or Inf loss encountered at {what} {number}. Loss value: {loss}. Terminating training immediately."
            )
        self.run.say(f"{what.capitalize()} {number}: Invalid loss, terminating training")
        self.run.stop(f"loss is {loss} at {what} {number}")
