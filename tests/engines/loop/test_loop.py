"""A loop written by hand reaches the hooks, and what it logs is what callbacks get."""

from __future__ import annotations

import gc
import re
import weakref

import jax.numpy as jnp
import numpy as np
import pytest
import torch

import jalon
from jalon.callbacks import Callback, EarlyStopping, ModelCheckpoint, ProgbarLogger, ReduceLROnPlateau, Standardize
from jalon.errors import ArgumentError, HookNotReached, NotReady


class Recorder(Callback):
    """Writes down every hook with its logs."""

    def __init__(self):
        self.told = []

    def on_train_begin(self, logs=None):
        self.told.append("train_begin")

    def on_epoch_begin(self, epoch, logs=None):
        self.told.append(("epoch_begin", epoch))

    def on_train_batch_begin(self, batch, logs=None):
        self.told.append(("batch_begin", batch))

    def on_train_batch_end(self, batch, logs=None):
        self.told.append(("batch_end", batch, logs))

    def on_test_begin(self, logs=None):
        self.told.append("test_begin")

    def on_test_batch_begin(self, batch, logs=None):
        self.told.append(("test_batch_begin", batch))

    def on_test_batch_end(self, batch, logs=None):
        self.told.append(("test_batch_end", batch, logs))

    def on_test_end(self, logs=None):
        self.told.append(("test_end", logs))

    def on_epoch_end(self, epoch, logs=None):
        self.told.append(("epoch_end", epoch, logs))

    def on_train_end(self, logs=None):
        self.told.append(("train_end", logs))


def test_every_hook_is_reached_in_the_order_of_fit():
    """Epochs, batches and validations, with the means so far of what was logged."""
    recorder = Recorder()
    loop = jalon.Loop(recorder, epochs=1, verbose=0)
    for _ in loop:
        for x in loop.batches([1.0, 3.0]):
            loop.log(loss=x)
        with loop.validation() as values:
            for x in loop.batches([5.0]):
                loop.log(loss=x)
    logs = {"loss": 2.0, "val_loss": 5.0}

    assert {"loss": 5.0} == values
    assert [
        "train_begin",
        ("epoch_begin", 0),
        ("batch_begin", 0),
        ("batch_end", 0, {"loss": 1.0}),
        ("batch_begin", 1),
        ("batch_end", 1, {"loss": 2.0}),
        "test_begin",
        ("test_batch_begin", 0),
        ("test_batch_end", 0, {"loss": 5.0}),
        ("test_end", {"loss": 5.0}),
        ("epoch_end", 0, logs),
        ("train_end", logs),
    ] == recorder.told
    assert {"loss": [2.0], "val_loss": [5.0]} == loop.history.history


def logged(*batches, **options):
    """Return the mean of what was logged for each batch."""
    loop = jalon.Loop(epochs=1, verbose=0)
    for _ in loop:
        for value, batch in batches:
            for _ in loop.batches([batch]):
                loop.log(loss=value, **options)
    return loop.history.history["loss"][0]


def test_values_are_weighted_by_the_rows_of_the_batch():
    """The mean is that over samples; a size that is given counts instead."""
    batches = [(1.0, (np.zeros((3, 2)), np.zeros(3))), (5.0, {"x": torch.zeros(1, 4)})]

    assert 2.0 == logged(*batches)
    assert 3.0 == logged(*batches, batch_size=7)


@pytest.mark.parametrize(
    "kind",
    [
        float,
        np.float32,
        np.array,
        torch.tensor,
        jnp.asarray,
        lambda value: torch.tensor([[value]]),
        lambda value: int(value * 2) / 2,
    ],
)
def test_numbers_of_any_framework_are_taken(kind):
    """Python's, numpy's, PyTorch's and JAX's, 0-d or of one element."""
    assert 1.5 == logged((kind(1.0), 0), (kind(2.0), 0))


def test_tensors_are_copied_and_their_graphs_let_go():
    """A tensor that changes after it was logged counts as it was, and what it was computed from is freed."""
    loop = jalon.Loop(epochs=1, verbose=0)
    for _ in loop:
        large = torch.ones(3, requires_grad=True)
        squared = large**2
        loss, graph = squared.mean(), weakref.ref(squared)
        loop.log(loss=loss)
        running = torch.tensor(1.0)
        loop.log(running=running)
        running += 5
        del squared, loss
        gc.collect()
        assert graph() is None

    assert {"loss": [1.0], "running": [1.0]} == loop.history.history


