"""What ModelCheckpoint writes, when, and what it never does to a file."""

from __future__ import annotations

import copy
import errno
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from jalon.callbacks.model_checkpoint import ModelCheckpoint
from jalon.core.cadence import every
from jalon.core.callback import Callback
from jalon.core.callback_list import CallbackList
from jalon.core.logs import BatchLogs
from jalon.core.run import Best, Run
from jalon.core.trainer import Direction, TrainerAdapter, Write
from jalon.engines.torch.formats import SUFFIXES, Checkpoint, read_checkpoint, write_checkpoint
from jalon.errors import ArgumentError, CheckpointError, JalonWarning, MissingMetric, OlderSpelling, SaveFailed

DIRECTIONS: dict[str, Direction] = {"loss": "min", "val_loss": "min", "accuracy": "max", "val_accuracy": "max"}


class Trainer(TrainerAdapter):
    """Trains a module whose weights tell how many batches it has seen."""

    suffixes = SUFFIXES
    validates = True

    def __init__(self, metrics: Sequence[str] | None = None) -> None:
        self.module = nn.Linear(2, 1)
        self.optimizer = torch.optim.SGD(self.module.parameters(), lr=0.1, momentum=0.9)
        nn.init.zeros_(self.module.weight)
        self.metrics = metrics
        self.steps = 0
        self.fault: Exception | None = None

    def trainer_adapter(self) -> Trainer:
        return self

    def step(self) -> None:
        self.steps += 1
        with torch.no_grad():
            self.module.weight.add_(1)

    @property
    def iterations(self) -> int:
        return self.steps

    def metric_names(self) -> frozenset[str] | None:
        return None if self.metrics is None else frozenset(self.metrics)

    def metric_direction(self, metric: str) -> Direction | None:
        return DIRECTIONS.get(metric)

    def learning_rates(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]

    def set_learning_rates(self, rates: Sequence[float]) -> None:
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate

    def snapshot_weights(self, into: Any = None) -> Any:
        return {name: value.clone() for name, value in self.module.state_dict().items()}

    def restore_weights(self, snapshot: Any) -> None:
        self.module.load_state_dict(snapshot)

    def freeze(self, path: Path, *, weights_only: bool, about: Mapping[str, Any]) -> Write:
        fault = self.fault
        optimizer = None if weights_only else self.optimizer.state_dict()
        checkpoint = copy.deepcopy(Checkpoint(self.module.state_dict(), optimizer, dict(about)))

        def write() -> None:
            if fault is not None:
                raise fault
            write_checkpoint(path, checkpoint)

        return write

    def load(self, path: Path) -> None:
        raise NotImplementedError

    def named_weights(self) -> Iterator[tuple[str, Any]]:
        for name, value in self.module.state_dict().items():
            yield name, value.numpy()


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    wall = monotonic


def train(
    callbacks: Any,
    epochs: Sequence[Mapping[str, Any]],
    *,
    trainer: Trainer | None = None,
    batches: Sequence[int] = (0,),
    batch_logs: Any = None,
    clock: Clock | None = None,
    seconds_per_batch: float = 0.0,
    state: Mapping[str, Any] | None = None,
    first_epoch: int = 0,
    first_batch: int | None = None,
    rank: int = 0,
    lines: list[str] | None = None,
) -> Run:
    """Train as ``fit`` does, reporting what a script says. ``batches`` are the numbers that batch hooks are told."""
    trainer, clock = trainer or Trainer(), clock or Clock()
    run = Run(trainer, epochs=first_epoch + len(epochs), initial_epoch=first_epoch, clock=clock, rank=rank)
    run.speaker = [].append if lines is None else lines.append
    told = CallbackList(callbacks)
    told.begin(run, trainer, {})
    told.validate()
    with told.session():
        told.on_train_begin()
        if state is not None:
            told.load_state_dict(json.loads(json.dumps(state)))
        for epoch, logs in enumerate(epochs, first_epoch):
            run.epoch = epoch
            told.on_epoch_begin(epoch)
            for batch in batches:
                if epoch > first_epoch or first_batch is None or batch >= first_batch:
                    trainer.step()
                    clock.now += seconds_per_batch
                    read = dict(logs) if batch_logs is None else batch_logs(epoch, batch)
                    told.tell_batch("on_train_batch_end", batch, BatchLogs(lambda read=read: read, lambda: 0))
            told.on_epoch_end(epoch, dict(logs))
        told.on_train_end()
    return run


