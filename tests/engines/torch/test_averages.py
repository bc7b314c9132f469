"""``compile(use_ema=True)`` keeps the average that Keras's optimizers keep, and loses nothing of it in a file."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from jalon import Model
from jalon.callbacks import Callback
from jalon.callbacks.swap_ema_weights import SwapEMAWeights
from jalon.engines.torch.averages import WeightAverages
from jalon.errors import ArgumentError, CheckpointMismatch

X = torch.randn(32, 3, generator=torch.Generator().manual_seed(0))
Y = torch.randn(32, 2, generator=torch.Generator().manual_seed(1))


def built(module=None, optimizer="sgd", **options):
    torch.manual_seed(0)
    return Model(module or nn.Linear(3, 2)).compile(optimizer, "mse", **{"use_ema": True, "ema_momentum": 0.75} | options)


def fit(model, callbacks=None, **options):
    return model.fit(X, Y, **{"batch_size": 8, "shuffle": False, "verbose": 0} | options, callbacks=callbacks)


def weights(model):
    return {name: value.detach().clone() for name, value in model.module.named_parameters()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class Steps(Callback):
    """Keeps the weights and their average after each batch."""

    def __init__(self):
        self.weights, self.averages = [], []

    def on_train_batch_end(self, batch, logs=None):
        self.weights.append(weights(self.model))
        self.averages.append({name: value.clone() for name, value in self.model.averages.state_dict().items()})


class Ends(Callback):
    """Keeps the weights at the end of each epoch."""

    def __init__(self):
        self.weights = []

    def on_epoch_end(self, epoch, logs=None):
        self.weights.append(weights(self.model))


@pytest.mark.parametrize("momentum", [0.0, 0.75, 0.99, 1.0])
def test_the_average_follows_the_formula(momentum):
    """It is the weights after the first step, then momentum * average + (1 - momentum) * weights after each."""
    steps = Steps()
    fit(built(ema_momentum=momentum), steps, epochs=2)

    expected = steps.weights[0]
    for after, average in zip(steps.weights[1:], steps.averages[1:], strict=True):
        expected = {name: momentum * expected[name] + (1 - momentum) * after[name] for name in after}
        for name in after:
            torch.testing.assert_close(average[name], expected[name], rtol=0, atol=1e-6)
    assert same(steps.weights[0], steps.averages[0])


def test_fit_ends_with_the_average_in_the_model():
    """fit ends with the average as the weights, and on_train_end finds it there; the steps are those without an average."""
    steps, plain, found = Steps(), Ends(), []

    class End(Callback):
        def on_train_end(self, logs=None):
            found.append(weights(self.model))

    model = built()
    fit(model, [steps, End()], epochs=2)
    fit(built(use_ema=False), plain, epochs=2)

    assert same(steps.averages[-1], weights(model))
    assert same(steps.averages[-1], found[0])
    assert same(steps.weights[-1], plain.weights[-1])


def test_a_fit_of_no_epochs_changes_nothing():
    """fit(epochs=0) leaves weights that were put in place after training."""
    model = built()
    fit(model)
    model.set_weights([np.ones((2, 3)), np.zeros(2)])
    fit(model, epochs=0)

    assert np.array_equal(np.ones((2, 3)), model.get_weights()[0])


def test_the_weights_become_the_average_every_so_many_steps():
    """With ema_overwrite_frequency=3 the weights are the average after steps 3, 6 …, and not after others."""
    steps = Steps()
    fit(built(ema_overwrite_frequency=3), steps, epochs=2)

    assert [same(*pair) for pair in zip(steps.weights, steps.averages, strict=True)] == [
        number == 1 or number % 3 == 0 for number in range(1, 9)
    ]


def test_accumulated_batches_count_as_the_steps_they_make():
    """With gradient accumulation the average follows optimizer steps, not batches."""
    steps = Steps()
    fit(built(gradient_accumulation_steps=2), steps, epochs=2)

    assert {} == steps.averages[0]
    assert same(steps.weights[1], steps.averages[1])
    assert [True, False] * 3 == [same(*pair) for pair in zip(steps.averages[1:], steps.averages[2:], strict=False)]


def test_a_step_that_the_scaler_skips_does_not_count():
    """Where gradients overflow, neither the weights nor the average change."""
    model = built(precision="mixed_float16")
    before, steps = weights(model), Steps()
    model.fit(X, torch.full_like(Y, 1e38), batch_size=8, callbacks=steps, verbose=0)

    assert [{}] * 4 == steps.averages
    assert same(before, weights(model))


def test_an_overridden_step_is_averaged():
    """A train_step of one's own that calls minimize is averaged as well."""

    class Own(Model):
        def train_step(self, data):
            x, y = data
            loss = self.compute_loss(x, y, self(x))
            self.minimize(loss)
            return {"loss": loss}

    torch.manual_seed(0)
    own, model = Own(nn.Linear(3, 2)).compile("sgd", "mse", use_ema=True, ema_momentum=0.75), built()
    fit(own)
    fit(model)

    assert same(weights(model), weights(own))


