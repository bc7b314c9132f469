"""What the comparisons with Keras share. The backend is that of ``KERAS_BACKEND``, torch by default: one process, one backend."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jalon
import jalon.bridges

collect_ignore_glob = [] if find_spec("keras") else ["test_*.py"]

if find_spec("keras"):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the frameworks say of each other while they are imported
        import keras

THIRD_PARTY = (
    "ignore::jalon.errors.WithoutBridge",  # lists are given to Keras directly here, on purpose
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning",  # of Keras's variables on torch
    "ignore:You are saving your model as an HDF5 file:UserWarning",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let pass what others warn of."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            for rule in THIRD_PARTY:
                item.add_marker(pytest.mark.filterwarnings(rule))


def _built(*, steps_per_execution: int = 1, evaluated: bool = False) -> Any:
    keras.utils.set_random_seed(7)
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(3, activation="softmax")])
    model.compile(
        optimizer=keras.optimizers.SGD(0.25),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        steps_per_execution=steps_per_execution,
    )
    model.optimizer.build(model.trainable_variables)
    if evaluated:  # Keras makes the metrics then
        model.test_on_batch(np.zeros((1, 4)), np.zeros(1))
    return model


@pytest.fixture(scope="session")
def build() -> Callable[..., Any]:
    """Return a function that builds the small classifier, always with the same weights."""
    return _built


@pytest.fixture(scope="session")
def fresh() -> Callable[..., Any]:
    """Return a function like ``build`` that gives the same object for the same purpose, as it was at first: compiled once."""
    made: dict[Any, tuple[Any, list[Any]]] = {}

    def fresh(*, purpose: str = "", **options: Any) -> Any:
        key = purpose, tuple(sorted(options.items()))
        if key not in made:
            model = _built(**options)
            made[key] = model, [np.array(keras.ops.convert_to_numpy(value)) for value in _variables(model)]
        model, start = made[key]
        for variable, value in zip(_variables(model), start, strict=True):
            variable.assign(value)
        model.stop_training = False
        return model

    return fresh


def _variables(model: Any) -> list[Any]:
    return [*model.variables, *model.optimizer.variables]


@pytest.fixture(scope="session")
def data() -> tuple[np.ndarray, np.ndarray]:
    """Return forty rows in three classes that a line can nearly tell apart."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(40, 4)).astype("float32")
    return x, np.argmax(x[:, :3] + 0.5 * rng.normal(size=(40, 3)), axis=1)


@pytest.fixture(scope="session")
def listed() -> Callable[[str, Any], Any]:
    """Return a function that makes of callbacks what is given to Keras: a list as it is, or one conducted by jalon."""

    def listed(way: str, callbacks: Any) -> Any:
        return jalon.bridges.keras(callbacks) if way == "bridged" else callbacks

    return listed


@pytest.fixture(scope="session")
def drive() -> Callable[..., list[Any]]:
    """Return a function that walks callbacks through a training in which nothing is trained.

    It gives each epoch's logs to the hooks, ends where a callback stops training, and returns what ``watch`` saw after
    each epoch.
    """

    def drive(
        way: str, callbacks: list[Any], model: Any, epochs: list[dict[str, float]], *, watch: Any, batches: int = 0
    ) -> list[Any]:
        params = {"epochs": len(epochs), "steps": batches, "verbose": 0}
        if way == "bridged":
            told = jalon.bridges.keras(callbacks)
            told.set_model(model)
            told.set_params(params)
        else:
            told = keras.callbacks.CallbackList(list(callbacks), model=model, **params)
        model.stop_training = False
        seen = []
        told.on_train_begin()
        for epoch, logs in enumerate(epochs):
            told.on_epoch_begin(epoch)
            for batch in range(batches):
                told.on_train_batch_begin(batch)
                told.on_train_batch_end(batch, dict(logs))
            told.on_epoch_end(epoch, dict(logs))
            seen.append(watch(epoch))
            if model.stop_training:
                break
        told.on_train_end()
        return seen

    return drive


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Return a function that makes a folder for what one class writes."""

    def folder(name: str) -> Path:
        path = tmp_path / name
        path.mkdir()
        return path

    return folder
