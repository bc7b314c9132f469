"""TransformersCallbacks: a callback of the kind of transformers that conducts a list of callbacks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list
from tqdm.auto import tqdm  # type: ignore[import-untyped]  # what the trainer's own bar is, which must not be written across
from transformers import ProgressCallback, TrainerCallback
from transformers.trainer_callback import ExportableState

from jalon.bridges.trainer_session import TrainerSession
from jalon.bridges.transformers_bridge import checkpoints
from jalon.bridges.transformers_bridge.adapter import TransformersAdapter
from jalon.bridges.transformers_bridge.calls import HearsOfCalls, tell_of_calls
from jalon.bridges.transformers_bridge.metrics import evaluated
from jalon.bridges.transformers_bridge.support import SUPPORT
from jalon.callbacks.history import History
from jalon.core.callback_list import CallbackList
from jalon.core.run import Phase, Run
from jalon.engines.torch.randomness import load_random_state, random_state
from jalon.errors import ArgumentError, NotReady


def transformers(callbacks: Any = None) -> TransformersCallbacks:
    """Return a callback for the ``Trainer`` of transformers that conducts a list of jalon's.

    Their state and the history stand in each checkpoint that the trainer writes, and ``train(resume_from_checkpoint=...)``
    goes on with them. With ``True`` it goes on from the newest checkpoint that was written to its end.

    Args:
        callbacks: One callback of jalon's, or a list.

    Raises:
        ArgumentError: Something in the list is not a callback.
        MissingPackage: transformers is not installed.

    Example::

        conducted = jalon.bridges.transformers([EarlyStopping(patience=3), CSVLogger("training.log")])
        trainer = Trainer(model, args, train_dataset=train, eval_dataset=val, callbacks=[conducted])
        trainer.train()
        conducted.history.history["val_loss"]
    """
    return TransformersCallbacks(callbacks)


class TransformersCallbacks(TrainerCallback, ExportableState, HearsOfCalls):
    """Conducts a list of callbacks in the loops of a ``Trainer`` of transformers.

    Args:
        callbacks: One callback or a list that may hold lists.
        kept: Given by the trainer alone, where it makes its callbacks anew from a checkpoint: this one is kept.
    """

    _at_work: TransformersCallbacks | None = None

    def __new__(cls, callbacks: Any = None, *, kept: bool = False) -> TransformersCallbacks:  # noqa: ARG004  # __init__'s
        """Return the callback at work where the trainer would make another one."""
        if kept and cls._at_work is not None:
            return cls._at_work
        made: TransformersCallbacks = super().__new__(cls)
        return made

    def __init__(self, callbacks: Any = None, *, kept: bool = False) -> None:
        if kept:
            return
        self.callbacks = list(CallbackList(callbacks))
        self._trainer: Any = None
        self._session: TrainerSession | None = None
        self._fitting = False
        self._evaluation: TrainerSession | None = None
        self._adapter: TransformersAdapter | None = None
        self._resumed_from: Path | None = None
        self._undo = ExitStack()
        self._depth = 0
        self._awaits_evaluation = self._agrees = False
        self._batch = self._evaluated_batch = 0
        tell_of_calls()

    @property
    def history(self) -> History:
        """The history of the last training.

        Raises:
            NotReady: None has begun.
        """
        return self._training().history

    # ---- the calls of the trainer -----------------------------------------------------------------------------------------

    def call_begins(self, trainer: Any, method: str, arguments: dict[str, Any]) -> None:
        self._trainer = trainer
        if method == "train":
            TransformersCallbacks._at_work = self
            self._resumed_from = self._checkpoint(arguments)
            return
        self._depth += 1  # of several data sets, each is evaluated by a call of its own
        if self._depth == 1:
            self._begin_evaluation("test" if method == "evaluate" else "predict")

    def _checkpoint(self, arguments: dict[str, Any]) -> Path | None:
        given = arguments.get("resume_from_checkpoint")
        if given is True:
            found = checkpoints.newest_whole(Path(self._trainer.args.output_dir))
            if found is not None:
                arguments["resume_from_checkpoint"] = str(found)
            return found
        return Path(given) if given else None

    def call_ends(self, method: str, arguments: Mapping[str, Any], result: Any) -> None:
        if method == "train":
            TransformersCallbacks._at_work = None
            return
        self._depth -= 1
        if self._depth == 0:
            self._end_evaluation(method, arguments.get("metric_key_prefix", "eval"), result)

    def call_fails(self, method: str, exc: BaseException) -> None:
        if method != "train":
            self._depth = 0
            evaluation, self._evaluation = self._evaluation, None
            if evaluation is not None:
                evaluation.fail(exc)
            return
        TransformersCallbacks._at_work = None
        self._undo.close()
        if self._fitting:
            self._fitting = False
            self._training().fail(exc)

    # ---- the life of a training ------------------------------------------------------------------------------------------

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._fitting:  # the trainer begins again, with smaller batches
            self._undo.close()
            self._training().close()
        self._refuse_two()
        self._awaits_evaluation = False
        session, adapter = self._make_session(args, state)
        kept = None if self._resumed_from is None else checkpoints.read_state(self._resumed_from)
        self._fitting = True
        session.begin_training(kept)
        self._undo.enter_context(adapter.metrics.measuring(self._trainer))
        self._undo.callback(adapter.release)
        self._agrees = args.world_size > 1 and session.agrees_on_batches()
        self._batch = session.run.batch + 1 if session.epoch_is_open else 0
        if session.epoch_is_open and int(state.epoch) > session.run.epoch:
            self._end_epoch_left_open()
        if kept is None:
            session.run.epoch = int(state.epoch or 0) - 1
        if session.run.stop_requested:
            self._train_no_more()

    def _make_session(self, args: Any, state: Any) -> tuple[TrainerSession, TransformersAdapter]:
        adapter = self._adapter = TransformersAdapter(self._trainer)
        run = self._run(adapter, epochs=state.num_train_epochs)
        run.initial_epoch = int(state.epoch or 0)
        run.batch_size = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        given = list(self.callbacks)
        if not any(isinstance(one, History) for one in given):
            given.append(History())
        params = {"verbose": 1, "epochs": run.epochs, "steps": _steps_of_epoch(args, self._trainer)}
        session = self._session = TrainerSession(given, run, self._trainer.model, params, loop=SUPPORT)
        return session, adapter

    def _run(self, adapter: TransformersAdapter, *, epochs: int = 1) -> Run:
        args = self._trainer.args
        run = Run(adapter, epochs=epochs, rank=args.process_index, world_size=args.world_size)
        run.share = _shared
        if any(isinstance(one, ProgressCallback) for one in self._trainer.callback_handler.callbacks):
            run.speaker = tqdm.write
        return run

    def _refuse_two(self) -> None:
        others = [one for one in self._trainer.callback_handler.callbacks if isinstance(one, TransformersCallbacks)]
        if len(others) > 1:
            raise ArgumentError(
                f"Trainer(callbacks=...): received {len(others)} of jalon.bridges.transformers. Pass all callbacks to one."
            )

    def _end_epoch_left_open(self) -> None:
        """End the epoch after whose last step the checkpoint was written: the trainer begins with the next one."""
        trainer = self._trainer
        if trainer.args.eval_strategy != "epoch":
            self._end_epoch()
            return
        self._awaits_evaluation = True
        trainer._load_rng_state(str(self._resumed_from))
        trainer.evaluate()
        drawn = random_state()  # an evaluation draws, and the trainer would begin the epoch with what was before it
        trainer._load_rng_state = lambda _: load_random_state(drawn)
        self._undo.callback(delattr, trainer, "_load_rng_state")

    def _train_no_more(self) -> None:
        """Let the trainer, which would take a step before it looks, find the end of training."""
        self._trainer.control.should_training_stop = True
        self._trainer._run_epoch = lambda **_: None
        self._undo.callback(delattr, self._trainer, "_run_epoch")

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._end_epoch_if_due()
        session = self._training()
        if control.should_training_stop and state.global_step < state.max_steps and not session.run.stop_requested:
            session.run.stop("should_training_stop was set")
        self._undo.close()
        rows = session.history.rows
        session.end_training({name: value for name, value in (rows[-1] if rows else {}).items() if isinstance(value, float)})
        self._fitting = False

    def _training(self) -> TrainerSession:
        if self._session is None:
            raise NotReady("No training has begun. Call trainer.train() first.")
        return self._session

    def _adapter_in_use(self) -> TransformersAdapter:
        if self._adapter is None:
            raise NotReady("No training has begun. Call trainer.train() first.")
        return self._adapter

    # ---- epochs and batches ------------------------------------------------------------------------------------------------

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        self._end_epoch_if_due()
        session = self._training()
        if not session.epoch_is_open and "_run_epoch" not in vars(self._trainer):
            self._adapter_in_use().metrics.begin_epoch()
            self._batch = 0
            session.begin_epoch(session.run.epoch + 1)
        return self._passed_on(control)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        if control.should_evaluate:
            self._awaits_evaluation = True
        else:
            self._end_epoch()
        return self._passed_on(control)

    def _end_epoch_if_due(self) -> None:
        if self._awaits_evaluation:
            self._end_epoch()

    def _end_epoch(self) -> None:
        """Tell of the epoch's end, before the trainer writes the checkpoint that belongs to it."""
        self._awaits_evaluation = False
        logs, session = self._adapter_in_use().metrics.read(), self._training()
        if session.run.world_size > 1 and "loss" in logs:
            logs["loss"] = float(self._gathered(logs["loss"]).mean())
        session.end_epoch(logs)
        self._agree()

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        self._training().begin_batch(self._batch)
        return self._passed_on(control)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        callbacks = self._training().callbacks
        if callbacks.listens("on_before_optimizer_step"):
            callbacks.before_optimizer_step(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        metrics = self._adapter_in_use().metrics
        metrics.end_step()
        self._training().end_batch(self._batch, metrics.batch_logs)
        self._batch += 1
        if self._agrees:
            self._agree()
        return self._passed_on(control)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if self._fitting:
            self._adapter_in_use().metrics.log(logs or {})

    def _passed_on(self, control: Any) -> Any:
        if self._training().run.stop_requested:
            control.should_training_stop = True
        return control

    def _agree(self) -> None:
        """Let all processes stop where one of them is to."""
        run = self._training().run
        if run.world_size > 1 and self._gathered(float(run.stop_requested)).any():
            run.stop("another process asked for it")

    def _gathered(self, value: float) -> torch.Tensor:
        accelerator = self._trainer.accelerator
        gathered: torch.Tensor = accelerator.gather(torch.tensor([value], dtype=torch.float32, device=accelerator.device))
        return gathered

    # ---- evaluate and predict ----------------------------------------------------------------------------------------------

    def _begin_evaluation(self, phase: Phase) -> None:
        self._evaluated_batch = 0
        if not self._fitting:
            adapter = TransformersAdapter(self._trainer)
            params = {"verbose": 1, "epochs": 1, "steps": None}
            self._evaluation = TrainerSession(self.callbacks, self._run(adapter), self._trainer.model, params, loop=SUPPORT)
            self._evaluation.begin(phase)
        if phase == "test":
            self._evaluating().begin_test()
        else:
            self._evaluating().callbacks.on_predict_begin({})

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        session = self._evaluating()
        hook = "on_predict_batch_end" if session.run.phase == "predict" else "on_test_batch_end"
        session.tell_batch(hook, self._evaluated_batch, {})
        self._evaluated_batch += 1

    def _end_evaluation(self, method: str, prefix: str, result: Any) -> None:
        session = self._evaluating()
        if method == "predict":
            session.callbacks.on_predict_end({})
        else:
            session.end_test(evaluated(result, f"{prefix}_"))
            if self._fitting and prefix == "eval":
                self._adapter_in_use().metrics.validate(result)
                self._end_epoch_if_due()
        evaluation, self._evaluation = self._evaluation, None
        if evaluation is not None:
            evaluation.close()
        elif session.run.stop_requested:
            self._trainer.control.should_training_stop = True

    def _evaluating(self) -> TrainerSession:
        return self._evaluation or self._training()

    # ---- what stands in the trainer's checkpoints ------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Put the state into the checkpoint that is being written: the trainer asks for it before it writes its last file."""
        if self._fitting and not self._trainer.state.is_hyper_param_search:
            self._end_epoch_if_due()
            folder = Path(self._trainer.args.output_dir, f"checkpoint-{self._trainer.state.global_step}")
            checkpoints.write_state(folder, self._training().state())
        return {"args": {"kept": True}, "attributes": {}}


def _shared(value: Any) -> Any:
    """Give a value of the main process to all of them."""
    return broadcast_object_list([value])[0]


def _steps_of_epoch(args: Any, trainer: Any) -> int | None:
    """Return how many optimizer steps an epoch has, where the data have a length."""
    try:
        batches = len(trainer.callback_handler.train_dataloader)
    except TypeError:
        return None
    return math.ceil(batches / int(args.gradient_accumulation_steps))
