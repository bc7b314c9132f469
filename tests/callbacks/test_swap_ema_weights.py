"""SwapEMAWeights measures and predicts with the average, and trains on with the weights."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from jalon import CallbackList, Model
from jalon.callbacks import Callback, EarlyStopping, ModelCheckpoint
from jalon.callbacks.swap_ema_weights import SwapEMAWeights
from jalon.errors import ArgumentError
from jalon.testing import FakeTrainer, play


class AveragingTrainer(FakeTrainer):
    """Has one weight, which counts the steps, and an average of it that is a hundred times as much."""

    def __init__(self):
        super().__init__({"w": [0.0]})
        self.average = np.zeros(1, dtype=np.float32)

    def step(self):
        super().step()
        self.average[:] = 100 * self.weights["w"]

    def averages(self):
        return self

    def swap(self):
        kept = self.average.copy()
        self.average[:] = self.weights["w"]
        self.weights["w"][:] = kept

    def settle(self):
        self.average[:] = self.weights["w"]

    @property
    def pair(self):
        return self.weights["w"].item(), self.average.item()


class Witness(Callback):
    """Keeps (weight, average) as each hook finds it."""

    def __init__(self, trainer):
        self._trainer, self.saw = trainer, []

    def on_epoch_begin(self, epoch, logs=None):
        self.saw.append(("begin", *self._trainer.pair))

    def on_test_batch_end(self, batch, logs=None):
        self.saw.append(("test", *self._trainer.pair))

    def on_epoch_end(self, epoch, logs=None):
        self.saw.append(("end", *self._trainer.pair))


SCRIPT = [{"loss": 1.0, "val_loss": 1.0}] * 2


def seen(swapper, script=SCRIPT, after=()):
    trainer = AveragingTrainer()
    witness = Witness(trainer)
    play([swapper, witness, *after], script, trainer=trainer)
    return witness.saw, trainer.pair


def test_validation_takes_the_average():
    """The average is in the model during validation, and the weights before and after it."""
    saw, last = seen(SwapEMAWeights())

    assert [
        ("begin", 0.0, 0.0),
        ("test", 100.0, 1.0),
        ("end", 1.0, 100.0),
        ("begin", 1.0, 100.0),
        ("test", 200.0, 2.0),
        ("end", 2.0, 200.0),
    ] == saw
    assert (2.0, 200.0) == last


def test_callbacks_after_it_find_the_average_at_an_epoch_s_end():
    """With swap_on_epoch the average is in the model at an epoch's end, and the next epoch goes on from the weights."""
    saw, _ = seen(SwapEMAWeights(swap_on_epoch=True))

    assert [
        ("begin", 0.0, 0.0),
        ("test", 100.0, 1.0),
        ("end", 100.0, 100.0),
        ("begin", 1.0, 100.0),
        ("test", 200.0, 2.0),
        ("end", 200.0, 200.0),
    ] == saw


def test_a_stop_before_the_last_epoch_keeps_the_average():
    """Stopped by a callback after it, the average is in the model and where it is kept, as after the last epoch."""
    saw, last = seen(SwapEMAWeights(swap_on_epoch=True), SCRIPT * 3, after=[EarlyStopping("loss", patience=1)])

    assert 6 == len(saw)
    assert (200.0, 200.0) == last


def test_callbacks_before_it_find_the_weights():
    """What comes before it in the list sees the weights at an epoch's end."""
    trainer = AveragingTrainer()
    witness = Witness(trainer)
    play([witness, SwapEMAWeights(swap_on_epoch=True)], SCRIPT, trainer=trainer)

    assert [("end", 1.0, 100.0), ("end", 2.0, 200.0)] == [one for one in witness.saw if one[0] == "end"]


