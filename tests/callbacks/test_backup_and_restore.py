"""BackupAndRestore goes on where an interrupted training was, and holds one whole backup at any moment."""

from __future__ import annotations

import inspect
import json
import math
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import wait
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from jalon import Callback, Model
from jalon.callbacks import ModelCheckpoint
from jalon.callbacks.backup_and_restore import BackupAndRestore
from jalon.core.run import Run
from jalon.errors import (
    ArgumentError,
    CheckpointError,
    CheckpointMismatch,
    FolderInUse,
    JalonWarning,
    SaveFailed,
    StateMismatch,
)
from jalon.store.snapshot import Snapshot, Snapshots
from jalon.store.writer import WRITER
from jalon.testing import FakeTrainer, ManualClock, play


class Interruption(Callback):
    """Raises at the begin of an epoch, or after so many batches."""

    def __init__(self, *, epoch_begin=None, after_batches=None):
        self.epoch_begin, self.left = epoch_begin, after_batches

    def on_epoch_begin(self, epoch, logs=None):
        self._strike(epoch == self.epoch_begin)

    def on_train_batch_end(self, batch, logs=None):
        if self.left is not None:
            self.left -= 1
        self._strike(self.left == 0)

    def _strike(self, now):
        if now:
            raise InterruptedError


class Kill(Callback):
    """Kills the process at the end of a batch."""

    def __init__(self, epoch, batch):
        self.at = (epoch, batch)

    def on_train_batch_end(self, batch, logs=None):
        if self.at == (self.run.epoch, batch):
            os.kill(os.getpid(), signal.SIGKILL)


class Saves(Callback):
    """Notes what each backup says comes next, as it is made."""

    order = sys.maxsize  # as the backup's, which comes before it in the list

    def __init__(self, folder):
        self.folder = Path(folder)
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        place = comes_next(self.folder)
        if place not in self.seen:
            self.seen.append(place)


class StopsAtNaN(Callback):
    """Asks for a stop as soon as the loss is not finite."""

    def on_train_batch_end(self, batch, logs=None):
        if not math.isfinite(logs["loss"]):
            self.run.stop("invalid loss")


class Batches(Callback):
    """Counts what is trained in this process."""

    def __init__(self):
        self.number = 0

    def on_train_batch_end(self, batch, logs=None):
        self.number += 1


class Best(Callback):
    """Has a state: the least loss, and what it was told."""

    def __init__(self):
        self.least, self.told = math.inf, []

    def on_epoch_begin(self, epoch, logs=None):
        self.told.append(epoch)

    def on_epoch_end(self, epoch, logs=None):
        self.least = min(self.least, logs["loss"])

    def state_dict(self):
        return {"least": self.least, "told": list(self.told)}

    def load_state_dict(self, state):
        self.least, self.told = state["least"], state["told"]


def losses(*values):
    return [{"loss": value} for value in values]


FOUR = losses(0.8, 0.4, 0.2, 0.1)


def interrupted(callbacks, script=FOUR, *, batches=3, **moment):
    """Train until an interruption, and return the trainer as it was then."""
    trainer = FakeTrainer()
    with pytest.raises(InterruptedError):
        play([callbacks, Interruption(**moment)], script, batches=batches, trainer=trainer)
    return trainer


def resumed(callbacks, script=FOUR, *, batches=3):
    """Train to the end; return all epochs' losses, the batches done in this process and those that the weights have seen."""
    trainer = FakeTrainer()
    done = Batches()
    run = play([callbacks, done], script, batches=batches, trainer=trainer)
    return run.history.get("loss", []), done.number, int(trainer.weights["bias"][0])