def losses(*values: float) -> list[dict[str, float]]:
    return [{"loss": 1.0, "val_loss": value} for value in values]


def steps_in(path: Path) -> int:
    """After how many steps the model was saved."""
    return int(read_checkpoint(path).weights["weight"][0, 0])


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---- what is saved and when ------------------------------------------------------------------------------------------


def test_every_epoch_by_default(tmp_path):
    """Without more said, the model is saved after each epoch, better or not."""
    lines: list[str] = []
    train(ModelCheckpoint(tmp_path / "{epoch:02d}-{val_loss:.2f}.pt", verbose=1), losses(0.5, 0.7), lines=lines)

    assert ["01-0.50.pt", "02-0.70.pt"] == files_in(tmp_path)
    assert [1, 2] == [steps_in(tmp_path / name) for name in files_in(tmp_path)]
    assert [
        f"Epoch 1: saving model to {tmp_path}/01-0.50.pt",
        f"Epoch 1: finished saving model to {tmp_path}/01-0.50.pt",
        f"Epoch 2: saving model to {tmp_path}/02-0.70.pt",
        f"Epoch 2: finished saving model to {tmp_path}/02-0.70.pt",
    ] == lines


def test_only_the_best(tmp_path):
    """With save_best_only the file is that of the best epoch, and Keras's words say why."""
    path, lines = tmp_path / "model.h5", []
    run = train(ModelCheckpoint(path, save_best_only=True, verbose=1), losses(0.5, 0.4, 0.4, 0.6), lines=lines)

    assert 2 == steps_in(path)
    assert Best("val_loss", 0.4, 1, path) == run.bests["val_loss"]
    assert path == run.files["ModelCheckpoint"]
    assert [
        f"Epoch 1: val_loss improved from None to 0.50000, saving model to {path}",
        f"Epoch 1: finished saving model to {path}",
        f"Epoch 2: val_loss improved from 0.50000 to 0.40000, saving model to {path}",
        f"Epoch 2: finished saving model to {path}",
        "Epoch 3: val_loss did not improve from 0.40000",
        "Epoch 4: val_loss did not improve from 0.40000",
    ] == lines


def test_silent_by_default(tmp_path):
    """Without verbose nothing is said."""
    lines: list[str] = []
    train(ModelCheckpoint(tmp_path / "model.pt", save_best_only=True), losses(0.5, 0.6), lines=lines)

    assert [] == lines


@pytest.mark.parametrize(
    ("monitor", "mode", "best"), [("val_accuracy", "auto", 2), ("val_accuracy", "min", 3), ("val_f1", "max", 2)]
)
def test_direction(tmp_path, monitor, mode, best):
    """More is better where the metric or the mode says so."""
    train(
        ModelCheckpoint(tmp_path / "m.pt", monitor, save_best_only=True, mode=mode), [{monitor: v} for v in (0.5, 0.9, 0.2, 0.6)]
    )

    assert best == steps_in(tmp_path / "m.pt")


def test_a_value_to_beat(tmp_path):
    """With a threshold, nothing is saved until a value beats it."""
    train(ModelCheckpoint(tmp_path / "{epoch}.pt", save_best_only=True, initial_value_threshold=0.45), losses(0.5, 0.45, 0.4))

    assert ["3.pt"] == files_in(tmp_path)


def test_nan_is_never_better(tmp_path):
    """NaN never overwrites a file, and does not stand in the way of the next number."""
    path, lines = tmp_path / "m.pt", []
    train(ModelCheckpoint(path, save_best_only=True, verbose=1), losses(math.nan, 0.5, math.nan), lines=lines)

    assert 2 == steps_in(path)
    assert ["Epoch 1: val_loss did not improve from None", "Epoch 3: val_loss did not improve from 0.50000"] == [
        line for line in lines if "not" in line
    ]


