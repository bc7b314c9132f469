"""A ``fit`` that was interrupted at any moment, and started again by the same command, ends as if nothing had happened."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchmetrics
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, RandomSampler, Sampler, TensorDataset

from jalon import Callback, Model
from jalon.callbacks import (
    BackupAndRestore,
    EarlyStopping,
    LambdaCallback,
    ModelCheckpoint,
    ReduceLROnPlateau,
    Standardize,
    SwapEMAWeights,
)
from jalon.errors import CheckpointMismatch
from jalon.store.snapshot import Snapshots

ROWS, BATCH, EPOCHS = 110, 24, 3
BATCHES = -(-ROWS // BATCH)


class PowerCut(BaseException):
    """Ends a training as a kill does: nobody handles it."""


class Cut(Callback):
    """Interrupts training at one moment: in a hook, at its epoch and batch."""

    order = sys.maxsize - 1
    lazy_logs = True

    def __init__(self, at=None, strike=None):
        self.at = at
        self.strike = strike or self._raise

    def _raise(self):
        raise PowerCut

    def _pass(self, hook, batch=None):
        if self.at == ((hook, self.run.epoch) if batch is None else (hook, self.run.epoch, batch)):
            self.strike()

    def on_epoch_begin(self, epoch, logs=None):
        self._pass("on_epoch_begin")

    def on_train_batch_begin(self, batch, logs=None):
        self._pass("on_train_batch_begin", batch)

    def on_train_batch_end(self, batch, logs=None):
        self._pass("on_train_batch_end", batch)

    def on_test_begin(self, logs=None):
        self._pass("on_test_begin")

    def on_test_batch_end(self, batch, logs=None):
        self._pass("on_test_batch_end", batch)

    def on_epoch_end(self, epoch, logs=None):
        self._pass("on_epoch_end")

    def on_train_end(self, logs=None):
        if self.at == ("on_train_end",):
            self.strike()


BEGIN = ("on_train_batch_begin", 0, 0)
FIRST = ("on_train_batch_end", 0, 0)
MIDDLE = ("on_train_batch_begin", 1, 3)
LAST = ("on_train_batch_end", 1, BATCHES - 1)
VALIDATION = ("on_test_batch_end", 1, 0)
END = ("on_epoch_end", 1)
GAP = ("on_epoch_begin", 2)
OVER = ("on_train_end",)
SOME = (BEGIN, MIDDLE, LAST, VALIDATION, GAP)


@dataclass
class Program:
    """Is what a user's program sets up: a model, what ``fit`` takes, and what else must come out the same."""

    model: Model
    fit: dict[str, Any]
    callbacks: list[Callback] = field(default_factory=list)
    more: Callable[[], Any] = lambda: None


@cache
def digits():
    """Return rows to train on and rows to validate on, as arrays."""
    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype("float32")
    return x[:ROWS], y[:ROWS], x[500:540], y[500:540]


def net():
    return nn.Sequential(nn.Linear(64, 12), nn.ReLU(), nn.Dropout(0.3), nn.Linear(12, 10))


def in_memory():
    x, y, x_val, y_val = digits()
    return {"x": x, "y": y, "batch_size": BATCH, "epochs": EPOCHS, "validation_data": (x_val, y_val)}


def of_batches(batches, **given):
    _, _, x_val, y_val = digits()
    return {"x": batches, "epochs": EPOCHS, "validation_data": (x_val, y_val), **given}


def rows():
    x, y, _, _ = digits()
    return TensorDataset(torch.from_numpy(x), torch.from_numpy(y))


def program(fit, *callbacks, module=None, more=lambda: None, optimizer="adam", **compiled):
    compiled = {"loss": "cross_entropy", "metrics": ["accuracy"], **compiled}
    return Program(Model(module or net()).compile(optimizer, **compiled), fit, list(callbacks), more)


def seed_all(seed):
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def bits(value):
    """Return tensors and arrays, in one another, as what can be compared bit for bit."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.shape, value.tobytes()
    if isinstance(value, dict):
        return {key: bits(one) for key, one in value.items()}
    return [bits(one) for one in value] if isinstance(value, (list, tuple)) else repr(value)


def outcome(made, history):
    """Return everything that must not depend on whether training was interrupted."""
    model, run = made.model, made.model._run
    return {
        "weights": bits(model.module.state_dict()),
        "optimizer": bits(model.optimizer_state()),
        "step": bits(model.step_state()),
        "torch": bits(torch.get_rng_state()),
        "numpy": bits(list(np.random.get_state())),
        "python": random.getstate(),
        "history": history.history,
        "epochs": history.epoch,
        "stop": (run.stop_reason, run.step, run.epoch),
        "more": bits(made.more()),
    }


def start(setup, *, seed, at=None, backup=None, run_dir=None, **given):
    """Start a user's program; return what came out, or ``None`` where the power was cut."""
    seed_all(seed)
    made = setup()
    callbacks = [*made.callbacks, Cut(at), *([] if backup is None else [backup])]
    try:
        history = made.model.fit(**{"verbose": 0, **made.fit, **given}, callbacks=callbacks, run_dir=run_dir)
    except PowerCut:
        return None
    return outcome(made, history)