def names(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def said(path):
    return json.loads(Path(path).read_text())


def backups(folder):
    return [each for each in Snapshots(Path(folder)).newest_first() if isinstance(each, Snapshot)]


def comes_next(folder):
    """Return the epoch and the batch that the newest backup says comes next."""
    about = backups(folder)[0].about
    return about["epoch"], about["batch"]


def train_digits(*callbacks, epochs=5, steps_per_execution=1):
    """Train on digits with momentum and a scheduler, and nothing random."""
    torch.manual_seed(0)
    x, y = load_digits(return_X_y=True)
    x = (x[:600] / 16).astype("float32")
    model = Model(nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))).compile(
        partial(torch.optim.SGD, lr=0.1, momentum=0.9),
        loss="cross_entropy",
        steps_per_execution=steps_per_execution,
        scheduler=partial(torch.optim.lr_scheduler.StepLR, step_size=2, gamma=0.5),
    )
    history = model.fit(x, y[:600], batch_size=100, epochs=epochs, shuffle=False, verbose=0, callbacks=list(callbacks))
    return model, history


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "backup"


# ---- arguments -------------------------------------------------------------------------------------------------------


def test_the_arguments_are_keras_s():
    """Arguments, their order and their defaults are Keras's, and each is an attribute."""
    defaults = {"save_freq": "epoch", "double_checkpoint": False, "delete_checkpoint": True}
    folder, *others = inspect.signature(BackupAndRestore).parameters.values()
    keras_s = [parameter for parameter in others if parameter.kind is not parameter.KEYWORD_ONLY]
    backup = BackupAndRestore("folder", 3, True, False)

    assert "backup_dir" == folder.name
    assert list(defaults.items()) == [(parameter.name, parameter.default) for parameter in keras_s]
    assert ("folder", 3) == (backup.backup_dir, backup.save_freq)
    assert (True, False) == (backup.double_checkpoint, backup.delete_checkpoint)


@pytest.mark.parametrize("save_freq", ["batch", 0, -1, 0.15, 1.0, True, None, [1]])
def test_a_save_freq_that_is_none_is_refused(save_freq):
    """A save_freq is "epoch", a positive whole number or False; all else is refused in Keras's words."""
    with pytest.raises(ArgumentError, match="Invalid value for argument `save_freq`"):
        BackupAndRestore("folder", save_freq=save_freq)


@pytest.mark.parametrize("backup_dir", ["", None])
def test_an_empty_folder_name_is_refused(backup_dir):
    """Without a folder there is no backup; Keras's words say so."""
    with pytest.raises(ArgumentError, match="Empty `backup_dir` argument passed"):
        BackupAndRestore(backup_dir)


def test_what_is_no_path_is_refused():
    """A folder that is no path at all is refused where it is given."""
    with pytest.raises(ArgumentError, match="backup_dir must be the path of a folder"):
        BackupAndRestore(3)


def test_a_folder_that_cannot_be_is_refused_before_training(tmp_path):
    """A file where the folder should be is named before the first step."""
    (tmp_path / "file").write_text("")
    trainer = FakeTrainer()

    with pytest.raises(CheckpointError, match="is a file where a folder should be"):
        play(BackupAndRestore(tmp_path / "file"), FOUR, trainer=trainer)
    assert 0 == trainer.iterations


# ---- going on --------------------------------------------------------------------------------------------------------


def test_training_goes_on_with_the_epoch_that_was_not_done(folder):
    """What was trained after the last backup is done again from it; the epochs before are not, and are in the history."""
    interrupted(BackupAndRestore(folder), batches=3, epoch_begin=2)

    assert ([0.8, 0.4, 0.2, 0.1], 6, 12) == resumed(BackupAndRestore(folder))


def test_half_an_epoch_after_the_backup_is_undone(folder):
    """An epoch that was interrupted after its backup begins with the weights of its begin."""
    at_the_fault = interrupted(BackupAndRestore(folder), batches=3, after_batches=8)

    assert 8 == at_the_fault.iterations
    assert ([0.8, 0.4, 0.2, 0.1], 6, 12) == resumed(BackupAndRestore(folder))


