"""EarlyStopping ends training where Keras's does, and says why."""

from __future__ import annotations

import inspect
import json
import math

import numpy as np
import pytest
import torch

from jalon import Callback, CallbackList
from jalon.callbacks import EarlyStopping
from jalon.core.run import Best
from jalon.errors import ArgumentError, MissingMetric
from jalon.testing import FakeTrainer, play


def losses(*values):
    return [{"loss": value} for value in values]


def epochs_of(stopper, *values, **options):
    return len(play(stopper, losses(*values), **options).history["loss"])


class Keeps(Callback):
    """Stands for a callback that writes the best file."""

    def __init__(self, path):
        self.path = path

    def on_epoch_end(self, epoch, logs=None):
        self.run.bests.setdefault("loss", Best("loss", logs["loss"], epoch, self.path))


def test_the_arguments_are_keras_s():
    """Arguments, their order and their defaults are Keras's, and each is an attribute."""
    defaults = {
        "monitor": "val_loss",
        "min_delta": 0,
        "patience": 0,
        "verbose": 0,
        "mode": "auto",
        "baseline": None,
        "restore_best_weights": False,
        "start_from_epoch": 0,
    }
    stopper = EarlyStopping("loss", 0.1, 2, 1, "min", 0.5, True, 3)
    parameters = inspect.signature(EarlyStopping).parameters.values()

    assert list(defaults.items()) == [(parameter.name, parameter.default) for parameter in parameters]
    assert ("loss", 2, 1) == (stopper.monitor, stopper.patience, stopper.verbose)
    assert (0.5, True, 3) == (stopper.baseline, stopper.restore_best_weights, stopper.start_from_epoch)


def test_before_training_it_has_seen_nothing():
    """The attributes that Keras's has are there before training begins, and as before when another begins."""
    stopper = EarlyStopping("loss", patience=1, restore_best_weights=True)
    fresh = (0, None, 0, 0, None)

    def seen():
        return (stopper.wait, stopper.best, stopper.best_epoch, stopper.stopped_epoch, stopper.best_weights)

    assert fresh == seen()
    play(stopper, losses(3.0, 2.0, 4.0))
    assert (1, 2.0, 1, 2) == seen()[:4]
    play(stopper, [])
    assert fresh == seen()


@pytest.mark.parametrize(("patience", "epochs"), [(0, 2), (1, 2), (2, 3), (3, 4)])
def test_patience_counts_epochs_without_improvement(patience, epochs):
    """Training ends at the patience-th epoch in a row without an improvement."""
    assert epochs == epochs_of(EarlyStopping("loss", patience=patience), 1.0, 1.0, 1.0, 1.0, 1.0)


def test_the_very_first_epoch_never_stops():
    """With patience 0, a first epoch that is no improvement ends nothing."""
    assert 2 == epochs_of(EarlyStopping("loss", patience=0), math.nan, math.nan, math.nan)


def test_an_improvement_starts_the_count_anew():
    """Epochs without improvement are counted from the last improvement on."""
    stopper = EarlyStopping("loss", patience=2)

    assert 6 == epochs_of(stopper, 3.0, 4.0, 2.0, 4.0, 1.0, 1.0)
    assert (1, 1.0, 4) == (stopper.wait, stopper.best, stopper.best_epoch)


def test_more_may_be_better():
    """mode="max" waits for the metric to rise."""
    assert 4 == epochs_of(EarlyStopping("loss", mode="max", patience=2), 1.0, 2.0, 1.5, 1.5, 9.0)


def test_small_changes_do_not_count():
    """A change of no more than min_delta is no improvement."""
    assert 3 == epochs_of(EarlyStopping("loss", min_delta=0.5, patience=2), 3.0, 2.75, 2.5, 2.0)


def test_warm_up_epochs_are_not_looked_at():
    """Before start_from_epoch nothing is counted, nor taken for the best."""
    stopper = EarlyStopping("loss", patience=1, start_from_epoch=3)

    assert 5 == epochs_of(stopper, 0.1, 0.2, 0.3, 4.0, 4.0, 4.0)
    assert (4.0, 3) == (stopper.best, stopper.best_epoch)


def test_the_reason_is_given():
    """The run says which metric stood still, and for how long."""
    assert "no improvement in loss for 3 epochs" == play(EarlyStopping("loss", patience=3), losses(*[1.0] * 9)).stop_reason
    assert "no improvement in loss for 1 epoch" == play(EarlyStopping("loss"), losses(*[1.0] * 9)).stop_reason


def test_a_baseline_that_is_not_beaten_stops():
    """Improvements do not start the count anew until one beats the baseline, and the reason says so."""
    run = play(EarlyStopping("loss", patience=3, baseline=0.5), losses(3.0, 2.0, 2.0, 1.0))

    assert 3 == len(run.history["loss"])
    assert "no improvement in loss over the baseline 0.5 for 3 epochs" == run.stop_reason


