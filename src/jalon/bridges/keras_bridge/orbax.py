"""What Orbax is given of a Keras model, laid out as Keras's own loaders look for it."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import numpy as np
from keras.src.saving import saving_lib

from jalon.errors import JalonWarning


def checkpointables(model: Any, *, weights_only: bool) -> dict[str, Any]:
    """Return a model as ``keras.saving.load_model`` and ``load_weights`` expect to find it in an Orbax folder.

    Args:
        model: The model.
        weights_only: Leave out optimizer, metrics, configuration and assets. ``load_weights`` alone reads such a folder.
    """
    state = _state_tree(model)
    if weights_only:
        return {"pytree": {part: state[part] for part in ("trainable_variables", "non_trainable_variables")}}
    _warn_of_lost_names(model)
    config, _ = saving_lib._serialize_model_as_json(model)
    assets = saving_lib._save_assets_to_dict(model)
    return {"pytree": state, "model_config": {"config": config}} | ({} if assets is None else {"assets": assets})


def _state_tree(model: Any) -> dict[str, Any]:
    """Return all variables as nested dicts: as they are on JAX, so that they stay sharded, else as numpy arrays."""
    if keras.backend.backend() == "jax":
        native: dict[str, Any] = model.get_state_tree()
        return native
    # Orbax takes arrays and Python's numbers, but not numpy's.
    tree: dict[str, Any] = keras.tree.map_structure(_plain, model.get_state_tree(value_format="numpy_array"))
    return tree


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, (np.ndarray, np.generic)) and value.ndim == 0 else value


def _warn_of_lost_names(model: Any) -> None:
    """Warn where Keras cannot find the weights again, which it does not tell.

    ``load_model`` builds each layer of a ``Sequential`` by itself, so that names lack that of the model, and passes over
    every weight of another name.
    """
    if isinstance(model, keras.Sequential) and any(weight.path.startswith(f"{model.name}/") for weight in model.weights):
        warnings.warn(
            f"keras.saving.load_model cannot find the weights of the Sequential {model.name!r} in a folder of Orbax's: it "
            "returns the model with fresh weights and says nothing. Build the model with the same names and call "
            "load_weights, or make it of its inputs and outputs by keras.Model(inputs, outputs).",
            JalonWarning,
            stacklevel=2,
        )
