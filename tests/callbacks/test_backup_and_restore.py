"""BackupAndRestore goes on where an interrupted training was, and holds one whole backup at any moment."""

from __future__ import annotations

import inspect
import json
import math
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from jalon import Callback, Model
from jalon.callbacks.backup_and_restore import BackupAndRestore
from jalon.core.run import Run
from jalon.errors import ArgumentError, CheckpointError, CheckpointMismatch, JalonWarning, SaveFailed
from jalon.testing import FakeTrainer, play


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
    """Notes what each backup says of itself, as it is made."""

    def __init__(self, folder):
        self.metadata = Path(folder, "training_metadata.json")
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        if self.metadata.exists():
            said = json.loads(self.metadata.read_text())
            place = (said["epoch"], said["batch"])
            if place not in self.seen:
                self.seen.append(place)


class StopsAtNaN(Callback):
    """Asks for a stop as soon as the loss is not finite."""

    def on_train_batch_end(self, batch, logs=None):
        if not math.isfinite(logs["loss"]):
            self.run.stop("invalid loss")


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
    """Train to the end; return the epochs' losses and how many batches the weights have seen."""
    trainer = FakeTrainer()
    run = play(callbacks, script, batches=batches, trainer=trainer)
    return run.history.get("loss", []), int(trainer.weights["bias"][0])


def names(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def said(path):
    return json.loads(Path(path).read_text())


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
    backup = BackupAndRestore("folder", 3, True, False)

    assert "backup_dir" == folder.name
    assert list(defaults.items()) == [(parameter.name, parameter.default) for parameter in others]
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
    """What was trained after the last backup is done again from it; the epochs before are not."""
    interrupted(BackupAndRestore(folder), batches=3, epoch_begin=2)

    assert ([0.2, 0.1], 12) == resumed(BackupAndRestore(folder))


def test_half_an_epoch_after_the_backup_is_undone(folder):
    """An epoch that was interrupted in the middle begins with the weights of its begin."""
    at_the_fault = interrupted(BackupAndRestore(folder), batches=3, after_batches=8)

    assert 8 == at_the_fault.iterations
    assert ([0.2, 0.1], 12) == resumed(BackupAndRestore(folder))


def test_the_same_instance_goes_on_too(folder):
    """One instance may be interrupted and used again, and tells the epoch to go on with and the last batch."""
    backup = BackupAndRestore(folder)
    interrupted(backup, after_batches=8)

    assert (2, 0) == (backup._current_epoch, backup._last_batch_seen)
    assert ([0.2, 0.1], 12) == resumed(backup)
    assert 4 == backup._current_epoch


def test_without_a_backup_training_begins_at_its_beginning(folder):
    """With nothing to go on from, the first epoch stays the one that was asked for."""
    run = play(BackupAndRestore(folder), FOUR, first_epoch=3)

    assert (3, [0.8, 0.4, 0.2, 0.1]) == (run.initial_epoch, run.history["loss"])


def test_digits_after_an_exception_are_what_they_were_without(folder):
    """Weights, rate and epochs of an interrupted training are those of an uninterrupted one."""
    whole, whole_history = train_digits()
    with pytest.raises(InterruptedError):
        train_digits(BackupAndRestore(folder), Interruption(after_batches=16))

    model, history = train_digits(BackupAndRestore(folder))

    assert [2, 3, 4] == history.epoch
    assert whole_history.history["loss"][2:] == history.history["loss"]
    assert whole.optimizer.learning_rate == model.optimizer.learning_rate
    assert all(np.array_equal(*pair) for pair in zip(whole.get_weights(), model.get_weights(), strict=True))


def test_digits_after_a_kill_are_what_they_were_without(folder):
    """A process killed by SIGKILL, started again, ends with the weights of one that was not."""
    child = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_backup_and_restore as t; "
        f"t.train_digits(t.BackupAndRestore({str(folder)!r}), t.Kill(3, 2))"
    )
    done = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=False)
    assert -signal.SIGKILL == done.returncode, done.stderr

    whole, whole_history = train_digits()
    model, history = train_digits(BackupAndRestore(folder))

    assert [3, 4] == history.epoch
    assert whole_history.history["loss"][3:] == history.history["loss"]
    assert all(np.array_equal(*pair) for pair in zip(whole.get_weights(), model.get_weights(), strict=True))
    assert not folder.exists()


def test_another_model_s_backup_is_refused(folder):
    """A whole backup of another model is no damaged one: the trainer says what does not fit."""
    with pytest.raises(InterruptedError):
        train_digits(BackupAndRestore(folder, double_checkpoint=True), Interruption(epoch_begin=3))
    other = Model(nn.Linear(64, 10)).compile("sgd", loss="cross_entropy")

    with pytest.raises(CheckpointMismatch, match="belongs to another model"):
        other.fit(np.zeros((4, 64), "float32"), np.zeros(4, "int64"), verbose=0, callbacks=[BackupAndRestore(folder)])