def differences(expected, actual):
    return [name for name in expected if expected[name] != actual[name]]


def compare(setup, place, *, moments=SOME, save_freqs=(2, "epoch"), seed=1, later_seed=2, **given):
    """Compare every interrupted training with the one that was not; what differs is returned by moment."""
    print(f"seeds {seed} and {later_seed}")
    expected = start(setup, seed=seed, **given)
    found = {}
    for save_freq in save_freqs:
        for at in moments:
            folder = place / f"{save_freq}-{'-'.join(map(str, at))}"
            backup = partial(BackupAndRestore, folder, save_freq, delete_checkpoint=False)
            assert start(setup, seed=seed, at=at, backup=backup(), **given) is None, (save_freq, at)
            actual = start(setup, seed=later_seed, backup=backup(), **given)
            differing = differences(expected, actual)
            if differing:
                found[save_freq, *at] = differing
    return found


@contextmanager
def folder_in_memory():
    """Make a folder in memory where there is one: these tests write thousands of small files, and cut no power."""
    memory = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=memory if os.path.isdir(memory) else None) as folder:  # noqa: PTH112
        yield Path(folder)


@pytest.fixture
def place():
    with folder_in_memory() as folder:
        yield folder


# ---- data in memory --------------------------------------------------------------------------------------------------


def test_arrays_in_an_order_of_their_own(place):
    """Shuffled arrays are gone on with at the row where they were, although the next start seeds nothing alike."""
    moments = (BEGIN, FIRST, MIDDLE, LAST, VALIDATION, END, GAP, OVER)

    assert {} == compare(lambda: program(in_memory()), place, moments=moments, save_freqs=(1, 2, 3, "epoch"))


def test_arrays_in_the_order_given(place):
    """Arrays that are not shuffled are too."""
    assert {} == compare(lambda: program({**in_memory(), "shuffle": False}), place)


def test_epochs_that_end_within_a_pass(place):
    """With steps_per_epoch, an epoch ends in the middle of the data and the next one goes on there, for validation too."""
    fit = {**in_memory(), "steps_per_epoch": 4, "validation_steps": 1, "validation_batch_size": 16}
    moments = [FIRST, ("on_train_batch_begin", 1, 1), ("on_train_batch_end", 1, 3), GAP]

    assert {} == compare(lambda: program(fit), place, moments=moments)


def test_epochs_of_several_passes(place):
    """With steps_per_epoch, an epoch may go through the data more than once, and end where a pass ends."""
    moments = [("on_train_batch_end", 0, 5), ("on_train_batch_begin", 1, 5), ("on_train_batch_end", 1, 9), GAP]

    assert {} == compare(lambda: program({**in_memory(), "steps_per_epoch": 10}), place, moments=moments)


def test_a_part_of_the_data_to_validate_on(place):
    """validation_split holds out the same rows at every start."""
    x, y, _, _ = digits()
    fit = {"x": x, "y": y, "batch_size": 20, "epochs": EPOCHS, "validation_split": 0.2}

    assert {} == compare(lambda: program(fit), place)


def test_weights_of_samples_and_classes(place):
    """Sample weights, class weights and what they weigh are as they were."""
    fit = {**in_memory(), "sample_weight": np.linspace(0.5, 2, ROWS, dtype="float32"), "class_weight": {0: 3.0, 4: 0.25}}

    assert {} == compare(lambda: program(fit, weighted_metrics=["accuracy", "cross_entropy"]), place)


def test_several_inputs_and_outputs(place):
    """A model of several inputs and outputs keeps the running loss and metrics of each."""

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.digit, self.size = nn.Linear(64, 8), nn.Linear(8, 10), nn.Linear(8, 1)

        def forward(self, x):
            hidden = nn.functional.dropout(self.body(x["left"]) + self.body(x["right"]), 0.2, self.training)
            return {"digit": self.digit(hidden), "size": self.size(hidden)}

    def setup():
        x, y, x_val, y_val = digits()
        sizes = x.sum(1, keepdims=True), x_val.sum(1, keepdims=True)
        fit = {
            **in_memory(),
            "x": {"left": x, "right": x[::-1].copy()},
            "y": {"digit": y, "size": sizes[0]},
            "validation_data": ({"left": x_val, "right": x_val}, {"digit": y_val, "size": sizes[1]}),
        }
        metrics = {"digit": ["accuracy", "f1_score"], "size": ["mae"]}
        return program(fit, module=Two(), loss={"digit": "cross_entropy", "size": "mse"}, metrics=metrics)

    assert {} == compare(setup, place)


# ---- loaders -----------------------------------------------------------------------------------------------------------


class Noisy(Dataset):
    """Holds digits to which it adds random numbers as they are read."""

    def __init__(self):
        self.x, self.y, _, _ = digits()

    def __len__(self):
        return ROWS

    def __getitem__(self, row):
        return torch.from_numpy(self.x[row]) + 0.1 * torch.rand(64), int(self.y[row])


class Backwards(Sampler):
    """Yields rows from the last one on, and begins one row later at each pass of this object."""

    def __init__(self, dataset):
        self.dataset = dataset

    def __iter__(self):
        return iter(range(len(self.dataset) - 1, -1, -1))

    def __len__(self):
        return len(self.dataset)


