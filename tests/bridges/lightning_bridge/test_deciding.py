"""What callbacks decide under Lightning: when to stop, at which rate to learn, what to save."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
import torch

from jalon import Callback
from jalon.callbacks import (
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
    TensorBoard,
    TerminateOnNaN,
)
from jalon.engines.torch.formats import read_checkpoint


def stops_at(epoch, batch):
    """Return a callback that stops at a batch."""

    class Stops(Callback):
        def on_train_batch_end(self, number, logs=None):
            if (self.run.epoch, number) == (epoch, batch):
                self.run.stop("seen enough")

    return Stops()


class Recording(torch.optim.SGD):
    """Notes the rate of each step."""

    rates: ClassVar[list[float]] = []

    def step(self, closure=None):
        self.rates.append(self.param_groups[0]["lr"])
        return super().step(closure)


@pytest.fixture
def rates():
    """Return a list that gets the rate of each step that a ``Recording`` takes."""
    Recording.rates.clear()
    return Recording.rates


# ---- to stop ---------------------------------------------------------------------------------------------------------------


def test_early_stopping(either_package, train):
    """Training ends when the metric has stopped improving, and the history says why."""
    conducted = train(either_package, EarlyStopping("loss", min_delta=100, patience=2), max_epochs=9)

    assert 3 == len(conducted.history.epoch)
    assert "no improvement in loss for 2 epochs" == conducted.history.stop_reason


def test_a_stop_at_a_batch_ends_the_epoch(package, train):
    """A stop asked for at a batch ends the epoch after it; the validation and the epoch's end follow."""
    conducted = train(package, stops_at(1, 2), max_epochs=9)

    assert 6 + 3 == conducted._session.run.step
    assert ["val_loss" in row for row in conducted.history.rows] == [True, True]
    assert "seen enough" == conducted.history.stop_reason


def test_min_epochs_are_lightnings_to_keep(package, train):
    """A stop that comes before ``min_epochs`` is kept until then."""
    assert 4 == len(train(package, stops_at(0, 0), max_epochs=9, min_epochs=4).history.epoch)


def test_a_stop_of_others_is_in_the_history(package, train):
    """Where another callback sets ``trainer.should_stop``, the history says that somebody did."""
    stopping = package.callbacks.EarlyStopping("val_loss", min_delta=100, patience=1)

    conducted = train(package, None, stopping, max_epochs=9)

    assert "trainer.should_stop was set" == conducted.history.stop_reason


def test_nan_ends_training(package, train, make_module):
    """A loss that is not a number ends training at its batch."""

    def training_step(self, batch, batch_idx):
        return self.loss(batch) * (float("nan") if batch_idx == 3 else 1)

    conducted = train(package, TerminateOnNaN(), module=make_module(package, training_step=training_step))

    assert 4 == conducted._session.run.step


def test_the_best_weights_come_back(package, train, make_module):
    """``restore_best_weights`` puts back what the best epoch ended with."""
    module, kept = make_module(package), []
    keep = LambdaCallback(on_epoch_end=lambda epoch, logs: kept.append(module.net[0].weight.detach().clone()))

    conducted = train(
        package, [keep, EarlyStopping("val_loss", mode="max", patience=2, restore_best_weights=True)], module=module
    )

    assert 3 == len(conducted.history.epoch)
    assert torch.equal(kept[0], module.net[0].weight)


# ---- the rate ---------------------------------------------------------------------------------------------------------------


def scheduled(self):
    optimizer = Recording(self.parameters(), lr=0.1)
    return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)]


def test_a_rate_that_is_set_holds(package, train, make_module, rates):
    """Without a scheduler, the rate that a callback sets is the optimizer's."""
    module = make_module(package, configure_optimizers=lambda self: Recording(self.parameters(), lr=0.1))

    conducted = train(package, LearningRateScheduler(lambda epoch: 0.1 / (epoch + 1)), module=module)

    assert [0.1] * 6 + [0.05] * 6 + [0.1 / 3] * 6 == rates
    assert [0.1, 0.05, 0.1 / 3] == conducted.history.history["learning_rate"]