def test_within_an_epoch_it_goes_on_with_the_next_batch(folder):
    """Backed up by batches, an epoch is gone on with in its middle."""
    interrupted(BackupAndRestore(folder, save_freq=1), batches=3, after_batches=5)

    assert (1, 1) == comes_next(folder)  # the batch that was interrupted is not backed up
    assert ([0.8, 0.4, 0.2, 0.1], 8, 12) == resumed(BackupAndRestore(folder, save_freq=1))


def test_the_same_instance_goes_on_too(folder):
    """One instance may be interrupted and used again."""
    backup = BackupAndRestore(folder)
    interrupted(backup, after_batches=8)

    assert ([0.8, 0.4, 0.2, 0.1], 6, 12) == resumed(backup)


def test_without_a_backup_training_begins_at_its_beginning(folder):
    """With nothing to go on from, the first epoch stays the one that was asked for."""
    run = play(BackupAndRestore(folder), FOUR, first_epoch=3)

    assert (3, [0.8, 0.4, 0.2, 0.1]) == (run.initial_epoch, run.history["loss"])


def test_states_of_callbacks_come_back(folder):
    """A callback finds the state that it had; within an epoch it is told of the epoch again before that."""
    interrupted([BackupAndRestore(folder, save_freq=2), Best()], batches=3, after_batches=5)
    best = Best()
    run = play([BackupAndRestore(folder, save_freq=2), best], FOUR, batches=3)

    assert (0.1, [0, 1, 2, 3]) == (best.least, best.told)
    assert 12 == run.step


def test_other_callbacks_than_those_saved_are_refused(folder):
    """A state that belongs to nobody in the list is named, and so is a callback that has none."""
    interrupted([BackupAndRestore(folder), Best()], epoch_begin=2)

    with pytest.raises(StateMismatch, match="Saved, but not in the list: Best"):
        play(BackupAndRestore(folder), FOUR)


def test_a_state_that_is_no_plain_data_is_refused_at_the_start(folder):
    """What cannot be saved is named before the first batch, and not after hours."""

    class Odd(Best):
        def state_dict(self):
            return {"file": object()}

    trainer = FakeTrainer()
    with pytest.raises(TypeError, match="is no plain data"):
        play([BackupAndRestore(folder), Odd()], FOUR, trainer=trainer)
    assert 0 == trainer.iterations


def test_digits_after_an_exception_are_what_they_were_without(folder):
    """Weights, rate and history of an interrupted training are those of an uninterrupted one."""
    whole, whole_history = train_digits()
    with pytest.raises(InterruptedError):
        train_digits(BackupAndRestore(folder), Interruption(after_batches=16))

    model, history = train_digits(BackupAndRestore(folder))

    assert whole_history.history == history.history
    assert whole.optimizer.learning_rate == model.optimizer.learning_rate
    assert all(np.array_equal(*pair) for pair in zip(whole.get_weights(), model.get_weights(), strict=True))


def test_digits_after_a_kill_are_what_they_were_without(folder):
    """A process killed by SIGKILL, started again, ends with the weights of one that was not."""
    child = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_backup_and_restore as t; "
        f"t.train_digits(t.BackupAndRestore({str(folder)!r}, background=False), t.Kill(3, 2))"
    )
    done = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=False)
    assert -signal.SIGKILL == done.returncode, done.stderr
    assert (3, 0) == comes_next(folder)

    whole, whole_history = train_digits()
    model, history = train_digits(BackupAndRestore(folder))

    assert whole_history.history == history.history
    assert all(np.array_equal(*pair) for pair in zip(whole.get_weights(), model.get_weights(), strict=True))
    assert not folder.exists()


# ---- new or the same -------------------------------------------------------------------------------------------------


def test_another_training_is_refused_by_name(folder):
    """What differs between the training that is kept and the one that is asked for is named."""
    with pytest.raises(InterruptedError):
        train_digits(BackupAndRestore(folder), Interruption(epoch_begin=3))
    other = Model(nn.Linear(64, 10)).compile("adam", loss="cross_entropy")

    with pytest.raises(CheckpointMismatch) as caught:
        other.fit(np.zeros((4, 64), "float32"), np.zeros(4, "int64"), verbose=0, callbacks=[BackupAndRestore(folder)])
    assert "another training is kept in" in str(caught.value)
    assert "module was Sequential, is Linear" in str(caught.value)
    assert 2 == len(backups(folder))


