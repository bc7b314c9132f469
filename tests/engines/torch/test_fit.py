"""``Model.fit``: the loop, its order, its numbers."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

import jalon
from jalon.callbacks import Callback, LambdaCallback
from jalon.errors import ArgumentError, DataError, JalonError, MissingMetric, NotReady


def network(inputs: int = 64, outputs: int = 10, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(inputs, 16), nn.ReLU(), nn.Linear(16, outputs))


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    return (data.data / 16).astype("float32"), data.target


class Journal(Callback):
    """Takes down every hook with its arguments."""

    def __init__(self):
        self.told = []

    def __getattribute__(self, name):
        if name.startswith("on_") and name not in ("on_batch_begin", "on_batch_end"):
            told = object.__getattribute__(self, "told")
            return lambda *args: told.append((name, *args))
        return object.__getattribute__(self, name)

    @property
    def names(self):
        return [name for name, *_ in self.told]


def bare_loop(net, x, y, *, epochs, batch, lr, order_seed):
    """The loop a person writes, with the order of samples that fit draws."""
    generator = torch.Generator().manual_seed(order_seed)
    optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9)
    losses = []
    for _ in range(epochs):
        order = torch.randperm(len(x), generator=generator)
        total = 0.0
        for start in range(0, len(x), batch):
            index = order[start : start + batch]
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(x[index]), y[index])
            loss.backward()
            optimizer.step()
            total += loss.item() * len(index)
        losses.append(total / len(x))
    return losses


def test_fit_takes_the_steps_of_the_hand_written_loop(digits):
    """fit gives the weights and the losses of the loop a person writes, bit for bit and to rounding."""
    x, y = torch.tensor(digits[0][:200]), torch.tensor(digits[1][:200])
    torch.manual_seed(5)
    seed = int(torch.randint(2**63 - 1, ()))
    by_hand = network()
    losses = bare_loop(by_hand, x, y, epochs=3, batch=32, lr=0.1, order_seed=seed)
    net = network()
    model = jalon.Model(net).compile(torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9), nn.CrossEntropyLoss())

    history = model.fit(x, y, epochs=3, verbose=0, seed=5)

    np.testing.assert_allclose(losses, history.history["loss"], rtol=1e-6)
    for expected, actual in zip(by_hand.parameters(), net.parameters(), strict=True):
        assert torch.equal(expected, actual)


def test_hooks_come_in_the_order_of_keras(digits):
    """Training, validation and epochs are told in Keras's order with Keras's logs."""
    x, y = digits[0][:40], digits[1][:40]
    journal = Journal()
    model = jalon.Model(network()).compile("adam", "cross_entropy", metrics=["accuracy"])

    model.fit(x, y, batch_size=20, epochs=1, validation_data=(x[:20], y[:20]), callbacks=[journal], verbose=0)

    assert [
        "on_train_begin",
        "on_epoch_begin",
        "on_train_batch_begin",
        "on_before_optimizer_step",
        "on_train_batch_end",
        "on_train_batch_begin",
        "on_before_optimizer_step",
        "on_train_batch_end",
        "on_test_begin",
        "on_test_batch_begin",
        "on_test_batch_end",
        "on_test_end",
        "on_epoch_end",
        "on_train_end",
    ] == journal.names
    told = {name: args for name, *args in journal.told}
    assert {"accuracy", "loss"} == told["on_train_batch_end"][1].keys()
    assert ["accuracy", "loss", "val_accuracy", "val_loss"] == sorted(told["on_epoch_end"][1])
    assert all(type(value) is float for value in told["on_epoch_end"][1].values())


def test_batch_logs_are_running_averages(digits):
    """The last batch's logs are the epoch's logs, as in Keras."""
    seen = []
    model = jalon.Model(network()).compile("adam", "cross_entropy")

    history = model.fit(
        digits[0][:100],
        digits[1][:100],
        callbacks=LambdaCallback(on_train_batch_end=lambda b, logs: seen.append(logs)),
        verbose=0,
    )

    assert history.history["loss"][0] == seen[-1]["loss"]
    assert type(seen[0]) is dict


def test_params_and_model_are_those_of_keras(digits):
    """Callbacks see verbose, epochs and steps, and the model the user trains."""
    seen = {}

    class Look(Callback):
        def on_train_begin(self, logs=None):
            seen.update(self.params, model=self.model)

    model = jalon.Model(network()).compile("adam", "cross_entropy")
    model.fit(digits[0][:100], digits[1][:100], epochs=2, callbacks=[Look()], verbose=0)

    assert {"verbose": 0, "epochs": 2, "steps": 4, "model": model} == seen


@pytest.mark.parametrize("hook", ["on_train_begin", "on_epoch_begin", "on_train_batch_begin", "on_train_batch_end"])
def test_a_stop_ends_the_epoch_after_the_batch(digits, hook):
    """Setting stop_training ends the epoch at the next batch; validation and on_epoch_end still run."""

    class Stop(Callback):
        pass

    setattr(Stop, hook, lambda self, *args: setattr(self.model, "stop_training", True))
    journal = Journal()
    model = jalon.Model(network()).compile("adam", "cross_entropy")

    history = model.fit(digits[0][:96], digits[1][:96], epochs=3, validation_split=0.1, callbacks=[Stop(), journal], verbose=0)

    assert 1 == journal.names.count("on_train_batch_end")
    assert 1 == journal.names.count("on_test_end")
    assert [0] == history.epoch
    assert "Stop set model.stop_training" == history.stop_reason


def test_stop_at_epoch_end_with_a_reason(digits):
    """run.stop(reason) at an epoch's end ends training, and the reason is in the history."""
    stop = LambdaCallback(on_epoch_end=lambda epoch, logs: model.trainer_adapter().model._run.stop("enough"))
    model = jalon.Model(network()).compile("adam", "cross_entropy")

    history = model.fit(digits[0][:64], digits[1][:64], epochs=5, callbacks=stop, verbose=0)

    assert ([0], "enough") == (history.epoch, history.stop_reason)


