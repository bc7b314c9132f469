"""Model: a PyTorch module with Keras's ``compile``, ``fit``, ``evaluate`` and ``predict``."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from jalon.callbacks._run_folder import callbacks_of
from jalon.callbacks.backup_and_restore import Resume
from jalon.callbacks.history import History
from jalon.callbacks.progbar_logger import ProgbarLogger
from jalon.core.callback_list import CallbackList
from jalon.core.run import Run
from jalon.core.transform import Batch, Transform, TransformPhase
from jalon.engines.torch import saving
from jalon.engines.torch.adapter import TorchAdapter
from jalon.engines.torch.averages import WeightAverages
from jalon.engines.torch.calling import ModuleCall
from jalon.engines.torch.data import DataReader, FitData
from jalon.engines.torch.fit import FitLoop, evaluate, evaluating, predict, random_numbers_kept
from jalon.engines.torch.objective import Objective, Tracker
from jalon.engines.torch.optimizers import Optimizer, build_optimizer, check_optimizer_name
from jalon.engines.torch.options import Options, Precision
from jalon.engines.torch.rehearsal import rehearse
from jalon.engines.torch.sources import Source
from jalon.engines.torch.structures import as_host, concatenated, describe, map_leaves, rows_of
from jalon.engines.torch.summary import print_summary
from jalon.errors import ArgumentError, DataError, NotReady

Verbose = Literal["auto", 0, 1, 2]


class Model:
    """Train a PyTorch module with callbacks, by Keras's methods.

    Args:
        module: The module. Data follows it to its device.

    Example:
        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> x, y = torch.randn(64, 4), torch.randint(0, 3, (64,))
        >>> model = Model(torch.nn.Linear(4, 3)).compile("adam", loss="cross_entropy", metrics=["accuracy"])
        >>> history = model.fit(x, y, epochs=2, verbose=0)
        >>> sorted(history.history)
        ['accuracy', 'loss']
    """

    def __init__(self, module: nn.Module) -> None:
        if not isinstance(module, nn.Module):
            raise ArgumentError(f"Model: module must be a torch.nn.Module. Received: {module!r}.")
        self.module = module
        self.transforms: list[Transform] = []
        self.history: History | None = None
        self._objective: Objective | None = None
        self._optimizer: Optimizer | None = None
        self._optimizer_spec: Any = None
        self._scheduler_spec: Any = None
        self._scheduler_interval: Literal["epoch", "step"] = "epoch"
        self._options = Options()
        self._step_options = self._options
        self._steps_per_execution = 1
        self._scaler: torch.amp.GradScaler | None = None
        self._averages: WeightAverages | None = None
        self._accumulated = 0
        self._parameters: list[nn.Parameter] = []
        self._call = ModuleCall(module)
        self._inputs: Any = None
        self._metrics_names: list[str] = []
        self._tracker: Tracker
        self._adapter = TorchAdapter(self)
        self._run = Run(self._adapter)

    def __repr__(self) -> str:
        return f"<jalon.Model of {type(self.module).__name__}>"

    def __call__(self, *inputs: Any, training: bool | None = None) -> Any:
        """Return the module's outputs.

        Args:
            inputs: One tensor, tuple or dict of inputs, or several positional ones.
            training: Taken so that Keras's custom steps run; the module's own mode decides.
        """
        dtype = self._step_options.autocast_dtype
        if dtype is None:
            return self._call(*inputs)
        with torch.autocast(self.device.type, dtype=dtype):
            outputs = self._call(*inputs)
        return map_leaves(_widened, outputs)

    # ---- compile -----------------------------------------------------------------------------------------------------

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        steps_per_execution: int = 1,
        jit_compile: bool = False,
        *,
        scheduler: Any = None,
        scheduler_interval: Literal["epoch", "step"] = "epoch",
        device: str | torch.device | None = None,
        precision: Precision = "float32",
        gradient_accumulation_steps: int = 1,
        clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
    ) -> Self:
        """Set how the model is trained and measured, and return the model.

        Args:
            optimizer: Keras's name in lower case with Keras's defaults (``"adam"``), torch's class name with torch's
                (``"Adam"``), a class, a function of the parameters, or an optimizer over this module's parameters.
                Defaults to ``"rmsprop"``, as in Keras.
            loss: Keras's name with Keras's meaning (``"sparse_categorical_crossentropy"`` takes probabilities), torch's
                (``"cross_entropy"`` takes logits), a module, or a function. For several outputs a list or a dict.
            loss_weights: Weights of the losses of several outputs in the sum.
            metrics: A metric or a list: names, ``torchmetrics`` objects, functions.
            weighted_metrics: The same, measured with sample and class weights.
            steps_per_execution: Batches between two looks at the callbacks. Defaults to 1.
            jit_compile: Whether to run the module through ``torch.compile``.
            scheduler: A torch scheduler over ``optimizer``, or a function that makes one of it.
            scheduler_interval: Whether it is stepped after each ``"epoch"`` or each optimizer ``"step"``.
            device: Where to move the module. Defaults to where it is.
            precision: ``"float32"``, ``"mixed_bfloat16"`` or ``"mixed_float16"``.
            gradient_accumulation_steps: Batches whose gradients are averaged for one optimizer step.
            clipnorm: The greatest norm of each weight's gradient, as Keras clips.
            use_ema: Whether to keep a moving average of the weights, as Keras's optimizers do, and to end ``fit`` with it in
                their place. Validation takes it with ``SwapEMAWeights``.
            ema_momentum: The share of the average that stays at each optimizer step. Defaults to 0.99.
            ema_overwrite_frequency: Optimizer steps after which the weights become their average, each time. Defaults to
                never before the end of ``fit``.

        Raises:
            ArgumentError: An argument that cannot be meant; the nearest name is suggested.
        """
        self._options = Options(precision, gradient_accumulation_steps, clipnorm, use_ema, ema_momentum, ema_overwrite_frequency)
        if not isinstance(steps_per_execution, int) or steps_per_execution < 1:
            raise ArgumentError(
                f"Model.compile: steps_per_execution must be a positive whole number. Received: {steps_per_execution!r}."
            )
        if scheduler_interval not in ("epoch", "step"):
            raise ArgumentError(f"Model.compile: scheduler_interval must be 'epoch' or 'step'. Received: {scheduler_interval!r}.")
        check_optimizer_name(optimizer, where="Model.compile")
        self._objective = Objective(loss, loss_weights, metrics, weighted_metrics)
        self._optimizer_spec, self._scheduler_spec, self._scheduler_interval = optimizer, scheduler, scheduler_interval
        self._optimizer = None
        self._averages = WeightAverages(ema_momentum, ema_overwrite_frequency) if use_ema else None
        self._steps_per_execution = steps_per_execution
        self._accumulated = 0
        self._metrics_names = []
        self._move(device)
        self._call = ModuleCall(self.module, compiled=jit_compile)
        if not any(isinstance(parameter, nn.UninitializedParameter) for parameter in self.module.parameters()):
            self._build_optimizer()
        return self

    # ---- train, measure, predict -------------------------------------------------------------------------------------

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Verbose = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Mapping[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int | Collection[int] = 1,
        *,
        seed: int | None = None,
        device: str | torch.device | None = None,
        precision: Precision | None = None,
        gradient_accumulation_steps: int | None = None,
        clipnorm: float | None = None,
        run_dir: str | os.PathLike[str] | None = None,
        resume: Resume = "auto",
        dry_run: bool = False,
        live: bool = False,
    ) -> History:
        """Train for a number of epochs, and return the history.

        Args:
            x: Arrays or tensors (one, a tuple or a dict of them), a ``Dataset``, a ``DataLoader``, or a generator of batches.
            y: Targets, where ``x`` holds none.
            batch_size: Rows in a batch. Defaults to 32.
            epochs: The number of the epoch before which training ends. Defaults to 1.
            verbose: 0 shows nothing, 1 or ``"auto"`` a bar, 2 a line an epoch.
            callbacks: A callback, or a list of them.
            validation_split: The share of the data, taken from its end before shuffling, to validate on.
            validation_data: ``(x, y)``, ``(x, y, sample_weight)``, or what yields batches of them.
            shuffle: Whether each epoch has an order of its own. A ``DataLoader`` decides by itself.
            class_weight: Weights of the classes in the loss, by class number.
            sample_weight: Weights of the samples in the loss ``(N,)``.
            initial_epoch: The number of the first epoch. Defaults to 0.
            steps_per_epoch: Batches in an epoch; needed for a generator without end.
            validation_steps: Batches in a validation.
            validation_batch_size: Rows in a validation batch. Defaults to ``batch_size``.
            validation_freq: Validate every so many epochs, or after the epochs named, counted from 1.
            seed: Seeds Python's, numpy's and torch's random numbers before anything is drawn.
            device: Moves the module, as in ``compile``.
            precision: As in ``compile``, for this training.
            gradient_accumulation_steps: As in ``compile``, for this training.
            clipnorm: As in ``compile``, for this training.
            run_dir: A folder that makes the training last: interrupted at any moment and started again by the same command,
                it ends as if nothing had happened. Backed up after each epoch and every minute. Started again when it has
                ended, it returns its history, or goes on where there are more ``epochs``. A second ``fit`` of the same
                program with the same folder has its own, ``fit-2`` in it.
            resume: ``"auto"`` goes on where there is something to go on with; True insists on it; False begins anew, and
                what is there is deleted. Goes with ``run_dir``.
            live: Whether to start the page that shows the runs beside ``run_dir`` while they train, as a process of its own,
                and say its address. Goes with ``run_dir``. Defaults to False.

            dry_run: Whether to send one batch, one validation batch and one epoch end through everything, saving included, before
                the training itself is begun by another call. It is done with copies, and what is written is written in a
                temporary place: model, callbacks, random numbers and files are as they were.

        Raises:
            NotReady: ``compile`` has not been called.
            DataError: Data that cannot be trained on, before the first step.
            ArgumentError: An argument that cannot be meant.
            MissingMetric: A callback monitors what nothing reports.
            CheckpointMismatch: What is in ``run_dir`` is another training; it names what differs.
            FolderInUse: Another process is training there.
            Preempted: The training was asked to end, as by SIGTERM; it is saved.
        """
        if dry_run:
            given = {name: value for name, value in locals().items() if name not in ("self", "callbacks", "dry_run")}
            return rehearse(self, callbacks, given)
        objective = self._compiled("fit")
        _refuse_many_processes()
        if not all(isinstance(number, int) and number >= 0 for number in (epochs, initial_epoch)) or epochs < initial_epoch:
            raise ArgumentError(
                "Model.fit: epochs and initial_epoch must be whole numbers from 0, and epochs not less than initial_epoch. "
                f"Received: epochs={epochs!r}, initial_epoch={initial_epoch!r}."
            )
        if not objective.has_loss and not self.reports_its_own_metrics:
            raise ArgumentError("Model.fit: there is nothing to train towards. Pass loss= to compile, or override train_step.")
        step_options = self._options.changed(
            precision=precision, gradient_accumulation_steps=gradient_accumulation_steps, clipnorm=clipnorm
        )
        self._move(device)
        if seed is not None:
            seed_everything(seed)
        data = FitData(
            x=x,
            y=y,
            sample_weight=sample_weight,
            class_weight=class_weight,
            batch_size=batch_size,
            shuffle=shuffle,
            steps_per_epoch=steps_per_epoch,
            validation_split=validation_split,
            validation_data=validation_data,
            validation_steps=validation_steps,
            validation_batch_size=validation_batch_size,
        )
        train, validation = data.sources(DataReader(self.device, self.dtype, where="Model.fit"))
        self._begin_steps(step_options)
        self._adapter.announce_validation(validation is not None)
        self._run = Run(
            self._adapter, epochs=epochs, initial_epoch=initial_epoch, run_dir=None if run_dir is None else Path(run_dir)
        )
        self._run.validation_freq, self._run.batch_size = validation_freq, train.batch_size
        kept = callbacks_of(run_dir, resume=resume, live=live)
        listened = CallbackList([callbacks, *_progress(callbacks, verbose), *kept, History()])
        loop = FitLoop(
            self, train, validation, _validation_plan(validation_freq), listened, self._run, self._steps_per_execution, verbose
        )
        with self._adapter.conducting(loop):
            return loop()

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: Verbose = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """Return the loss and the metrics on data.

        Args:
            x: As in ``fit``.
            y: As in ``fit``.
            batch_size: Rows in a batch. Defaults to 32.
            verbose: As in ``fit``.
            sample_weight: Weights of the samples ``(N,)``.
            steps: Batches to take.
            callbacks: As in ``fit``.
            return_dict: Whether to return values by name. Otherwise a list, or the loss alone where there is nothing else.
        """
        self._compiled("evaluate")
        reader = DataReader(self.device, self.dtype, where="Model.evaluate")
        source = reader.source(x, y, sample_weight, batch_size=batch_size, steps=steps)
        with self._session(callbacks, verbose, source) as (listened, run):
            self.build(self.prepared(source.first(), "test"))
            values = evaluate(self, source, listened, run, phase="test")
        if return_dict:
            return values
        ordered = [values[name] for name in (*self.metrics_names, *(values.keys() - set(self.metrics_names)))]
        return ordered[0] if len(ordered) == 1 else ordered

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: Verbose = "auto",
        steps: int | None = None,
        callbacks: Any = None,
    ) -> Any:
        """Return the module's outputs for data, as numpy arrays.

        Args:
            x: As in ``fit``; where it yields ``(x, y)``, ``y`` is left aside.
            batch_size: Rows in a batch. Defaults to 32.
            verbose: As in ``fit``.
            steps: Batches to take.
            callbacks: As in ``fit``.
        """
        source = DataReader(self.device, self.dtype, where="Model.predict").source(x, batch_size=batch_size, steps=steps)
        with self._session(callbacks, verbose, source) as (listened, run):
            outputs = predict(self, source, listened, run)
        return concatenated(outputs)

    def summary(self) -> None:
        """Print the module's layers with the shapes and numbers of their weights."""
        print_summary(self.module)

    # ---- weights and files -------------------------------------------------------------------------------------------

    def get_weights(self) -> list[Any]:
        """Return copies of all weights as numpy arrays, in the module's order."""
        return [as_host(value).copy() for value in self.module.state_dict().values()]

    def set_weights(self, weights: Iterable[Any]) -> None:
        """Put weights in place, as ``get_weights`` returned them.

        Raises:
            ArgumentError: Another number of arrays, or another shape.
        """
        saving.put_weights(self.module, list(weights))

    def save(self, filepath: str | Path, overwrite: bool = True) -> None:
        """Write weights, transforms and the optimizer's state, to go on from or to use.

        Args:
            filepath: Where to; ``.safetensors``, ``.h5``, ``.pt``, or ``.pt2`` for weights with the program.
            overwrite: Whether a file that is there may be replaced.
        """
        self._write_checked(Path(filepath), overwrite, weights_only=False)

    def save_weights(self, filepath: str | Path, overwrite: bool = True) -> None:
        """Write weights and transforms, without the optimizer's state.

        Args:
            filepath: Where to; ``.safetensors``, ``.h5``, ``.pt``, or ``.pt2`` for weights with the program.
            overwrite: Whether a file that is there may be replaced.
        """
        self._write_checked(Path(filepath), overwrite, weights_only=True)

    def load_weights(self, filepath: str | Path) -> None:
        """Read weights and transforms alone; the optimizer stays as it is, fresh after ``compile`` (a warm start).

        Raises:
            CheckpointError: The file is missing, damaged, or of another model.
        """
        saving.read(self, Path(filepath), optimizer=False)

    def load(self, filepath: str | Path) -> None:
        """Read weights, transforms and the optimizer's state, to go on as the saved training would have.

        Raises:
            CheckpointError: The file is missing, damaged, of another model, or holds weights alone.
        """
        self._compiled("load")
        saving.read(self, Path(filepath), optimizer=True)

    @classmethod
    def from_checkpoint(cls, path: str | Path, module: nn.Module | None = None, *, transforms: Iterable[Transform] = ()) -> Self:
        """Return a model ready to predict, from a file that a training wrote.

        Args:
            path: The file.
            module: The module whose weights it holds, freshly made. A ``.pt2`` file needs none.
            transforms: The transforms of one's own that the model was trained behind. jalon's are made by themselves.

        Raises:
            CheckpointError: The file is missing, damaged, or of another model.
        """
        model = cls(saving.read_program(Path(path)) if module is None else module)
        model.transforms = list(transforms)
        saving.read(model, Path(path), optimizer=False)
        return model

    # ---- what callbacks ask ------------------------------------------------------------------------------------------

    @property
    def stop_training(self) -> bool:
        """Whether training should end; set it to end training after the batch in hand."""
        return self._run.stop_requested

    @stop_training.setter
    def stop_training(self, requested: bool) -> None:
        self._run.set_stop(bool(requested))

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer, with Keras's ``learning_rate`` and ``iterations``.

        Raises:
            NotReady: ``compile`` has not been called, or the module's weights await a first batch.
        """
        if self._optimizer is None:
            raise NotReady("The optimizer does not exist yet. Call compile; a module with lazy weights must also see a batch.")
        return self._optimizer

    @property
    def averages(self) -> WeightAverages | None:
        """The moving average of the weights, where ``compile`` asked for one; ``None`` before the first ``fit`` or ``load``."""
        return self._averages if self._averages is not None and self._averages.begun else None

    @property
    def keeps_averages(self) -> bool:
        """Whether ``compile`` asked for a moving average of the weights."""
        return self._averages is not None

    @property
    def example_inputs(self) -> Any:
        """Two rows of the first batch that the model was built with, as it saw them; ``None`` before that."""
        return self._inputs

    @property
    def is_compiled(self) -> bool:
        """Whether there is an optimizer."""
        return self._optimizer is not None

    @property
    def objective(self) -> Objective:
        """The compiled losses and metrics."""
        return self._compiled("objective")

    @property
    def metrics_names(self) -> list[str]:
        """The names of what is measured, ``loss`` first; known once a batch has been seen."""
        return list(self._metrics_names)

    @property
    def reports_its_own_metrics(self) -> bool:
        """Whether a step has been overridden, so that nobody knows its metrics beforehand."""
        mine = type(self)
        return mine.train_step is not Model.train_step or mine.test_step is not Model.test_step

    @property
    def device(self) -> torch.device:
        """Where the module is."""
        for tensor in (*self.module.parameters(), *self.module.buffers()):
            return tensor.device
        return torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        """The floating type of the module's weights."""
        for tensor in (*self.module.parameters(), *self.module.buffers()):
            if tensor.is_floating_point():
                return tensor.dtype
        return torch.get_default_dtype()

    def trainer_adapter(self) -> TorchAdapter:
        """Return what answers callbacks on the model's behalf."""
        return self._adapter

    # ---- the steps: override to train in another way -----------------------------------------------------------------

    def train_step(self, data: Batch) -> Mapping[str, Any]:
        """Train on one batch, and return its values by name.

        Override it to train in another way. Return this batch's values: they are averaged over the epoch, weighted by
        the batch's size.

        Args:
            data: ``(x,)``, ``(x, y)`` or ``(x, y, sample_weight)``, on the model's device.
        """
        self._train(self._tracker, data)
        return self._tracker.results()

    def test_step(self, data: Batch) -> Mapping[str, Any]:
        """Measure the model on one batch, without gradients, and return its values by name; as ``train_step``."""
        self._test(self._tracker, data)
        return self._tracker.results()

    def predict_step(self, data: Batch) -> Any:
        """Return the outputs for one batch, without gradients."""
        return self(data[0])

    def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Tensor | None = None) -> Tensor:
        """Return the compiled loss of a batch.

        Args:
            x: The inputs; for overriding.
            y: The targets.
            y_pred: The module's outputs.
            sample_weight: The samples' weights ``(B,)``.
        """
        return self.objective.loss(y_pred, y, sample_weight)

    def minimize(self, loss: Tensor) -> None:
        """Take a step down a loss: backward, accumulate, clip, scale, step, as compiled.

        Args:
            loss: 0-d, with gradients.
        """
        options = self._step_options
        if self._accumulated == 0:
            for parameter in self._parameters:
                parameter.grad = None
        if options.gradient_accumulation_steps > 1:
            loss = loss / options.gradient_accumulation_steps
        if self._scaler is not None:
            loss = self._scaler.scale(loss)
        loss.backward()  # type: ignore[no-untyped-call]
        self._accumulated += 1
        if self._accumulated >= options.gradient_accumulation_steps:
            self._accumulated = 0
            self._take_step(options.clipnorm)

    def _take_step(self, clipnorm: float | None) -> None:
        optimizer, scaler = self.optimizer, self._scaler
        if scaler is not None:
            scaler.unscale_(optimizer.torch)
        if clipnorm is not None:
            clip_each(self._parameters, clipnorm)
        changed = optimizer.step(scaler)
        if changed and self._averages is not None:
            self._averages.update(optimizer.iterations)
        if self._scheduler_interval == "step":
            optimizer.step_scheduler()

    # ---- what the loops call -----------------------------------------------------------------------------------------

    def train_function(self, tracker: Tracker) -> Callable[[Batch], None]:
        """Return what trains on one batch and takes it into a tracker."""
        if type(self).train_step is not Model.train_step:
            return self._reporting(self.train_step, tracker, "train")
        return self._preparing(partial(self._train, tracker), "train")

    def test_function(self, tracker: Tracker, phase: TransformPhase) -> Callable[[Batch], None]:
        """Return what measures one batch into a tracker."""
        if type(self).test_step is not Model.test_step:
            return self._reporting(self.test_step, tracker, phase)
        return self._preparing(partial(self._test, tracker), phase)

    def predict_function(self) -> Callable[[Batch], Any]:
        """Return what makes outputs of one batch, on the host."""

        def step(data: Batch) -> Any:
            return map_leaves(as_host, self.predict_step(self.prepared(data, "predict")))

        return step

    def prepared(self, data: Batch, phase: TransformPhase) -> Batch:
        """Return a batch as the model shall see it."""
        for transform in self.transforms:
            data = transform.transform_batch(data, phase)
        return data

    def build(self, data: Batch) -> None:
        """Send a batch through without a trace, to settle what depends on it and refuse what does not fit.

        Args:
            data: A batch as the model shall see it.

        Raises:
            DataError: The module cannot take the batch, or its outputs do not fit the targets.
        """
        objective = self._compiled("build")
        outputs = self._tried(data[0])
        self._inputs = map_leaves(_two_rows, data[0])
        if self._optimizer is None:
            self._build_optimizer()
        if self.reports_its_own_metrics and not (len(data) > 1 and objective.has_loss):
            return
        if len(data) < 2:
            raise DataError("There are no targets. Pass y, or data that yields (x, y).")
        objective.build(outputs, data[1])
        self._metrics_names = Tracker(objective).names

    def end_epoch(self, logs: Mapping[str, float]) -> None:
        """Step a scheduler that is stepped by epochs; one that watches a metric watches ``val_loss``, else ``loss``."""
        if self._scheduler_interval == "epoch" and self.optimizer.owns_rate:
            self.optimizer.step_scheduler(logs.get("val_loss", logs.get("loss")))

    def end_training(self) -> None:
        """Put the average of the weights in their place, where one is kept, as Keras's ``fit`` does."""
        if self._averages is not None:
            self._averages.put_in_place()

    def optimizer_state(self) -> dict[str, Any]:
        """Return the optimizer's state, with the average of the weights where one is kept."""
        state = self.optimizer.state_dict()
        return state if self._averages is None else state | {"averages": self._averages.state_dict()}

    def load_optimizer_state(self, state: Mapping[str, Any]) -> None:
        """Take back what ``optimizer_state`` returned, the weights being in place.

        Raises:
            CheckpointMismatch: It belongs to another optimizer.
        """
        self.optimizer.load_state_dict(state)
        if self._averages is not None:
            self._averages.load_state_dict(state.get("averages", {}))
            self._average_the_trained()

    def step_state(self) -> dict[str, Any]:
        """Return what a step leaves for the next one: gradients that are still being added up, and the scale of the loss."""
        named = self.module.named_parameters() if self._accumulated else ()
        return {
            "accumulated": self._accumulated,
            "gradients": {name: weight.grad for name, weight in named if weight.grad is not None},
            "scaler": None if self._scaler is None else self._scaler.state_dict(),
        }

    def load_step_state(self, state: Mapping[str, Any]) -> None:
        """Take back what ``step_state`` returned."""
        self._accumulated = state["accumulated"]
        gradients = state["gradients"]
        for name, weight in self.module.named_parameters():
            weight.grad = gradients[name].to(weight) if name in gradients else None
        if self._scaler is not None and state["scaler"] is not None:
            self._scaler.load_state_dict(state["scaler"])

    # ---- how ---------------------------------------------------------------------------------------------------------

    def _write_checked(self, path: Path, overwrite: bool, *, weights_only: bool) -> None:
        if path.exists() and not overwrite:
            raise ArgumentError(f"{path} exists. Received: overwrite=False.")
        saving.freeze(self, path, weights_only=weights_only, about={})()

    def _compiled(self, method: str) -> Objective:
        if self._objective is None:
            raise NotReady(f"Model.{method}: the model is not compiled. Call model.compile(optimizer, loss, metrics) first.")
        return self._objective

    def _move(self, device: str | torch.device | None) -> None:
        if device is not None:
            self.module.to(torch.device(device))

    def _build_optimizer(self) -> None:
        parameters = list(self.module.parameters())
        built = build_optimizer(self._optimizer_spec, parameters, where="Model.compile")
        self._optimizer = Optimizer(built)
        if self._scheduler_spec is not None:
            self._optimizer.attach_scheduler(self._scheduler_spec)

    def _begin_steps(self, options: Options) -> None:
        self._step_options = options
        self._accumulated = 0
        self._scaler = torch.amp.GradScaler(self.device.type) if options.precision == "mixed_float16" else None
        self._parameters = [parameter for parameter in self.module.parameters() if parameter.requires_grad]
        self._average_the_trained()

    def _average_the_trained(self) -> None:
        if self._averages is not None:
            named = self.module.named_parameters()
            self._averages.begin({name: weight for name, weight in named if weight.requires_grad})

    def _tried(self, x: Any) -> Any:
        try:
            with random_numbers_kept(self.device), evaluating(self.module):
                outputs = self(x)
        except (RuntimeError, TypeError, ValueError, IndexError) as exc:
            raise DataError(f"{type(self.module).__name__} cannot take this batch: x is {describe(x)}. It said: {exc}") from exc
        self._parameters = [parameter for parameter in self.module.parameters() if parameter.requires_grad]
        return outputs

    def _preparing(self, step: Callable[[Batch], None], phase: TransformPhase) -> Callable[[Batch], None]:
        if not self.transforms:
            return step
        return lambda data: step(self.prepared(data, phase))

    def _train(self, tracker: Tracker, data: Batch) -> None:
        x, y, sample_weight = unpack(data)
        y_pred = self(x)
        loss = self.compute_loss(x, y, y_pred, sample_weight)
        self.minimize(loss)
        tracker.update(loss, y_pred, y, sample_weight, rows_of(x))

    def _test(self, tracker: Tracker, data: Batch) -> None:
        x, y, sample_weight = unpack(data)
        y_pred = self(x)
        loss = self.compute_loss(x, y, y_pred, sample_weight) if self.objective.has_loss else None
        tracker.update(loss, y_pred, y, sample_weight, rows_of(x))

    def _reporting(self, step: Callable[[Batch], Any], tracker: Tracker, phase: TransformPhase) -> Callable[[Batch], None]:
        """Return an overridden step with what it returns taken into a tracker."""

        def reported(data: Batch) -> None:
            self._tracker = tracker
            before = tracker.updates
            values = step(self.prepared(data, phase))
            if not isinstance(values, Mapping):
                raise ArgumentError(f"{step.__qualname__} must return this batch's values by name. Received: {values!r}.")
            tracker.add_returned(values, rows_of(data[0]), measured=tracker.updates != before)

        return reported

    @contextmanager
    def _session(self, callbacks: Any, verbose: Verbose, source: Source) -> Iterator[tuple[CallbackList, Run]]:
        """Give the callbacks of ``evaluate`` and ``predict`` a run of their own, and the model its own back."""
        listened = CallbackList([callbacks, *_progress(callbacks, verbose)])
        around, self._run = self._run, Run(self._adapter)
        self._run.batch_size = source.batch_size
        try:
            with listened.session():
                listened.begin(self._run, self, {"verbose": verbose, "epochs": 1, "steps": source.steps})
                yield listened, self._run
        finally:
            self._run = around