# ---- batches ---------------------------------------------------------------------------------------------------------


def test_batches_are_counted_across_epochs(folder):
    """Every save_freq batches there is a backup, wherever an epoch ends."""
    saves = Saves(folder)
    play([BackupAndRestore(folder, save_freq=2), saves], FOUR, batches=3)

    assert [(0, 1), (1, 0), (1, 2), (2, 1), (3, 0), (3, 2)] == saves.seen


def test_one_call_may_stand_for_several_batches(folder):
    """With steps_per_execution, the batches done count, not the calls."""
    saves = Saves(folder)
    train_digits(BackupAndRestore(folder, save_freq=3), saves, epochs=2, steps_per_execution=2)

    assert [(0, 3), (1, 1), (1, 5)] == saves.seen


def test_in_the_middle_of_an_epoch_the_epoch_begins_anew(folder):
    """A backup of the middle of an epoch holds the weights of its batch; the epoch is run again from its start."""
    backup = BackupAndRestore(folder, save_freq=1)
    interrupted(backup, batches=3, after_batches=5)

    assert (1, 1) == (backup._current_epoch, backup._last_batch_seen)
    assert ([0.4, 0.2, 0.1], 5 + 9) == resumed(BackupAndRestore(folder, save_freq=1))


def test_a_second_interruption_keeps_the_epoch(folder):
    """A resumed process that saves by batches knows in which epoch it is."""
    interrupted(BackupAndRestore(folder, save_freq=1), batches=3, after_batches=7)
    interrupted(BackupAndRestore(folder, save_freq=1), batches=3, after_batches=1)

    assert (2, 0) == (said(folder / "training_metadata.json")["epoch"], said(folder / "training_metadata.json")["batch"])


def test_without_a_save_freq_nothing_is_backed_up(folder):
    """save_freq=False backs up nothing, and goes on from a backup that is there."""
    interrupted(BackupAndRestore(folder, save_freq=False), epoch_begin=2)
    assert [] == names(folder)

    interrupted(BackupAndRestore(folder), epoch_begin=2)
    assert ([0.2, 0.1], 12) == resumed(BackupAndRestore(folder, save_freq=False))


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


def test_one_backup_is_kept(folder):
    """There are the metadata, which name the weights and their digest, and these weights."""
    backup = BackupAndRestore(folder)
    interrupted(backup, epoch_begin=3)
    metadata = said(backup._training_metadata_path)

    assert ["latest-1.json", "training_metadata.json"] == names(folder)
    assert folder / metadata["weights"] == backup._weights_path
    assert {"epoch", "batch", "weights", "sha256"} == metadata.keys()
    assert {"epoch": 3, "batch": 0} == said(backup._weights_path)["about"]


def test_the_one_before_is_kept_on_request(folder):
    """With double_checkpoint there are two whole backups, and no third."""
    backup = BackupAndRestore(folder, double_checkpoint=True)
    interrupted(backup, epoch_begin=3)

    assert 4 == len(names(folder))
    assert (3, 2) == (said(backup._training_metadata_path)["epoch"], said(backup._prev_training_metadata_path)["epoch"])
    assert (3, 2) == (said(backup._weights_path)["about"]["epoch"], said(backup._prev_weights_path)["about"]["epoch"])


def test_keeping_one_only_deletes_the_one_before(folder):
    """Without double_checkpoint, what an earlier training kept in addition is deleted at the next backup."""
    interrupted(BackupAndRestore(folder, double_checkpoint=True), epoch_begin=3)
    interrupted(BackupAndRestore(folder), losses(*range(9)), epoch_begin=5)

    assert 2 == len(names(folder))


def test_after_training_the_backup_is_gone(folder):
    """A training that ended leaves no folder, and the next one begins at its beginning."""
    backup = BackupAndRestore(folder, double_checkpoint=True)

    assert (resumed(backup), False) == (resumed(backup), folder.exists())


def test_files_of_others_stay(folder):
    """Only what the callback wrote is deleted; a folder with something else in it stays."""
    folder.mkdir()
    for name in ("latest.txt", "latest-1.jsonl", "notes"):
        (folder / name).write_text("mine")
    play(BackupAndRestore(folder), FOUR)

    assert ["latest-1.jsonl", "latest.txt", "notes"] == names(folder)