def test_a_second_fit_goes_on_with_the_weights_and_starts_the_history_afresh(digits):
    """A second fit trains on; a stop asked for in the first is forgotten."""
    model = jalon.Model(network()).compile("adam", "cross_entropy")
    first = model.fit(
        digits[0],
        digits[1],
        epochs=1,
        callbacks=LambdaCallback(on_epoch_end=lambda e, logs: setattr(model, "stop_training", True)),
        verbose=0,
    )

    second = model.fit(digits[0], digits[1], epochs=3, initial_epoch=1, verbose=0)

    assert [1, 2] == second.epoch
    assert second.stop_reason is None
    assert second.history["loss"][0] < first.history["loss"][0]


def test_an_exception_reaches_every_callback_and_closes_them(digits):
    """An exception in a batch hook goes up; on_exception and close run for all, on_train_end for none."""
    told = []

    class Watch(Callback):
        def on_exception(self, exc):
            told.append(("exception", exc))

        def on_train_end(self, logs=None):
            told.append("end")

        def close(self):
            told.append("close")

    def fail(batch, logs):
        raise KeyboardInterrupt

    model = jalon.Model(network()).compile("adam", "cross_entropy")
    with pytest.raises(KeyboardInterrupt) as caught:
        model.fit(digits[0], digits[1], callbacks=[Watch(), LambdaCallback(on_train_batch_end=fail)], verbose=0)

    assert [("exception", caught.value), "close"] == told


