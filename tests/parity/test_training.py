"""Small real trainings with Keras's class and with ours: what they report, write and leave behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util

import jalon
from jalon import callbacks as ours
from jalon.callbacks import CSVLogger, EarlyStopping, LearningRateScheduler, ModelCheckpoint, ReduceLROnPlateau, TensorBoard

WAYS = pytest.mark.parametrize("way", ["direct", "bridged"])


@pytest.fixture(scope="module")
def train(fresh: Any, data: Any, listed: Any) -> Callable[..., Any]:
    """Return a function that trains the small classifier with callbacks, and returns it."""
    x, y = data

    def train(way: str, callbacks: Any, **options: Any) -> Any:
        model = fresh(**{name: options.pop(name) for name in ("steps_per_execution", "purpose") if name in options})
        defaults = {"epochs": 5, "batch_size": 10, "verbose": 0, "shuffle": False, "validation_data": (x[:20], y[:20])}
        model.fit(x, y, callbacks=listed(way, callbacks), **{**defaults, **options})
        return model

    return train


def weights_of(model: Any) -> list[Any]:
    return [weight.tolist() for weight in model.get_weights()]


# ---- History and CSVLogger ---------------------------------------------------------------------------------------------


@WAYS
def test_history_is_that_of_keras(train: Any, way: str) -> None:
    """``model.history`` holds the same metrics in the same order with the same values, the epochs and the parameters."""
    expected = train("direct", [keras.callbacks.Callback()]).history
    received = train(way, [ours.Callback()]).history
    assert list(expected.history.items()) == list(received.history.items())
    assert (expected.epoch, expected.params) == (received.epoch, received.params)


@WAYS
@pytest.mark.parametrize("options", [{}, {"validation_freq": 2}, {"validation_freq": 2, "epochs": 3}], ids=str)
def test_a_log_is_byte_for_byte_that_of_keras(train: Any, folders: Any, way: str, options: Any) -> None:
    """With validation, in every epoch or in some, the CSV files are equal to the last byte, line ends included."""
    theirs, our = folders("theirs") / "log.csv", folders("ours") / "log.csv"
    train("direct", [keras.callbacks.CSVLogger(str(theirs))], **options)
    train(way, [CSVLogger(our)], **options)
    assert theirs.read_bytes() == our.read_bytes()
    assert theirs.read_bytes().count(b"\r\n") == options.get("epochs", 5) + 1


@WAYS
def test_a_log_that_goes_on_is_byte_for_byte_that_of_keras(train: Any, folders: Any, way: str) -> None:
    """``append=True`` adds a second training's rows, and no second header."""
    files = folders("theirs") / "log.csv", folders("ours") / "log.csv"
    for (kind, how), file in zip(((keras.callbacks.CSVLogger, "direct"), (CSVLogger, way)), files, strict=True):
        train(how, [kind(str(file), separator=";", append=True)], epochs=2)
        train(how, [kind(str(file), separator=";", append=True)], epochs=4, initial_epoch=2)
    theirs, our = files
    assert theirs.read_bytes() == our.read_bytes()


# ---- what changes the training -----------------------------------------------------------------------------------------


@WAYS
@pytest.mark.parametrize("restore", [False, True])
def test_early_stopping_leaves_the_weights_that_keras_leaves(train: Any, way: str, restore: bool) -> None:
    """The same epochs run, and the weights in the end are those of the same epoch."""
    policy = {"monitor": "val_loss", "mode": "max", "patience": 2, "restore_best_weights": restore}  # a loss that falls: stops
    expected = train("direct", [keras.callbacks.EarlyStopping(**policy)], epochs=8)
    epochs, weights = expected.history.epoch, weights_of(expected)
    received = train(way, [EarlyStopping(**policy)], epochs=8)
    assert epochs == received.history.epoch == [0, 1, 2]
    assert weights == weights_of(received)


@WAYS
@pytest.mark.parametrize("monitor", ["val_loss", "loss", "val_accuracy", "accuracy"])
def test_early_stopping_reads_the_direction_from_the_metric(train: Any, way: str, monitor: str) -> None:
    """``mode="auto"`` takes less of a loss and more of an accuracy for better, and stops at Keras's epoch."""
    policy = {"monitor": monitor, "min_delta": 0.02, "patience": 1}
    expected = train("direct", [keras.callbacks.EarlyStopping(**policy)], epochs=15).history.epoch
    assert expected == train(way, [EarlyStopping(**policy)], epochs=15).history.epoch
    assert len(expected) < 15


@WAYS
def test_learning_rates_are_those_of_keras(train: Any, way: str) -> None:
    """A reduction on a plateau and a schedule lead to the same rates, reported under ``learning_rate``, and the same losses."""

    def schedule(epoch: int, rate: float) -> float:
        return rate * 0.9 if epoch else 0.5

    def trained(module: Any, how: str) -> Any:
        plateau = module.ReduceLROnPlateau(monitor="loss", factor=0.5, patience=1, min_delta=0.1, cooldown=1)
        return train(how, [module.LearningRateScheduler(schedule), plateau], epochs=8).history.history

    expected = trained(keras.callbacks, "direct")
    assert expected == trained(ours, way)
    assert len(set(expected["learning_rate"])) == 8