def test_a_backup_may_stay_on_request(folder):
    """With delete_checkpoint=False the next training goes on after the last epoch, also a longer one."""
    play(BackupAndRestore(folder, delete_checkpoint=False), FOUR, batches=3)

    assert ([], 12) == resumed(BackupAndRestore(folder, delete_checkpoint=False))
    assert ([7.0], 15) == resumed(BackupAndRestore(folder, delete_checkpoint=False), [*FOUR, {"loss": 7.0}])


def test_a_stop_deletes_the_backup(folder):
    """A training that another callback stopped has ended; its backup is deleted."""

    class Enough(Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.run.stop("enough")

    play([BackupAndRestore(folder), Enough()], FOUR)

    assert not folder.exists()


def test_what_cannot_be_deleted_is_named(folder):
    """A file that cannot be deleted is named, and training ends well."""
    (folder / "latest-9.json").mkdir(parents=True)

    with pytest.warns(JalonWarning, match=r"cannot delete .*latest-9\.json"):
        assert FOUR == losses(*resumed(BackupAndRestore(folder))[0])


def test_other_processes_read_alone(folder):
    """Of several processes only the main one writes and deletes; all go on from the backup."""
    interrupted(BackupAndRestore(folder), epoch_begin=2)
    before = names(folder)
    run = Run(FakeTrainer(), epochs=4, rank=1, world_size=2)
    backup = BackupAndRestore(folder)
    backup.set_run(run)
    backup.check_setup()
    backup.on_train_begin()
    backup.on_epoch_end(2, {"loss": 0.2})
    backup.on_train_end({"loss": 0.2})

    assert (2, before) == (run.initial_epoch, names(folder))


# ---- a loss that is none ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("invalid", [math.nan, math.inf])
@pytest.mark.parametrize("save_freq", ["epoch", 1])
def test_an_invalid_loss_keeps_the_backup_from_before(folder, save_freq, invalid, capsys):
    """A training stopped by its loss keeps the last backup with a finite one, and says so once."""
    backup = BackupAndRestore(folder, save_freq)
    play([backup, StopsAtNaN()], losses(0.8, 0.4, invalid, 0.1))

    assert 1 == capsys.readouterr().out.count(f"the loss is {invalid}. The model is not backed up as it is")
    assert {"epoch": 2 if save_freq == "epoch" else 1, "batch": 0} == said(backup._weights_path)["about"]
    assert [0.2, 0.1] == resumed(BackupAndRestore(folder), losses(0.8, 0.4, 0.2, 0.1))[0][-2:]


def test_a_loss_that_recovers_is_backed_up_again(folder):
    """An epoch with an invalid loss is passed over; the next sound one is backed up."""
    interrupted(BackupAndRestore(folder), losses(0.8, math.nan, 0.2, 0.1), epoch_begin=3)

    assert 3 == said(folder / "training_metadata.json")["epoch"]


# ---- damage ----------------------------------------------------------------------------------------------------------


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def flip(path):
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def spoil(path):
    path.write_text("0")


def send_elsewhere(path):
    path.write_text(json.dumps({**said(path), "weights": "../latest-1.json"}))


DAMAGES = [
    ("_weights_path", cut),
    ("_weights_path", flip),
    ("_weights_path", spoil),
    ("_weights_path", Path.unlink),
    ("_training_metadata_path", cut),
    ("_training_metadata_path", spoil),
    ("_training_metadata_path", send_elsewhere),
]


@pytest.mark.parametrize(("part", "damage"), DAMAGES)
def test_a_damaged_backup_is_refused(folder, part, damage):
    """Where nothing else can be gone on from, the error names the file and what to do, and nothing is trained."""
    backup, trainer = BackupAndRestore(folder), FakeTrainer()
    interrupted(backup, epoch_begin=3)
    path = getattr(backup, part)
    damage(path)

    with pytest.raises(CheckpointError, match=f"{path.name} (is damaged|cannot be read).*delete .* to train from the beginning"):
        play(BackupAndRestore(folder), FOUR, trainer=trainer)
    assert 0 == trainer.iterations
    assert folder.exists()


@pytest.mark.parametrize(("part", "damage"), DAMAGES)
def test_the_backup_before_a_damaged_one_is_gone_on_from(folder, part, damage):
    """With double_checkpoint, training goes on from the backup before, with its own weights, and says so."""
    backup = BackupAndRestore(folder, double_checkpoint=True)
    interrupted(backup, epoch_begin=3)
    damage(getattr(backup, part))

    with pytest.warns(JalonWarning, match="Training goes on from the backup before it, with epoch 3"):
        assert ([0.2, 0.1], 12) == resumed(BackupAndRestore(folder, double_checkpoint=True))


def test_a_backup_fallen_back_to_is_the_newest(folder):
    """After a fall-back the good backup is the one in force, also if that training is interrupted before its next one."""
    backup = BackupAndRestore(folder, double_checkpoint=True)
    interrupted(backup, epoch_begin=3)
    spoil(backup._weights_path)
    with pytest.warns(JalonWarning, match="is damaged"):
        interrupted(BackupAndRestore(folder, double_checkpoint=True), after_batches=1)

    assert ([0.2, 0.1], 12) == resumed(BackupAndRestore(folder))


def test_two_damaged_backups_are_refused(folder):
    """Where both are damaged, the error names both."""
    backup = BackupAndRestore(folder, double_checkpoint=True)
    interrupted(backup, epoch_begin=3)
    names = backup._weights_path.name, backup._prev_weights_path.name
    spoil(backup._weights_path)
    spoil(backup._prev_weights_path)

    with pytest.raises(CheckpointError, match=f"{names[0]} is damaged; .*{names[1]} is damaged"):
        play(BackupAndRestore(folder), FOUR)


def test_damage_while_training_is_made_good(folder):
    """Metadata that were spoilt meanwhile do not keep the next backup from being made."""

    class Spoil(Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                spoil(folder / "training_metadata.json")

    interrupted([BackupAndRestore(folder, double_checkpoint=True), Spoil()], epoch_begin=3)

    assert ([0.1], 12) == resumed(BackupAndRestore(folder))


def test_a_backup_that_fails_leaves_the_one_before(folder):
    """A backup that cannot be written is warned of; training goes on, and the old backup is whole."""

    class Obstacle(Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                obstacle = next(path for path in map("latest-{}.json".format, (1, 2)) if path not in names(folder))
                (folder / obstacle).mkdir()

    with pytest.warns(SaveFailed, match="nothing was backed up in .*training goes on"):
        interrupted([BackupAndRestore(folder), Obstacle()], epoch_begin=3)

    for path in folder.glob("latest-*.json"):
        if path.is_dir():
            path.rmdir()
    assert ([0.2, 0.1], 12) == resumed(BackupAndRestore(folder))


# ---- Keras's own -----------------------------------------------------------------------------------------------------


def test_a_backup_that_keras_wrote_is_gone_on_from(folder):
    """A backup as Keras leaves it is understood, and replaced by the first of jalon's."""
    folder.mkdir()
    trainer = FakeTrainer()
    for _ in range(6):
        trainer.step()
    trainer.freeze(folder / "latest.weights.h5", weights_only=False, about={})()
    (folder / "training_metadata.json").write_text('{"epoch": 2, "batch": 0}')

    assert ([0.2, 0.1], 12) == resumed(BackupAndRestore(folder))


def test_the_format_holds_weights_without_the_structure(folder):
    """Where the preferred format is the whole model, as in Keras, the file is a .weights.h5; else it is preferred."""

    class LikeKeras(FakeTrainer):
        suffixes = (".keras", ".h5")

        def suffix_fault(self, path, *, weights_only):
            return None if path.endswith(".weights.h5" if weights_only else self.suffixes) else "must end otherwise"

    backup = BackupAndRestore(folder)
    backup.set_run(Run(LikeKeras()))
    assert "latest-1.weights.h5" == backup._weights_path.name

    backup.set_run(Run(FakeTrainer()))
    assert "latest-1.json" == backup._weights_path.name


# ---- killed at any moment --------------------------------------------------------------------------------------------

KILLED = """
import itertools, json, os, signal, sys
from jalon.callbacks.backup_and_restore import BackupAndRestore
from jalon.testing import FakeTrainer, play

root, double = sys.argv[1], sys.argv[2] == "True"

def train(folder):
    trainer = FakeTrainer()
    run = play(BackupAndRestore(folder, double_checkpoint=double), [{"loss": 1.0}] * 3, batches=4, trainer=trainer)
    return run.initial_epoch, trainer.iterations, int(trainer.weights["bias"][0])

def dies_at(place, folder):
    child = os.fork()
    if child:
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])
    left = itertools.count(place, -1)
    def watch(event, args):
        if event in ("open", "os.rename", "os.remove", "os.rmdir") and folder in str(args[0]) and next(left) == 0:
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


@pytest.mark.parametrize("double", [False, True])
def test_killed_before_any_change_of_the_disk_it_goes_on_rightly(tmp_path, double):
    """A process is killed before each opening, renaming and deletion in turn; the next has weights and epoch of one moment."""
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(double)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr
    epochs, steps, weights, left_behind = zip(*json.loads(done.stdout), strict=True)
    deleting = epochs.index(3) + epochs[epochs.index(3) :].index(0)

    assert {12} == {*steps, *weights}
    assert {False} == {*left_behind}
    assert {0, 1, 2, 3} == {*epochs}
    assert sorted(epochs[:deleting]) == list(epochs[:deleting])
    assert {0} == {*epochs[deleting:]}
