import json

import keras
import numpy as np
import pytest

from jalon.bridges.keras_bridge.graph import embeddings, graph


def sequential():
    return keras.Sequential([keras.Input((4,)), keras.layers.Embedding(10, 3, name="words"), keras.layers.Dense(1)])


def functional():
    inputs = keras.Input((4,))
    return keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Embedding(10, 3, name="words")(inputs)))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.words = keras.layers.Embedding(10, 3, name="words")

    def call(self, x):
        return self.words(x)


class Unwritable(keras.layers.Layer):
    def call(self, x):
        return x

    def get_config(self):
        raise RuntimeError("no configuration")


class TestGraph:
    @pytest.mark.parametrize(("build", "kind"), [(sequential, "Sequential"), (functional, "Functional")])
    def test_configuration(self, build, kind):
        """A Functional or Sequential model gives its configuration."""
        model = build()
        drawn = graph(model)

        assert "keras" == drawn.kind
        assert kind == json.loads(drawn.content)["class_name"]
        assert "words" in [layer["config"]["name"] for layer in json.loads(drawn.content)["config"]["layers"]]

    def test_subclassed(self):
        """A model whose configuration tells no connections gives none."""
        assert graph(Subclassed()) is None

    def test_without_configuration(self):
        """A model that cannot be written as JSON gives none."""
        assert graph(keras.Sequential([keras.Input((4,)), Unwritable()])) is None


class TestEmbeddings:
    @pytest.mark.parametrize("build", [sequential, functional])
    def test_layers(self, build):
        """Embedding layers go by their name, their tables by their path."""
        model = build()
        shapes = {weight.path: weight.shape for weight in model.weights}
        (found,) = embeddings(model)

        assert ("words", (10, 3)) == (found.layer, shapes[found.weight])

    def test_nested(self):
        """An embedding layer of a model within the model counts."""
        model = keras.Sequential([keras.Input((4,)), sequential()])

        assert ["words"] == [found.layer for found in embeddings(model)]

    def test_not_built(self):
        """A layer has its name before it has a table."""
        model = Subclassed()
        before = [found.weight for found in embeddings(model)]
        model(np.zeros((1, 4)))

        assert ([""], ["words"]) == (before, [found.layer for found in embeddings(model)])
