"""``jalon.Loop`` over a module of Flax NNX that logs a recorded curve."""

from __future__ import annotations

from pathlib import Path

import jax.numpy as jnp
import optax
import recorded_loop
from flax import nnx

from jalon.callbacks import History


def train(callbacks: list, curve: list[dict[str, float]], folder: Path) -> History:  # as every loop's
    """Train as many epochs as the curve has, each reporting the curve's metrics, and return the history."""
    module = nnx.Linear(1, 1, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(module, optax.inject_hyperparams(optax.sgd)(learning_rate=0.1), wrt=nnx.Param)

    def step() -> None:
        optimizer.update(module, nnx.grad(lambda module: module(jnp.ones((1, 1))).sum())(module))

    return recorded_loop.logged(callbacks, curve, step, model=module, optimizer=optimizer)