@pytest.mark.parametrize("weights_only", [False, True])
def test_weights_only(tmp_path, weights_only):
    """save_weights_only leaves the optimizer out; epoch and metric are told with the weights."""
    train(ModelCheckpoint(tmp_path / "m.pt", save_weights_only=weights_only), losses(0.5, 0.25))
    back = read_checkpoint(tmp_path / "m.pt")

    assert weights_only == (back.optimizer is None)
    assert {"epoch": 1, "monitor": "val_loss", "value": 0.25} == back.about


def test_folders_in_the_template_are_made(tmp_path):
    """A field may stand in a folder's name."""
    train(ModelCheckpoint(tmp_path / "new" / "{epoch}" / "m.pt"), losses(0.5, 0.4))

    assert [1, 2] == [steps_in(tmp_path / "new" / str(epoch) / "m.pt") for epoch in (1, 2)]


# ---- how often -------------------------------------------------------------------------------------------------------


def test_every_so_many_batches_across_epochs(tmp_path):
    """A number counts batches on from one epoch to the next; the name may hold the batch, from 1."""
    saver = ModelCheckpoint(tmp_path / "{epoch}-{batch:02d}.pt", save_freq=4)
    train(saver, losses(0.5, 0.4, 0.3), batches=range(3))

    assert ["2-01.pt", "3-02.pt"] == files_in(tmp_path)
    assert [4, 8] == [steps_in(tmp_path / name) for name in files_in(tmp_path)]
    assert 0 == read_checkpoint(tmp_path / "2-01.pt").about["batch"]


def test_one_call_for_several_batches(tmp_path):
    """Where a step stands for several batches, as with steps_per_execution, all of them count."""
    train(ModelCheckpoint(tmp_path / "{epoch}-{batch}.pt", save_freq=6), losses(0.5, 0.4, 0.3), batches=(3, 7))

    assert ["1-8.pt", "2-8.pt", "3-8.pt"] == files_in(tmp_path)


def test_best_by_batches(tmp_path):
    """A number of batches and save_best_only go together, on what batches report."""
    saver = ModelCheckpoint(tmp_path / "m.pt", "loss", save_best_only=True, save_freq=2)
    run = train(saver, losses(1), batches=range(8), batch_logs=lambda epoch, batch: {"loss": [9, 5, 0, 3, 0, 4, 0, 6][batch]})

    assert 4 == steps_in(tmp_path / "m.pt")
    assert Best("loss", 3.0, 0, tmp_path / "m.pt") == run.bests["loss"]


def test_every_so_many_epochs(tmp_path):
    """every(epochs=2) looks at every second epoch alone."""
    train(ModelCheckpoint(tmp_path / "{epoch}.pt", save_freq=every(epochs=2)), losses(5, 4, 3, 2, 1))

    assert ["2.pt", "4.pt"] == files_in(tmp_path)


def test_every_so_many_seconds(tmp_path):
    """every(seconds=25) saves after the first batch that ends so late."""
    saver = ModelCheckpoint(tmp_path / "{epoch}-{batch}.pt", save_freq=every(seconds=25))
    train(saver, losses(5, 4), batches=range(4), seconds_per_batch=10)

    assert ["1-3.pt", "2-2.pt"] == files_in(tmp_path)


def test_a_batch_metric_that_is_not_there(tmp_path):
    """Saving by batches, a metric that batches do not report is an error that names those there are."""
    saver = ModelCheckpoint(tmp_path / "m.pt", "los", mode="min", save_best_only=True, save_freq=2)

    with pytest.raises(MissingMetric, match=r"'los', which batch 2 of epoch 1 does not report. Reported: loss\. .*'loss'"):
        train(saver, losses(1), batches=range(4), batch_logs=lambda epoch, batch: {"loss": 1.0})


def test_batch_hooks_are_left_out_when_saving_by_epochs(tmp_path):
    """Saving by epochs, nothing is called after a batch; a subclass's own hook still is."""

    class Watching(ModelCheckpoint):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(batch)

    seen: list[int] = []
    told = CallbackList([ModelCheckpoint(tmp_path / "m.pt")])
    told.begin(Run(Trainer()), None, {})
    train(Watching(tmp_path / "m.pt"), losses(1), batches=range(3))

    assert not told.listens("on_train_batch_end")
    assert [0, 1, 2] == seen