def test_nothing_is_read_before_somebody_asks(monkeypatch):
    """With callbacks that take lazy logs, values of a device are read once, at the end of the epoch."""
    reads = []
    tolist = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda self: reads.append(self.numel()) or tolist(self))
    monkeypatch.setattr(torch.Tensor, "item", lambda self: pytest.fail("a value was read on its own"))
    monkeypatch.setattr(torch.Tensor, "is_cpu", False)  # no other device is here: the host's memory plays one
    loop = jalon.Loop(
        [ModelCheckpoint("unused.pt", save_freq=100, monitor="loss")], model=torch.nn.Linear(1, 1), epochs=1, verbose=0
    )
    for _ in loop:
        for number in loop.batches(range(50)):
            loop.log(loss=torch.tensor(float(number)))
            assert [] == reads

    assert [50] == reads
    assert [24.5] == loop.history.history["loss"]


def test_the_mean_does_not_depend_on_when_it_is_read():
    """Bit for bit the same with a callback that reads at every batch."""
    values = np.random.default_rng(0).normal(size=200).astype(np.float32)

    def mean(*callbacks):
        loop = jalon.Loop(list(callbacks), epochs=1, verbose=0)
        for _ in loop:
            for value in loop.batches(values):
                loop.log(loss=torch.tensor(value), batch_size=7)
        return loop.history.history["loss"][0]

    assert mean() == mean(Recorder())


@pytest.mark.parametrize("value", [np.zeros(3), torch.zeros(2), jnp.zeros(2), "x", None])
def test_what_is_no_number_is_refused_by_name(value):
    """An array of several values, or something else, is an error where it is logged."""
    loop = jalon.Loop(epochs=1, verbose=0)
    for _ in loop:
        with pytest.raises(ArgumentError, match="'loss' must be a single number"):
            loop.log(loss=value)


def endless():
    number = 0
    while True:
        yield number
        number += 1


@pytest.mark.parametrize(
    ("data", "steps", "expected"),
    [
        ([1, 2, 3], None, [[1, 2, 3], [1, 2, 3]]),
        ((number for number in range(3)), None, [[0, 1, 2], []]),
        (endless(), 3, [[0, 1, 2], [3, 4, 5]]),
        ([1, 2, 3], 2, [[1, 2], [3, 1]]),
        ({"a": 1}, None, [["a"], ["a"]]),
        (torch.utils.data.DataLoader([1, 2, 3]), None, [[1, 2, 3], [1, 2, 3]]),
    ],
)
def test_any_iterable_gives_batches(data, steps, expected):
    """Finite, used up, endless with a number of steps, going on where the last epoch ended."""
    loop = jalon.Loop(epochs=2, verbose=0)

    assert expected == [[int(x) if x != "a" else x for x in loop.batches(data, steps=steps)] for _ in loop]


@pytest.mark.parametrize(("data", "steps", "match"), [(7, None, "must be an iterable"), ([1], 0, "positive whole number")])
def test_what_cannot_be_iterated_over_is_refused(data, steps, match):
    """Named, with what was received."""
    loop = jalon.Loop(epochs=1, verbose=0)
    for _ in loop:
        with pytest.raises(ArgumentError, match=match):
            next(loop.batches(data, steps))


def test_two_sources_at_once_are_refused():
    """They are to be zipped within one call."""
    loop = jalon.Loop(epochs=1, verbose=0)
    for _ in loop:
        together = zip(loop.batches([1, 2]), loop.batches([3, 4]), strict=True)
        with pytest.raises(NotReady, match=r"loop\.batches\(zip\(first, second\)\)"):
            next(together)


def test_several_passes_of_an_epoch_are_counted_on():
    """A batch's number goes on from one call to the next."""
    recorder = Recorder()
    loop = jalon.Loop(recorder, epochs=1, verbose=0)
    for _ in loop:
        for _ in loop.batches([1, 2]):
            pass
        for _ in loop.batches([3]):
            pass

    assert [0, 1, 2] == [told[1] for told in recorder.told if told[0] == "batch_end"]
    assert 3 == loop.run.step


def test_a_stop_ends_the_epoch_in_hand():
    """No more batches are handed out, validation and the epoch's end still come, and the reason is told."""
    loop = jalon.Loop(Recorder(), epochs=5, verbose=0)
    seen = []
    for _ in loop:
        for x in loop.batches(range(9)):
            seen.append(x)
            if x == 2:
                loop.stop("enough")
        seen.extend(loop.batches(range(9)))
        with loop.validation():
            seen.extend(loop.batches(["validated"]))
            loop.log(loss=1.0)

    assert [0, 1, 2, "validated"] == seen
    assert "enough" == loop.run.stop_reason == loop.history.stop_reason
    assert [0] == loop.history.epoch