def test_observers_do_not_change_the_run(digits, tmp_path):
    """Training with every observer on gives the weights of training without, bit for bit."""
    from jalon.callbacks import CSVLogger, ProgbarLogger, TensorBoard

    def trained(callbacks):
        net = network()
        model = jalon.Model(nn.Sequential(net, nn.Dropout(0.1))).compile("adam", "cross_entropy", metrics=["accuracy"])
        model.fit(digits[0][:300], digits[1][:300], epochs=2, validation_split=0.2, seed=1, callbacks=callbacks, verbose=0)
        return model.get_weights()

    observers = [CSVLogger(tmp_path / "a.csv"), ProgbarLogger(), TensorBoard(tmp_path / "tb", update_freq=1, histogram_freq=1)]

    for expected, actual in zip(trained([]), trained(observers), strict=True):
        assert np.array_equal(expected, actual)


@pytest.mark.parametrize("steps", [None, 3])
def test_progress_tells_the_samples_of_a_second(digits, capsys, steps):
    """fit and evaluate know how many samples a batch has, whether of arrays or of a part of their batches."""
    model = jalon.Model(network()).compile("adam", "cross_entropy")
    model.fit(digits[0], digits[1], batch_size=8, steps_per_epoch=steps, verbose=2)
    model.evaluate(digits[0], digits[1], batch_size=8, verbose=2)

    trained, evaluated = capsys.readouterr().out.splitlines()
    assert all(re.search(r" - [\d.,]+ samples/s - loss: ", line) for line in (trained, evaluated))


def test_validation_split_takes_the_end_before_shuffling(digits):
    """The last tenth of the data is held out, whatever the shuffle."""
    x, y = digits
    model = jalon.Model(network()).compile("adam", "cross_entropy", metrics=["accuracy"])
    history = model.fit(x[:100], y[:100], epochs=2, validation_split=0.1, verbose=0).history

    loss, accuracy = model.evaluate(x[90:100], y[90:100], verbose=0)

    assert loss == pytest.approx(history["val_loss"][-1], rel=1e-6)
    assert accuracy == history["val_accuracy"][-1]


@pytest.mark.parametrize(("frequency", "expected"), [(2, [1, 3]), ([1, 4], [0, 3])])
def test_validation_freq(digits, frequency, expected):
    """validation_freq is every so many epochs, or the epochs named from 1."""
    validated = []
    model = jalon.Model(network()).compile("adam", "cross_entropy")

    model.fit(
        digits[0][:64],
        digits[1][:64],
        epochs=4,
        validation_split=0.5,
        validation_freq=frequency,
        callbacks=LambdaCallback(on_epoch_end=lambda epoch, logs: validated.append(epoch) if "val_loss" in logs else None),
        verbose=0,
    )

    assert expected == validated


def test_class_weight_and_sample_weight_weigh_the_loss(digits):
    """A class weighed 0 teaches nothing, by class_weight as by sample_weight, and both give the same weights."""
    x, y = digits[0][:200], digits[1][:200] % 2

    def trained(**weights):
        model = jalon.Model(network(outputs=2)).compile("sgd", "cross_entropy")
        model.fit(x, y, epochs=1, seed=0, verbose=0, **weights)
        return model.get_weights()

    by_class = trained(class_weight={0: 1.0, 1: 0.25})
    by_sample = trained(sample_weight=np.where(y == 1, 0.25, 1.0))
    plain = trained()

    for one, other, unweighted in zip(by_class, by_sample, plain, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)
        assert not np.allclose(one, unweighted, atol=1e-7)


def test_weighted_metrics_use_the_weights(digits):
    """weighted_metrics see sample weights; metrics do not."""
    x, y = digits[0][:100], digits[1][:100]
    model = jalon.Model(network()).compile("sgd", "cross_entropy", metrics=["accuracy"], weighted_metrics=["accuracy"])
    right = model.predict(x, verbose=0).argmax(1) == y if model.module else None

    values = model.evaluate(x, y, sample_weight=right.astype("float32"), return_dict=True, verbose=0)

    assert 1.0 == values["weighted_accuracy"]
    assert float(right.mean()) == pytest.approx(values["accuracy"])