# ---- metrics that are not there --------------------------------------------------------------------------------------


def test_a_missing_metric_never_means_save(tmp_path):
    """An epoch without validation saves nothing and is no error; the best file stays."""
    train(ModelCheckpoint(tmp_path / "m.pt", save_best_only=True), [{"loss": 1.0}, {"val_loss": 0.5}, {"loss": 0.1}])

    assert 2 == steps_in(tmp_path / "m.pt")


def test_an_unknown_metric_is_refused_before_training(tmp_path):
    """A monitor that the loop does not report is refused before the first step, with the nearest name."""
    trainer = Trainer(metrics=["loss", "val_loss"])

    with pytest.raises(MissingMetric, match="Did you mean 'val_loss'"):
        train(ModelCheckpoint(tmp_path / "m.pt", "val_los", mode="min", save_best_only=True), losses(1), trainer=trainer)

    assert 0 == trainer.steps


def test_an_unknown_metric_is_refused_at_the_first_epochs_end(tmp_path):
    """Where the loop cannot know beforehand, the first epoch's end says what there is."""
    with pytest.raises(MissingMetric, match="Reported: loss, val_loss"):
        train(ModelCheckpoint(tmp_path / "m.pt", "accuracy", save_best_only=True), losses(1))

    assert [] == files_in(tmp_path)


def test_an_array_is_no_value_to_compare(tmp_path):
    """A monitor that is an array is an error, not a reason to save."""
    with pytest.raises(ArgumentError, match="must be a single number"):
        train(ModelCheckpoint(tmp_path / "m.pt", save_best_only=True), [{"val_loss": np.ones(3)}])


def test_an_unknown_field_is_refused_before_training(tmp_path):
    """A metric in the template that the loop does not report is refused before the first step."""
    trainer = Trainer(metrics=["loss", "val_loss"])

    with pytest.raises(MissingMetric, match=r"whose filepath has \{val_acc\}, .*Reported: loss, val_loss"):
        train(ModelCheckpoint(tmp_path / "{val_acc}.pt"), losses(1), trainer=trainer)

    assert 0 == trainer.steps