def test_without_a_loop_under_way_nothing_can_be_logged():
    """What belongs into an epoch says so outside of one."""
    loop = jalon.Loop(verbose=0)
    for act in (
        lambda: loop.log(loss=1.0),
        lambda: loop.batches([1]),
        loop.validation,
        lambda: loop.stop("no"),
        lambda: loop.run,
    ):
        with pytest.raises(NotReady, match=r"Loop\.\w+: no "):
            act()


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"epochs": -1}, "epochs and initial_epoch"),
        ({"epochs": 2, "initial_epoch": 3}, "epochs and initial_epoch"),
        ({"model": object()}, "Received: a object"),
        ({"model": torch.nn.Linear(1, 1), "optimizer": "adam"}, "Received: model=a Linear, optimizer=a str"),
        ({"state": {"it": 5}}, r"state\['it'\] must have state_dict"),
    ],
)
def test_wrong_arguments_are_refused_in_the_constructor(arguments, match):
    """Named, with what was received."""
    with pytest.raises(ArgumentError, match=match):
        jalon.Loop(**arguments)


def test_a_model_file_needs_a_model():
    """ModelCheckpoint is refused before the first epoch, with what to do."""
    with pytest.raises(ArgumentError, match=r"Pass model= to jalon\.Loop"):
        next(iter(jalon.Loop(ModelCheckpoint("model.pt"), verbose=0)))


def test_a_hook_that_is_never_reached_is_said_at_the_start():
    """By name, once."""

    class Predicts(Callback):
        def on_predict_end(self, logs=None): ...

    with pytest.warns(HookNotReached, match=r"Predicts overrides on_predict_end, never reached under jalon\.Loop"):
        list(jalon.Loop(Predicts(), verbose=0))


def test_optimizers_of_torch_tell_of_their_steps():
    """on_before_optimizer_step is reached by each optimizer's step, as long as the loop runs."""

    class Steps(Callback):
        def __init__(self):
            self.steps = []

        def on_before_optimizer_step(self, step):
            self.steps.append(step)

    net, steps = torch.nn.Linear(1, 1), Steps()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    loop = jalon.Loop(steps, model=net, optimizer=optimizer, verbose=0)
    for _ in loop:
        for _ in loop.batches(range(3)):
            optimizer.step()
    optimizer.step()

    assert [0, 1, 2] == steps.steps
    with pytest.warns(HookNotReached, match="on_before_optimizer_step"):
        list(jalon.Loop(Steps(), verbose=0))


def test_validation_is_without_gradients_and_in_evaluation():
    """Each part of a module is afterwards in the mode it was in."""
    net = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.BatchNorm1d(2))
    net[1].eval()
    loop = jalon.Loop(model=net, verbose=0)
    for _ in loop:
        with loop.validation():
            assert (False, False, False) == (net.training, net[0].training, torch.is_grad_enabled())

    assert (True, True, False) == (net.training, net[0].training, net[1].training)
    assert torch.is_grad_enabled()


def test_evaluate_within_an_epoch_is_a_validation():
    """Its means are returned and reported as val_."""
    loop = jalon.Loop(verbose=0)
    for _ in loop:
        values = loop.evaluate([1.0, 3.0], lambda x: {"loss": x})

    assert {"loss": 2.0} == values
    assert {"val_loss": [2.0]} == loop.history.history


def test_evaluate_after_training_is_a_test():
    """Callbacks are told of a test and closed; the history stays as it is."""
    recorder = Recorder()
    loop = jalon.Loop(recorder, verbose=0)
    list(loop)
    recorder.told.clear()

    assert {"loss": 2.0} == loop.evaluate([1.0, 3.0], lambda x: {"loss": x})
    assert ["test_begin", ("test_batch_begin", 0)] == recorder.told[:2]
    assert ("test_end", {"loss": 2.0}) == recorder.told[-1]
    assert {} == loop.history.history