class ByNumpy(Backwards):
    """Draws its order from a generator of numpy's that is its own."""

    def __init__(self, dataset):
        super().__init__(dataset)
        self.rng = np.random.default_rng(5)

    def __iter__(self):
        return iter(self.rng.permutation(len(self.dataset)).tolist())


class ByPython(Backwards):
    """Draws its order from Python's random numbers, row by row."""

    def __iter__(self):
        left = list(range(len(self.dataset)))
        while left:
            yield left.pop(random.randrange(len(left)))


class Counting(Backwards):
    """Counts its passes, and tells and takes the count."""

    def __init__(self, dataset):
        super().__init__(dataset)
        self.passes = 0

    def __iter__(self):
        self.passes += 1
        return iter(np.random.default_rng(self.passes).permutation(len(self.dataset)).tolist())

    def state_dict(self):
        return {"passes": self.passes}

    def load_state_dict(self, state):
        self.passes = state["passes"]


def own_generator(**given):
    return DataLoader(rows(), BATCH, shuffle=True, generator=torch.Generator().manual_seed(7), **given)


def own_batch_sampler():
    sampler = RandomSampler(rows(), generator=torch.Generator().manual_seed(8))
    return DataLoader(rows(), batch_sampler=BatchSampler(sampler, BATCH, drop_last=False))


LOADERS = {
    "in order": lambda: DataLoader(rows(), BATCH),
    "shuffled": lambda: DataLoader(rows(), BATCH, shuffle=True),
    "own generator": own_generator,
    "random rows": lambda: DataLoader(Noisy(), BATCH, shuffle=True, generator=torch.Generator().manual_seed(9)),
    "backwards": lambda: DataLoader(rows(), BATCH, sampler=Backwards(rows())),
    "numpy's generator": lambda: DataLoader(rows(), BATCH, sampler=ByNumpy(rows())),
    "Python's numbers": lambda: DataLoader(rows(), BATCH, sampler=ByPython(rows())),
    "counting": lambda: DataLoader(rows(), BATCH, sampler=Counting(rows())),
    "batch sampler": own_batch_sampler,
    "dataset": rows,
    "dataset with random rows": Noisy,
}


@pytest.mark.parametrize("loader", LOADERS)
def test_loaders(place, loader):
    """A DataLoader is read on at the batch where it was, in the order it was in, whoever drew that."""
    given = {} if isinstance(LOADERS[loader](), DataLoader) else {"batch_size": BATCH}

    assert {} == compare(lambda: program(of_batches(LOADERS[loader](), **given)), place)


WORKERS = {
    "shuffled": lambda: DataLoader(rows(), BATCH, shuffle=True, num_workers=2),
    "own generator": partial(own_generator, num_workers=2),
    "random rows": lambda: DataLoader(Noisy(), BATCH, shuffle=True, num_workers=2),
    "persistent": lambda: DataLoader(rows(), BATCH, shuffle=True, num_workers=2, persistent_workers=True),
}


@pytest.mark.parametrize("loader", WORKERS)
def test_workers(place, loader):
    """Worker processes read the same rows and draw the same random numbers."""
    assert {} == compare(lambda: program(of_batches(WORKERS[loader]())), place, moments=(BEGIN, MIDDLE, LAST), save_freqs=(2,))


class Stream(IterableDataset):
    """Yields digits one after another, each worker its share."""

    def __iter__(self):
        x, y, _, _ = digits()
        worker = torch.utils.data.get_worker_info()
        first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        for row in range(first, ROWS, step):
            yield torch.from_numpy(x[row]) + 0.1 * torch.rand(64), int(y[row])


@pytest.mark.parametrize("workers", [0, 2])
def test_iterable_datasets(place, workers):
    """A dataset that can only be read one row after another is read on at the row where it was."""
    setup = lambda: program(of_batches(DataLoader(Stream(), BATCH, num_workers=workers)))  # noqa: E731

    assert {} == compare(setup, place, moments=(BEGIN, MIDDLE, LAST), save_freqs=(2,))


def test_loaders_with_epochs_that_end_within_a_pass(place):
    """A loader is read on across epochs too, with steps_per_epoch."""
    moments = [FIRST, ("on_train_batch_begin", 1, 2), ("on_train_batch_end", 1, 2), GAP]
    setup = lambda: program(of_batches(DataLoader(rows(), BATCH, shuffle=True), steps_per_epoch=3))  # noqa: E731

    assert {} == compare(setup, place, moments=moments)


def test_a_loader_to_validate_on(place):
    """A DataLoader that validates draws the same order and the same random numbers after a resume."""
    setup = lambda: program({**in_memory(), "validation_data": DataLoader(Noisy(), BATCH, shuffle=True)})  # noqa: E731

    assert {} == compare(setup, place)


def batches_without_end():
    """Yield batches, each pass in an order that it draws itself."""
    x, y, _, _ = digits()
    draw = np.random.default_rng(3)
    while True:
        order = draw.permutation(ROWS)
        for first in range(0, ROWS, BATCH):
            yield x[order[first : first + BATCH]], y[order[first : first + BATCH]]