def test_a_baseline_once_beaten_is_forgotten():
    """After the baseline was beaten the count is as usual, and the reason too."""
    run = play(EarlyStopping("loss", patience=2, baseline=2.5), losses(3.0, 2.0, 2.75, 2.5))

    assert 4 == len(run.history["loss"])
    assert "no improvement in loss for 2 epochs" == run.stop_reason


def test_improving_for_ever_below_the_baseline_does_not_stop():
    """A metric that improves in each epoch is not stopped by a baseline, as in Keras."""
    assert 5 == epochs_of(EarlyStopping("loss", patience=2, baseline=0.5), 3.0, 2.0, 1.5, 1.0, 0.9)


def test_nan_is_never_an_improvement():
    """NaN counts as an epoch without improvement; a first NaN does not become the best."""
    stopper = EarlyStopping("loss", patience=3)

    assert 5 == epochs_of(stopper, math.nan, 2.0, math.nan, math.nan, math.nan)
    assert (2.0, 1) == (stopper.best, stopper.best_epoch)


def test_epochs_without_the_metric_are_not_counted():
    """With validation at every second epoch, the epochs between are neither counted nor an error."""
    script = [{"loss": 1.0, "val_loss": 1.0} if epoch % 2 else {"loss": 1.0} for epoch in range(12)]

    run = play(EarlyStopping(patience=2), script)

    assert 6 == len(run.history["loss"])


@pytest.mark.parametrize("start_from_epoch", [0, 5])
def test_a_missing_metric_is_an_error(start_from_epoch):
    """A metric that nothing reports is an error at the first epoch's end, in a warm-up too."""
    with pytest.raises(MissingMetric, match="EarlyStopping monitors 'val_loss', which epoch 1 does not report"):
        play(EarlyStopping(start_from_epoch=start_from_epoch), losses(1.0, 1.0), trainer=FakeTrainer())


def test_the_best_weights_come_back():
    """restore_best_weights puts back the weights of the best epoch's end."""
    trainer = FakeTrainer({"w": [0.0]})

    play(EarlyStopping("loss", patience=2, restore_best_weights=True), losses(3.0, 1.0, 2.0, 2.0), trainer=trainer)

    assert 2.0 == trainer.weights["w"]


def test_they_come_back_without_a_stop_too():
    """The best weights are put back at a planned end as well."""
    trainer = FakeTrainer({"w": [0.0]})

    run = play(EarlyStopping("loss", patience=9, restore_best_weights=True), losses(3.0, 1.0, 2.0), trainer=trainer)

    assert run.stop_reason is None
    assert 2.0 == trainer.weights["w"]


def test_they_come_back_with_a_baseline_never_beaten():
    """The best epoch's weights are put back although none beat the baseline."""
    trainer = FakeTrainer({"w": [0.0]})
    stopper = EarlyStopping("loss", patience=3, baseline=0.1, restore_best_weights=True)

    play(stopper, losses(3.0, 1.0, 2.0, 2.0, 2.0), trainer=trainer)

    assert 2.0 == trainer.weights["w"]


def test_without_a_number_the_first_weights_come_back():
    """Where every value was NaN, the weights of the first epoch are the best there are."""
    trainer = FakeTrainer({"w": [0.0]})

    play(EarlyStopping("loss", patience=3, restore_best_weights=True), losses(*[math.nan] * 5), trainer=trainer)

    assert 1.0 == trainer.weights["w"]


def test_without_being_asked_the_last_weights_stay():
    """By default the weights are those of the last step."""
    trainer = FakeTrainer({"w": [0.0]})

    play(EarlyStopping("loss", patience=2), losses(3.0, 1.0, 2.0, 2.0), trainer=trainer)

    assert 4.0 == trainer.weights["w"]


def test_it_tells_what_it_does(capsys):
    """With verbose=1 the stop and the weights put back are told in Keras's words."""
    play(EarlyStopping("loss", patience=2, verbose=1, restore_best_weights=True), losses(3.0, 1.0, 2.0, 2.0))

    assert "Epoch 4: early stopping\nRestoring model weights from the end of the best epoch: 2.\n" == capsys.readouterr().out


def test_without_a_stop_none_is_told(capsys):
    """A training that runs to its end is not said to have stopped."""
    play(EarlyStopping("loss", patience=9, verbose=1), losses(3.0, 1.0))

    assert "" == capsys.readouterr().out


def test_by_default_it_is_silent(capsys):
    """With verbose=0 nothing is told."""
    play(EarlyStopping("loss", patience=1, restore_best_weights=True), losses(1.0, 1.0, 1.0))

    assert "" == capsys.readouterr().out


def test_the_best_is_recorded():
    """The run has the best value and its epoch."""
    run = play(EarlyStopping("loss", patience=5), losses(3.0, 1.0, 2.0))

    assert {"loss": Best("loss", 1.0, 1)} == run.bests


def test_a_best_with_a_file_is_left_alone(tmp_path):
    """A best that names its file is not replaced by one without."""
    run = play([Keeps(tmp_path / "best.json"), EarlyStopping("loss", patience=5)], losses(3.0, 1.0))

    assert tmp_path / "best.json" == run.bests["loss"].path


