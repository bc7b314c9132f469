"""What a replay says of callbacks: stops, rates, files, and what it would have cost."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

import jalon
from jalon.callbacks import (
    BackupAndRestore,
    CSVLogger,
    EarlyStopping,
    LearningRateScheduler,
    ModelCheckpoint,
    OrbaxCheckpoint,
    ProgbarLogger,
    ReduceLROnPlateau,
    Standardize,
    TensorBoard,
    TerminateOnNaN,
    TimeLimit,
)
from jalon.errors import ArgumentError, MissingMetric
from jalon.replay import Change, Epoch, Record, Save

CURVE = [0.9, 0.7, 0.5, 0.6, 0.65, 0.55, 0.4, 0.45]
ROWS = [{"loss": value / 2, "val_loss": value} for value in CURVE]


def test_a_stop():
    """The stop is told with its reason, what it spared, and what the model at the end lacks of the best in the record."""
    result = jalon.replay(ROWS, EarlyStopping(patience=2))

    assert (4, "no improvement in val_loss for 2 epochs") == (result.stop.epoch, result.stop.reason)
    assert (5, 3, 4) == (result.epochs, result.epochs_saved, result.in_memory)
    assert (0.65, 0.4) == (result.kept.value, result.best.value)
    assert 0.25 == pytest.approx(result.cost)
    assert "stopped after epoch 5: no improvement in val_loss for 2 epochs" in str(result)
    assert "a cost of 0.25 (62.50%)" in str(result)
    assert "3 epochs (38%)" in str(result)


def test_weights_put_back():
    """With the best weights put back, what is kept is the best up to the stop."""
    result = jalon.replay(ROWS, EarlyStopping(patience=2, restore_best_weights=True))

    assert (2, 0.5) == (result.in_memory, result.kept.value)


def test_a_record_that_ends_first():
    """Where nobody asks for a stop within the record, that is what is said."""
    result = jalon.replay(ROWS, EarlyStopping(patience=5))

    assert result.stop is None
    assert 0 == result.epochs_saved
    assert "not within the record: after epoch 8 nothing had asked for it" in str(result)


def test_files(tmp_path):
    """Saves, deletions and what is left in the end are told by path and epoch, and no file is made or deleted."""
    there = tmp_path / "2.pt"
    there.write_text("precious")
    result = jalon.replay(ROWS, [ModelCheckpoint(tmp_path / "{epoch}.pt", keep_best=2), ModelCheckpoint(tmp_path / "last.pt")])

    assert {tmp_path / "8.pt": 7, tmp_path / "7.pt": 6, tmp_path / "last.pt": 7} == dict(result.disk)
    assert [tmp_path / f"{number}.pt" for number in (1, 2, 4, 6, 3)] == list(result.deleted)
    assert Save(0, tmp_path / "1.pt") == result.saves[0]
    assert (6, 0.4) == (result.kept.epoch, result.kept.value)
    assert 0 == result.cost
    assert [there] == list(tmp_path.iterdir())
    assert "precious" == there.read_text()


def test_saves_of_orbax(tmp_path):
    """A folder of Orbax's keeps the newest of its saves, and nothing is made there."""
    result = jalon.replay(ROWS, OrbaxCheckpoint(str(tmp_path / "saves"), save_best_only=True, max_to_keep=2))

    assert {tmp_path / "saves" / "2": 2, tmp_path / "saves" / "6": 6} == dict(result.disk)
    assert [0, 1, 2, 6] == [save.epoch for save in result.saves]
    assert [] == list(tmp_path.iterdir())


