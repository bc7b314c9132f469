"""LightningCallbacks: a callback of Lightning's kind that conducts a list of callbacks."""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch

from jalon._optional import require
from jalon.bridges.lightning_bridge.adapter import LightningAdapter
from jalon.bridges.lightning_bridge.metrics import EpochMetrics
from jalon.bridges.lightning_bridge.support import SUPPORT
from jalon.bridges.trainer_session import TrainerSession
from jalon.callbacks._destination import Destination
from jalon.callbacks.csv_logger import CSVLogger
from jalon.callbacks.early_stopping import EarlyStopping
from jalon.callbacks.history import History
from jalon.callbacks.model_checkpoint import ModelCheckpoint
from jalon.callbacks.notify import Notify
from jalon.callbacks.orbax_checkpoint import OrbaxCheckpoint
from jalon.callbacks.remote_monitor import RemoteMonitor
from jalon.callbacks.tensorboard import TensorBoard
from jalon.core.callback_list import CallbackList
from jalon.core.run import Phase, Run
from jalon.errors import NotReady

PACKAGES = ("lightning.pytorch", "pytorch_lightning")
_NOT_IN_A_FAST_RUN = (ModelCheckpoint, OrbaxCheckpoint, EarlyStopping, CSVLogger, TensorBoard, RemoteMonitor, Notify, Destination)


def lightning(callbacks: Any = None) -> Any:
    """Return a callback of Lightning's that conducts a list of jalon's.

    It serves ``lightning.pytorch`` and ``pytorch_lightning``. Its state, that of every callback in the list and the history
    stand in each checkpoint that Lightning writes, and ``fit(ckpt_path=...)`` goes on with them.

    Args:
        callbacks: One callback of jalon's, or a list.

    Raises:
        ArgumentError: Something in the list is not a callback.
        MissingPackage: Lightning is not installed.

    Example::

        conducted = jalon.bridges.lightning([EarlyStopping(patience=3), CSVLogger("training.log")])
        trainer = Trainer(max_epochs=50, callbacks=[conducted])
        trainer.fit(module, train_loader, val_loader)
        conducted.history.history["val_loss"]
    """
    loaded = [name for name in PACKAGES if name in sys.modules]
    installed = [name for name in PACKAGES if importlib.util.find_spec(name.partition(".")[0]) is not None]
    names = tuple(loaded or installed[:1] or PACKAGES[:1])
    for name in names:
        require(name, extra="lightning", who="jalon.bridges.lightning")
    return _kind(LightningCallbacks, "Callback", names)(callbacks)


@cache
def _kind(kind: type, base: str, names: tuple[str, ...]) -> Any:
    """Return a class as one that each of the packages takes for its own."""
    return type(kind.__name__, (kind, *(getattr(sys.modules[name].callbacks, base) for name in names)), {"_packages": names})


