"""Modules of Flax NNX and their optimizers in a loop written by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jalon
from jalon.callbacks import EarlyStopping, ModelCheckpoint, ReduceLROnPlateau, Standardize
from jalon.errors import ArgumentError, HookNotReached

X = np.random.default_rng(0).normal(size=(64, 3)).astype("float32")
Y = X[:, :2] * 2


class Net(nnx.Module):
    """Has a layer that behaves differently in evaluation, of each kind."""

    def __init__(self, seed=0):
        rngs = nnx.Rngs(seed)
        self.layers = nnx.List([nnx.Linear(3, 4, rngs=rngs), nnx.Linear(4, 2, rngs=rngs)])
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.frozen = nnx.Dropout(0.5, deterministic=True, rngs=rngs)

    def __call__(self, x):
        return self.layers[1](self.frozen(self.dropout(self.norm(self.layers[0](x)))))


@nnx.jit
def step(net, optimizer, x, y):
    """Take a step."""
    loss, grads = nnx.value_and_grad(lambda net: jnp.mean((net(x) - y) ** 2))(net)
    optimizer.update(net, grads)
    return loss


def made(seed=0):
    """Return a net and its optimizer."""
    net = Net(seed)
    chain = optax.chain(optax.clip(1.0), optax.inject_hyperparams(optax.adam)(learning_rate=0.1))
    return net, nnx.Optimizer(net, chain, wrt=nnx.Param)


def trained(net, optimizer, *callbacks, epochs=3, **options):
    """Train, and return the loop."""
    loop = jalon.Loop(list(callbacks), model=net, optimizer=optimizer, epochs=epochs, verbose=0, **options)
    for _ in loop:
        for x, y in loop.batches([(X[start : start + 16], Y[start : start + 16]) for start in range(0, 64, 16)]):
            loop.log(loss=step(net, optimizer, x, y))
    return loop


def values(*nodes):
    """Return every variable as bytes, random ones included."""
    flat = [variable.get_value() for node in nodes for _, variable in nnx.to_flat_state(nnx.state(node))]
    return [np.asarray(jax.random.key_data(one) if "key" in str(one.dtype) else one).tobytes() for one in flat]


def test_a_file_gives_a_module_back_with_its_optimizer(tmp_path):
    """Statistics of batches too; the names are those of its attributes."""
    net, optimizer = made()
    trained(net, optimizer, ModelCheckpoint(tmp_path / "net.safetensors", monitor="loss"))
    other, its = made(seed=1)
    host = jalon.Loop(model=other, optimizer=its)._host
    host.load(tmp_path / "net.safetensors")

    assert values(nnx.state(net, (nnx.Param, nnx.BatchStat)), optimizer) == values(
        nnx.state(other, (nnx.Param, nnx.BatchStat)), its
    )
    assert ["layers.0.kernel", "norm.bias", "norm.mean"] == [
        name for name in host.weights() if name in ("layers.0.kernel", "norm.mean", "norm.bias")
    ]


def test_the_best_weights_come_back_and_the_rate_falls():
    """By the rules of the callbacks, in the compiled step too."""
    net, optimizer = made()
    seen = []

    class Watch(jalon.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(self.model.get_weights())
            logs["score"] = [1.0, 3.0, 2.0][epoch]

    loop = trained(
        net,
        optimizer,
        Watch(),
        ReduceLROnPlateau("loss", patience=1, factor=0.5, min_delta=100),
        EarlyStopping("score", mode="max", restore_best_weights=True),
    )

    assert [0.1, 0.1, 0.05] == loop.history.history["learning_rate"]
    for expected, own in zip(seen[1], loop.run.trainer.named_weights(), strict=True):
        np.testing.assert_array_equal(expected, own[1])


def test_validation_is_in_evaluation_and_leaves_each_layer_as_it_was():
    """A layer that was in evaluation before stays there."""
    net, optimizer = made()
    loop = jalon.Loop(model=net, optimizer=optimizer, verbose=0)
    for _ in loop:
        with loop.validation():
            assert net.dropout.deterministic
            assert net.norm.use_running_average

    assert (False, True, False) == (net.dropout.deterministic, net.frozen.deterministic, net.norm.use_running_average)


def test_an_interrupted_training_ends_as_one_that_was_not(tmp_path):
    """Weights, optimizer, statistics and random numbers are those of an uninterrupted training."""

    class Interrupt(jalon.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    whole = made()
    trained(*whole, epochs=4)
    with pytest.raises(KeyboardInterrupt):
        trained(*made(), Interrupt(), epochs=4, run_dir=tmp_path)
    again = made(seed=7)
    trained(*again, type("Interrupt", (jalon.Callback,), {})(), epochs=4, run_dir=tmp_path)

    assert values(*whole) == values(*again)


def test_several_modules_are_named(tmp_path):
    """Their names stand before those of their weights, and each optimizer has its rate."""
    (first, its), (second, other) = made(), made(seed=1)
    loop = jalon.Loop(
        [ModelCheckpoint(tmp_path / "both.safetensors", monitor="loss"), ReduceLROnPlateau("loss")],
        model={"a": first, "b": second},
        optimizer={"of_a": its, "of_b": other},
        verbose=0,
    )
    for _ in loop:
        loop.log(loss=1)

    assert {"a", "b"} == {name.partition(".")[0] for name in loop.run.trainer.host.weights()}
    assert [0.1] == loop.history.history["learning_rate_of_a"] == loop.history.history["learning_rate_of_b"]


def test_what_learned_of_the_data_is_saved_with_the_module(tmp_path):
    """A transform comes back from the file."""
    net, optimizer = made()
    trained(net, optimizer, Standardize(), ModelCheckpoint(tmp_path / "net.safetensors", monitor="loss"))
    host = jalon.Loop(model=net)._host
    host.load(tmp_path / "net.safetensors")

    np.testing.assert_allclose(host.transforms[0].transform_batch((X,), "test")[0].mean(axis=0), 0, atol=1e-6)


def test_what_it_does_not_take_is_said():
    """A state of Optax beside a module, and a callback that waits for the optimizer."""
    net, optimizer = made()
    with pytest.raises(ArgumentError, match=r"takes an nnx.Optimizer.*A state of Optax belongs into a jalon.Tree"):
        jalon.Loop(model=net, optimizer=optax.adam(0.1))

    class Waits(jalon.Callback):
        def on_before_optimizer_step(self, step):
            pass

    with pytest.warns(HookNotReached, match="on_before_optimizer_step, never reached under jalon.Loop"):
        trained(net, optimizer, Waits(), epochs=1)