def test_a_loop_that_counts_steps_has_epochs_for_callbacks():
    """Every so many steps callbacks see an epoch's end, and a stop ends the steps."""
    loop = jalon.Loop(EarlyStopping("reward", mode="max", patience=1), verbose=0)
    seen = []
    for step in loop.steps(100, per_epoch=4):
        seen.append(step)
        loop.log(reward=-step)

    assert list(range(8)) == seen
    assert [-1.5, -5.5] == loop.history.history["reward"]
    assert "no improvement in reward for 1 epoch" == loop.run.stop_reason


def test_the_last_epoch_of_steps_may_be_shorter():
    """All steps are taken."""
    loop = jalon.Loop(verbose=0)

    assert [0, 1, 2, 3, 4] == list(loop.steps(5, per_epoch=2))
    assert 3 == loop.run.epochs


def test_transforms_prepare_the_batches(tmp_path):
    """They learn from one pass over the training data, prepare training and validation, and are saved with the model."""
    x = torch.arange(12.0).reshape(6, 2)
    data, seen = [(x[:3], 0), (x[3:], 1)], []
    net = torch.nn.Linear(2, 1)
    loop = jalon.Loop([Standardize(), ModelCheckpoint(tmp_path / "m.pt")], model=net, epochs=1, verbose=0)
    for _ in loop:
        for batch, y in loop.batches(data):
            seen.append((batch, y))
            loop.log(loss=1.0)
        with loop.validation():
            for batch, _ in loop.batches([[x, 2]]):
                validated = batch
                loop.log(loss=1.0)

    assert torch.allclose(torch.zeros(2), torch.cat([batch for batch, _ in seen]).mean(0), atol=1e-6)
    assert torch.equal(validated, torch.cat([batch for batch, _ in seen]))
    model = jalon.Model.from_checkpoint(tmp_path / "m.pt", torch.nn.Linear(2, 1))
    with torch.no_grad():
        assert np.allclose(model.predict(x, verbose=0), net(validated).numpy())


def test_several_models_and_optimizers_are_saved_and_have_rates_of_their_own(tmp_path):
    """A file holds both; rates are reported by the optimizers' names and reduced together."""
    nets = {"g": torch.nn.Linear(1, 1), "d": torch.nn.Linear(1, 1)}
    optimizers = {
        name: torch.optim.SGD(net.parameters(), lr=rate) for (name, net), rate in zip(nets.items(), (0.1, 0.4), strict=True)
    }
    loop = jalon.Loop(
        [ReduceLROnPlateau("loss", factor=0.5, patience=1), ModelCheckpoint(tmp_path / "gan.safetensors")],
        model=nets,
        optimizer=optimizers,
        epochs=3,
        verbose=0,
    )
    for _ in loop:
        loop.log(loss=1.0)

    assert [0.1, 0.1, 0.05] == loop.history.history["learning_rate_g"]
    assert [0.025, 0.1] == [optimizer.param_groups[0]["lr"] for optimizer in optimizers.values()]
    from jalon.engines.torch.formats import read_checkpoint

    assert ["g.weight", "g.bias", "d.weight", "d.bias"] == list(read_checkpoint(tmp_path / "gan.safetensors").weights)


def test_callbacks_of_users_get_keras_s_names():
    """self.model has the rate, the weights and the stop."""

    class Custom(Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.optimizer.learning_rate = 0.5
            self.model.set_weights([np.zeros_like(value) for value in self.model.get_weights()])
            self.model.stop_training = True

    net = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    loop = jalon.Loop(Custom(), model=net, optimizer=optimizer, epochs=5, verbose=0)
    for _ in loop:
        pass

    assert 0.5 == optimizer.param_groups[0]["lr"]
    assert not any(value.any() for value in net.state_dict().values())
    assert "Custom set model.stop_training" == loop.run.stop_reason


def test_the_progress_bar_knows_the_samples_of_a_loader(capsys):
    """With a DataLoader the bar tells the samples per second."""
    loop = jalon.Loop(ProgbarLogger(), epochs=1)
    for _ in loop:
        for batch in loop.batches(torch.utils.data.DataLoader(torch.arange(64.0), batch_size=8)):
            loop.log(loss=batch.mean())

    assert re.search(r" - [\d.,]+ samples/s - loss: ", capsys.readouterr().out)


def test_the_progress_bar_knows_how_long_an_epoch_is(capsys):
    """The first epoch's line already says of how many batches, where the data has a length."""
    loop = jalon.Loop(ProgbarLogger(), epochs=1)
    for _ in loop:
        for _ in loop.batches([1, 2, 3]):
            loop.log(loss=1.0)

    assert "3/3 - " in capsys.readouterr().out