@WAYS
def test_several_optimizers_are_reduced_as_by_keras(build: Any, data: Any, listed: Any, way: str) -> None:
    """Each optimizer of a ``MultiOptimizer`` has a rate of its own, reported under its name."""
    reported = []
    for kind, how in ((keras.callbacks.ReduceLROnPlateau, "direct"), (ReduceLROnPlateau, way)):
        model = build()
        slow, fast = keras.optimizers.SGD(0.1, name="slow"), keras.optimizers.SGD(0.4, name="fast")
        chosen = keras.optimizers.OptimizerMap(slow, {".*bias": fast})
        several = keras.optimizers.MultiOptimizer(chosen)
        model.compile(optimizer=several, loss="sparse_categorical_crossentropy")
        callback = kind(monitor="loss", factor=0.5, patience=1, min_delta=10, min_lr=0.08)
        reported.append(model.fit(*data, epochs=4, verbose=0, shuffle=False, callbacks=listed(how, [callback])).history)
    assert reported[0] == reported[1]
    assert "learning_rate_slow" in reported[0]


@WAYS
def test_a_loss_that_is_no_number_ends_training_where_keras_ends_it(build: Any, data: Any, listed: Any, way: str) -> None:
    """``TerminateOnNaN`` ends the same epoch after the same batch."""
    x, y = data[0].copy(), data[1]
    x[25] = np.nan
    ended = []
    for module, how in ((keras.callbacks, "direct"), (ours, way)):
        batches: list[int] = []
        watch = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs, batches=batches: batches.append(batch))
        fitted = listed(how, [module.TerminateOnNaN(), watch])
        history = build().fit(x, y, batch_size=10, epochs=3, shuffle=False, verbose=0, callbacks=fitted)
        ended.append((batches, history.epoch))
    assert ended[0] == ended[1] == ([0, 1, 2], [0])


# ---- ModelCheckpoint ---------------------------------------------------------------------------------------------------


def contents(folder: Path) -> dict[str, Any]:
    """Return of each file the weights, and the optimizer's state where it holds one."""
    return {path.name: content(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def content(path: Path) -> Any:
    if path.name.endswith(".weights.h5"):
        model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(3, activation="softmax")])
        model.load_weights(path)
        return weights_of(model)
    model = keras.saving.load_model(path)
    return weights_of(model), [keras.ops.convert_to_numpy(one).tolist() for one in model.optimizer.variables]


POLICIES = {
    "every epoch": {},
    "the best": {"save_best_only": True, "monitor": "val_accuracy"},
    "the best of what must beat a value": {"save_best_only": True, "initial_value_threshold": 0.9},
    "every third batch": {"save_freq": 3},
}


@WAYS
@pytest.mark.parametrize("suffix", [".keras", ".h5", ".weights.h5"])
@pytest.mark.parametrize("policy", POLICIES)
def test_saved_files_have_keras_s_names_and_contents(train: Any, folders: Any, way: str, suffix: str, policy: str) -> None:
    """The same files, in folders made for them, hold the same weights and optimizer, and Keras reads them back."""
    by_batch = "save_freq" in POLICIES[policy]
    name = ("{epoch:02d}-{batch}-{loss:.3f}" if by_batch else "made/{epoch:02d}-{val_loss:.3f}") + suffix
    options = {**POLICIES[policy], "save_weights_only": suffix == ".weights.h5"}
    theirs, our = folders("theirs"), folders("ours")
    # A model that Keras once saved as .h5 has no optimizer in the .keras files that it saves later.
    train("direct", [keras.callbacks.ModelCheckpoint(str(theirs / name), **options)], epochs=3, purpose=suffix)
    train(way, [ModelCheckpoint(our / name, **options)], epochs=3, purpose=suffix)
    assert contents(theirs)
    assert contents(theirs) == contents(our)


@WAYS
def test_batches_that_run_together_are_counted_as_by_keras(train: Any, folders: Any, way: str) -> None:
    """With several steps per execution, the same batches are saved."""
    if keras.backend.backend() == "torch":
        pytest.skip("Keras refuses several steps per execution on torch")
    options = {"save_freq": 4, "save_weights_only": True}
    theirs, our = folders("theirs"), folders("ours")
    together = {"steps_per_execution": 3, "batch_size": 5, "epochs": 2}
    train("direct", [keras.callbacks.ModelCheckpoint(str(theirs / "{epoch}-{batch}.weights.h5"), **options)], **together)
    train(way, [ModelCheckpoint(our / "{epoch}-{batch}.weights.h5", **options)], **together)
    assert contents(theirs) == contents(our)