def test_steps_per_epoch_goes_on_where_the_last_epoch_ended():
    """With steps_per_epoch an epoch takes so many batches, and the next goes on from there."""
    seen = []

    class Look(jalon.Model):
        def train_step(self, data):
            seen.extend(data[0][:, 0].tolist())
            return super().train_step(data)

    x = np.arange(10, dtype="float32")[:, None]
    model = Look(nn.Linear(1, 1)).compile("sgd", "mse")
    model.fit(x, x, batch_size=2, epochs=2, steps_per_epoch=3, shuffle=False, verbose=0)

    assert [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1] == seen


def test_steps_per_execution_tells_the_first_and_the_last_batch():
    """With three batches an execution the hooks are b0 e2 b3 e5 b6 e7, as in Keras."""
    told = []
    callback = LambdaCallback(
        on_train_batch_begin=lambda b, logs: told.append(f"b{b}"), on_train_batch_end=lambda b, logs: told.append(f"e{b}")
    )
    x = np.zeros((8, 1), "float32")
    model = jalon.Model(nn.Linear(1, 1)).compile("sgd", "mse", steps_per_execution=3)

    model.fit(x, x, batch_size=1, callbacks=callback, verbose=0)

    assert "b0 e2 b3 e5 b6 e7" == " ".join(told)


def test_a_generator_that_ends_stops_training_with_a_reason():
    """A generator that ran dry ends training; the reason says what to do."""

    def batches():
        for _ in range(3):
            yield np.ones((4, 2), "float32"), np.ones((4, 1), "float32")

    model = jalon.Model(nn.Linear(2, 1)).compile("sgd", "mse")
    history = model.fit(batches(), epochs=5, verbose=0)

    assert [0] == history.epoch
    assert "steps_per_epoch" in history.stop_reason


def test_gradient_accumulation_equals_the_larger_batch(digits):
    """Two batches of 16 accumulated give the step of one batch of 32."""
    x, y = digits[0][:64], digits[1][:64]

    def trained(batch, accumulate):
        model = jalon.Model(network()).compile("sgd", "cross_entropy", gradient_accumulation_steps=accumulate)
        model.fit(x, y, batch_size=batch, shuffle=False, verbose=0)
        return model.get_weights(), model.optimizer.iterations

    (one, steps), (other, same_steps) = trained(32, 1), trained(16, 2)

    assert (2, 2) == (steps, same_steps)
    for expected, actual in zip(one, other, strict=True):
        np.testing.assert_allclose(expected, actual, rtol=1e-5, atol=1e-7)


def test_clipnorm_clips_each_weight_by_itself(digits):
    """Each weight's gradient is scaled down to the norm, one by one, as in Keras."""
    norms = []

    class Look(Callback):
        def on_before_optimizer_step(self, step):
            norms.append([float(p.grad.norm()) for p in self.model.module.parameters()])

    model = jalon.Model(network()).compile("sgd", nn.CrossEntropyLoss(), clipnorm=0.01)
    model.fit(digits[0] * 100, digits[1], callbacks=Look(), verbose=0)

    assert max(map(max, norms)) <= 0.01 * (1 + 1e-5)
    assert max(map(max, norms)) == pytest.approx(0.01)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains(digits, precision):
    """Under a mixed policy the module computes in the short type, and learns; outputs and weights stay float32."""
    kinds = set()
    net = network()
    net[1].register_forward_hook(lambda module, inputs, output: kinds.add(output.dtype))
    model = jalon.Model(net).compile("adam", "cross_entropy", metrics=["accuracy"])

    history = model.fit(*digits, epochs=6, precision=precision, verbose=0)

    assert getattr(torch, precision.removeprefix("mixed_")) in kinds
    assert history.history["accuracy"][-1] > 0.7
    assert {torch.float32} == {p.dtype for p in net.parameters()}


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_jit_compile_gives_the_same_numbers(digits):
    """A compiled module learns what the plain one learns."""

    def losses(jit):
        model = jalon.Model(network()).compile("sgd", "cross_entropy", jit_compile=jit)
        return model.fit(digits[0][:128], digits[1][:128], epochs=2, seed=0, verbose=0).history["loss"]

    torch._dynamo.reset()

    assert losses(False) == pytest.approx(losses(True), rel=1e-4)