def test_generators(place):
    """What a generator has yielded is left aside, and training goes on with what comes next."""
    setup = lambda: program(of_batches(batches_without_end(), steps_per_epoch=BATCHES))  # noqa: E731

    assert {} == compare(setup, place)


def test_a_generator_to_validate_on(place):
    """A generator that validates is read on where it was."""
    fit = lambda: {**in_memory(), "validation_data": batches_without_end(), "validation_steps": 2}  # noqa: E731

    assert {} == compare(lambda: program(fit()), place)


class Placed:
    """Is a loader that tells its place and takes it for the next pass, as torchdata's does."""

    def __init__(self):
        self.number, self.next, self.opened = 0, 0, []

    def __iter__(self):
        x, y, _, _ = digits()
        first, self.next = self.next, 0
        self.opened.append(first)
        for self.number in range(first + 1, BATCHES + 1):
            yield x[self.number * 10 : self.number * 10 + BATCH], y[self.number * 10 : self.number * 10 + BATCH]

    def __len__(self):
        return BATCHES

    def state_dict(self):
        return {"number": self.number, "tensor": torch.tensor([self.number], dtype=torch.bfloat16), "in a list": [torch.ones(2)]}

    def load_state_dict(self, state):
        assert bits(state) == bits({**self.state_dict(), "number": state["number"], "tensor": state["tensor"]})
        assert state["number"] == state["tensor"].item()
        self.number = self.next = state["number"]


def test_loaders_that_keep_their_place(place):
    """A loader with state_dict and load_state_dict goes to its place at once."""
    assert {} == compare(lambda: program(of_batches(Placed())), place)


def test_nothing_is_read_again_by_a_loader_that_keeps_its_place(place, capsys):
    """Such a loader is opened at the batch that comes next, and nobody is told of batches that are read again."""
    start(lambda: program(of_batches(Placed())), seed=1, at=("on_train_batch_begin", 1, 3), backup=BackupAndRestore(place, 1))
    loader = Placed()
    start(lambda: program(of_batches(loader)), seed=2, backup=BackupAndRestore(place, 1))

    assert 3 in loader.opened
    assert "read again" not in capsys.readouterr().out


def test_batches_that_are_read_again_are_told_of(place, capsys):
    """Where batches have to be read again, one line says how many, and what would save it."""
    setup = lambda: program(of_batches(DataLoader(rows(), BATCH)))  # noqa: E731
    start(setup, seed=1, at=("on_train_batch_begin", 1, 3), backup=BackupAndRestore(place, 1))
    start(setup, seed=2, backup=BackupAndRestore(place, 1))

    assert 1 == capsys.readouterr().out.count("left aside to get back to where the data stood: 3.")


STATEFUL = {
    "shuffled": {"shuffle": True},
    "own generator": {"shuffle": True, "generator": 11},
    "two workers": {"shuffle": True, "num_workers": 2},
}


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")  # torchdata still calls it
@pytest.mark.parametrize("given", STATEFUL)
def test_torchdata_s_loader(place, given):
    """torchdata's StatefulDataLoader goes to its place at once."""
    module = pytest.importorskip("torchdata.stateful_dataloader", reason="torchdata is not installed")

    def setup():
        options = dict(STATEFUL[given])
        if "generator" in options:
            options["generator"] = torch.Generator().manual_seed(options["generator"])
        return program(of_batches(module.StatefulDataLoader(rows(), BATCH, **options)))

    assert {} == compare(setup, place, moments=(BEGIN, MIDDLE, LAST, GAP))


# ---- how steps are taken -------------------------------------------------------------------------------------------------


def test_gradients_that_are_being_added_up(place):
    """Gradients that wait for more batches before a step of the optimizer are kept, across an epoch's end too."""
    assert {} == compare(lambda: program(in_memory(), gradient_accumulation_steps=3), place)


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_precisions(place, precision):
    """The scale of the loss and its growth are as they were."""
    assert {} == compare(lambda: program(in_memory(), precision=precision, gradient_accumulation_steps=2), place)


def test_a_scale_that_has_changed(place):
    """A scaler that has met an overflow goes on with its smaller scale."""

    class Huge(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = net()

        def forward(self, x):
            return self.inner(x) * 30

    assert {} == compare(lambda: program(in_memory(), module=Huge(), precision="mixed_float16"), place)


SCHEDULERS = {
    "epoch": partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5),
    "step": partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=0.1, total_steps=20),
}


OTHER_SCHEDULERS = {
    "several steps": partial(torch.optim.lr_scheduler.MultiStepLR, milestones=[1, 2]),
    "function": partial(torch.optim.lr_scheduler.LambdaLR, lr_lambda=lambda epoch: 0.9**epoch),
    "plateau": partial(torch.optim.lr_scheduler.ReduceLROnPlateau, patience=0, threshold=9),
    "cycles": partial(torch.optim.lr_scheduler.CyclicLR, base_lr=0.01, max_lr=0.1, step_size_up=3),
    "restarts": partial(torch.optim.lr_scheduler.CosineAnnealingWarmRestarts, T_0=2),
    "one after another": lambda optimizer: torch.optim.lr_scheduler.SequentialLR(
        optimizer,
        [torch.optim.lr_scheduler.ConstantLR(optimizer), torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)],
        milestones=[1],
    ),
}


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")  # SequentialLR itself does it
@pytest.mark.parametrize("name", OTHER_SCHEDULERS)
def test_other_schedulers(place, name):
    """Whatever a scheduler counts is counted on."""
    sgd = partial(torch.optim.SGD, lr=0.1, momentum=0.9)

    assert {} == compare(
        lambda: program(in_memory(), optimizer=sgd, scheduler=OTHER_SCHEDULERS[name]), place, moments=(BEGIN, MIDDLE, GAP)
    )