def test_a_finished_training_trains_nothing_and_tells_its_history(folder, capsys):
    """With delete_checkpoint=False the same training, started again, says that it is finished."""
    play(BackupAndRestore(folder, delete_checkpoint=False), FOUR, batches=3)

    assert ([0.8, 0.4, 0.2, 0.1], 0, 12) == resumed(BackupAndRestore(folder, delete_checkpoint=False))
    assert "is finished: it has trained 4 epochs. Its history is returned." in capsys.readouterr().out


def test_more_epochs_go_on(folder):
    """A finished training goes on where more epochs are asked for."""
    play(BackupAndRestore(folder, delete_checkpoint=False), FOUR, batches=3)

    longer = resumed(BackupAndRestore(folder, delete_checkpoint=False), [*FOUR, {"loss": 7.0}])
    assert ([0.8, 0.4, 0.2, 0.1, 7.0], 3, 15) == longer


def test_a_stopped_training_stays_stopped(folder, capsys):
    """A training that a callback stopped is finished, whatever the number of epochs, and says why."""

    class Enough(Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                self.run.stop("enough")

    play([BackupAndRestore(folder, delete_checkpoint=False), Enough()], FOUR, batches=3)

    assert ([0.8, 0.4], 0, 6) == resumed(BackupAndRestore(folder, delete_checkpoint=False), [*FOUR, {"loss": 7.0}])
    assert "it stopped before epoch 3: enough" in capsys.readouterr().out


def test_a_stop_that_was_decided_holds(folder):
    """Killed between the decision and the end, the training ends at once when it is started again."""

    class Stops(Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                self.run.stop("enough")

        def on_train_end(self, logs=None):
            if not folder.with_name("again").exists():
                raise InterruptedError

    with pytest.raises(InterruptedError):
        play([BackupAndRestore(folder), Stops()], FOUR, batches=3)
    folder.with_name("again").touch()
    trainer = FakeTrainer()
    run = play([BackupAndRestore(folder), Stops()], FOUR, batches=3, trainer=trainer)

    assert ([0.8, 0.4], "enough", 6) == (run.history["loss"], run.stop_reason, trainer.iterations)


def test_resume_false_begins_anew(folder):
    """What is there is deleted, and training begins at its beginning."""
    interrupted(BackupAndRestore(folder), epoch_begin=2)

    assert ([0.8, 0.4, 0.2, 0.1], 12, 12) == resumed(BackupAndRestore(folder, resume=False))


def test_resume_true_insists(folder):
    """Where there is nothing to go on with, that is an error before the first batch."""
    with pytest.raises(CheckpointError, match="there is nothing to go on with"):
        play(BackupAndRestore(folder, resume=True), FOUR)

    interrupted(BackupAndRestore(folder), epoch_begin=2)
    assert ([0.8, 0.4, 0.2, 0.1], 6, 12) == resumed(BackupAndRestore(folder, resume=True))


def test_an_unknown_resume_is_refused():
    """It is "auto", True or False."""
    with pytest.raises(ArgumentError, match="resume must be 'auto', True or False"):
        BackupAndRestore("folder", resume="never")


def test_two_in_one_list_are_refused(tmp_path):
    """A training is backed up in one place."""
    with pytest.raises(ArgumentError, match="backed up in one place"):
        play([BackupAndRestore(tmp_path / "a"), BackupAndRestore(tmp_path / "b")], FOUR)


def test_two_trainings_in_one_folder_are_refused(folder):
    """The second is told which process has the folder, and touches nothing."""

    class Inner(Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                with pytest.raises(FolderInUse, match=f"process {os.getpid()} is training in"):
                    play(BackupAndRestore(folder), FOUR)

    assert ([0.8, 0.4, 0.2, 0.1], 12, 12) == resumed([BackupAndRestore(folder), Inner()])


# ---- how often -------------------------------------------------------------------------------------------------------


def test_batches_are_counted_across_epochs(folder):
    """Every save_freq batches there is a backup, wherever an epoch ends."""
    saves = Saves(folder)
    play([BackupAndRestore(folder, save_freq=2, background=False), saves], FOUR, batches=3)

    assert [(0, 0), (0, 2), (1, 1), (1, 3), (2, 2), (3, 1), (3, 3)] == saves.seen


def test_one_call_may_stand_for_several_batches(folder):
    """With steps_per_execution, the batches done count, not the calls."""
    saves = Saves(folder)
    backup = BackupAndRestore(folder, save_freq=3, background=False)
    train_digits(backup, saves, epochs=2, steps_per_execution=2)

    assert [(0, 0), (0, 4), (1, 2), (1, 6)] == saves.seen


def test_time_counts_too(folder):
    """With every_seconds there is a backup after the batch in which so much time has passed since the last one."""

    class Time(Callback):
        def on_train_batch_begin(self, batch, logs=None):
            clock.advance(20)

    clock, saves = ManualClock(), Saves(folder)
    play([BackupAndRestore(folder, every_seconds=50, background=False), Time(), saves], FOUR, batches=4, clock=clock)

    assert [(0, 0), (0, 3), (1, 0), (1, 3), (2, 0), (2, 3), (3, 0), (3, 3)] == saves.seen


def test_a_second_interruption_keeps_the_epoch(folder):
    """A resumed process that saves by batches knows where it is."""
    interrupted(BackupAndRestore(folder, save_freq=1), batches=3, after_batches=7)
    interrupted(BackupAndRestore(folder, save_freq=1), batches=3, after_batches=2)

    assert (2, 1) == comes_next(folder)
    assert ([0.8, 0.4, 0.2, 0.1], 5, 12) == resumed(BackupAndRestore(folder, save_freq=1))


def test_without_a_save_freq_only_the_beginning_is_kept(folder):
    """save_freq=False backs up nothing of its own accord, and goes on from a backup that is there."""
    interrupted(BackupAndRestore(folder, save_freq=False), epoch_begin=2)
    assert (0, 0) == comes_next(folder)

    interrupted(BackupAndRestore(folder), epoch_begin=2)
    assert ([0.8, 0.4, 0.2, 0.1], 6, 12) == resumed(BackupAndRestore(folder, save_freq=False))


@pytest.mark.parametrize(("save_freq", "skips"), [("epoch", True), (False, True), (1, False)])
def test_batches_that_do_not_count_cost_nothing(folder, save_freq, skips):
    """The batch hook is left out where batches are not counted, and kept where a subclass has its own."""

    class Own(BackupAndRestore):
        def on_train_batch_end(self, batch, logs=None):
            super().on_train_batch_end(batch, logs)

    assert skips == BackupAndRestore(folder, save_freq).skips_hook("on_train_batch_end")
    assert not Own(folder, save_freq).skips_hook("on_train_batch_end")
    assert not BackupAndRestore(folder, save_freq).skips_hook("on_epoch_end")


# ---- what is on the disk ---------------------------------------------------------------------------------------------


def test_two_backups_are_kept(folder):
    """There are the newest backup and the one before, each whole, the history beside them, and nothing else."""
    interrupted(BackupAndRestore(folder, background=False), epoch_begin=3)

    assert ["00000003", "00000004", "history.jsonl", "lock", "run.json"] == names(folder)
    assert [(3, 0), (2, 0)] == [(each.about["epoch"], each.about["batch"]) for each in backups(folder)]
    assert ["manifest.json", "model.json", "state.safetensors"] == names(folder / "00000004")


def test_the_names_that_keras_s_has(folder):
    """Keras's private names lead to the newest backup and to the one before."""
    backup = BackupAndRestore(folder, background=False)
    interrupted(backup, epoch_begin=3)

    assert folder / "00000004" / "model.json" == backup._weights_path
    assert folder / "00000003" / "model.json" == backup._prev_weights_path
    assert folder / "00000004" / "manifest.json" == backup._training_metadata_path


def test_after_training_the_backup_is_gone(folder):
    """A training that ended leaves no folder, and the next one begins at its beginning."""
    backup = BackupAndRestore(folder)

    assert (resumed(backup), False) == (resumed(backup), folder.exists())


def test_files_of_others_stay(folder):
    """Only what the callback wrote is deleted; a folder with something else in it stays."""
    folder.mkdir()
    for name in ("latest.txt", "00000001.txt", "notes"):
        (folder / name).write_text("mine")
    play(BackupAndRestore(folder), FOUR)

    assert ["00000001.txt", "latest.txt", "notes"] == names(folder)


def test_a_stop_deletes_the_backup(folder):
    """A training that another callback stopped has ended; its backup is deleted."""

    class Enough(Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.run.stop("enough")

    play([BackupAndRestore(folder), Enough()], FOUR)

    assert not folder.exists()


def test_what_cannot_be_deleted_is_named(folder):
    """A file that cannot be deleted is named, and training ends well."""

    class Obstacle(Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                (folder / "00000001" / "folder").mkdir()

    with pytest.warns(JalonWarning, match=r"cannot delete .*00000001"):
        assert FOUR == losses(*resumed([BackupAndRestore(folder, background=False), Obstacle()])[0])


def test_other_processes_read_alone(folder):
    """Of several processes only the main one writes and deletes."""
    interrupted(BackupAndRestore(folder), epoch_begin=2)
    before = names(folder)
    backup = BackupAndRestore(folder)
    backup.set_run(Run(FakeTrainer(), epochs=4, rank=1, world_size=2))
    backup.check_setup()
    backup.on_train_begin()
    backup.on_epoch_end(2, {"loss": 0.2})
    backup.on_train_end({"loss": 0.2})

    assert before == names(folder)


# ---- a loop that does no more than Keras's ---------------------------------------------------------------------------


def test_a_loop_that_only_tells_hooks_goes_on_by_epochs(folder):
    """Weights and epoch are put back as training begins, as Keras does it."""
    trainer = FakeTrainer()
    backup = BackupAndRestore(folder)
    backup.set_run(Run(trainer, epochs=4))
    backup.run.commits_epochs = False
    backup.on_train_begin()
    for epoch in range(2):
        trainer.step()
        backup.on_epoch_end(epoch, {"loss": 0.5})
    backup.close()

    again = FakeTrainer()
    other = BackupAndRestore(folder)
    other.set_run(Run(again, epochs=4))
    other.on_train_begin()
    other.close()

    assert (2, 2) == (other.run.initial_epoch, int(again.weights["bias"][0]))


# ---- a loss that is none ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("invalid", [math.nan, math.inf])
@pytest.mark.parametrize("save_freq", ["epoch", 1])
def test_an_invalid_loss_keeps_the_backup_from_before(folder, save_freq, invalid, capsys):
    """A training stopped by its loss keeps the last backup with a finite one, and says so once."""
    play([BackupAndRestore(folder, save_freq), StopsAtNaN()], losses(0.8, 0.4, invalid, 0.1))

    assert 1 == capsys.readouterr().out.count(f"the loss is {invalid}. The model is not backed up as it is")
    assert (2, 0) if save_freq == "epoch" else (1, 1) == comes_next(folder)
    assert [0.8, 0.4, 0.2, 0.1] == resumed(BackupAndRestore(folder), losses(0.8, 0.4, 0.2, 0.1), batches=1)[0]


def test_a_loss_that_recovers_is_backed_up_again(folder):
    """An epoch with an invalid loss is passed over; the next sound one is backed up."""
    interrupted(BackupAndRestore(folder), losses(0.8, math.nan, 0.2, 0.1), epoch_begin=3)

    assert (3, 0) == comes_next(folder)


# ---- damage ----------------------------------------------------------------------------------------------------------


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def flip(path):
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def spoil(path):
    path.write_text("0")


DAMAGES = [
    ("_weights_path", cut),
    ("_weights_path", flip),
    ("_weights_path", spoil),
    ("_weights_path", Path.unlink),
    ("_training_metadata_path", cut),
    ("_training_metadata_path", flip),
    ("_training_metadata_path", spoil),
]


@pytest.mark.parametrize(("part", "damage"), DAMAGES)
def test_the_backup_before_a_damaged_one_is_gone_on_from(folder, part, damage):
    """Training goes on from the backup before, with its own weights and states, and says so."""
    backup = BackupAndRestore(folder, background=False)
    interrupted([backup, Best()], epoch_begin=3)
    damage(getattr(backup, part))

    with pytest.warns(JalonWarning, match="Training goes on from the backup before it, with epoch 3"):
        assert ([0.8, 0.4, 0.2, 0.1], 6, 12) == resumed([BackupAndRestore(folder), Best()])


def test_two_damaged_backups_are_refused(folder):
    """Where nothing else can be gone on from, the error names both files and what to do, and nothing is trained."""
    backup, trainer = BackupAndRestore(folder, background=False), FakeTrainer()
    interrupted(backup, epoch_begin=3)
    spoil(backup._weights_path)
    spoil(backup._prev_training_metadata_path)

    with pytest.raises(CheckpointError, match=r"model.json is damaged.*; .*manifest.json is damaged.*delete .* to train from"):
        play(BackupAndRestore(folder), FOUR, trainer=trainer)
    assert 0 == trainer.iterations
    assert folder.exists()


def test_a_damaged_history_is_refused(folder):
    """Rows that are missing are an error that names the file: a history is never silently shorter."""
    interrupted(BackupAndRestore(folder), epoch_begin=3)
    cut(folder / "history.jsonl")
    (folder / "history.jsonl").write_bytes(b"\n".join((folder / "history.jsonl").read_bytes().splitlines()[:-1]))

    with pytest.raises(CheckpointError, match=r"history.jsonl is damaged: it has fewer than 3 rows"):
        play(BackupAndRestore(folder), FOUR)


def test_a_changed_history_is_refused(folder):
    """A figure that has changed since is an error that names the file."""
    interrupted(BackupAndRestore(folder), epoch_begin=3)
    (folder / "history.jsonl").write_bytes((folder / "history.jsonl").read_bytes().replace(b"0.8", b"0.9"))

    with pytest.raises(CheckpointError, match=r"history.jsonl is damaged: its rows do not have their checksum"):
        play(BackupAndRestore(folder), FOUR)


def test_what_a_failed_write_has_left_in_the_history_goes(folder):
    """A half row at the end of the history, as a full disk leaves it, is not in the way of the next one."""

    class Half(Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                with open(folder / "history.jsonl", "ab") as file:
                    file.write(b'{"epo')

    interrupted([BackupAndRestore(folder, background=False), Half()], epoch_begin=3)

    assert ([0.8, 0.4, 0.2, 0.1], 3, 12) == resumed(BackupAndRestore(folder))


def test_damage_while_training_is_made_good(folder):
    """A backup that was spoilt meanwhile does not keep the next one from being made."""

    class Spoil(Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                spoil(folder / "00000003" / "manifest.json")

    interrupted([BackupAndRestore(folder, background=False), Spoil()], epoch_begin=3)

    assert ([0.8, 0.4, 0.2, 0.1], 3, 12) == resumed(BackupAndRestore(folder))


@pytest.mark.parametrize("background", [True, False])
def test_a_backup_that_fails_leaves_the_one_before(folder, background):
    """A backup that cannot be written is warned of once; training goes on, the old backup is whole, and a later one works."""

    class Obstacle(Callback):
        def on_epoch_begin(self, epoch, logs=None):
            history = folder / "history.jsonl"
            if epoch == 1:
                history.rename(folder / "kept")
                history.mkdir()
            if epoch == 3:
                history.rmdir()
                (folder / "kept").rename(history)

    saver = BackupAndRestore(folder, background=False)
    with pytest.warns(SaveFailed, match="nothing was backed up in .*training goes on") as caught:
        interrupted([saver, Obstacle()], losses(5, 4, 3, 2, 1), epoch_begin=3)

    assert 1 == len([each for each in caught if issubclass(each.category, SaveFailed)])
    assert (1, 0) == comes_next(folder)
    assert ([5, 4, 3, 2, 1], 12, 15) == resumed(BackupAndRestore(folder, background=background), losses(5, 4, 3, 2, 1))


@pytest.mark.parametrize("known", [True, False])
def test_a_save_that_others_count_on(folder, tmp_path, known):
    """A backup never says that the best model is in a file that was not written; not knowing better, it does not count."""
    path = tmp_path / "best" / "model.json"
    saver = ModelCheckpoint(path, "loss", save_best_only=True)
    goes_on = threading.Event()

    class Obstacle(Callback):
        order = -1

        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                saver.best  # noqa: B018  # waits for the save under way
                path.unlink()
                path.mkdir()
                WRITER.submit(goes_on.wait)

    class Waits(Callback):
        def on_epoch_end(self, epoch, logs=None):
            if known:
                goes_on.set()
                wait(WRITER.pending())

        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                goes_on.set()

    with pytest.warns(SaveFailed, match="was not saved"):
        interrupted([saver, BackupAndRestore(folder), Obstacle(), Waits()], epoch_begin=2)

    assert (2 if known else 1, 0) == comes_next(folder)
    assert [0.8] == [best["value"] for best in backups(folder)[0].about["bests"]]


def test_the_format_holds_weights_without_the_structure(folder):
    """Where the preferred format is the whole model, as in Keras, the file is a .weights.h5; else it is preferred."""

    class LikeKeras(FakeTrainer):
        suffixes = (".keras", ".h5")

        def suffix_fault(self, path, *, weights_only):
            return None if path.endswith(".weights.h5" if weights_only else self.suffixes) else "must end otherwise"

    backup = BackupAndRestore(folder)
    backup.set_run(Run(LikeKeras()))
    assert "model.weights.h5" == backup._weights_path.name

    backup.set_run(Run(FakeTrainer()))
    assert "model.json" == backup._weights_path.name


# ---- killed at any moment --------------------------------------------------------------------------------------------

KILLED = """
import itertools, json, os, signal, sys
from jalon.callbacks.backup_and_restore import BackupAndRestore
from jalon.testing import FakeTrainer, play

root = sys.argv[1]

def train(folder):
    trainer = FakeTrainer()
    run = play(BackupAndRestore(folder, background=False), [{"loss": 1.0}] * 3, batches=4, trainer=trainer, verbose=0)
    return run.initial_epoch, trainer.iterations, int(trainer.weights["bias"][0]), len(run.history["loss"])

def dies_at(place, folder):
    child = os.fork()
    if child:
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])
    left = itertools.count(place, -1)
    def watch(event, args):
        if event in ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir") and folder in str(args[0]) and next(left) == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(watch)
    train(folder)
    os._exit(0)

seen = []
for place in itertools.count():
    folder = f"{root}/{place}"
    if not dies_at(place, folder):
        break
    seen.append([*train(folder), os.path.exists(folder)])
print(json.dumps(seen))
"""


def test_killed_before_any_change_of_the_disk_it_goes_on_rightly(tmp_path):
    """A process is killed before each opening, renaming and deletion in turn; the next has weights and epoch of one moment."""
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr
    epochs, steps, weights, rows, left_behind = zip(*json.loads(done.stdout), strict=True)
    deleting = epochs.index(3) + epochs[epochs.index(3) :].index(0)

    assert {12} == {*steps, *weights}
    assert {3} == {*rows}
    assert {False} == {*left_behind}
    assert {0, 1, 2, 3} == {*epochs}
    assert sorted(epochs[:deleting]) == list(epochs[:deleting])
    assert {0} == {*epochs[deleting:]}