def test_a_field_of_an_earlier_callback(tmp_path):
    """A metric that a callback before it adds may stand in the template."""

    class Adds(Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["f1"] = 0.75

    train([Adds(), ModelCheckpoint(tmp_path / "{f1}.pt")], losses(1), trainer=Trainer(metrics=["loss", "val_loss"]))

    assert ["0.75.pt"] == files_in(tmp_path)


def test_a_field_without_a_value_in_this_epoch(tmp_path):
    """An epoch without validation is not saved under a name that takes its metric."""
    train(ModelCheckpoint(tmp_path / "{epoch}-{val_loss}.pt"), [{"loss": 1.0}, {"val_loss": 0.5}])

    assert ["2-0.5.pt"] == files_in(tmp_path)


# ---- several files ---------------------------------------------------------------------------------------------------


def test_the_newest_are_kept(tmp_path):
    """keep_last=2 leaves the two files written last, and files of others alone."""
    (tmp_path / "9.pt").write_bytes(b"not ours")
    train(ModelCheckpoint(tmp_path / "{epoch}.pt", keep_last=2), losses(1, 2, 3, 4))

    assert ["3.pt", "4.pt", "9.pt"] == files_in(tmp_path)


def test_the_best_are_kept(tmp_path):
    """keep_best=2 leaves the two best files, and a model that would not be among them is not saved at all."""
    lines: list[str] = []
    run = train(
        ModelCheckpoint(tmp_path / "{epoch}.pt", keep_best=2, verbose=1), losses(0.5, 0.9, 0.4, 0.6, math.nan, 0.45), lines=lines
    )

    assert ["3.pt", "6.pt"] == files_in(tmp_path)
    assert Best("val_loss", 0.4, 2, tmp_path / "3.pt") == run.bests["val_loss"]
    assert ["Epoch 4: val_loss is not among the best 2", "Epoch 5: val_loss is not among the best 2"] == [
        line for line in lines if "not" in line
    ]


def test_kept_for_either_reason(tmp_path):
    """With both, a file stays if it is among the newest or among the best."""
    train(ModelCheckpoint(tmp_path / "{epoch}.pt", keep_best=1, keep_last=2), losses(0.5, 0.2, 0.9, math.nan, 0.8))

    assert ["2.pt", "4.pt", "5.pt"] == files_in(tmp_path)


def test_a_better_file_is_not_overwritten_by_its_namesake(tmp_path):
    """Where rounding gives a worse model the name of a better one that is kept, the better one stays."""
    train(ModelCheckpoint(tmp_path / "{val_loss:.1f}.pt", keep_best=3), losses(0.51, 0.53, 0.3))

    assert ["0.3.pt", "0.5.pt"] == files_in(tmp_path)
    assert 1 == steps_in(tmp_path / "0.5.pt")


def test_new_before_old(tmp_path):
    """The old file is deleted after the new one is there, never before."""
    present = []

    class Watched(Trainer):
        def freeze(self, path, *, weights_only, about):
            frozen = super().freeze(path, weights_only=weights_only, about=about)

            def write():
                present.append(files_in(tmp_path))
                frozen()

            return write

    train(ModelCheckpoint(tmp_path / "{epoch}.pt", keep_last=1), losses(1, 2, 3), trainer=Watched())

    assert [[], ["1.pt"], ["2.pt"]] == present


def test_a_file_that_cannot_be_deleted(tmp_path):
    """It is warned of once, training goes on, and the file is tried again after the next save."""

    class Blocks(Callback):
        def on_epoch_begin(self, epoch, logs=None):
            _ = saver.best  # waits for the save under way
            if epoch == 1:  # a folder in its place cannot be unlinked
                (tmp_path / "1.pt").rename(tmp_path / "moved")
                (tmp_path / "1.pt").mkdir()
            if epoch == 3:
                (tmp_path / "1.pt").rmdir()
                (tmp_path / "moved").rename(tmp_path / "1.pt")

    saver = ModelCheckpoint(tmp_path / "{epoch}.pt", keep_last=1)
    with pytest.warns(JalonWarning, match=r"cannot delete .*1\.pt: .*") as caught:
        train([Blocks(), saver], losses(1, 2, 3, 4))

    assert 1 == len(caught)
    assert ["4.pt"] == files_in(tmp_path)


def test_several_monitors(tmp_path):
    """Each monitor has a best and a file of its own."""
    saver = ModelCheckpoint(tmp_path / "{monitor}.pt", ["val_loss", "val_accuracy"], save_best_only=True)
    logs = [{"val_loss": a, "val_accuracy": b} for a, b in ((0.5, 0.5), (0.4, 0.4), (0.6, 0.9))]
    run = train(saver, logs)

    assert 2 == steps_in(tmp_path / "val_loss.pt")
    assert 3 == steps_in(tmp_path / "val_accuracy.pt")
    assert {"val_loss": 0.4, "val_accuracy": 0.9} == {name: best.value for name, best in run.bests.items()}


# ---- when a save fails -----------------------------------------------------------------------------------------------


def test_a_full_disk_does_not_end_training(tmp_path):
    """A save that fails keeps the old file and the old best; one warning says why and what to do; then it is tried again."""

    class Fills(Callback):
        def on_epoch_begin(self, epoch, logs=None):
            trainer.fault = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) if epoch in (1, 2) else None

    trainer, path, lines = Trainer(), tmp_path / "m.pt", []
    saver = ModelCheckpoint(path, save_best_only=True, verbose=1)
    with pytest.warns(SaveFailed) as caught:
        run = train([Fills(), saver], losses(0.5, 0.3, 0.4, 0.45), trainer=trainer, lines=lines)

    assert 4 == steps_in(path)
    assert Best("val_loss", 0.45, 3, path) == run.bests["val_loss"]
    assert f"Epoch 4: val_loss improved from 0.50000 to 0.45000, saving model to {path}" in lines
    (warning,) = caught
    assert f"the model of epoch 2 was not saved to {path}: No space left on device (" in str(warning.message)
    assert "bytes free). What was saved before is intact, and training goes on. Free space there" in str(warning.message)