@pytest.mark.parametrize("interval", SCHEDULERS)
def test_schedulers(place, interval):
    """A scheduler goes on from where it was, stepped by epochs or by steps."""
    sgd = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
    setup = lambda: program(in_memory(), optimizer=sgd, scheduler=SCHEDULERS[interval], scheduler_interval=interval)  # noqa: E731

    assert {} == compare(setup, place)


def test_a_scheduler_under_a_callback_s_rate(place):
    """What a callback has made of a scheduler's rate is kept."""

    def setup():
        halve = LambdaCallback(on_epoch_begin=lambda epoch, logs: halved(made.model))
        made = program(in_memory(), halve, optimizer="sgd", scheduler=SCHEDULERS["epoch"])
        return made

    def halved(model):
        model.optimizer.learning_rate = model.optimizer.learning_rate * 0.5

    assert {} == compare(setup, place, moments=(END, GAP, OVER), save_freqs=("epoch",))


def test_the_average_of_the_weights(place):
    """The moving average of the weights goes on, also where validation takes it in place of the weights."""
    setup = lambda: program(in_memory(), SwapEMAWeights(), use_ema=True, ema_momentum=0.8)  # noqa: E731

    assert {} == compare(setup, place)


def test_the_average_in_the_model_at_an_epoch_s_end(place):
    """With swap_on_epoch, the weights that are kept aside at an epoch's end are kept in the backup."""
    setup = lambda: program(in_memory(), SwapEMAWeights(swap_on_epoch=True), use_ema=True, ema_momentum=0.8)  # noqa: E731

    assert {} == compare(setup, place)


def test_several_batches_in_one_execution(place):
    """With steps_per_execution, callbacks are told of the same batches; also where the last execution is shorter."""
    moments = [("on_train_batch_end", 0, 1), ("on_train_batch_begin", 1, 2), LAST, GAP]

    assert {} == compare(
        lambda: program(in_memory(), steps_per_execution=2), place, moments=[*moments, VALIDATION], save_freqs=(1, 2, "epoch")
    )


class OwnStep(Model):
    """Returns values of its own from a step."""

    def train_step(self, data):
        x, y = data
        loss = self.compute_loss(x, y, self(x))
        self.minimize(loss)
        return {"loss": loss, "spread": self(x).std()}


class OwnStepBesides(Model):
    """Returns a value besides the compiled ones."""

    def train_step(self, data):
        return {**super().train_step(data), "first": data[0][0, 20]}


@pytest.mark.parametrize("kind", [OwnStep, OwnStepBesides])
def test_steps_of_one_s_own(place, kind):
    """The means of what an overridden train_step returned go on within an epoch."""
    setup = lambda: Program(kind(net()).compile("adam", loss="cross_entropy", metrics=["accuracy"]), in_memory())  # noqa: E731

    assert {} == compare(setup, place)


def test_metrics(place):
    """Half-done metrics go on, whether they are sums, curves, functions or torchmetrics objects."""

    def spread(outputs, targets):
        return outputs.std(1)

    def setup():
        metrics = ["accuracy", "sparse_top_k_categorical_accuracy", "f1_score", "cross_entropy", spread]
        objects = [torchmetrics.Accuracy("multiclass", num_classes=10), torchmetrics.CohenKappa("multiclass", num_classes=10)]
        return program(in_memory(), metrics=[*metrics, *objects])

    assert {} == compare(setup, place)


@pytest.mark.filterwarnings("ignore:Metric `SpearmanCorrcoef` will save all targets")
def test_metrics_that_keep_every_value(place):
    """A metric that keeps what it has seen until the epoch's end has it after an interruption."""

    def setup():
        _, y, x_val, y_val = (array.astype("float32") for array in digits())
        fit = {**in_memory(), "y": y[:, None], "validation_data": (x_val, y_val[:, None])}
        metrics = ["r2_score", torchmetrics.SpearmanCorrCoef(), torchmetrics.MeanAbsolutePercentageError()]
        return program(fit, module=nn.Linear(64, 1), loss="mse", metrics=metrics)

    assert {} == compare(setup, place)


def test_curves_of_two_classes(place):
    """The area under a curve is reckoned from all batches, those before the interruption included."""

    def setup():
        _, y, x_val, y_val = digits()
        fit = {**in_memory(), "y": (y > 4).astype("float32")[:, None], "validation_data": (x_val, (y_val > 4)[:, None])}
        metrics = ["auc", "precision", "recall", torchmetrics.AUROC("binary")]
        return program(fit, module=nn.Sequential(nn.Linear(64, 1), nn.Sigmoid()), loss="binary_crossentropy", metrics=metrics)

    assert {} == compare(setup, place)