class LightningCallbacks:
    """Conducts a list of callbacks in the loops of a Lightning ``Trainer``.

    Args:
        callbacks: One callback or a list that may hold lists.
    """

    _packages: tuple[str, ...]
    state_key = "jalon"

    def __init__(self, callbacks: Any = None) -> None:
        self.callbacks = list(CallbackList(callbacks))
        self._session: TrainerSession | None = None
        self._fitting = False
        self._evaluation: TrainerSession | None = None
        self._adapter: LightningAdapter | None = None
        self._pending: bytes | None = None
        self._batch = 0
        self._before_validation: dict[str, Any] = {}
        self._agrees = False

    @property
    def history(self) -> History:
        """The history of the last training.

        Raises:
            NotReady: None has begun.
        """
        if self._session is None:
            raise NotReady("No training has begun. Call trainer.fit(...) first.")
        return self._session.history

    # ---- the life of a training ----------------------------------------------------------------------------------------

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Stand ready to be told of an epoch's end when the module has been."""
        self._pending = None
        self._remove_after_module(trainer)
        if stage == "fit":
            helper = _kind(AfterTheModule, "Checkpoint", self._packages)(self)
            kind = tuple(sys.modules[name].callbacks.Checkpoint for name in self._packages)
            first = next((place for place, one in enumerate(trainer.callbacks) if isinstance(one, kind)), len(trainer.callbacks))
            trainer.callbacks.insert(first, helper)

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self._remove_after_module(trainer)
        self._pending = None

    def _remove_after_module(self, trainer: Any) -> None:
        trainer.callbacks[:] = [one for one in trainer.callbacks if not isinstance(one, AfterTheModule)]

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._begin_training(trainer, pl_module)

    def _begin_training(self, trainer: Any, module: Any) -> None:
        adapter = self._adapter = LightningAdapter(trainer, module)
        run = self._run(trainer, adapter)
        run.epoch = run.initial_epoch = trainer.current_epoch
        rows = getattr(trainer.train_dataloader, "batch_size", None)
        run.batch_size = rows * trainer.world_size if isinstance(rows, int) else None
        given = self.callbacks
        if trainer.fast_dev_run:
            given = [one for one in given if not isinstance(one, _NOT_IN_A_FAST_RUN)]
        if not any(isinstance(one, History) for one in given):
            given = [*given, History()]
        steps = trainer.num_training_batches
        params = {"verbose": 1, "epochs": run.epochs, "steps": None if math.isinf(steps) else steps}
        self._session = TrainerSession(given, run, module, params, loop=SUPPORT)
        self._fitting = True
        pending, self._pending = self._pending, None
        self._session.begin_training(pending)
        self._agrees = trainer.world_size > 1 and self._session.agrees_on_batches()

    def _run(self, trainer: Any, adapter: LightningAdapter) -> Run:
        run = Run(adapter, epochs=_epochs(trainer), rank=trainer.global_rank, world_size=trainer.world_size)
        run.share = trainer.strategy.broadcast
        bar = trainer.progress_bar_callback
        if bar is not None and bar.is_enabled:
            run.speaker = bar.print
        return run

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        session = self._training()
        if trainer.should_stop and not session.run.stop_requested:
            session.run.stop("trainer.should_stop was set")
        rows = session.history.rows
        session.end_training({name: value for name, value in (rows[-1] if rows else {}).items() if isinstance(value, float)})
        self._fitting = False
        self._release()

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """End a training again that was left after its last checkpoint: Lightning finds nothing to train and tells nobody."""
        if self._pending is not None and not self._fitting:
            self._begin_training(trainer, pl_module)
            self.on_train_end(trainer, pl_module)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self._remove_after_module(trainer)
        self._pending = None
        evaluation, self._evaluation = self._evaluation, None
        if evaluation is not None:
            evaluation.fail(exception)
        if self._fitting and self._session is not None:
            self._fitting = False
            self._session.fail(exception)
        self._release()

    def _release(self) -> None:
        if self._adapter is not None:
            self._adapter.release()

    def _training(self) -> TrainerSession:
        if self._session is None:
            raise NotReady("No training has begun.")
        return self._session

    # ---- epochs and batches ----------------------------------------------------------------------------------------------

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        session, adapter = self._training(), self._adapter_in_use()
        adapter.go_on_drawing()
        adapter.metrics.begin_epoch()
        session.begin_epoch(trainer.current_epoch)
        self._agree(trainer)

    def after_train_epoch_end(self, trainer: Any) -> None:
        """Tell of an epoch's end, when the module has logged all that it has to log."""
        session, adapter = self._training(), self._adapter_in_use()
        if not session.epoch_is_open:  # Lightning ends an epoch again that a checkpoint was written at the end of
            return
        logs = trainer.strategy.broadcast(adapter.metrics.read())
        session.end_epoch(logs, keep_before=adapter.saves_whole(session.callbacks))
        self._agree(trainer)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self._adapter_in_use().begin_batch()
        self._training().begin_batch(batch_idx)

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        callbacks = self._training().callbacks
        if callbacks.listens("on_before_optimizer_step"):
            callbacks.before_optimizer_step(trainer.global_step)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        metrics = self._adapter_in_use().metrics
        metrics.add(outputs)
        self._training().end_batch(batch_idx, metrics.batch_logs)
        if self._agrees:
            self._agree(trainer)

    def _agree(self, trainer: Any) -> None:
        """Let all processes stop where one of them is to."""
        if trainer.world_size > 1:
            own = trainer.should_stop
            trainer.should_stop = trainer.strategy.reduce_boolean_decision(own, all=False)
            if trainer.should_stop and not own:
                self._training().run.stop("another process asked for it")

    def _adapter_in_use(self) -> LightningAdapter:
        if self._adapter is None:
            raise NotReady("No training has begun.")
        return self._adapter

    # ---- validation, test and predict -----------------------------------------------------------------------------------

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        self._begin_evaluation(trainer, pl_module, "test")

    def on_test_start(self, trainer: Any, pl_module: Any) -> None:
        self._begin_evaluation(trainer, pl_module, "test")

    def _begin_evaluation(self, trainer: Any, module: Any, phase: Phase) -> None:
        if trainer.sanity_checking:
            return
        self._batch = 0
        self._before_validation = dict(trainer.callback_metrics)
        if not self._fitting:
            self._evaluation = self._alone(trainer, module, phase)
        if phase == "test":
            self._evaluating().begin_test()

    def _alone(self, trainer: Any, module: Any, phase: Phase) -> TrainerSession:
        adapter = LightningAdapter(trainer, module)
        steps = _batches_of(trainer)
        params = {"verbose": 1, "epochs": 1, "steps": steps}
        session = TrainerSession(self.callbacks, self._run(trainer, adapter), module, params, loop=SUPPORT)
        session.begin(phase)
        return session

    def _evaluating(self) -> TrainerSession:
        return self._evaluation or self._training()

    def on_validation_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if not trainer.sanity_checking:
            self._evaluating().tell_batch("on_test_batch_begin", self._batch, {})

    def on_validation_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if not trainer.sanity_checking:
            self._evaluating().tell_batch("on_test_batch_end", self._batch, {})
            self._batch += 1

    on_test_batch_start = on_validation_batch_start
    on_test_batch_end = on_validation_batch_end

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        if not trainer.sanity_checking:
            self._end_evaluation(trainer, "val_")

    def on_test_end(self, trainer: Any, pl_module: Any) -> None:
        self._end_evaluation(trainer, "test_")

    def _end_evaluation(self, trainer: Any, prefix: str) -> None:
        session = self._evaluating()
        logged = EpochMetrics(trainer).logged_since(self._before_validation)
        session.end_test({name.removeprefix(prefix): value for name, value in logged.items()})
        self._close_evaluation()

    def _close_evaluation(self) -> None:
        evaluation, self._evaluation = self._evaluation, None
        if evaluation is not None:
            evaluation.close()

    def on_predict_start(self, trainer: Any, pl_module: Any) -> None:
        self._begin_evaluation(trainer, pl_module, "predict")
        self._evaluating().callbacks.on_predict_begin({})

    def on_predict_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._evaluating().tell_batch("on_predict_batch_begin", self._batch, {})

    def on_predict_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._evaluating().tell_batch("on_predict_batch_end", self._batch, {"outputs": outputs})
        self._batch += 1

    def on_predict_end(self, trainer: Any, pl_module: Any) -> None:
        self._evaluating().callbacks.on_predict_end({})
        self._close_evaluation()

    # ---- what stands in Lightning's checkpoints ------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the training as one tensor of bytes, which a load with ``weights_only=True`` takes."""
        if self._session is None:
            return {} if self._pending is None else _as_tensor(self._pending)
        return _as_tensor(self._session.state())

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Keep the state until the training begins."""
        self._pending = bytes(state_dict["state"].cpu().numpy())


class AfterTheModule:
    """Is told of an epoch's end after the module, as Lightning tells callbacks that keep checkpoints.

    Args:
        conductor: Whom to tell on.
    """

    def __init__(self, conductor: LightningCallbacks) -> None:
        self._conductor = conductor

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self._conductor.after_train_epoch_end(trainer)


def _as_tensor(state: bytes) -> dict[str, Any]:
    return {"state": torch.frombuffer(bytearray(state), dtype=torch.uint8)}


def _epochs(trainer: Any) -> int:
    """Return the number of the epoch before which training ends, 1 where there is no telling."""
    if trainer.max_epochs is not None and trainer.max_epochs >= 0:
        return int(trainer.max_epochs)
    if trainer.max_steps >= 0 and 0 < trainer.num_training_batches < math.inf:
        epochs: int = math.ceil(trainer.max_steps * trainer.accumulate_grad_batches / trainer.num_training_batches)
        return epochs
    return 1


def _batches_of(trainer: Any) -> int | None:
    """Return how many batches the evaluation that begins has, if that is known."""
    numbers = {
        "validate": trainer.num_val_batches,
        "test": trainer.num_test_batches,
        "predict": trainer.num_predict_batches,
    }[trainer.state.fn.value]
    total = sum(numbers) if isinstance(numbers, list) else numbers
    return None if math.isinf(total) else int(total)
