"""SwapEMAWeights in Keras's ``fit``, and the average that ``jalon.Model`` keeps, against Keras."""

from __future__ import annotations

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import torch

import jalon
from jalon.bridges.keras_bridge.averages import averages
from jalon.callbacks import Callback, EarlyStopping
from jalon.callbacks.swap_ema_weights import SwapEMAWeights
from jalon.errors import ArgumentError

WAYS = ("direct", "bridged")
X = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")
Y = np.random.default_rng(1).normal(size=(40, 2)).astype("float32")


def sgd(**options):
    return keras.optimizers.SGD(**{"use_ema": True, "ema_momentum": 0.75} | options)


def built(optimizer=None):
    keras.utils.set_random_seed(7)
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2)])
    compiles = keras.config.backend() == "jax"  # XLA is slow to compile; without it JAX would not train as it does
    model.compile(sgd() if optimizer is None else optimizer, "mse", metrics=["mae"], jit_compile=compiles)
    return model


def fit(model, callbacks=None, **options):
    return model.fit(X, Y, **{"batch_size": 8, "shuffle": False, "verbose": 0} | options, callbacks=callbacks)


def values(variables):
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def same(one, other):
    return all(map(np.array_equal, one, other))


def pair(model):
    """Return the weights and the average, as they are now."""
    sync = getattr(model, "jax_state_sync", None)
    if sync is not None:
        sync()
    return values(model.trainable_variables), values(model.optimizer._model_variables_moving_average)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("scaled", [False, True])
def test_validation_measures_what_fit_ends_with(listed, way, scaled):
    """The last validation is that of the model after fit, which is the model that fit without the callback ends with."""
    model, plain = (built(keras.optimizers.LossScaleOptimizer(sgd()) if scaled else sgd()) for _ in range(2))
    kept = fit(model, listed(way, [SwapEMAWeights()]), epochs=2, validation_data=(X, Y))
    other = fit(plain, epochs=2, validation_data=(X, Y))
    logs = model.evaluate(X, Y, return_dict=True, verbose=0)

    assert logs["mae"] == pytest.approx(kept.history["val_mae"][-1], rel=1e-6)
    assert logs["mae"] != pytest.approx(other.history["val_mae"][-1], rel=1e-4)
    assert same(plain.get_weights(), model.get_weights())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("stop", [False, True])
def test_a_checkpoint_after_it_holds_the_average(listed, way, stop, tmp_path):
    """With swap_on_epoch Keras's own checkpoint of the last epoch is the model that fit ends with, stopped early or not."""
    model, plain = built(), built()
    saver = keras.callbacks.ModelCheckpoint(str(tmp_path / "{epoch}.keras"))
    stopper = [EarlyStopping("loss", patience=1, min_delta=1e9)] if stop else []
    fit(model, listed(way, [SwapEMAWeights(swap_on_epoch=True), saver, *stopper]), epochs=5 if stop else 2)
    fit(plain, epochs=2)
    loaded = keras.saving.load_model(tmp_path / "2.keras")

    assert same(plain.get_weights(), model.get_weights())
    assert same(plain.get_weights(), loaded.get_weights())
    assert not (tmp_path / "3.keras").exists()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("what", ["evaluate", "predict"])
def test_predict_and_evaluate_give_the_weights_back(listed, way, what):
    """Both take the average, and leave weights and average bit for bit, where Keras's predict leaves the average."""
    model, seen = built(), []

    class Measure(Callback):
        def on_epoch_end(self, epoch, logs=None):
            before = pair(self.model)
            within = []
            inside = keras.callbacks.LambdaCallback(
                on_test_begin=lambda logs: within.append(pair(model)),
                on_predict_begin=lambda logs: within.append(pair(model)),
            )
            inside.on_predict_begin = inside.on_test_begin
            data = (X, Y) if what == "evaluate" else (X,)
            getattr(self.model, what)(*data, callbacks=listed(way, [SwapEMAWeights(), inside]), verbose=0)
            seen.append((before, within[0], pair(self.model)))

    fit(model, [Measure()], epochs=2)

    for before, within, after in seen:
        assert not same(*before)
        assert same(before[0] + before[1], within[1] + within[0])
        assert same(before[0] + before[1], after[0] + after[1])


def test_an_exception_in_validation_gives_the_weights_back(listed):
    """Where a callback interrupts validation, the list that jalon conducts takes the average out of the model."""
    model, plain, before = built(), built(sgd(use_ema=False)), []

    class Interrupt(Callback):
        def on_test_batch_end(self, batch, logs=None):
            before.extend(pair(self.model))
            raise KeyboardInterrupt

        def on_exception(self, exc):
            before.extend(pair(self.model))

    with pytest.raises(KeyboardInterrupt):
        fit(model, listed("bridged", [SwapEMAWeights(), Interrupt()]), validation_data=(X, Y))
    fit(plain)

    average, weights, weights_after, average_after = before
    assert same(weights + average, weights_after + average_after)
    assert same(plain.get_weights(), weights_after)