def test_the_seed_makes_two_runs_equal(digits):
    """The same seed gives the same weights, dropout included."""

    def trained():
        net = nn.Sequential(network(), nn.Dropout(0.3))
        model = jalon.Model(net).compile("adam", "cross_entropy")
        model.fit(digits[0][:200], digits[1][:200], epochs=2, seed=3, verbose=0)
        return model.get_weights()

    for expected, actual in zip(trained(), trained(), strict=True):
        assert np.array_equal(expected, actual)


def test_a_frozen_part_stays_in_its_mode_through_validation():
    """What a callback put into evaluation mode stays there after validation."""
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 1))
    modes = []
    freeze = LambdaCallback(
        on_train_begin=lambda logs: net[1].eval(), on_epoch_end=lambda e, logs: modes.append([part.training for part in net])
    )
    x = np.random.default_rng(0).normal(size=(16, 2)).astype("float32")
    model = jalon.Model(net).compile("sgd", "mse")
    model.fit(x, x[:, :1], epochs=2, validation_split=0.5, callbacks=freeze, verbose=0)

    assert [[True, False, True]] * 2 == modes


def test_evaluate_inside_a_batch_hook_leaves_training_alone(digits):
    """A callback may evaluate in mid-epoch: the epoch's own running values are not disturbed."""
    x, y = digits[0][:96], digits[1][:96]

    def reported(callback):
        model = jalon.Model(network()).compile("sgd", "cross_entropy", metrics=["accuracy"])
        if callback:
            callback = LambdaCallback(on_train_batch_end=lambda b, logs: model.evaluate(x, y, verbose=0))
        return model.fit(x, y, epochs=2, seed=0, callbacks=callback or None, verbose=0).history

    assert reported(None) == reported("evaluate")


def test_the_look_ahead_draws_no_random_numbers():
    """The batch that is sent through before training leaves the random numbers to come as they were."""
    drawn = []

    class Noise(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(2, 1)

        def forward(self, x):
            drawn.append(torch.randn(()).item())
            return self.linear(x)

    jalon.Model(Noise()).compile("sgd", "mse").fit(X[:, :2], X[:, :1], verbose=0)

    ahead, first = drawn
    assert ahead == first


# ---- what can be trained -----------------------------------------------------------------------------------------------


def as_loader(x, y):
    return (torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.tensor(x), torch.tensor(y)), batch_size=32),)


def as_dataset(x, y):
    class Pairs(torch.utils.data.Dataset):
        def __len__(self):
            return len(x)

        def __getitem__(self, i):
            return x[i], y[i]

    return (Pairs(),)


@pytest.mark.parametrize(
    "given",
    [
        lambda x, y: (x, y),
        lambda x, y: (torch.tensor(x), torch.tensor(y)),
        lambda x, y: (x.tolist(), y.tolist()),
        lambda x, y: (torch.utils.data.TensorDataset(torch.tensor(x), torch.tensor(y)),),
        as_dataset,
        as_loader,
        lambda x, y: ([(x[i : i + 32], y[i : i + 32]) for i in range(0, len(x), 32)].__iter__(),),
    ],
    ids=["numpy", "tensors", "lists", "TensorDataset", "Dataset", "DataLoader", "generator"],
)
def test_every_kind_of_data_trains_alike(digits, given):
    """Without shuffling, an epoch is the same whatever holds the data."""
    x, y = digits[0][:128], digits[1][:128]
    reference = jalon.Model(network()).compile("sgd", "cross_entropy")
    expected = reference.fit(x, y, shuffle=False, verbose=0).history["loss"]
    model = jalon.Model(network()).compile("sgd", "cross_entropy")

    assert expected == pytest.approx(model.fit(*given(x, y), shuffle=False, verbose=0).history["loss"], rel=1e-6)