def test_a_second_trouble_is_warned_of_again(tmp_path):
    """One warning serves one run of failures; after a save that worked, the next failure is told."""

    class Flickers(Callback):
        def on_epoch_begin(self, epoch, logs=None):
            trainer.fault = None if epoch == 2 else OSError(errno.EIO, os.strerror(errno.EIO))

    trainer = Trainer()
    with pytest.warns(SaveFailed) as caught:
        train([Flickers(), ModelCheckpoint(tmp_path / "{epoch}.pt")], losses(1, 2, 3, 4, 5), trainer=trainer)

    assert ["epoch 1", "epoch 4"] == [str(warning.message).split("of ")[1].split(" was")[0] for warning in caught]


def test_a_fault_that_is_not_the_systems_ends_training(tmp_path):
    """An error that no disk makes is not swallowed."""
    trainer = Trainer()
    trainer.fault = ArgumentError("cannot be saved")

    with pytest.raises(ArgumentError, match="cannot be saved"):
        train(ModelCheckpoint(tmp_path / "m.pt"), losses(1), trainer=trainer)


def test_only_the_main_process_writes(tmp_path):
    """Another rank follows the best value and writes nothing, not even a folder."""
    run = train(ModelCheckpoint(tmp_path / "new" / "{epoch}.pt", keep_best=1), losses(0.5, 0.4), rank=1)

    assert [] == files_in(tmp_path)
    assert 0.4 == run.bests["val_loss"].value


# ---- one training after another --------------------------------------------------------------------------------------


def test_the_same_model_goes_on_from_its_best(tmp_path):
    """In a second training of the same model a worse epoch does not overwrite the best file."""
    trainer, saver = Trainer(), ModelCheckpoint(tmp_path / "m.pt", save_best_only=True)
    train(saver, losses(0.5, 0.3), trainer=trainer)
    train(saver, losses(0.4, 0.35), trainer=trainer)

    assert 2 == steps_in(tmp_path / "m.pt")
    assert 0.3 == saver.best


def test_another_model_starts_afresh(tmp_path):
    """With another model there is no best yet and no file to delete."""
    saver = ModelCheckpoint(tmp_path / "{epoch}-{val_loss}.pt", keep_best=1)
    train(saver, losses(0.3))
    train(saver, losses(0.4, 0.5))

    assert ["1-0.3.pt", "1-0.4.pt"] == files_in(tmp_path)
    assert 0.4 == saver.best


def test_a_best_set_by_hand(tmp_path):
    """As in Keras, ``best`` may be set before training, so that a worse model is not saved."""
    saver = ModelCheckpoint(tmp_path / "{epoch}.pt", save_best_only=True)
    saver.best = 0.4
    train(saver, losses(0.5, 0.3))

    assert ["2.pt"] == files_in(tmp_path)


def test_after_a_resume_the_best_file_stays(tmp_path):
    """A resumed training compares with the best from before, deletes what it wrote before, and knows where the best is."""
    first, second = (ModelCheckpoint(tmp_path / "{epoch}.pt", keep_best=1, keep_last=1) for _ in range(2))
    train(first, losses(0.5, 0.3, 0.6))
    told = CallbackList(first)
    run = train(second, losses(0.4, 0.35), state=told.state_dict(), first_epoch=3)

    assert ["2.pt", "5.pt"] == files_in(tmp_path)
    assert Best("val_loss", 0.3, 1, tmp_path / "2.pt") == run.bests["val_loss"]


def test_after_a_resume_what_was_about_to_be_deleted_is(tmp_path):
    """A process that is killed between the backup of an epoch and the end of its save leaves a file too many."""
    states = []

    class Backup(Callback):
        def on_epoch_end(self, epoch, logs=None):
            states.append(first.state_dict())

    first, second = (ModelCheckpoint(tmp_path / "{epoch}.pt", keep_last=1) for _ in range(2))
    train([first, Backup()], losses(0.5, 0.4))
    (tmp_path / "1.pt").write_bytes(b"not deleted yet")
    train(second, [], state={"ModelCheckpoint": states[-1]}, first_epoch=2)

    assert ["2.pt"] == files_in(tmp_path)