def test_one_instance_serves_several_trainings():
    """A second training with the same instance starts afresh."""
    stopper = EarlyStopping("loss", patience=2, restore_best_weights=True)

    assert [3, 3] == [epochs_of(stopper, *[value] * 5) for value in (1.0, 2.0)]


@pytest.mark.parametrize("cut", range(1, 8))
@pytest.mark.parametrize("restore", [False, True])
def test_a_resume_decides_as_one_training(cut, restore):
    """Cut at any epoch and gone on with its state, training stops at the same epoch with the same weights."""
    script = losses(9.0, 5.0, 6.0, 4.0, 4.5, 4.25, 4.125, 4.5, 1.0)
    whole, cut_off, resumed = (EarlyStopping("loss", patience=4, restore_best_weights=restore) for _ in range(3))
    one, two = FakeTrainer({"w": [0.0]}), FakeTrainer({"w": [float(cut)]})
    expected = play(whole, script, trainer=one)
    play(cut_off, script[:cut], trainer=FakeTrainer({"w": [0.0]}))

    run = play(resumed, script[cut:], first_epoch=cut, state=CallbackList(cut_off).state_dict(), trainer=two)

    assert (8, "no improvement in loss for 4 epochs") == (cut + run.step, run.stop_reason)
    assert (expected.step, expected.stop_reason, expected.bests) == (cut + run.step, run.stop_reason, run.bests)
    assert one.weights["w"] == two.weights["w"]


def test_a_stop_is_remembered(capsys):
    """A training that had stopped when its state was saved tells so at its end."""
    stopped, resumed = (EarlyStopping("loss", patience=1, verbose=1) for _ in range(2))
    play(stopped, losses(1.0, 1.0, 1.0))
    told = capsys.readouterr().out
    play(resumed, [], state=CallbackList(stopped).state_dict())

    assert "Epoch 2: early stopping\n" == told == capsys.readouterr().out


def test_it_adds_no_metric():
    """A wrong monitor of a callback after it is known before training."""
    with pytest.raises(MissingMetric, match="this training"):
        play([EarlyStopping("loss"), EarlyStopping("val_loss")], losses(1.0))


def test_the_state_is_plain_data():
    """The state is JSON values and named arrays, which later training doesn't touch."""
    stopper = EarlyStopping("loss", patience=3, restore_best_weights=True)
    play(stopper, losses(3.0, 1.0))
    state = stopper.state_dict()
    play(stopper, losses(3.0, 1.0, 0.5))
    weights = state.pop("best_weights")

    assert {"wait": 0, "best": 1.0, "best_epoch": 1, "stopped_epoch": 0} == json.loads(json.dumps(state))
    assert {"kernel": np.full((2, 3), 2.0).tolist(), "bias": [2.0] * 3} == {
        name: value.tolist() for name, value in weights.items()
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tensors_are_saved_as_arrays(dtype):
    """Weights kept as tensors are arrays in the state, of a type without loss."""

    class TorchTrainer(FakeTrainer):
        def snapshot_weights(self, into=None):
            return {"w": torch.full((2,), 0.5, dtype=dtype, requires_grad=True)}

        def restore_weights(self, snapshot):
            self.restored = snapshot

    stopper = EarlyStopping("loss", restore_best_weights=True)
    play(stopper, losses(1.0), trainer=TorchTrainer())
    weights = stopper.state_dict()["best_weights"]["w"]

    assert (np.float32, [0.5, 0.5]) == (weights.dtype, weights.tolist())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"patience": -1}, r"patience must be a whole number, 0 or more. Received: patience=-1"),
        ({"patience": 1.5}, r"Received: patience=1.5"),
        ({"patience": "3"}, r"Received: patience='3'"),
        ({"start_from_epoch": -2}, r"start_from_epoch must be a whole number"),
        ({"baseline": "low"}, r"baseline must be a finite number. Received: baseline='low'"),
        ({"baseline": math.nan}, r"baseline must be a finite number"),
        ({"min_delta": None}, r"min_delta must be a number"),
        ({"mode": "minimum"}, r"mode must be 'auto', 'min' or 'max'"),
        ({"monitor": 3}, r"monitor must be the name of a metric"),
    ],
)
def test_a_wrong_argument_is_an_error(arguments, message):
    """What cannot be is refused in the constructor, with what was received."""
    with pytest.raises(ArgumentError, match=rf"^EarlyStopping: .*{message}"):
        EarlyStopping(**arguments)


def test_a_misspelt_argument_is_an_error():
    """An argument that does not exist is a TypeError."""
    with pytest.raises(TypeError, match="pateince"):
        EarlyStopping(pateince=3)


def test_numpy_numbers_are_numbers():
    """Arguments may be numpy's numbers, as from a search over them."""
    assert 3 == epochs_of(EarlyStopping("loss", patience=np.int64(2), min_delta=np.float32(0.0)), 1.0, 1.0, 1.0, 1.0)