def test_pandas_data_trains(digits):
    """Data frames are arrays."""
    pd = pytest.importorskip("pandas")
    model = jalon.Model(network()).compile("sgd", "cross_entropy")

    history = model.fit(pd.DataFrame(digits[0][:64]), pd.Series(digits[1][:64]), verbose=0)

    assert math.isfinite(history.history["loss"][0])


class Two(nn.Module):
    """Takes two inputs and gives two outputs."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(2, 1), nn.Linear(3, 4)

    def forward(self, a, b):
        return {"price": self.left(a), "kind": self.right(b)}


@pytest.mark.parametrize("container", [tuple, lambda pair: {"a": pair[0], "b": pair[1]}], ids=["tuple", "dict"])
def test_several_inputs_and_outputs(container):
    """A tuple is spread over the module's arguments, a dict by name; losses, weights and metrics go by output."""
    rng = np.random.default_rng(0)
    x = container((rng.normal(size=(20, 2)).astype("float32"), rng.normal(size=(20, 3)).astype("float32")))
    y = {"price": rng.normal(size=(20, 1)).astype("float32"), "kind": rng.integers(0, 4, 20)}
    model = jalon.Model(Two()).compile(
        "sgd",
        loss={"price": "mse", "kind": "cross_entropy"},
        loss_weights={"price": 0.5, "kind": 2.0},
        metrics={"kind": ["accuracy"]},
    )

    logs = model.fit(x, y, verbose=0).history

    assert {"loss", "price_loss", "kind_loss", "kind_accuracy"} == logs.keys()
    assert logs["loss"][0] == pytest.approx(0.5 * logs["price_loss"][0] + 2 * logs["kind_loss"][0], rel=1e-5)
    predicted = model.predict(x, verbose=0)
    assert {"price": (20, 1), "kind": (20, 4)} == {name: value.shape for name, value in predicted.items()}


def test_lazy_modules_are_built_by_the_first_batch(digits):
    """A module with lazy weights trains: its optimizer waits for the first batch."""
    model = jalon.Model(nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(10))).compile("adam", "cross_entropy")
    with pytest.raises(NotReady, match="lazy"):
        _ = model.optimizer

    history = model.fit(*digits, epochs=2, verbose=0)

    assert history.history["loss"][1] < history.history["loss"][0]


def test_double_precision_modules_take_single_precision_data(digits):
    """Floating data take the module's type."""
    model = jalon.Model(network().double()).compile("adam", "cross_entropy")

    assert math.isfinite(model.fit(digits[0], digits[1], verbose=0).history["loss"][0])


# ---- a step of one's own -----------------------------------------------------------------------------------------------


def test_an_overridden_train_step_decides_the_logs(digits):
    """What train_step returns of a batch is averaged over the epoch by the batch's size."""
    sizes = []

    class Own(jalon.Model):
        def train_step(self, data):
            x, y = data
            sizes.append(len(x))
            loss = self.compute_loss(y=y, y_pred=self(x, training=True))
            self.minimize(loss)
            return {"loss": loss, "rows": float(len(x))}

    model = Own(network()).compile("adam", "cross_entropy", metrics=["accuracy"])
    history = model.fit(digits[0][:100], digits[1][:100], epochs=2, verbose=0)

    assert {"loss", "rows"} == history.history.keys()
    assert history.history["rows"][0] == pytest.approx((3 * 32 * 32 + 4 * 4) / 100)
    assert history.history["loss"][1] < history.history["loss"][0]


