"""A loop in JAX: a module of Flax NNX and its Optax optimizer, on scikit-learn's digits.

Usage: python examples/loop_flax_nnx.py

Writes best.safetensors, training.log and logs/ into the current folder. Takes a few seconds.
"""

import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import jalon
from jalon.callbacks import CSVLogger, EarlyStopping, ModelCheckpoint, ProgbarLogger, ReduceLROnPlateau, TensorBoard

x, y = load_digits(return_X_y=True)
x_train, x_val, y_train, y_val = train_test_split(x.astype("float32") / 16, y, test_size=0.2, random_state=0)
rng = np.random.default_rng(0)


class Classifier(nnx.Module):
    def __init__(self, rngs):
        self.hidden = nnx.Linear(64, 64, rngs=rngs)
        self.dropout = nnx.Dropout(0.2, rngs=rngs)
        self.out = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, x):
        return self.out(self.dropout(nnx.relu(self.hidden(x))))


def measured(net, x, y):
    """Return the loss and what else is worth knowing."""
    scores = net(x)
    loss = optax.softmax_cross_entropy_with_integer_labels(scores, y).mean()
    return loss, {"loss": loss, "accuracy": (scores.argmax(axis=1) == y).mean()}


@nnx.jit
def train_step(net, optimizer, x, y):
    grads, values = nnx.grad(measured, has_aux=True)(net, x, y)
    optimizer.update(net, grads)
    return values


@nnx.jit
def test_step(net, x, y):
    return measured(net, x, y)[1]


net = Classifier(nnx.Rngs(0))
# Optax keeps a rate within the reach of callbacks where it is injected.
adam = optax.inject_hyperparams(optax.adam)(learning_rate=0.01)
optimizer = nnx.Optimizer(net, adam, wrt=nnx.Param)


def batches():
    order = rng.permutation(len(x_train))
    return [(x_train[rows], y_train[rows]) for rows in np.array_split(order, len(order) // 64)]


loop = jalon.Loop(
    [
        ModelCheckpoint("best.safetensors", save_best_only=True),
        ReduceLROnPlateau(factor=0.3, patience=2),
        EarlyStopping(patience=5, restore_best_weights=True),
        CSVLogger("training.log"),
        TensorBoard("logs"),
        ProgbarLogger(),
    ],
    model=net,
    optimizer=optimizer,
    epochs=40,
    state={"order": rng},  # an interrupted training would go on in the same order
)
for epoch in loop:
    for x, y in loop.batches(batches()):
        loop.log(**train_step(net, optimizer, x, y))
    with loop.validation():  # the module is in evaluation here: no dropout
        for x, y in loop.batches([(x_val, y_val)]):
            loop.log(**test_step(net, x, y))

print(loop.run.stop_reason, loop.history.best)
net.eval()
print("digits in doubt:", int((net(jnp.asarray(x_val)).argmax(axis=1) != y_val).sum()), "of", len(y_val))