@pytest.mark.parametrize("save_freq", [5, every(steps=5), every(seconds=50)])
def test_after_a_resume_the_count_goes_on(tmp_path, save_freq):
    """Cut off inside an epoch, a resumed training saves at the batches at which the whole one would have."""

    class Cut(Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.run.epoch == 1 and batch == 1:
                state.update(self.told.state_dict())

    state: dict[str, Any] = {}
    whole = ModelCheckpoint(tmp_path / "whole" / "{epoch}-{batch}.pt", save_freq=save_freq)
    cut = Cut()
    cut.told = CallbackList([whole])
    kwargs: dict[str, Any] = {"batches": range(4), "seconds_per_batch": 10.0}
    train([whole, cut], losses(3, 2, 1), **kwargs)
    resumed = ModelCheckpoint(tmp_path / "resumed" / "{epoch}-{batch}.pt", save_freq=save_freq)
    train(resumed, losses(2, 1), state=state, first_epoch=1, first_batch=2, **kwargs)

    assert ["2-1.pt", "3-2.pt"] == files_in(tmp_path / "whole")
    assert ["3-2.pt"] == files_in(tmp_path / "resumed")


# ---- wrong arguments -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"filepath": ""}, "filepath must be a path"),
        ({"filepath": 3}, "filepath must be a path"),
        ({"filepath": "{epoch.pt"}, "no valid template"),
        ({"filepath": "{}.pt"}, "no valid template: {} is not the name of one metric"),
        ({"filepath": "{loss[0]}.pt"}, "no valid template"),
        ({"filepath": "{epoch:zz}.pt"}, "no valid template"),
        ({"filepath": "{epoch:{loss}}.pt"}, "no valid template"),
        ({"filepath": "{batch}.pt"}, r"\{batch\} needs save_freq to count batches"),
        ({"filepath": "{val_loss}.pt", "save_freq": 10}, "'val_loss' is known at an epoch's end only"),
        ({"save_best_only": True, "save_freq": 10}, "'val_loss' is known at an epoch's end only"),
        ({"monitor": ""}, "monitor must be the name of a metric"),
        ({"monitor": None}, "monitor must be the name of a metric"),
        ({"monitor": []}, "one metric or several different ones"),
        ({"monitor": ["loss", "loss"], "save_best_only": True}, "one metric or several different ones"),
        ({"monitor": ["loss", "val_loss"]}, "several monitors need save_best_only=True or keep_best"),
        ({"monitor": ["loss", "val_loss"], "save_best_only": True}, r"filepath must hold \{monitor\}"),
        (
            {"filepath": "{monitor}.pt", "monitor": ("a", "b"), "save_best_only": True, "initial_value_threshold": 1},
            "initial_value_threshold goes with one monitor",
        ),
        ({"mode": "maximum"}, "mode must be 'auto', 'min' or 'max'"),
        ({"initial_value_threshold": "low"}, "the value to beat must be a number"),
        ({"save_freq": "batch"}, "save_freq must be 'epoch'"),
        ({"save_freq": 0}, "save_freq must be 'epoch'"),
        ({"save_freq": True}, "save_freq must be 'epoch'"),
        ({"save_freq": 1.5}, "save_freq must be 'epoch'"),
        ({"filepath": "{epoch}.pt", "keep_last": 0}, "keep_last must be a whole number, 1 or more"),
        ({"filepath": "{epoch}.pt", "keep_best": 1.5}, "keep_best must be a whole number, 1 or more"),
        ({"keep_last": 2}, r"filepath must differ from one to the next; put \{epoch\} into it"),
        ({"filepath": "{monitor}.pt", "keep_best": 2}, "filepath must differ from one to the next"),
    ],
)
def test_wrong_arguments(arguments, message):
    """What cannot work is refused in the constructor, with what was received."""
    with pytest.raises(ArgumentError, match=message) as caught:
        ModelCheckpoint(**{"filepath": "model.pt", **arguments})

    assert "Received: " in str(caught.value)


def test_keras_positions():
    """The arguments of Keras are taken in Keras's order."""
    saver = ModelCheckpoint("m.pt", "loss", 1, True, True, "min", 7, 0.5)

    assert ("m.pt", "loss", 1, True, True, 7, 0.5) == (
        saver.filepath,
        saver.monitor,
        saver.verbose,
        saver.save_best_only,
        saver.save_weights_only,
        saver.save_freq,
        saver.initial_value_threshold,
    )


