"""``jalon.Loop`` over a tree of JAX's arrays that logs a recorded curve."""

from __future__ import annotations

from pathlib import Path

import jax.numpy as jnp
import optax
import recorded_loop

import jalon
from jalon.callbacks import History


def train(callbacks: list, curve: list[dict[str, float]], folder: Path) -> History:  # as every loop's
    """Train as many epochs as the curve has, each reporting the curve's metrics, and return the history."""
    optimizer = optax.inject_hyperparams(optax.sgd)(learning_rate=0.1)
    params = {"weight": jnp.ones(2)}
    tree = jalon.Tree(params, optimizer.init(params))

    def step() -> None:
        updates, tree.opt_state = optimizer.update({"weight": jnp.ones(2)}, tree.opt_state)
        tree.params = optax.apply_updates(tree.params, updates)

    return recorded_loop.logged(callbacks, curve, step, model=tree)
