"""What Keras's ``fit`` needs to go on after an epoch, beside the model's weights and the optimizer's state."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import keras
from keras.src.backend.common import global_state  # where Keras keeps the generator of draws that name none
from keras.src.random.seed_generator import GLOBAL_SEED_GENERATOR, global_seed_generator

from jalon.errors import JalonWarning


def fingerprint(model: Any, steps: int | None) -> dict[str, Any]:
    """Return what two trainings must have in common for one to go on with the other."""
    told = {"model": type(model).__name__, "backend": keras.backend.backend()}
    told |= {
        f"weight {number} {weight.name}": f"{tuple(weight.shape)} {weight.dtype}" for number, weight in enumerate(model.weights)
    }
    return told | {"optimizer": type(model.optimizer).__name__, "batches in an epoch": steps}


def loop_state(model: Any) -> dict[str, Any]:
    """Return as plain data where the random numbers of the model, of Keras and of its backend stand."""
    shared = global_state.get_global_attribute(GLOBAL_SEED_GENERATOR)
    return {
        "generators": [_numpy(variable) for variable in _generators(model)],
        "keras": None if shared is None else _numpy(shared.state),
        "backend": _backend_state(),
    }


def load_loop_state(model: Any, state: Mapping[str, Any]) -> None:
    """Take back what ``loop_state`` returned."""
    for variable, value in zip(_generators(model), state["generators"], strict=True):
        variable.assign(value)
    if state["keras"] is not None:
        global_seed_generator().state.assign(state["keras"])
    _load_backend_state(state["backend"])


def say_if_the_order_is_lost() -> None:
    """Warn where the order of shuffled data will be another one after a restart, as on TensorFlow, where it is out of reach."""
    if keras.backend.backend() == "tensorflow" and not _is_seeded():
        warnings.warn(
            "On TensorFlow the order of shuffled data lives inside tf.data, where it can be neither saved nor put back. A "
            "training that is interrupted goes on with another order, unless keras.utils.set_random_seed(seed) is called "
            "before the model is made.",
            JalonWarning,
            stacklevel=2,
        )


def _generators(model: Any) -> list[Any]:
    """Return the variables that random numbers are drawn from: no file of weights holds them."""
    return [variable for variable in model.variables if "seed_generator" in variable.path]


def _numpy(variable: Any) -> Any:
    return keras.ops.convert_to_numpy(variable.value)


def _is_seeded() -> bool:
    return global_state.get_global_attribute("global_random_seed") is not None


def _backend_state() -> Any:
    if keras.backend.backend() == "torch":
        import torch

        return torch.get_rng_state().numpy()
    return None


def _load_backend_state(state: Any) -> None:
    if state is not None:
        import torch

        torch.set_rng_state(torch.from_numpy(state))
