"""``fit(dry_run=True)``: everything once, and nothing of it stays."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import jalon
from jalon import Callback
from jalon.callbacks import (
    BackupAndRestore,
    CSVLogger,
    EarlyStopping,
    ModelCheckpoint,
    ReduceLROnPlateau,
    Standardize,
    TensorBoard,
)
from jalon.errors import ArgumentError, CallbackDegraded

X, Y = torch.randn(64, 4), torch.randint(0, 3, (64,))


@pytest.fixture
def model():
    """A model whose optimizer has a schedule."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 3))
    return jalon.Model(net).compile(
        "adam", loss="cross_entropy", metrics=["accuracy"], scheduler=lambda opt: torch.optim.lr_scheduler.StepLR(opt, 1)
    )


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    """Let each test be in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Seen(Callback):
    """Notes what it is told, in a list that its copies share."""

    def __init__(self, seen):
        self.seen = seen

    def __deepcopy__(self, memo):
        return Seen(self.seen)

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(("batch", batch))

    def on_test_batch_end(self, batch, logs=None):
        self.seen.append(("validation", batch))

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append(("epoch", epoch, sorted(logs)))


def everything(model):
    """Return all that a dry run must leave as it was."""
    return (
        {name: value.tolist() for name, value in model.module.state_dict().items()},
        str(model.optimizer.state_dict() if hasattr(model.optimizer, "state_dict") else model.optimizer.rates()),
        model.optimizer.iterations,
        torch.get_rng_state().tolist(),
        str(np.random.get_state()),
        random.getstate(),
        model.module.training,
    )


def writers():
    """Return callbacks that write, each in its way, seldom."""
    return [
        Standardize(),
        ModelCheckpoint("models/{epoch}-{val_loss:.2f}.pt", save_best_only=True, initial_value_threshold=0.0),
        ModelCheckpoint("every/{epoch}-{batch}.safetensors", save_freq=10_000),
        ReduceLROnPlateau(),
        EarlyStopping(patience=3, restore_best_weights=True),
        CSVLogger("training.log"),
        TensorBoard("logs", histogram_freq=1),
        BackupAndRestore("backup"),
    ]


def test_everything_is_gone_through_once(model):
    """One batch, one batch of validation, one epoch end with its metrics."""
    seen = []

    history = model.fit(X, Y, epochs=50, validation_data=(X, Y), callbacks=Seen(seen), verbose=0, dry_run=True)

    assert [("batch", 0), ("validation", 0), ("epoch", 0, ["accuracy", "loss", "val_accuracy", "val_loss"])] == seen
    assert 1 == len(history.history["loss"])


def test_all_that_would_be_written_is_written_elsewhere(model, empty_folder, capsys):
    """Also what is due after thousands of batches; it is named, and the user's folder stays empty."""
    model.fit(X, Y, epochs=50, validation_data=(X, Y), callbacks=writers(), verbose=2, dry_run=True)

    said = capsys.readouterr().out
    for name in ("models_1-", "every_1-1.safetensors", "training.log", "events.out.tfevents"):
        assert name in said
    assert [] == list(empty_folder.iterdir())


def test_model_and_random_numbers_are_as_they_were(model, empty_folder):
    """Weights, optimizer, mode, and where every random number stands; with a folder of the run as well."""
    model.fit(X, Y, epochs=2, verbose=0)
    before = everything(model)

    model.fit(X, Y, epochs=3, validation_split=0.25, callbacks=writers()[:-1], run_dir="run", seed=7, verbose=0, dry_run=True)

    assert before == everything(model)
    assert [] == list(empty_folder.iterdir())


def test_the_training_after_it_is_the_same():
    """A training ends with the same weights, whether a dry run came before it or not."""
    ends = []
    for dry in (False, True):
        torch.manual_seed(0)
        model = jalon.Model(torch.nn.Linear(4, 3)).compile("adam", loss="cross_entropy")
        loader = DataLoader(TensorDataset(X, Y), batch_size=16, shuffle=True, generator=torch.Generator().manual_seed(3))
        stopper = EarlyStopping("loss", patience=1)
        if dry:
            model.fit(loader, callbacks=stopper, verbose=0, dry_run=True)
        model.fit(loader, epochs=2, callbacks=stopper, verbose=0)
        ends.append(model.module.weight.tolist())

    assert ends[0] == ends[1]


def test_a_mistake_is_raised_as_in_a_training(model):
    """What would fail at the end of the first epoch fails now."""

    class Typo(Callback):
        def on_epoch_end(self, epoch, logs=None):
            return logs["val_acc"]

    with pytest.raises(KeyError, match="val_acc"):
        model.fit(X, Y, epochs=50, validation_data=(X, Y), callbacks=Typo(), verbose=0, dry_run=True)


class Writes(Callback):
    """Writes a file of its own."""

    def on_epoch_end(self, epoch, logs=None):
        Path("notes.txt").write_text("an epoch")


class Rehearses(Writes):
    """Says where it writes in a dry run."""

    folder = Path()

    def rehearse(self, folder):
        self.folder = folder

    def on_epoch_end(self, epoch, logs=None):
        (self.folder / "notes.txt").write_text("an epoch")


def test_a_callback_of_one_s_own_writes_nothing_of_the_user_s(model, empty_folder):
    """It is named, with the file and what to do; one that only observes is warned of."""
    with pytest.raises(ArgumentError, match=r"Writes\.on_epoch_end would write .*notes\.txt, which is not done in a dry run"):
        model.fit(X, Y, callbacks=Writes(), verbose=0, dry_run=True)

    observer = Writes()
    observer.critical = False
    with pytest.warns(CallbackDegraded, match="Override rehearse"):
        model.fit(X, Y, callbacks=observer, verbose=0, dry_run=True)
    assert [] == list(empty_folder.iterdir())


def test_a_callback_may_say_where_it_writes_then(model, empty_folder, capsys):
    """One that overrides rehearse takes part."""
    model.fit(X, Y, callbacks=Rehearses(), verbose=2, dry_run=True)

    assert "0-Rehearses/notes.txt (8 bytes)" in capsys.readouterr().out
    assert [] == list(empty_folder.iterdir())


def test_data_that_can_be_read_once_is_refused(model):
    """A generator would lose its first batch."""
    with pytest.raises(ArgumentError, match="can be read once"):
        model.fit(((X, Y) for _ in range(2)), verbose=0, dry_run=True)


def test_what_cannot_be_copied_is_named(model):
    """The error says what to do."""

    class Holds(Callback):
        def __init__(self):
            self.lock = threading.Lock()

    with pytest.raises(ArgumentError, match="on_train_begin"):
        model.fit(X, Y, callbacks=Holds(), verbose=0, dry_run=True)