@pytest.mark.parametrize("name", ["model.keras", "model", "model.{epoch}"])
def test_a_format_the_trainer_cannot_write(tmp_path, name):
    """A suffix that the trainer does not know is refused before the first step, with those it does."""
    trainer = Trainer()

    with pytest.raises(ArgumentError, match=r"must end in one of \.safetensors, \.h5, \.pt"):
        train(ModelCheckpoint(tmp_path / name), losses(1), trainer=trainer)

    assert 0 == trainer.steps


@pytest.mark.parametrize("name", ["model.pt", "{epoch}.pt", "{epoch}/model.pt"])
def test_a_place_where_nothing_can_be_written(tmp_path, name):
    """A file where a folder should be is refused before the first step."""
    (tmp_path / "file").write_bytes(b"")
    trainer = Trainer()

    with pytest.raises(CheckpointError, match="file is a file where a folder should be"):
        train(ModelCheckpoint(tmp_path / "file" / name), losses(1), trainer=trainer)

    assert 0 == trainer.steps


def test_a_folder_at_the_path(tmp_path):
    """An existing folder as the path is refused before the first step."""
    (tmp_path / "model.pt").mkdir()

    with pytest.raises(CheckpointError, match="it is a folder"):
        train(ModelCheckpoint(tmp_path / "model.pt"), losses(1))


def test_braces_written_twice_are_braces(tmp_path):
    """A doubled brace stands for itself."""
    train(ModelCheckpoint(f"{tmp_path}/{{{{a}}}}.pt"), losses(1))

    assert ["{a}.pt"] == files_in(tmp_path)


# ---- kill -9 ---------------------------------------------------------------------------------------------------------

KILLER = """
import os, random, signal, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, {here!r})
from test_model_checkpoint import Callback, ModelCheckpoint, losses, read_checkpoint, train

class Tells(Callback):
    def on_epoch_end(self, epoch, logs=None):
        os.write(writing, b"x")

chance, hit = random.Random({seed}), 0
for path in map(Path, sys.argv[1:]):
    train(ModelCheckpoint(path), losses(1))
    for kill in range({kills}):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            train([Tells(), ModelCheckpoint(path)], losses(*range(10_000)))
            os._exit(1)
        os.read(reading, 1 + kill % 3)
        if kill % 2:
            while not list(path.parent.glob(f".{{path.name}}.tmp-{{child}}-*")):
                pass  # until the child is in the middle of a save
        time.sleep(chance.uniform(0, 0.002))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reading), os.close(writing)
        hit += bool(list(path.parent.glob(f".{{path.name}}.tmp-{{child}}-*")))
        back = read_checkpoint(path)
        assert back.about["epoch"] + 1 == int(back.weights["weight"][0, 0]) == int(back.weights["weight"][0, 1])
train(ModelCheckpoint(path), losses(1))
print("all whole", hit > 0, list(path.parent.glob(f".{{path.name}}.tmp-*")))
"""


def test_killed_at_any_instant_the_file_is_whole(tmp_path):
    """Killed at random instants while it overwrites its file over and over: the file loads, and the next start tidies up."""
    script = KILLER.format(here=str(Path(__file__).parent), seed=20, kills=12)
    paths = [str(tmp_path / f"model{suffix}") for suffix in SUFFIXES]
    done = subprocess.run([sys.executable, "-c", script, *paths], capture_output=True, text=True, check=False)

    assert "all whole True []\n" == done.stdout, done.stderr


@pytest.mark.parametrize(
    ("arguments", "today"),
    [
        ({"period": 2}, r"Write save_freq=every\(epochs=2\)"),
        ({"options": object()}, "has no effect"),
        ({"save_format": "tf"}, "The suffix names the format"),
    ],
)
def test_the_spelling_of_keras_2(tmp_path, arguments, today):
    """Keras 2's arguments are taken, and one warning says what to write today."""
    with pytest.warns(OlderSpelling, match=today) as told:
        saver = ModelCheckpoint(tmp_path / "{epoch}.pt", **arguments)
    assert 1 == len(told)

    train(saver, losses(1, 2, 3, 4))

    assert files_in(tmp_path) == (["2.pt", "4.pt"] if "period" in arguments else ["1.pt", "2.pt", "3.pt", "4.pt"])