def test_super_train_step_keeps_the_compiled_metrics(digits):
    """A step that adds to super().train_step keeps loss and metrics as compiled."""

    class More(jalon.Model):
        def train_step(self, data):
            return {**super().train_step(data), "extra": 2.0}

    def trained(kind):
        model = kind(network()).compile("adam", "cross_entropy", metrics=["accuracy"])
        return model.fit(digits[0][:100], digits[1][:100], epochs=1, seed=0, verbose=0).history

    plain = trained(jalon.Model)

    assert {**plain, "extra": [2.0]} == trained(More)


def test_a_train_step_that_returns_nothing_is_an_error(digits):
    """A forgotten return is named."""

    class Silent(jalon.Model):
        def train_step(self, data):
            pass

    with pytest.raises(ArgumentError, match="train_step must return"):
        Silent(network()).compile("adam", "cross_entropy").fit(*digits, verbose=0)


# ---- the learning rate -------------------------------------------------------------------------------------------------


def test_the_learning_rate_is_read_and_set_by_kerass_name(digits):
    """optimizer.learning_rate reads, sets, and reaches torch's optimizer."""
    model = jalon.Model(network()).compile("adam", "cross_entropy")
    assert 0.001 == float(model.optimizer.learning_rate)

    model.optimizer.learning_rate = 0.5

    assert [0.5] == [group["lr"] for group in model.optimizer.torch.param_groups]


def test_a_scheduler_by_epoch_and_a_callback_multiply(digits):
    """A callback's change of the rate stays in force as a factor while a scheduler goes on."""
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    rates = []

    class Halve(Callback):
        def on_epoch_end(self, epoch, logs=None):
            rates.append(float(self.model.optimizer.learning_rate))
            if epoch == 1:
                self.model.optimizer.learning_rate = float(self.model.optimizer.learning_rate) / 2

    model = jalon.Model(net).compile(
        optimizer, "cross_entropy", scheduler=torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.1**epoch)
    )
    model.fit(digits[0][:64], digits[1][:64], epochs=4, callbacks=Halve(), verbose=0)

    np.testing.assert_allclose([1.0, 0.1, 0.005, 0.0005], rates)


def test_a_scheduler_by_step(digits):
    """A scheduler stepped by steps has moved once for each batch."""
    net = network()
    model = jalon.Model(net).compile(
        torch.optim.SGD(net.parameters(), lr=1.0),
        "cross_entropy",
        scheduler=lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5),
        scheduler_interval="step",
    )
    model.fit(digits[0][:96], digits[1][:96], verbose=0)

    assert 0.125 == float(model.optimizer.learning_rate)


# ---- bad input ---------------------------------------------------------------------------------------------------------


X, Y = np.zeros((20, 64), "float32"), np.zeros(20, "int64")