@pytest.mark.parametrize("what", ["test", "predict"])
def test_predict_and_evaluate_give_the_weights_back(begin, what):
    """The average is in the model from begin to end, and the weights afterwards, of predict too."""
    trainer = AveragingTrainer()
    trainer.step()
    told = begin(SwapEMAWeights(), trainer=trainer)

    getattr(told, f"on_{what}_begin")()
    within = trainer.pair
    getattr(told, f"on_{what}_end")()

    assert ((100.0, 1.0), (1.0, 100.0)) == (within, trainer.pair)


def test_measuring_at_an_epoch_s_end_leaves_the_average_there(begin):
    """With the average in the model, evaluate takes it as it is and does not take it away."""
    trainer = AveragingTrainer()
    trainer.step()
    told = begin(SwapEMAWeights(swap_on_epoch=True), trainer=trainer)
    told.on_epoch_end(0)

    told.on_test_begin()
    within = trainer.pair
    told.on_test_end()

    assert ((100.0, 100.0), (100.0, 100.0)) == (within, trainer.pair)


@pytest.mark.parametrize("swap_on_epoch", [False, True])
@pytest.mark.parametrize("hook", ["on_test_batch_end", "on_epoch_end", "on_test_end"])
def test_an_exception_does_not_leave_the_average_in_the_model(hook, swap_on_epoch):
    """After an exception anywhere, Ctrl-C included, the weights are in the model and the average beside them."""
    trainer = AveragingTrainer()

    def fail(self, *args):
        raise KeyboardInterrupt

    failing = type("Failing", (Callback,), {hook: fail})()
    with pytest.raises(KeyboardInterrupt):
        play([SwapEMAWeights(swap_on_epoch), failing], SCRIPT, trainer=trainer)

    assert (1.0, 100.0) == trainer.pair


def test_close_ends_a_test_that_did_not(begin):
    """close takes the average out of the model where a test did not come to its end, and may run twice."""
    trainer = AveragingTrainer()
    trainer.step()
    swapper = SwapEMAWeights()
    begin(swapper, trainer=trainer).on_test_begin()

    swapper.close()
    swapper.close()

    assert (1.0, 100.0) == trainer.pair


@pytest.mark.parametrize("swap_on_epoch", [False, True])
@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_resume_goes_on_from_the_weights(cut, swap_on_epoch):
    """Cut after any epoch and gone on with its state, every hook finds what it finds in one training."""
    whole, _ = seen(SwapEMAWeights(swap_on_epoch), SCRIPT * 2)
    trainer, swapper = AveragingTrainer(), SwapEMAWeights(swap_on_epoch)
    states = []

    class Saver(Callback):
        def on_epoch_end(self, epoch, logs=None):
            states.append(CallbackList(swapper).state_dict())

    first, second = Witness(trainer), Witness(trainer)
    play([swapper, first, Saver()], (SCRIPT * 2)[:cut], trainer=trainer)
    state = json.loads(json.dumps(states[-1], default=np.ndarray.tolist))
    play([SwapEMAWeights(swap_on_epoch), second], (SCRIPT * 2)[cut:], trainer=trainer, first_epoch=cut, state=state)

    assert whole == first.saw + second.saw


def test_a_state_from_within_a_test_is_undone(begin):
    """Saved in the middle of a validation, the state says so, and the next epoch goes on from the weights."""
    trainer = AveragingTrainer()
    trainer.step()
    saved = SwapEMAWeights()
    begin(saved, trainer=trainer).on_test_begin()
    resumed = SwapEMAWeights()
    told = begin(resumed, trainer=trainer)

    told.on_train_begin()
    resumed.load_state_dict(saved.state_dict())
    told.on_epoch_begin(1)

    assert (1.0, 100.0) == trainer.pair


def test_one_instance_serves_several_trainings():
    """A second training with the same instance sees what the first saw."""
    swapper = SwapEMAWeights(swap_on_epoch=True)

    assert seen(swapper) == seen(swapper)