def test_all_the_usual_callbacks(tmp_path, monkeypatch):
    """A whole list as it is given to fit replays; what decides nothing is left out by name, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    usual = [
        ModelCheckpoint("model.h5", save_best_only=True),
        ReduceLROnPlateau(patience=2),
        EarlyStopping(patience=3),
        CSVLogger("training.log"),
        ProgbarLogger(),
        TensorBoard("logs"),
        TerminateOnNaN(),
        BackupAndRestore("backup"),
        Standardize(),
    ]
    result = jalon.replay(ROWS, usual)

    assert [] == list(tmp_path.iterdir())
    assert {Path("model.h5"): 2} == dict(result.disk)
    assert (
        "left out, since they decide nothing by a record: CSVLogger, TensorBoard, Standardize, ProgbarLogger, BackupAndRestore",
    ) == result.notes


def test_rates():
    """Changes of the rate are told, and from where on the record says nothing of what would have been."""
    result = jalon.replay(ROWS, ReduceLROnPlateau(patience=2, factor=0.5), learning_rate=0.1)

    assert (Change(4, 0.1, 0.05),) == result.changes
    assert 5 == result.departs_at
    assert "0.1 → 0.05 in epoch 5" in str(result)
    assert "from epoch 6 on decisions only" in str(result)


def test_the_recorded_rate():
    """The rate is the recorded one until a callback sets another; one that was recorded departs from nothing."""
    recorded = [row | {"learning_rate": 0.1 if epoch <= 4 else 0.05} for epoch, row in enumerate(ROWS)]

    assert jalon.replay(recorded, ReduceLROnPlateau(patience=2, factor=0.5)).departs_at is None
    assert 5 == jalon.replay(recorded, ReduceLROnPlateau(patience=2, factor=0.1)).departs_at
    assert 3 == jalon.replay(recorded, LearningRateScheduler(lambda epoch, lr: lr if epoch < 3 else lr / 2)).departs_at
    assert () == jalon.replay(recorded, EarlyStopping(patience=2)).changes
    late = LearningRateScheduler(lambda epoch, lr: lr if epoch < 6 else 0.01)
    assert (Change(6, 0.05, 0.01),) == jalon.replay(recorded, late).changes
    constant = [row | {"learning_rate": 0.1} for row in ROWS]
    assert [0.05, 0.025, 0.0125] == [
        one.after for one in jalon.replay(constant, ReduceLROnPlateau(patience=1, factor=0.5)).changes
    ][:3]


def test_a_callback_of_ones_own():
    """An own callback stops, saves, sets rates and adds metrics; what it waits for in vain is told."""

    class Own(jalon.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["gap"] = logs["val_loss"] - logs["loss"]
            if epoch == 2:
                self.model.save("own.pt")
                self.model.optimizer.learning_rate = 0.5
            if epoch == 4:
                self.model.load_weights("own.pt")
                self.run.stop("enough")

        def on_train_batch_end(self, batch, logs=None):
            raise AssertionError

    result = jalon.replay(ROWS, [Own(), EarlyStopping("gap", mode="min", patience=9)])

    assert ("enough", 4, 2) == (result.stop.reason, result.stop.epoch, result.in_memory)
    assert {Path("own.pt"): 2} == dict(result.disk)
    assert (Change(2, 0.001, 0.5),) == result.changes
    assert "Own is not told of what a record does not have: on_train_batch_end" in result.notes


def test_time():
    """With times in the record, what was spared is told in seconds, and a TimeLimit leaves."""
    record = Record("timed", tuple(Epoch(number, row, 60.0) for number, row in enumerate(ROWS)))
    result = jalon.replay(record, [TimeLimit(minutes=4, seconds=30), EarlyStopping(patience=7)])

    assert (4, True) == (result.stop.epoch, result.stop.left)
    assert 180 == result.seconds_saved
    assert "left, to be gone on with after epoch 5: the time limit, 4 min 30 s, was reached" in str(result)
    assert "3 epochs (38%), 3 min 0 s" in str(result)


def test_one_list_for_replay_and_fit():
    """What a replay has left in callbacks does not reach the next one, as with fit."""
    stopper, saver = EarlyStopping(patience=2), ModelCheckpoint("model.pt", save_best_only=True)
    first = jalon.replay(ROWS, [stopper, saver])

    assert str(first) == str(jalon.replay(ROWS, [stopper, saver]))


def test_what_is_refused():
    """A monitor that the record lacks, a metric that nobody can rank, and what is no callback are refused by name."""
    with pytest.raises(MissingMetric, match=r"monitors 'val_los'.*Did you mean 'val_loss'"):
        jalon.replay(ROWS, EarlyStopping("val_los"))
    with pytest.raises(ArgumentError, match="does not report 'f1'"):
        jalon.replay(ROWS, [], metric="f1")
    with pytest.raises(ArgumentError, match="Pass mode='min' or mode='max'"):
        jalon.replay([{"f1": 1.0}], [], metric="f1")
    assert 1.0 == jalon.replay([{"f1": 1.0}], [], metric="f1", mode="max").best.value


def test_warnings_are_notes():
    """What jalon's callbacks warn of stands in the notes; what others do is warned of."""

    class Warns(jalon.Callback):
        def on_train_begin(self, logs=None):
            warnings.warn("mine", UserWarning, stacklevel=2)

    with pytest.warns(UserWarning, match="mine"):
        result = jalon.replay(ROWS, [ReduceLROnPlateau(min_lr=0.01), Warns()])

    assert any("can never reduce the learning rate" in note for note in result.notes)