@pytest.mark.parametrize(
    ("arguments", "kind", "says"),
    [
        ({"x": X, "y": Y[:10]}, DataError, "x has 20, y has 10"),
        ({"x": X[:0], "y": Y[:0]}, DataError, "empty"),
        ({"x": X[:, :63], "y": Y}, DataError, r"x is \(20, 63\) float32"),
        ({"x": X}, DataError, "no targets"),
        ({"x": X, "y": Y + 10}, DataError, "10"),
        ({"x": X, "y": Y, "sample_weight": np.ones(7)}, DataError, "sample_weight has 7"),
        ({"x": X, "y": Y, "validation_split": 1.5}, ArgumentError, "between 0 and 1"),
        ({"x": X, "y": Y, "validation_freq": 0}, ArgumentError, "validation_freq"),
        ({"x": X, "y": Y, "batch_size": 0}, ArgumentError, "batch_size must be a positive"),
        ({"x": X, "y": Y, "epochs": 1, "initial_epoch": 2}, ArgumentError, "initial_epoch=2"),
        ({"x": X, "y": Y, "epochs": "5"}, ArgumentError, "epochs='5'"),
        ({"x": X, "y": Y, "precision": "half"}, ArgumentError, "mixed_bfloat16"),
        ({"x": X, "y": Y, "class_weight": {"a": 1}}, ArgumentError, "class_weight must map"),
        ({"x": np.array(["a"] * 20), "y": Y}, DataError, "must hold numbers"),
        ({"x": X, "y": Y, "callbacks": [Callback]}, ArgumentError, "is a class"),
        ({"x": X, "y": Y, "callbacks": [print]}, ArgumentError, "not a callback"),
        ({"x": X, "y": Y, "validation_data": (X[:5], Y[:4])}, DataError, "x has 5, y has 4"),
    ],
)
def test_bad_input_is_refused_before_the_first_step(tmp_path, arguments, kind, says):
    """What cannot work is refused with a reason, before weights or files are touched."""
    old = tmp_path / "training.log"
    old.write_text("kept\n")
    net = network()
    model = jalon.Model(net).compile("adam", "cross_entropy")
    before = model.get_weights()
    arguments.setdefault("callbacks", [jalon.callbacks.CSVLogger(old)])

    with pytest.raises(kind, match=says):
        model.fit(**arguments, verbose=0)

    assert "kept\n" == old.read_text()
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_a_misspelt_monitor_is_refused_before_the_first_step(tmp_path):
    """The metrics there are stand in the message, with the nearest one."""
    old = tmp_path / "training.log"
    old.write_text("kept\n")
    model = jalon.Model(network()).compile("adam", "cross_entropy", metrics=["accuracy"])
    callbacks = [jalon.callbacks.CSVLogger(old), jalon.callbacks.EarlyStopping("val_acuracy")]

    with pytest.raises(MissingMetric, match="Did you mean 'val_accuracy'") as caught:
        model.fit(X, Y, validation_split=0.5, callbacks=callbacks, verbose=0)

    assert ("accuracy", "loss", "val_accuracy", "val_loss") == caught.value.available
    assert "kept\n" == old.read_text()


def test_a_monitor_of_validation_without_validation_is_refused():
    """val_loss without validation data is an error before the first step."""
    model = jalon.Model(network()).compile("adam", "cross_entropy")

    with pytest.raises(MissingMetric, match="val_loss"):
        model.fit(X, Y, callbacks=jalon.callbacks.EarlyStopping(), verbose=0)


def test_a_metric_that_a_callback_adds_can_be_monitored_by_those_after_it():
    """A key added at an epoch's end is seen by later callbacks and by the history."""
    added = LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(mine=float(epoch)))
    stopper = jalon.callbacks.EarlyStopping("mine", mode="min", patience=2)
    model = jalon.Model(network()).compile("adam", "cross_entropy")

    history = model.fit(X, Y, epochs=9, callbacks=[added, stopper], verbose=0)

    assert [0.0, 1.0, 2.0] == history.history["mine"]


def test_a_monitor_nobody_reports_is_an_error_at_the_first_epoch_end():
    """Where a callback might have added the metric, the first epoch's end decides."""
    maybe = LambdaCallback(on_epoch_end=lambda epoch, logs: None)
    journal = Journal()
    model = jalon.Model(network()).compile("adam", "cross_entropy")

    with pytest.raises(MissingMetric, match="epoch 1"):
        model.fit(X, Y, epochs=9, callbacks=[maybe, jalon.callbacks.EarlyStopping("mine", mode="min"), journal], verbose=0)

    assert 1 == journal.names.count("on_epoch_begin")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"loss": "cros_entropy"}, "cross_entropy"),
        ({"loss": "cross_entropy", "metrics": ["acuracy"]}, "accuracy"),
        ({"optimizer": "adm", "loss": "cross_entropy"}, "adam"),
    ],
)
def test_unknown_names_are_refused_by_compile(arguments, says):
    """A misspelt name is an error that suggests the nearest one."""
    with pytest.raises(JalonError, match=f"Did you mean '{says}'"):
        jalon.Model(network()).compile(**arguments)


def test_fit_without_compile_says_so():
    """The remedy is in the message."""
    with pytest.raises(NotReady, match="compile"):
        jalon.Model(network()).fit(X, Y)