def test_weights_that_are_not_trained_are_not_averaged():
    """Frozen weights have no average; trained in a later fit, they start from themselves."""
    model = built(nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2)))
    model.module[0].requires_grad_(requires_grad=False)
    fit(model)
    first = set(model.averages.state_dict())
    model.module[0].requires_grad_(requires_grad=True)
    frozen, steps = weights(model), Steps()
    fit(model, steps)

    assert {"1.weight", "1.bias"} == first
    expected = 0.75 * frozen["0.weight"] + 0.25 * steps.weights[0]["0.weight"]
    torch.testing.assert_close(steps.averages[0]["0.weight"], expected, rtol=0, atol=1e-6)


def test_lazy_weights_are_averaged():
    """Weights that take their shape from the first batch are averaged as any."""
    model, steps = built(nn.LazyLinear(2)), Steps()
    fit(model, steps)

    assert same(steps.averages[-1], weights(model))


@pytest.mark.parametrize("suffix", [".safetensors", ".h5", ".pt"])
@pytest.mark.parametrize("swap_on_epoch", [False, True])
def test_a_file_holds_the_average(tmp_path, suffix, swap_on_epoch):
    """Saved after an epoch and loaded into a new model, training ends bit for bit as if it had not been cut."""
    path, states = tmp_path / f"model{suffix}", []
    whole, swapper = built(optimizer="adam"), SwapEMAWeights(swap_on_epoch)

    class Save(Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                self.model.save(path)
                states.append(swapper.state_dict())

    class Load(Callback):
        def on_train_begin(self, logs=None):
            self.model.load(path)
            resumed.load_state_dict(states[0])

    fit(whole, [swapper, Save()], epochs=4)
    continued, resumed = built(optimizer="adam"), SwapEMAWeights(swap_on_epoch)
    fit(continued, [resumed, Load()], epochs=4, initial_epoch=2)

    assert same(weights(whole), weights(continued))
    assert same(whole.averages.state_dict(), continued.averages.state_dict())


def test_a_saved_average_is_a_copy(tmp_path):
    """Training on while a file is written does not change what is written."""
    model = built()
    fit(model)
    expected = weights(model)
    write = model.trainer_adapter().freeze(tmp_path / "model.pt", weights_only=False, about={})
    fit(model)
    write()
    loaded = built()
    loaded.load(tmp_path / "model.pt")

    assert same(expected, loaded.averages.state_dict())


def test_a_file_from_before_the_first_step_is_taken_back(tmp_path):
    """Where there was no average yet, there is none after loading, whatever there was."""
    path, steps = tmp_path / "model.pt", Steps()
    built().save(path)
    model = built()
    fit(model)
    model.load(path)
    fit(model, steps)

    assert same(steps.weights[0], steps.averages[0])


def test_a_file_with_an_average_is_refused_by_a_model_without(tmp_path):
    """load says that the model keeps no average, and changes nothing; load_weights takes the file."""
    model, other = built(), built(use_ema=False)
    fit(model)
    model.save(tmp_path / "model.pt")
    before = weights(other)

    with pytest.raises(CheckpointMismatch, match="use_ema=True"):
        other.load(tmp_path / "model.pt")
    assert same(before, weights(other))
    other.load_weights(tmp_path / "model.pt")
    assert same(weights(model), weights(other))


def test_a_file_without_an_average_begins_one(tmp_path):
    """A model that keeps an average goes on from a file that has none, and begins it with the next step."""
    plain, model, steps = built(use_ema=False), built(), Steps()
    fit(plain)
    plain.save(tmp_path / "model.pt")
    model.load(tmp_path / "model.pt")
    fit(model, steps)

    assert same(steps.weights[0], steps.averages[0])


def test_compiling_anew_forgets_the_average():
    """After compile there is no average until the next fit."""
    model = built()
    fit(model)
    model.compile("sgd", "mse", use_ema=True)

    assert model.averages is None


def test_swapping_twice_changes_nothing():
    """swap exchanges weights and average, and back, bit for bit; settle leaves two of the same."""
    weight = torch.tensor([0.1, 1e8])
    averages = WeightAverages(0.3, None)
    averages.begin({"w": weight})
    averages.update(1)
    weight += torch.tensor([1e-7, 3e-3])
    averages.update(2)
    before, average = weight.clone(), averages.state_dict()["w"].clone()

    averages.swap()
    assert torch.equal(average, weight)
    assert torch.equal(before, averages.state_dict()["w"])
    averages.swap()
    assert torch.equal(before, weight)
    averages.settle()
    assert torch.equal(before, averages.state_dict()["w"])


def test_the_average_moves_with_the_weights():
    """Weights that have another type at the next fit have an average of that type."""
    model = built()
    fit(model)
    model.module.double()
    model.fit(X.double(), Y.double(), verbose=0)

    assert {torch.float64} == {value.dtype for value in model.averages.state_dict().values()}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ema_momentum": 1.5}, "ema_momentum must be from 0 to 1. Received: 1.5."),
        ({"ema_momentum": -0.1}, "ema_momentum must be from 0 to 1. Received: -0.1."),
        ({"ema_overwrite_frequency": 0}, "ema_overwrite_frequency must be a positive whole number or None. Received: 0."),
        ({"ema_overwrite_frequency": 2.5}, "ema_overwrite_frequency must be a positive whole number or None. Received: 2.5."),
    ],
)
def test_a_wrong_argument_is_an_error(options, message):
    """What cannot be is refused by compile, with what was received."""
    with pytest.raises(ArgumentError) as caught:
        built(**options)

    assert message in str(caught.value)