def test_weights_of_half_precision(place):
    """Weights, averages and best weights that are bfloat16 come back bit for bit."""

    def setup():
        stopper = EarlyStopping("loss", patience=2, min_delta=9, restore_best_weights=True)
        return program(in_memory(), stopper, module=net().bfloat16(), use_ema=True, metrics=None)

    assert {} == compare(setup, place, moments=(*SOME, OVER))


def test_normalizing_layers(place):
    """Running statistics of the module are weights too, also where they count in whole numbers."""
    module = lambda: nn.Sequential(nn.Linear(64, 12), nn.BatchNorm1d(12), nn.Linear(12, 10))  # noqa: E731

    assert {} == compare(lambda: program(in_memory(), module=module()), place)


def test_modules_that_are_built_by_data(place):
    """A module whose shapes the first batch settles is built, and then put back."""
    module = lambda: nn.Sequential(nn.LazyLinear(12), nn.ReLU(), nn.LazyLinear(10))  # noqa: E731

    assert {} == compare(lambda: program(in_memory(), module=module()), place)


def test_transforms(place):
    """Data are prepared as they were."""
    assert {} == compare(lambda: program(in_memory(), Standardize()), place)


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop", "adamw", "Adagrad", "NAdam", "Rprop", "ASGD"])
def test_optimizers(place, optimizer):
    """An optimizer's moments and counts are as they were."""
    assert {} == compare(lambda: program(in_memory(), optimizer=optimizer), place, moments=(MIDDLE,), save_freqs=(2,))


# ---- callbacks -----------------------------------------------------------------------------------------------------------


class Draws(Callback):
    """Draws random numbers in every hook, and keeps them."""

    def __init__(self):
        self.drawn = []

    def _draw(self):
        self.drawn.append([random.random(), float(np.random.rand()), float(torch.rand(()))])

    def on_epoch_begin(self, epoch, logs=None):
        self._draw()

    def on_train_batch_end(self, batch, logs=None):
        self._draw()

    def on_test_batch_end(self, batch, logs=None):
        self._draw()

    def on_epoch_end(self, epoch, logs=None):
        self._draw()

    def state_dict(self):
        return {"drawn": [list(row) for row in self.drawn]}

    def load_state_dict(self, state):
        self.drawn = [list(row) for row in state["drawn"]]


def test_random_numbers_that_callbacks_draw(place):
    """A callback draws the numbers that it would have drawn, and its state is given back."""

    def setup():
        draws = Draws()
        return program(in_memory(), draws, more=lambda: draws.drawn)

    assert {} == compare(setup, place)


