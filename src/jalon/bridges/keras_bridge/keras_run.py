"""KerasRun: a run whose stop is Keras's ``model.stop_training``, and which speaks where Keras speaks."""

from __future__ import annotations

from typing import Any

from keras.src.utils import io_utils  # where Keras's callbacks print, which its users can silence

from jalon.bridges.keras_bridge.adapter import KerasAdapter
from jalon.core.run import Run


class KerasRun(Run):
    """Holds the state of one training by Keras's ``fit``.

    Args:
        trainer: Answers for the model.
        epochs: The number of the epoch before which training ends.
        initial_epoch: The number of the first epoch.
    """

    trainer: KerasAdapter

    def __init__(self, trainer: KerasAdapter, *, epochs: int = 1, initial_epoch: int = 0) -> None:
        self._begun = False
        self._first_epoch = initial_epoch
        super().__init__(trainer, epochs=epochs, initial_epoch=initial_epoch)
        self._begun = True
        self._steps_before = 0
        self.speaker = self._print

    @property
    def stop_requested(self) -> bool:
        """Whether training should end: what Keras looks at, whoever set it."""
        return bool(getattr(self.trainer._model(), "stop_training", False))

    @stop_requested.setter
    def stop_requested(self, requested: bool) -> None:
        if self._begun:  # an evaluation in the middle of a training takes no stop back
            self.trainer.model.stop_training = requested

    @property
    def initial_epoch(self) -> int:
        """The number of the first epoch; setting it before the first one moves where ``fit`` begins."""
        return self._first_epoch

    @initial_epoch.setter
    def initial_epoch(self, epoch: int) -> None:
        if epoch != self._first_epoch:
            self._first_epoch = epoch
            self.trainer.model._initial_epoch = epoch

    def begin(self, initial_epoch: int) -> None:
        """Begin where ``fit`` was told to, whatever a training that failed left on the model."""
        self._first_epoch = initial_epoch
        self.trainer.model._initial_epoch = None
        self.phase = "train"

    def begin_epoch(self, epoch: int) -> None:
        """Count from here."""
        self.epoch = epoch
        self.batch = 0
        self._steps_before = self.step

    def end_batch(self, batch: int) -> None:
        """Count up to the last of the batches just done."""
        self.batch = batch
        self.step = self._steps_before + batch + 1

    def end(self) -> None:
        """Leave nothing behind for the next ``fit`` of the model."""
        self.phase = "idle"
        model: Any = self.trainer._model()
        if model is not None:
            model._initial_epoch = None

    def _print(self, message: str) -> None:
        # Keras's moving bar leaves the cursor in its line while an epoch runs.
        io_utils.print_msg(f"\n{message}" if self.phase == "train" and io_utils.is_interactive_logging_enabled() else message)
