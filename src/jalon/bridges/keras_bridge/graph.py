"""The structure of a Keras model for TensorBoard, and where its embeddings are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras

from jalon.core.trainer import Embedding, Graph

_DRAWN = ("Functional", "Sequential")
"""The classes whose configuration says how layers are connected."""


def graph(model: Any) -> Graph | None:
    """Return the configuration of a Functional or Sequential model, or ``None`` for any other and where it has none."""
    if type(model).__name__ not in _DRAWN:
        return None
    try:
        return Graph("keras", model.to_json().encode())
    except Exception:  # noqa: BLE001  # whatever a layer's own get_config raises
        return None


def embeddings(model: Any) -> Iterator[Embedding]:
    """Yield the embedding layers of a model and of the models in it."""
    for layer in getattr(model, "layers", ()):
        if isinstance(layer, keras.layers.Embedding):
            # A layer that is not built yet has no table; its name is known all the same.
            yield Embedding(layer.name, next((weight.path for weight in layer.weights), ""))
        else:
            yield from embeddings(layer)