def test_a_callback_without_state_is_told_that_the_epoch_begins(place):
    """Within an epoch, on_epoch_begin is told again, so that what a callback sets there is there."""

    class Sums(Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.sum, self.of = 0.0, epoch

        def on_train_batch_end(self, batch, logs=None):
            self.sum += logs["loss"]

        def on_epoch_end(self, epoch, logs=None):
            assert epoch == self.of

    assert {} == compare(lambda: program(in_memory(), Sums()), place)


def test_an_early_stop(place):
    """A stop that was decided before the interruption is not forgotten, nor are the best weights."""

    def setup():
        stopper = EarlyStopping("val_accuracy", patience=1, min_delta=0.9, restore_best_weights=True)
        return program({**in_memory(), "epochs": 9}, stopper)

    assert {} == compare(setup, place, moments=(*SOME[:4], END, OVER))


def test_patience(place):
    """How long an early stop and a rate's reduction have waited is counted on."""

    def setup():
        listed = EarlyStopping("loss", patience=3, min_delta=9, restore_best_weights=True)
        return program({**in_memory(), "epochs": 9}, listed, ReduceLROnPlateau("loss", patience=1, min_delta=9, cooldown=1))

    assert {} == compare(setup, place, moments=(*SOME, ("on_train_batch_end", 3, 2), OVER))


class StopsWithin(Callback):
    """Stops at a batch."""

    def on_train_batch_end(self, batch, logs=None):
        if (self.run.epoch, batch) == (1, 2):
            self.run.stop("enough")


def test_a_stop_within_an_epoch(place):
    """A stop in the middle of an epoch holds after an interruption in the validation that follows it."""
    assert {} == compare(
        lambda: program(in_memory(), StopsWithin()), place, moments=(VALIDATION, END, OVER), save_freqs=(1, "epoch")
    )


class Hesitates(StopsWithin):
    """Stops at a batch, and takes it back at the epoch's end."""

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = False


def test_a_stop_that_is_taken_back(place):
    """An epoch that was cut short by a stop that was taken back is followed by a whole one."""
    made = start(lambda: program(in_memory(), Hesitates()), seed=1)

    assert 3 * BATCHES - 2 == made["stop"][1]
    assert {} == compare(
        lambda: program(in_memory(), Hesitates()), place, moments=(BEGIN, VALIDATION, END, GAP, OVER), save_freqs=(1, "epoch")
    )


def test_the_best_file(place):
    """The file of the best weights is what it would have been."""

    def setup():
        path = place / "best.safetensors"
        saver = ModelCheckpoint(path, monitor="val_loss", save_best_only=True)
        return program(in_memory(), saver, more=lambda: (saver.best, bits(torch_file(path))))

    def torch_file(path):
        model = Model(net())
        model.load_weights(path)
        return model.module.state_dict()

    assert {} == compare(setup, place)


# ---- left on request -------------------------------------------------------------------------------------------------------


LEAVING = {
    "everything": lambda place: everything(place),
    "average": lambda place: program(in_memory(), SwapEMAWeights(), use_ema=True, ema_momentum=0.8),
    "average at an epoch's end": lambda place: program(in_memory(), SwapEMAWeights(swap_on_epoch=True), use_ema=True),
    "loader": lambda place: program(of_batches(LOADERS["random rows"]())),
    "generator": lambda place: program(of_batches(batches_without_end(), steps_per_epoch=BATCHES)),
    "several in one execution": lambda place: program(in_memory(), steps_per_execution=2),
    "loader to validate on": lambda place: program({**in_memory(), "validation_data": LOADERS["random rows"]()}),
}


@pytest.mark.parametrize("name", LEAVING)
def test_a_run_that_is_left(place, name):
    """Asked to leave, as by a signal, a run is saved as it stands, in the validation as it stood before that."""
    setup = partial(LEAVING[name], place)
    expected = start(setup, seed=1)
    found, left = {}, []
    for at in (BEGIN, FIRST, ("on_train_batch_end", 1, 1), LAST, ("on_test_begin", 1), VALIDATION, END, GAP, OVER):
        folder = place / "-".join(map(str, at))
        seed_all(1)
        made = setup()
        leaves = Cut(at, strike=lambda: made.model._run.leave(PowerCut()))  # noqa: B023
        with suppress(PowerCut):
            made.model.fit(**made.fit, verbose=0, callbacks=[*made.callbacks, leaves], run_dir=folder)
        if not made.model._run.leave_now:
            continue  # with several batches in one execution, nobody is told of some
        left.append(at)
        differing = differences(expected, start(setup, seed=1, run_dir=folder))
        found |= {at: differing} if differing else {}

    assert {} == found
    assert len(left) > 6


def test_left_twice_in_one_validation(place):
    """What is kept says each time that all batches of the epoch are done."""
    setup = lambda: program(in_memory())  # noqa: E731
    expected = start(setup, seed=1)
    kept = []
    for _ in range(2):
        seed_all(1)
        made = setup()
        leaves = Cut(VALIDATION, strike=lambda: made.model._run.leave(PowerCut()))  # noqa: B023
        with pytest.raises(PowerCut):
            made.model.fit(**made.fit, verbose=0, callbacks=leaves, run_dir=place)
        newest = next(Snapshots(place / "backup").newest_first())
        kept.append((newest.about["epoch"], newest.about["batch"]))

    assert [(1, BATCHES)] * 2 == kept
    assert [] == differences(expected, start(setup, seed=1, run_dir=place))


# ---- one run after another -------------------------------------------------------------------------------------------------


def test_ctrl_c_and_again(place):
    """Left by Ctrl-C and called again in the same process, fit goes on within the epoch."""
    setup = lambda: program(in_memory())  # noqa: E731
    expected = start(setup, seed=1)
    seed_all(1)
    made = setup()
    ctrl_c = Cut(MIDDLE, strike=lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        made.model.fit(**made.fit, verbose=0, callbacks=ctrl_c, run_dir=place)
    history = made.model.fit(**made.fit, verbose=0, callbacks=Cut(), run_dir=place)

    assert [] == differences(expected, outcome(made, history))


def test_a_finished_run_trains_nothing(place, capsys):
    """Started again when it has ended, a run returns its history, and the model is as it was at the end."""
    setup = lambda: program(in_memory(), use_ema=True, ema_momentum=0.8)  # noqa: E731
    expected = start(setup, seed=1, backup=BackupAndRestore(place, delete_checkpoint=False))
    never = Cut(BEGIN)
    seed_all(2)
    made = setup()
    history = made.model.fit(**made.fit, callbacks=[never, BackupAndRestore(place, delete_checkpoint=False)])

    assert [] == differences(expected, outcome(made, history))
    assert "is finished: it has trained 3 epochs" in capsys.readouterr().out


@pytest.mark.parametrize("save_freq", ["epoch", 2])
def test_more_epochs(place, save_freq):
    """A run that ended and is given more epochs ends as one that was given them at first."""
    setup = lambda: program(in_memory(), use_ema=True, ema_momentum=0.8)  # noqa: E731
    expected = start(setup, seed=1, epochs=5)
    start(setup, seed=1, backup=BackupAndRestore(place, save_freq, delete_checkpoint=False))

    actual = start(setup, seed=2, epochs=5, backup=BackupAndRestore(place, save_freq, delete_checkpoint=False))
    assert [] == differences(expected, actual)


def changed(**given):
    """Return a program that differs in something from the one that is kept."""
    module = nn.Sequential(nn.Linear(64, given.pop("width", 12)), nn.ReLU(), nn.Linear(given.pop("last", 12), 10))
    return program({**in_memory(), **given.pop("fit", {})}, module=module, **given)


CHANGES = {
    "weight 0.weight was (12, 64) float32, is (20, 64) float32": {"width": 20, "last": 20},
    "optimizer was Adam, is SGD": {"optimizer": "sgd"},
    "rows in a batch was 24, is 25": {"fit": {"batch_size": 25}},
    "batches in an epoch was 5, is 6": {"fit": {"batch_size": 20}},
    "rows was 110, is 104": {"fit": {"x": digits()[0][:104], "y": digits()[1][:104]}},
    "data sample_weight was not there, is () float32": {"fit": {"sample_weight": np.ones(ROWS, "float32")}},
}


@pytest.mark.parametrize("told", CHANGES)
def test_a_changed_program_is_refused(place, told):
    """A run is not gone on with by another model, optimizer or kind of data; what differs is named, and nothing is touched."""
    start(changed, seed=1, at=MIDDLE, backup=BackupAndRestore(place))
    before = sorted(place.rglob("*"))

    with pytest.raises(CheckpointMismatch, match="another training is kept in") as caught:
        start(partial(changed, **CHANGES[told]), seed=1, backup=BackupAndRestore(place))
    assert told in str(caught.value)
    assert before == sorted(place.rglob("*"))


def test_other_generators_are_refused(place):
    """A loader that draws from other generators than the one of the first start is named."""
    start(lambda: program(of_batches(own_generator())), seed=1, at=MIDDLE, backup=BackupAndRestore(place))

    with pytest.raises(CheckpointMismatch, match=r"were loader.generator, are none"):
        start(lambda: program(of_batches(DataLoader(rows(), BATCH))), seed=1, backup=BackupAndRestore(place))


# ---- killed processes ------------------------------------------------------------------------------------------------------


def everything(root):
    """Return a program with most of what there is at once."""
    best = ModelCheckpoint(root / "best.safetensors", monitor="loss", save_best_only=True)
    return program(
        {**in_memory(), "steps_per_epoch": 4, "epochs": 4},
        *(best, Standardize(), SwapEMAWeights(), EarlyStopping("loss", patience=2, restore_best_weights=True), Draws()),
        optimizer=partial(torch.optim.SGD, lr=0.1, momentum=0.9),
        scheduler=SCHEDULERS["step"],
        scheduler_interval="step",
        metrics=["accuracy", torchmetrics.Accuracy("multiclass", num_classes=10)],
        precision="mixed_bfloat16",
        gradient_accumulation_steps=3,
        use_ema=True,
    )


def one_fit(setup, root, at):
    return start(partial(setup, root), seed=1, at=at, backup=BackupAndRestore(root / "backup", 2, delete_checkpoint=False))


def two_fits(root, at):
    """Train twice, the second time with another rate; the interruption is in either."""
    seed_all(1)
    made = program(in_memory(), ReduceLROnPlateau("loss", patience=1, min_delta=9))
    which, *moment = at or (0,)
    for number in (1, 2):
        cut = Cut(tuple(moment) if number == which else None, strike=partial(os.kill, os.getpid(), signal.SIGKILL))
        history = made.model.fit(**made.fit, verbose=0, callbacks=[*made.callbacks, cut], run_dir=root)
        made.model.optimizer.learning_rate = 0.02
    return outcome(made, history)


KILLED = {
    "everything": (partial(one_fit, everything), (FIRST, ("on_train_batch_begin", 1, 3), VALIDATION, GAP, OVER)),
    "workers": (partial(one_fit, lambda root: program(of_batches(WORKERS["random rows"]()))), (MIDDLE, LAST)),
    "two fits": (two_fits, ((1, *MIDDLE), (1, *OVER), (2, *BEGIN), (2, *MIDDLE), (2, *GAP))),
}


def in_child(work):
    """Return what a child of this process comes to, or the signal that ended it."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, hashlib.sha256(repr(sorted(work().items())).encode()).digest())
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as file:
        told = file.read()
    status = os.waitpid(child, 0)[1]
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else told


def kill_all(root):
    """Return the moments at which a kill made a difference, by program. Everything happens in children of this process."""
    torch.set_num_threads(1)
    start(partial(everything, root), seed=1)  # what is loaded on first use is loaded once
    Cut._raise = lambda cut: os.kill(os.getpid(), signal.SIGKILL)
    found = {}
    for name, (work, moments) in KILLED.items():
        expected = in_child(lambda work=work, name=name: work(root / name, None))
        found[name] = []
        for at in moments:
            folder = root / f"{name} {at}"
            killed = in_child(lambda work=work, folder=folder, at=at: work(folder, at))
            actual = in_child(lambda work=work, folder=folder: work(folder, None))
            found[name] += [] if (killed, actual) == (signal.SIGKILL, expected) else [at]
    return found


@pytest.fixture(scope="module")
def kills():
    """Return what a process found that had children of its own killed."""
    with folder_in_memory() as folder:
        command = (
            f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import json, pathlib, test_resume; "
            f"print(json.dumps(test_resume.kill_all(pathlib.Path({str(folder)!r}))))"
        )
        done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", KILLED)
def test_killed_processes(kills, name):
    """A process killed by SIGKILL and started again by the same command leaves what one that was not killed leaves."""
    assert [] == kills[name]