# ---- TensorBoard -------------------------------------------------------------------------------------------------------


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return the steps and values of every scalar, without what depends on the time of day."""
    read = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    read.Reload()
    plugins = {tag: read.SummaryMetadata(tag).plugin_data.plugin_name for tag in read.Tags()["tensors"]}
    found = {tag: [(event.step, event.value) for event in read.Scalars(tag)] for tag in read.Tags()["scalars"]}
    for tag, plugin in plugins.items():
        if plugin == "scalars":
            found[tag] = [(event.step, float(tensor_util.make_ndarray(event.tensor_proto))) for event in read.Tensors(tag)]
    return {tag: events for tag, events in found.items() if "steps_per_second" not in tag}


@WAYS
@pytest.mark.parametrize("update_freq", ["epoch", 2, "batch"])
def test_curves_are_those_of_keras(train: Any, folders: Any, way: str, update_freq: Any) -> None:
    """In both folders, tags, steps and values are equal."""
    theirs, our = folders("theirs"), folders("ours")
    options = {"update_freq": update_freq, "write_graph": False}
    train("direct", [keras.callbacks.TensorBoard(str(theirs), **options)], epochs=3)
    train(way, [TensorBoard(our, **options)], epochs=3)
    for part in ("train", "validation"):
        assert scalars(theirs / part)
        assert scalars(theirs / part) == scalars(our / part)


# ---- all together ------------------------------------------------------------------------------------------------------


@WAYS
def test_a_whole_list_leaves_what_keras_s_leaves(train: Any, folders: Any, way: str) -> None:
    """Early stopping, checkpoints, a schedule, a log and curves at once: history, log, curves, files and weights are equal."""

    def trained(module: Any, how: str, folder: Path) -> Any:
        model = train(
            how,
            [
                module.LearningRateScheduler(lambda epoch: 0.5 / (epoch + 1)),
                module.EarlyStopping(min_delta=0.03, patience=2, restore_best_weights=True),
                module.ModelCheckpoint(str(folder / "models" / "best.keras"), save_best_only=True),
                module.CSVLogger(str(folder / "log.csv")),
                module.TensorBoard(str(folder / "logs"), write_graph=False),
            ],
            epochs=20,
        )
        left = contents(folder / "models"), (folder / "log.csv").read_bytes(), scalars(folder / "logs" / "validation")
        return model.history.history, weights_of(model), left

    expected = trained(keras.callbacks, "direct", folders("theirs"))
    assert expected == trained(ours, way, folders("ours"))
    assert len(expected[0]["loss"]) < 20


# ---- Keras's classes in our lists --------------------------------------------------------------------------------------


@pytest.fixture
def torch_model() -> Any:
    """Return a ``jalon.Model`` of the same small classifier in PyTorch."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(7)
    model = jalon.Model(torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Softmax(dim=-1)))
    model.compile(optimizer="sgd", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def test_keras_s_own_callbacks_work_in_our_loop(torch_model: Any, data: Any, tmp_path: Path) -> None:
    """Keras's EarlyStopping, LambdaCallback, CSVLogger and History, unchanged, take their decisions in ``jalon.Model.fit``."""
    epochs: list[int] = []
    theirs = [
        keras.callbacks.EarlyStopping(monitor="loss", mode="min", min_delta=100, patience=2),
        keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: epochs.append(epoch)),
        keras.callbacks.CSVLogger(str(tmp_path / "log.csv")),
        keras.callbacks.History(),
    ]
    history = torch_model.fit(*data, epochs=9, verbose=0, callbacks=theirs)
    assert epochs == history.epoch == [0, 1, 2]
    assert theirs[3].history == history.history
    rows = (tmp_path / "log.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["epoch", "0", "1", "2"]


def test_keras_s_callbacks_work_conducted_by_jalon(train: Any, folders: Any) -> None:
    """Keras's own classes in ``jalon.bridges.keras`` leave what they leave in Keras's list."""

    def trained(how: str, folder: Path) -> Any:
        listed = [
            keras.callbacks.EarlyStopping(min_delta=0.03, patience=2, restore_best_weights=True),
            keras.callbacks.ReduceLROnPlateau(min_delta=0.05, patience=1),
            keras.callbacks.ModelCheckpoint(str(folder / "{epoch}.keras")),
            keras.callbacks.CSVLogger(str(folder / "log.csv")),
        ]
        model = train(how, listed, epochs=10)
        log = (folder / "log.csv").read_bytes()
        (folder / "log.csv").unlink()
        return model.history.history, weights_of(model), log, contents(folder)

    assert trained("direct", folders("theirs")) == trained("bridged", folders("ours"))


@WAYS
def test_a_rate_scheduled_by_either_is_seen_by_the_other(train: Any, way: str) -> None:
    """Classes of both kinds in one list agree on the learning rate."""
    listed = [LearningRateScheduler(lambda epoch: 0.1 * (epoch + 1)), keras.callbacks.ReduceLROnPlateau(patience=9)]
    rates = train(way, listed, epochs=3).history.history["learning_rate"]
    assert rates == pytest.approx([0.1, 0.2, 0.3])