def test_a_change_holds_although_a_scheduler_steps(package, train, make_module, rates):
    """Under a scheduler, a reduced rate is a multiplier on what the scheduler says; the scheduler sees its own rates alone."""
    module = make_module(package, configure_optimizers=scheduled)

    conducted = train(package, ReduceLROnPlateau("loss", factor=0.1, patience=1, min_delta=100), module=module)

    assert pytest.approx([0.1] * 6 + [0.05] * 6 + [0.0025] * 6) == rates
    assert pytest.approx([0.1, 0.05, 0.0025]) == conducted.history.history["learning_rate"]
    assert [0.0125] == module.lr_schedulers().get_last_lr()


def test_after_training_the_optimizer_is_lightnings_alone(package, train, make_module):
    """What was put on the optimizer for the multiplier is taken away at the end."""
    module = make_module(package, configure_optimizers=scheduled)

    train(package, ReduceLROnPlateau("loss", factor=0.1, patience=1, min_delta=100), module=module)

    bare = module.optimizers(use_pl_optimizer=False)
    assert 0 == len(bare._optimizer_step_pre_hooks) + len(bare._optimizer_step_post_hooks)


def test_several_optimizers(package, train, make_module):
    """With several optimizers, stepped by hand, each step is told of and each rate is reduced."""
    told = []

    class Counts(Callback):
        def on_before_optimizer_step(self, step):
            told.append(step)

    def configure_optimizers(self):
        return [torch.optim.SGD(layer.parameters(), lr=lr) for layer, lr in ((self.net[0], 0.1), (self.net[2], 0.01))]

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        for optimizer in self.optimizers():
            optimizer.zero_grad()
        self.manual_backward(loss)
        for optimizer in self.optimizers():
            optimizer.step()
        return loss

    module = make_module(package, configure_optimizers=configure_optimizers, training_step=training_step)
    module.automatic_optimization = False
    reduce = ReduceLROnPlateau("loss", factor=0.1, patience=1, min_delta=100)

    conducted = train(package, [reduce, Counts()], module=module, max_epochs=2)

    assert 2 * 2 * 6 == len(told)
    assert pytest.approx([0.01, 0.001]) == conducted._adapter.learning_rates()
    assert conducted.history.history["loss"][1] < conducted.history.history["loss"][0]


# ---- what is saved ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".safetensors", ".h5", ".pt"])
def test_a_file_holds_the_module(package, train, make_module, suffix):
    """A file that ``ModelCheckpoint`` writes holds the module's weights under their names, and the optimizer's state."""
    module = make_module(package)

    train(package, ModelCheckpoint(f"saved/{{epoch}}{suffix}"), module=module, max_epochs=2)

    found = read_checkpoint(Path(f"saved/2{suffix}"))
    assert all(torch.equal(value, found.weights[name]) for name, value in module.state_dict().items())
    assert found.optimizer is not None


def test_lightnings_own_format(package, train, make_module):
    """With ``.ckpt`` the file is Lightning's checkpoint, whole under its name, and nothing is left beside it."""
    module = make_module(package)

    train(package, ModelCheckpoint("saved/{epoch}.ckpt", keep_last=1), module=module, max_epochs=2)

    again = type(module).load_from_checkpoint("saved/2.ckpt", weights_only=True)
    assert torch.equal(module.net[0].weight, again.net[0].weight)
    assert ["2.ckpt"] == [path.name for path in Path("saved").iterdir()]


def test_observers_change_nothing(package, train, make_module):
    """A training with callbacks that only observe and save has the weights of one without, bit for bit."""
    watched, alone = make_module(package), make_module(package)
    observers = [CSVLogger("log.csv"), TensorBoard("tb", histogram_freq=1), ModelCheckpoint("a.pt"), ModelCheckpoint("a.ckpt")]

    train(package, observers, module=watched)
    train(package, None, module=alone)

    assert all(torch.equal(value, alone.state_dict()[name]) for name, value in watched.state_dict().items())
