"""Trees of arrays, which a loop exchanges at every step, are saved, put back, and learn at the rate that is set."""

from __future__ import annotations

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jalon
from jalon.callbacks import EarlyStopping, LearningRateScheduler, ModelCheckpoint, ReduceLROnPlateau
from jalon.errors import ArgumentError, CheckpointMismatch, NotReady

X = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")
Y = X @ np.float32([[1.0], [-2.0], [0.5]])


def made(rate=0.1, *, width=3, optimizer=None):
    """Return a tree, and the step that trains it."""
    optimizer = optimizer or optax.inject_hyperparams(optax.adam)(learning_rate=rate)
    params = {"layers": [{"kernel": jnp.ones((width, 1)), "bias": jnp.zeros(1, jnp.bfloat16)}]}
    tree = jalon.Tree(params, optimizer.init(params), seen=jnp.array(0))

    # The memory of the old arrays is given to the new ones: whoever kept the old ones has nothing.
    @jax.jit
    def gradients(params, x, y):
        layer = params["layers"][0]
        return jax.value_and_grad(lambda p: jnp.mean((x @ p["kernel"] + p["bias"] - y) ** 2))(layer)

    def step(x, y):
        loss, grads = gradients(tree.params, x, y)
        tree.params, tree.opt_state = changed(tree.params, tree.opt_state, {"layers": [grads]})
        tree.seen = tree.seen + len(x)
        return loss

    def changed(params, state, grads):
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    changed = jax.jit(changed, donate_argnums=(0, 1))
    return tree, step


def values(tree):
    """Return every array as bytes."""
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(vars(tree))]


def trained(tree, step, *callbacks, epochs=3, **options):
    """Train, and return the loop."""
    loop = jalon.Loop(list(callbacks), model=tree, epochs=epochs, verbose=0, **options)
    for _ in loop:
        for rows in loop.batches(np.split(np.arange(40), 4)):
            loop.log(loss=step(X[rows], Y[rows]))
    return loop


def test_a_file_gives_a_tree_back_with_its_optimizer(tmp_path):
    """Types and all; the training that goes on from it goes on as the one that saved it."""
    tree, step = made()
    trained(tree, step, ModelCheckpoint(tmp_path / "tree.safetensors", monitor="loss"))
    other, its_step = made()
    jalon.Loop(model=other)._host.load(tmp_path / "tree.safetensors")

    assert values(tree) == values(other)
    assert step(X, Y) == its_step(X, Y)
    assert values(tree) == values(other)
    assert jnp.bfloat16 == other.params["layers"][0]["bias"].dtype


def test_the_best_weights_come_back(tmp_path):
    """A step may take the memory of the weights that it was given: they were copied."""
    tree, step = made()
    best = []

    class Watch(jalon.Callback):
        def on_epoch_end(self, epoch, logs=None):
            best.append([value.copy() for value in self.model.get_weights()])
            logs["score"] = [1.0, 3.0, 2.0][epoch]

    trained(tree, step, Watch(), EarlyStopping("score", mode="max", restore_best_weights=True))

    for expected, own in zip(best[1], jax.tree.leaves((tree.params, tree.seen)), strict=True):
        np.testing.assert_array_equal(expected, own.astype(expected.dtype))


def test_the_rate_can_be_set():
    """Where Optax keeps it within reach; the compiled step uses the new one."""
    tree, step = made()
    loop = trained(tree, step, ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=100))

    assert [0.1, 0.1, 0.05] == loop.history.history["learning_rate"]
    assert np.float32(0.025) == tree.opt_state.hyperparams["learning_rate"]

    other, its_step = made()
    trained(other, its_step, LearningRateScheduler(lambda epoch: 0.0))

    assert [1.0, 1.0, 1.0] == other.params["layers"][0]["kernel"].ravel().tolist()


@pytest.mark.parametrize(
    ("optimizer", "why"),
    [
        (optax.adam(0.1), "Wrap the optimizer, as optax.inject_hyperparams"),
        (optax.inject_hyperparams(optax.adam)(optax.constant_schedule(0.1)), "is a schedule of Optax"),
    ],
)
def test_a_rate_that_cannot_be_set_is_said_at_the_start(optimizer, why):
    """Before the first step, with what to do."""
    tree, step = made(optimizer=optimizer)
    with pytest.raises(ArgumentError, match=f"ReduceLROnPlateau: .*{why}"):
        trained(tree, step, ReduceLROnPlateau("loss"))
    with pytest.raises(ArgumentError, match=f"LearningRateScheduler: .*{why}"):
        trained(tree, step, LearningRateScheduler(lambda epoch: 0.1))
    with pytest.raises(NotReady, match=why):
        jalon.Loop(model=tree)._host.set_learning_rates([0.1])

    assert 40 * 0 == tree.seen


