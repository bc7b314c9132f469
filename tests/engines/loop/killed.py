"""A training by a loop written by hand that a signal ends, as a program: ``python killed.py kind folder kill_at``."""

import hashlib
import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

import jalon
from jalon.callbacks import BackupAndRestore, Callback, CSVLogger, EarlyStopping, ModelCheckpoint, ReduceLROnPlateau

X, Y = load_digits(return_X_y=True)
X_TRAIN, X_VAL, Y_TRAIN, Y_VAL = train_test_split(X[:600].astype("float32") / 16, Y[:600], test_size=0.4, random_state=0)
CLASSES = np.arange(10)


class Kill(Callback):
    """Kill the process as a batch ends, unless it has been started again."""

    def __init__(self, at):
        self.at = at

    def on_train_batch_end(self, batch, logs=None):
        if self.run.step == self.at and not self.run.resumed:
            os.kill(os.getpid(), signal.SIGKILL)


def callbacks(folder, kill_at):
    backup = BackupAndRestore(folder / "backup", save_freq=3)
    backup.rest_seconds = 0  # steps this short would not all be backed up
    return [
        Kill(kill_at),
        EarlyStopping(patience=3, min_delta=0.02, restore_best_weights=True),
        ReduceLROnPlateau(patience=1, factor=0.3, min_delta=0.02),
        ModelCheckpoint(folder / "{epoch:02d}.safetensors", save_best_only=True, keep_best=2),
        CSVLogger(folder / "log.csv"),
        backup,
    ]


def batches(rng):
    order = rng.permutation(len(X_TRAIN))
    return [(X_TRAIN[rows], Y_TRAIN[rows]) for rows in np.array_split(order, 8)]


def by_nnx(told):
    """A module of Flax NNX with dropout, whose random keys go on too."""
    import jax
    import optax
    from flax import nnx

    class Classifier(nnx.Module):
        def __init__(self, rngs):
            self.hidden = nnx.Linear(64, 32, rngs=rngs)
            self.dropout = nnx.Dropout(0.3, rngs=rngs)
            self.out = nnx.Linear(32, 10, rngs=rngs)

        def __call__(self, x):
            return self.out(self.dropout(nnx.relu(self.hidden(x))))

    def loss_of(net, x, y):
        return optax.softmax_cross_entropy_with_integer_labels(net(x), y).mean()

    @nnx.jit
    def step(net, optimizer, x, y):
        loss, grads = nnx.value_and_grad(loss_of)(net, x, y)
        optimizer.update(net, grads)
        return loss

    measure = nnx.jit(loss_of)
    net, rng = Classifier(nnx.Rngs(0)), np.random.default_rng(0)
    optimizer = nnx.Optimizer(net, optax.inject_hyperparams(optax.adam)(learning_rate=0.05), wrt=nnx.Param)
    loop = jalon.Loop(told, model=net, optimizer=optimizer, epochs=60, state={"order": rng})
    for _ in loop:
        for x, y in loop.batches(batches(rng)):
            loop.log(loss=step(net, optimizer, x, y))
        with loop.validation():
            loop.log(loss=measure(net, X_VAL, Y_VAL))
    return loop, jax.tree.leaves(nnx.state(net, nnx.Param))


def by_tree(told):
    """Trees of JAX's arrays, a step that makes new ones, and a random key among them."""
    import jax
    import jax.numpy as jnp
    import optax

    adam = optax.inject_hyperparams(optax.adam)(learning_rate=0.3)
    params = {"kernel": jnp.zeros((64, 10)), "bias": jnp.zeros(10)}
    tree, rng = jalon.Tree(params, adam.init(params), key=jax.random.key(0)), np.random.default_rng(0)

    def loss_of(params, x, y):
        return optax.softmax_cross_entropy_with_integer_labels(x @ params["kernel"] + params["bias"], y).mean()

    @jax.jit
    def step(params, opt_state, key, x, y):
        key, now = jax.random.split(key)
        loss, grads = jax.value_and_grad(loss_of)(params, x * jax.random.bernoulli(now, 0.7, x.shape), y)
        updates, opt_state = adam.update(grads, opt_state)
        return optax.apply_updates(params, updates), opt_state, key, loss

    loop = jalon.Loop(told, model=tree, epochs=60, state={"order": rng})
    for _ in loop:
        for x, y in loop.batches(batches(rng)):
            tree.params, tree.opt_state, tree.key, loss = step(tree.params, tree.opt_state, tree.key, x, y)
            loop.log(loss=loss)
        with loop.validation():
            loop.log(loss=loss_of(tree.params, X_VAL, Y_VAL))
    return loop, jax.tree.leaves(tree.params)


def by_sklearn(told):
    """A network of scikit-learn that learns by ``partial_fit``, and draws from a random state of its own."""
    from sklearn.neural_network import MLPClassifier

    model, rng = MLPClassifier((32,), learning_rate_init=0.03, random_state=0), np.random.default_rng(0)
    loop = jalon.Loop(told, model=model, epochs=60, state={"order": rng})
    for _ in loop:
        for x, y in loop.batches(batches(rng)):
            model.partial_fit(x, y, classes=CLASSES)
            loop.log(loss=model.loss_)
        with loop.validation():
            loop.log(loss=log_loss(Y_VAL, model.predict_proba(X_VAL), labels=CLASSES))
    return loop, [*model.coefs_, *model.intercepts_]


def main(kind, folder, kill_at):
    folder = Path(folder)
    told = callbacks(folder, int(kill_at))
    loop, weights = {"nnx": by_nnx, "tree": by_tree, "sklearn": by_sklearn}[kind](told)
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir()) if path.is_file()}
    print(
        json.dumps(
            {
                "weights": [hashlib.sha256(np.ascontiguousarray(leaf).tobytes()).hexdigest() for leaf in weights],
                "history": loop.history.history,
                "stopped": loop.run.stop_reason,
                "files": files,
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