def unpack(data: Batch) -> tuple[Any, Any, Any]:
    """Return ``x``, ``y`` and ``sample_weight`` of a batch, ``None`` for what it has not."""
    if len(data) == 2:
        return data[0], data[1], None
    return data if len(data) == 3 else (data[0], None, None)


@torch.no_grad()
def clip_each(parameters: list[nn.Parameter], greatest: float) -> None:
    """Scale each gradient down to a greatest norm of its own, as Keras's ``clipnorm`` does."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norms = torch._foreach_norm(gradients)
    torch._foreach_mul_(gradients, [(greatest / norm.clamp(min=greatest)) for norm in norms])


def seed_everything(seed: int) -> None:
    """Seed Python's, numpy's and torch's random numbers."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def _progress(callbacks: Any, verbose: Verbose) -> list[ProgbarLogger]:
    """Return the bar that ``fit`` shows by itself, unless the list has one."""
    has_one = any(isinstance(callback, ProgbarLogger) for callback in CallbackList(callbacks))
    return [] if has_one or not verbose else [ProgbarLogger()]


def _validation_plan(frequency: int | Collection[int]) -> Callable[[int], bool]:
    """Return what says of an epoch whether validation follows it."""
    if isinstance(frequency, int) and not isinstance(frequency, bool) and frequency > 0:
        return lambda epoch: (epoch + 1) % frequency == 0
    if isinstance(frequency, Collection) and not isinstance(frequency, str):
        return lambda epoch: epoch + 1 in frequency
    raise ArgumentError(
        f"Model.fit: validation_freq must be a positive whole number or epochs counted from 1. Received: {frequency!r}."
    )


def _two_rows(value: Tensor) -> Tensor:
    return torch.cat([value[:1], value[-1:]]).detach()


def _widened(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value


def _refuse_many_processes() -> None:
    if torch.distributed.is_available() and torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
        raise NotReady("Model.fit trains in one process. Received: a torch.distributed group of several.")