def test_an_interrupted_training_ends_as_one_that_was_not(tmp_path):
    """Weights, optimizer and what was named beside them are those of an uninterrupted training."""

    class Interrupt(jalon.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1 and not (tmp_path / "once").exists():
                (tmp_path / "once").touch()
                raise KeyboardInterrupt

    def train(run_dir, *callbacks):
        tree, step = made()
        noise = jalon.Tree(jax.random.key(0), coin=jnp.array(1, jnp.bfloat16))

        def noisy(x, y):
            noise.params, now = jax.random.split(noise.params)
            noise.coin = -noise.coin
            return step(x + jax.random.normal(now, x.shape), y)

        trained(tree, noisy, *callbacks, epochs=4, run_dir=run_dir, state={"noise": noise})
        return values(tree), jax.random.key_data(noise.params).tolist(), float(noise.coin)

    whole = train(None)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", Interrupt())

    assert whole == train(tmp_path / "run", Interrupt())


def test_the_best_epoch_holds_random_keys_and_small_types(tmp_path):
    """They are put back at the end, also those of before an interruption, in the types that they had."""

    class Interrupt(jalon.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 2 and not (tmp_path / "once").exists():
                (tmp_path / "once").touch()
                raise KeyboardInterrupt

    def train(run_dir, *callbacks):
        tree = jalon.Tree(
            {"kernel": jnp.ones(2, jnp.bfloat16)}, key=jax.random.key(0), keys=jax.random.split(jax.random.key(1), 3)
        )
        best = EarlyStopping("loss", mode="max", restore_best_weights=True)
        loop = jalon.Loop([best, *callbacks], model=tree, epochs=4, verbose=0, run_dir=run_dir)
        for epoch in loop:
            tree.key, _ = jax.random.split(tree.key)
            tree.params = {"kernel": tree.params["kernel"] * 1.5}
            loop.log(loss=[1.0, 2.0, 1.5, 1.2][epoch])
        kernel, keys = tree.params["kernel"], [jax.random.key_data(keys).tolist() for keys in (tree.key, tree.keys)]
        return kernel.dtype, kernel.tolist(), keys

    whole = train(None)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", Interrupt())

    assert (jnp.bfloat16, [2.25, 2.25]) == whole[:2]
    assert whole == train(tmp_path / "run", Interrupt())


def test_a_file_of_something_else_is_refused(tmp_path):
    """It names what differs, and nothing is changed."""
    tree, step = made()
    trained(tree, step, ModelCheckpoint(tmp_path / "tree.safetensors", monitor="loss"))
    wider, _ = made(width=5)
    before = values(wider)

    with pytest.raises(CheckpointMismatch, match=r"layers.0.kernel is \(3, 1\) in the file and \(5, 1\) here"):
        jalon.Loop(model=wider)._host.load(tmp_path / "tree.safetensors")

    assert before == values(wider)


def test_a_name_that_nobody_would_save_is_refused():
    """A slip of the pen does not lose the weights."""
    tree, _ = made()

    with pytest.raises(
        AttributeError, match=r"was not made with 'parms', which nobody would save. It holds params, opt_state, seen"
    ):
        tree.parms = {}
    with pytest.raises(ArgumentError, match=r"params must be a tree of arrays. Received: None"):
        jalon.Tree(None)
    with pytest.raises(ArgumentError, match=r"belong into one jalon.Tree"):
        jalon.Loop(model=tree, optimizer=optax.adam(0.1))


def test_numpy_alone_will_do(tmp_path):
    """Dicts, lists and named tuples, with nothing imported that trains."""
    program = """
import sys
import collections
import numpy as np
import jalon
from jalon.callbacks import EarlyStopping, ModelCheckpoint
Pair = collections.namedtuple("Pair", "w b")
tree = jalon.Tree({"layers": [Pair(np.ones(2), 0.5), Pair(np.ones(3), 1)], "act": abs})
loop = jalon.Loop(
    [ModelCheckpoint("{epoch}.safetensors", monitor="loss"), EarlyStopping("loss", restore_best_weights=True)],
    model=tree, epochs=9, verbose=0,
)
for epoch in loop:
    tree.params = {**tree.params, "layers": [Pair(one.w + 1, one.b + 1) for one in tree.params["layers"]]}
    loop.log(loss=[2, 1, 3][epoch])
first, second = tree.params["layers"]
assert (first.w.tolist(), first.b, second.b, tree.params["act"]) == ([3.0, 3.0], 2.5, 3, abs), tree.params
loop.run.trainer.load(__import__("pathlib").Path("1.safetensors"))
assert tree.params["layers"][0].b == 1.5
assert not {"jax", "torch"} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], cwd=tmp_path, check=True)
