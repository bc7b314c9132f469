"""Run and TrainerAdapter: where a training stands, and who answers for it."""

from __future__ import annotations

import gc
import weakref

import pytest

from jalon import Callback, Run
from jalon.core.clock import SYSTEM_CLOCK
from jalon.core.run import run_of
from jalon.core.trainer import adapter_of
from jalon.errors import NotReady
from jalon.testing import FakeModel, FakeTrainer, ManualClock, play


class Model:
    def trainer_adapter(self):
        return FakeTrainer()


class Watcher(Callback):
    def __init__(self):
        self.seen = []

    def look(self):
        self.seen.append((self.run.phase, self.run.epoch, self.run.batch, self.run.step))

    def on_train_batch_end(self, batch, logs=None):
        self.look()

    def on_test_batch_end(self, batch, logs=None):
        self.look()


def test_counters_follow_the_training():
    """phase, epoch, batch and step say where the training stands; steps count across epochs."""
    watcher = Watcher()

    run = play(watcher, [{"loss": 0.5, "val_loss": 0.5}] * 2, batches=2)

    assert [
        ("train", 0, 0, 1),
        ("train", 0, 1, 2),
        ("validation", 0, 1, 2),
        ("train", 1, 0, 3),
        ("train", 1, 1, 4),
        ("validation", 1, 1, 4),
    ] == watcher.seen
    assert "idle" == run.phase


def test_a_run_knows_what_it_was_given(tmp_path):
    """Epochs, folder and ranks are those given; a run begins at its first epoch, and by default trains one alone."""
    run = Run(FakeTrainer(), epochs=9, initial_epoch=3, run_dir=tmp_path, rank=1, world_size=4)
    alone = Run(FakeTrainer())

    assert (9, 3, 3, 0, 0) == (run.epochs, run.initial_epoch, run.epoch, run.batch, run.step)
    assert (tmp_path, 1, 4, False) == (run.run_dir, run.rank, run.world_size, run.is_main)
    assert (1, 0, None, 0, 1, True) == (alone.epochs, alone.epoch, alone.run_dir, alone.rank, alone.world_size, alone.is_main)


def test_elapsed_is_since_the_run_began():
    """elapsed counts the seconds since the run began, on the clock it was given."""
    clock = ManualClock(100.0)
    run = Run(FakeTrainer(), clock=clock)
    clock.advance(7.5)

    assert 7.5 == run.elapsed


def test_the_systems_clock_goes_forward():
    """The clock of the machine tells seconds that never go back, and the date."""
    assert SYSTEM_CLOCK.monotonic() <= SYSTEM_CLOCK.monotonic()
    assert SYSTEM_CLOCK.wall() > 1.7e9


def test_the_main_process_speaks(capsys):
    """What is said is a line on the standard output, of the first process alone."""
    Run(FakeTrainer()).say("saved")
    Run(FakeTrainer(), rank=1, world_size=2).say("saved too")

    assert "saved\n" == capsys.readouterr().out


def test_a_speaker_takes_the_lines():
    """Who shows progress may take the lines and show them in its own place."""
    lines = []
    run = Run(FakeTrainer())
    run.speaker = lines.append
    run.say("saved")

    assert ["saved"] == lines


def test_the_commit_comes_after_every_callback():
    """What makes an epoch last runs after every on_epoch_end, added keys and the stop decision included."""
    seen = []

    class Commits(Callback):
        def on_train_begin(self, logs=None):
            self.run.commits.append(lambda: seen.append((dict(self.run.history), self.run.stop_reason)))

    class StopsLate(Callback):
        order = 1

        def on_epoch_end(self, epoch, logs=None):
            logs["late"] = 1.0
            self.run.stop("done")

    play([StopsLate(), Commits()], [{"loss": 0.5}])

    assert [({"loss": [0.5], "late": [1.0]}, "done")] == seen


def test_repr_says_where_it_stands():
    """A run shows its epoch, step, phase and reason."""
    run = Run(FakeTrainer(), initial_epoch=3)
    run.stop("done")

    assert "<Run epoch=3 step=0 phase=idle stop_reason='done'>" == repr(run)


def test_callbacks_of_one_model_share_a_run():
    """Under a loop that conducts no run, the callbacks of one model share one, and those of another have their own."""
    model, other = Model(), Model()
    callbacks = [Callback(), Callback(), Callback()]
    for callback, trained in zip(callbacks, (model, model, other), strict=True):
        callback.set_model(trained)

    assert callbacks[0].run is callbacks[1].run
    assert callbacks[0].run is not callbacks[2].run


def test_such_a_run_ends_with_its_model():
    """The shared run is held weakly: it goes when the model goes."""
    model = Model()
    run = weakref.ref(run_of(model))
    assert run() is not None

    del model
    gc.collect()

    assert run() is None


def test_a_model_names_what_answers_for_it():
    """A model is asked for its own adapter."""
    trainer = FakeTrainer()

    assert adapter_of(FakeModel(trainer, Run(trainer))) is trainer


def test_an_unknown_model_is_refused():
    """A model of which jalon knows nothing is an error that says what to do."""
    with pytest.raises(NotReady, match=r"does not know how to drive a builtins.dict.*jalon.Model.*trainer_adapter"):
        adapter_of({})