def test_without_an_average_nothing_begins():
    """An optimizer that keeps no average is refused before the first step, in Keras's words."""
    trainer = FakeTrainer()
    with pytest.raises(
        ArgumentError, match=r"^SwapEMAWeights must be used when `use_ema=True` is set on the optimizer\. Received"
    ):
        play(SwapEMAWeights(), SCRIPT, trainer=trainer)

    assert 0 == trainer.iterations


@pytest.mark.parametrize("hook", ["on_test_begin", "on_predict_begin"])
def test_without_an_average_nothing_is_measured(begin, hook):
    """evaluate and predict with an optimizer that keeps no average are refused."""
    with pytest.raises(ValueError, match="SwapEMAWeights must be used when"):
        getattr(begin(SwapEMAWeights()), hook)()


# ---- with jalon.Model ------------------------------------------------------------------------------------------------


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(3)
    return torch.randn(40, 3, generator=generator), torch.randn(40, 2, generator=generator)


def averaging(**options):
    torch.manual_seed(1)
    options = {"use_ema": True, "ema_momentum": 0.9} | options
    return Model(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))).compile("sgd", "mse", **options)


def values(model):
    return [array.tolist() for array in model.get_weights()]


def test_validation_measures_what_fit_ends_with(data):
    """The last validation loss is that of the model after fit with the callback, and another without."""
    model, plain = averaging(), averaging()
    kept = model.fit(*data, epochs=2, validation_data=data, callbacks=SwapEMAWeights(), verbose=0, shuffle=False)
    other = plain.fit(*data, epochs=2, validation_data=data, verbose=0, shuffle=False)

    assert values(plain) == values(model)
    assert model.evaluate(*data, verbose=0) == kept.history["val_loss"][-1]
    assert plain.evaluate(*data, verbose=0) != other.history["val_loss"][-1]


@pytest.mark.parametrize("stop", [False, True])
def test_a_checkpoint_after_it_holds_the_average(data, tmp_path, stop):
    """With swap_on_epoch the file of the last epoch holds the model that fit ends with, stopped early or not."""
    model, plain = averaging(), averaging()
    callbacks = [SwapEMAWeights(swap_on_epoch=True), ModelCheckpoint(tmp_path / "{epoch}.safetensors")]
    if stop:
        callbacks.append(EarlyStopping("loss", patience=1, min_delta=1e9))
    model.fit(*data, epochs=5 if stop else 2, callbacks=callbacks, verbose=0, shuffle=False)
    plain.fit(*data, epochs=2, verbose=0, shuffle=False)
    loaded = averaging()
    loaded.load_weights(tmp_path / "2.safetensors")

    assert values(plain) == values(model) == values(loaded)
    assert not (tmp_path / "3.safetensors").exists()


def test_predict_leaves_the_weights(data):
    """predict gives what the average gives, and the model is as before."""
    model = averaging()
    model.fit(*data, verbose=0)
    averaged = model.predict(data[0], verbose=0)
    with torch.no_grad():
        for weight in model.module.parameters():
            weight += 1
    before = values(model)

    assert np.array_equal(averaged, model.predict(data[0], callbacks=SwapEMAWeights(), verbose=0))
    assert before == values(model)


@pytest.mark.parametrize("use_ema", [False, True])
def test_a_model_without_an_average_is_refused(data, use_ema):
    """evaluate is refused without use_ema, and before there is anything to average."""
    with pytest.raises(ArgumentError, match="SwapEMAWeights must be used when"):
        averaging(use_ema=use_ema).evaluate(*data, callbacks=SwapEMAWeights(), verbose=0)


def test_an_epoch_without_a_step_is_measured(data):
    """Where no optimizer step has been taken yet, validation takes the weights."""
    model = averaging(gradient_accumulation_steps=100)
    before = values(model)[:2]
    model.fit(*data, validation_data=data, callbacks=SwapEMAWeights(swap_on_epoch=True), verbose=0)

    assert before == values(model)[:2]