@pytest.mark.parametrize("way", WAYS)
def test_several_optimizers_of_which_one_averages(listed, way):
    """Of a MultiOptimizer, the weights whose optimizer averages are exchanged, and the others stay."""

    def several(**options):
        keras.utils.set_random_seed(7)
        model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(3, name="a"), keras.layers.Dense(2, name="b")])
        chosen = keras.optimizers.OptimizerMap(keras.optimizers.SGD(), {".*a/.*": sgd(**options)})
        model.compile(keras.optimizers.MultiOptimizer(chosen), "mse")
        return model

    found = {}

    class See(Callback):
        def __init__(self, name):
            self._name = name

        def on_test_batch_end(self, batch, logs=None):
            found[self._name] = values(self.model.trainable_variables)

    swapped, plain = several(), several()
    fit(swapped, listed(way, [SwapEMAWeights(), See("swapped")]), validation_data=(X, Y))
    fit(plain, [See("plain")], validation_data=(X, Y))

    assert [False, False, True, True] == list(map(np.array_equal, found["plain"], found["swapped"]))
    assert same(plain.get_weights(), swapped.get_weights())
    with pytest.raises(ArgumentError, match=r"must be used when at least one inner optimizer has `use_ema=True` set"):
        fit(several(use_ema=False), listed(way, [SwapEMAWeights()]))


@pytest.mark.parametrize("way", WAYS)
def test_an_optimizer_without_an_average_is_refused(listed, way):
    """Without use_ema nothing is trained or measured, in the words that Keras's tests expect."""
    model = built(sgd(use_ema=False))
    before = model.get_weights()

    with pytest.raises(ValueError, match="SwapEMAWeights must be used when `use_ema=True` is set"):
        fit(model, listed(way, [SwapEMAWeights()]), validation_data=(X, Y))
    assert same(before, model.get_weights())
    with pytest.raises(ValueError, match="SwapEMAWeights must be used when `use_ema=True` is set"):
        model.evaluate(X, Y, callbacks=listed(way, [SwapEMAWeights()]), verbose=0)


def test_an_average_of_no_step_is_not_taken():
    """Before the first step Keras's averages are zeros, and the weights stay; before there are any, to swap is refused."""
    model = built()
    with pytest.raises(ArgumentError, match=r"SwapEMAWeights must be used when `use_ema=True` is set.* Call fit first"):
        averages(model).swap()
    model.optimizer.build(model.trainable_variables)
    before = model.get_weights()

    averages(model).swap()

    assert same(before, model.get_weights())


@pytest.mark.parametrize("frequency", [None, 3])
def test_jalon_s_average_is_keras_s(frequency):
    """The same linear model, trained by Keras and by jalon.Model, has the same average after every step."""
    theirs, ours = [], []

    class Collect(Callback):
        def __init__(self, read):
            self._read = read

        def on_train_batch_end(self, batch, logs=None):
            self._read()

    reference = built(sgd(ema_overwrite_frequency=frequency))
    layer = torch.nn.Linear(3, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(reference.get_weights()[0].T.copy()))
        layer.bias.copy_(torch.tensor(reference.get_weights()[1]))
    model = jalon.Model(layer).compile("sgd", "mse", use_ema=True, ema_momentum=0.75, ema_overwrite_frequency=frequency)

    fit(reference, [Collect(lambda: theirs.append(pair(reference)[1]))], epochs=2)
    fit(model, [Collect(lambda: ours.append([*map(torch.clone, model.averages.state_dict().values())]))], epochs=2)

    assert 10 == len(theirs) == len(ours)
    for (kernel, bias), (weight, offset) in zip(theirs, ours, strict=True):
        np.testing.assert_allclose(weight.numpy().T, kernel, rtol=0, atol=1e-6)
        np.testing.assert_allclose(offset.numpy(), bias, rtol=0, atol=1e-6)
    np.testing.assert_allclose(model.get_weights()[0].T, reference.get_weights()[0], rtol=0, atol=1e-6)


MIRRORED = """
import numpy as np, tensorflow as tf, keras
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from jalon.bridges import keras as bridged
from jalon.callbacks.swap_ema_weights import SwapEMAWeights
x, y = np.ones((16, 3), "float32"), np.ones((16, 2), "float32")
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    model = keras.Sequential([keras.layers.Dense(2, kernel_initializer="ones")])
    model.compile(keras.optimizers.SGD(use_ema=True, ema_momentum=0.9), "mse", jit_compile=False)
    swapper = SwapEMAWeights(swap_on_epoch=True)
    history = model.fit(x, y, epochs=2, callbacks=bridged([swapper]), validation_data=(x, y), verbose=0)
weight = model.trainable_variables[0].value
replicas = [component.numpy() for component in weight.values]
assert len(replicas) == 2 and np.array_equal(*replicas), replicas
assert np.isclose(history.history["val_loss"][-1], model.evaluate(x, y, verbose=0))
"""


@pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="distribution strategies are tensorflow's")
def test_every_replica_is_exchanged():
    """Under a MirroredStrategy validation takes the average on each replica."""
    done = subprocess.run(
        [sys.executable, "-c", MIRRORED], capture_output=True, text=True, env={**os.environ, "KERAS_BACKEND": "tensorflow"}
    )

    assert 0 == done.returncode, done.stderr[-2000:]
