"""Every row of ``docs/reference/keras-differences.md`` that can be seen under Keras: its middle column by running Keras's class,
ours by running ours."""

from __future__ import annotations

import contextlib
import math
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras.src.utils import module_utils
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from jalon.callbacks import (
    Callback,
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ProgbarLogger,
    ReduceLROnPlateau,
    SwapEMAWeights,
    TensorBoard,
)
from jalon.errors import ArgumentError, CallbackDegraded, IneffectiveCallback, MissingMetric, OlderSpelling, SaveFailed

WAYS = pytest.mark.parametrize("way", ["direct", "bridged"])
k = keras.callbacks


@pytest.fixture(scope="module")
def train(fresh: Any, build: Any, data: Any, listed: Any) -> Callable[..., Any]:
    """Return a function that trains the small classifier with callbacks, and returns it. One that fails gets its own."""
    x, y = data

    def train(way: str, callbacks: Any, *, fails: bool = False, **options: Any) -> Any:
        model = build() if fails else fresh()
        defaults = {"epochs": 3, "batch_size": 10, "verbose": 0, "shuffle": False, "validation_data": (x[:20], y[:20])}
        model.fit(x, y, callbacks=listed(way, callbacks), **{**defaults, **options})
        return model

    return train


class Reports(Callback):
    """Reports given values under a name, ``None`` for nothing."""

    def __init__(self, metric: str, values: list[float | None]) -> None:
        self.metric, self.values = metric, values

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self.values[epoch] is not None:
            logs[self.metric] = self.values[epoch]


# ---- saving ------------------------------------------------------------------------------------------------------------


@WAYS
def test_the_best_of_a_missing_metric_is_refused(train: Any, folders: Any, way: str) -> None:
    """Keras warns and saves every epoch. Ours names the metrics there are, and saves nothing."""
    theirs, our = folders("theirs"), folders("ours")
    options = {"monitor": "acuracy", "mode": "max", "save_best_only": True}
    with pytest.warns(UserWarning, match="Can save best model only with acuracy available"):
        train("direct", [k.ModelCheckpoint(str(theirs / "{epoch}.keras"), **options)])
    assert len(list(theirs.iterdir())) == 3
    with pytest.raises(MissingMetric, match="accuracy"):
        train(way, [ModelCheckpoint(our / "{epoch}.keras", **options)], fails=True)
    assert not list(our.iterdir())


@WAYS
def test_the_best_among_batches_is_saved(train: Any, folders: Any, way: str) -> None:
    """``save_best_only`` with a number of batches: Keras fails at the second save, ours works."""
    options = {"monitor": "loss", "mode": "min", "save_best_only": True, "save_freq": 2}
    with pytest.raises(TypeError, match="NoneType"):
        train("direct", [k.ModelCheckpoint(str(folders("theirs") / "{epoch}-{batch}.keras"), **options)], fails=True)
    our = folders("ours")
    train(way, [ModelCheckpoint(our / "{epoch}-{batch}.keras", **options)])
    saved = [path.name for path in our.iterdir()]
    assert "1-2.keras" in saved
    assert len(saved) > 1


@contextlib.contextmanager
def room_for(size: int) -> Iterator[None]:
    """Let no file grow beyond a size, as a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@WAYS
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of the file that Keras cannot close
def test_a_save_that_breaks_off_leaves_the_file_of_before(fresh: Any, drive: Any, folders: Any, way: str) -> None:
    """A save that ends in the middle: Keras leaves a broken file in place of the good one, ours the good one."""
    epochs = [{"val_loss": 0.5}, {"val_loss": 0.4}]

    def save_twice(kind: Any, how: str, file: Path) -> None:
        class Full(Callback):
            order = -1

            def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
                if epoch == 1:
                    limits.enter_context(room_for(1000))

        with contextlib.ExitStack() as limits:
            drive(how, [Full(), kind(str(file))], fresh(), epochs, watch=lambda epoch: None)

    theirs, our = folders("theirs") / "model.keras", folders("ours") / "model.keras"
    with contextlib.suppress(OSError, RuntimeError):
        save_twice(k.ModelCheckpoint, "direct", theirs)
    with pytest.raises((OSError, ValueError)):
        keras.saving.load_model(theirs)
    with pytest.warns(SaveFailed, match="intact"):
        save_twice(ModelCheckpoint, way, our)
    keras.saving.load_model(our)
    assert [path.name for path in our.parent.iterdir()] == ["model.keras"]


@WAYS
def test_another_model_starts_afresh(build: Any, fresh: Any, drive: Any, folders: Any, way: str) -> None:
    """The same ``ModelCheckpoint`` given to another model: Keras goes on with the first one's best, ours does not."""
    saved = []
    for kind, how, folder in ((k.ModelCheckpoint, "direct", folders("theirs")), (ModelCheckpoint, way, folders("ours"))):
        callback = kind(str(folder / "{epoch}-{val_loss}.weights.h5"), save_best_only=True, save_weights_only=True)
        for model, loss in ((fresh(), 0.25), (build(), 0.5)):
            drive(how, [callback], model, [{"val_loss": loss}], watch=lambda epoch: None)
        saved.append(sorted(path.name for path in folder.iterdir()))
    assert saved == [["1-0.25.weights.h5"], ["1-0.25.weights.h5", "1-0.5.weights.h5"]]


# ---- metrics that are compared -----------------------------------------------------------------------------------------


@WAYS
def test_a_stop_on_what_nothing_reports_is_refused(train: Any, way: str) -> None:
    """Keras warns at each epoch and never stops. Ours ends training, with the metrics there are."""
    with pytest.warns(UserWarning, match="conditioned on metric `val_los`"):
        assert train("direct", [k.EarlyStopping("val_los", mode="min")]).history.epoch == [0, 1, 2]
    with pytest.raises(MissingMetric, match="val_loss"):
        train(way, [EarlyStopping("val_los", mode="min")], fails=True)


@pytest.mark.parametrize(("theirs", "ours"), [(k.EarlyStopping, EarlyStopping), (k.ReduceLROnPlateau, ReduceLROnPlateau)])
def test_an_unknown_mode_is_refused(theirs: Any, ours: Any) -> None:
    """Keras warns and guesses. Ours refuses it."""
    with pytest.warns(UserWarning, match="mode 'mni' is unknown"):
        assert theirs(mode="mni").mode == "auto"
    with pytest.raises(ArgumentError, match="mode"):
        ours(mode="mni")


@WAYS
def test_nan_never_becomes_the_best(fresh: Any, drive: Any, way: str) -> None:
    """A NaN in the first epoch becomes Keras's best, and nothing improves on it. In ours the first number does."""
    epochs = [{"val_loss": value} for value in (math.nan, 3.0, 2.0, 1.0)]
    theirs, ours = k.EarlyStopping(patience=2), EarlyStopping(patience=2)
    assert len(drive("direct", [theirs], fresh(), epochs, watch=lambda epoch: None)) == 3
    assert math.isnan(theirs.best)
    assert len(drive(way, [ours], fresh(), epochs, watch=lambda epoch: None)) == 4
    assert ours.best == 1.0


@WAYS
def test_a_nan_is_not_saved_as_the_best(fresh: Any, drive: Any, folders: Any, way: str) -> None:
    """Keras saves a first NaN as the best model, and no later one. Ours saves the numbers that improve."""
    epochs = [{"val_loss": value} for value in (math.nan, 0.5, 0.25)]
    saved = []
    for kind, how, folder in ((k.ModelCheckpoint, "direct", folders("theirs")), (ModelCheckpoint, way, folders("ours"))):
        callback = kind(str(folder / "{epoch}.weights.h5"), save_best_only=True, save_weights_only=True)
        drive(how, [callback], fresh(), epochs, watch=lambda epoch: None)
        saved.append(sorted(path.name[0] for path in folder.iterdir()))
    assert saved == [["1"], ["2", "3"]]


@WAYS
def test_values_are_compared_as_they_are(fresh: Any, drive: Any, way: str) -> None:
    """Keras compares in single precision, so that a difference in the ninth digit is none. Ours sees it."""
    epochs = [{"val_loss": 1.0 - 1e-9 * epoch} for epoch in range(4)]
    theirs, ours = k.EarlyStopping(patience=1), EarlyStopping(patience=1)
    assert len(drive("direct", [theirs], fresh(), epochs, watch=lambda epoch: None)) == 2
    assert len(drive(way, [ours], fresh(), epochs, watch=lambda epoch: None)) == 4


def test_an_argument_that_there_is_not_is_refused() -> None:
    """Keras accepts slips in the names of arguments. Ours names the nearest."""
    assert k.ReduceLROnPlateau(pateince=3).patience == 10
    k.LambdaCallback(on_epch_end=print)
    with pytest.raises(ArgumentError, match="patience"):
        ReduceLROnPlateau(pateince=3)  # type: ignore[call-arg]
    with pytest.raises(ArgumentError, match="on_epoch_end"):
        LambdaCallback(on_epch_end=print)


def test_spellings_of_keras_2_work(tmp_path: Path) -> None:
    """``epsilon``, ``period``, ``count_mode``: Keras ignores the first and refuses the others. Ours takes them, and says so."""
    assert k.ReduceLROnPlateau(epsilon=0.5).min_delta == 1e-4
    with pytest.raises(TypeError):
        k.ModelCheckpoint(str(tmp_path / "m.keras"), period=2)
    with pytest.raises(TypeError):
        k.ProgbarLogger(count_mode="steps")
    with pytest.warns(OlderSpelling, match="min_delta"):
        ReduceLROnPlateau(epsilon=0.5)
    with pytest.warns(OlderSpelling, match="every"):
        ModelCheckpoint(tmp_path / "m.keras", period=2)
    with pytest.warns(OlderSpelling, match="Steps are counted"):
        ProgbarLogger(count_mode="steps")


@WAYS
def test_a_rate_that_can_never_be_reduced_is_told(train: Any, way: str) -> None:
    """``min_lr`` at the starting rate: Keras is silent, ours warns as training begins."""
    train("direct", [k.ReduceLROnPlateau(min_lr=0.25)], epochs=1)
    with pytest.warns(IneffectiveCallback, match="min_lr"):
        train(way, [ReduceLROnPlateau(min_lr=0.25)], epochs=1)


@WAYS
def test_an_error_inside_a_schedule_is_shown(train: Any, way: str) -> None:
    """A ``TypeError`` of the schedule's own: Keras calls it again with one argument and reports that, ours shows it."""

    def schedule(epoch: int, rate: float) -> float:
        raise TypeError("mine")

    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        train("direct", [k.LearningRateScheduler(schedule)], fails=True)
    with pytest.raises(TypeError, match="mine"):
        train(way, [LearningRateScheduler(schedule)], fails=True)


# ---- logs --------------------------------------------------------------------------------------------------------------


@WAYS
def test_a_metric_that_comes_late_gets_its_column(train: Any, folders: Any, way: str) -> None:
    """Keras drops what the first epoch did not report. Ours adds a column."""
    theirs, our = folders("theirs") / "log.csv", folders("ours") / "log.csv"
    late = [None, 0.5, 0.25]
    train("direct", [Reports("late", late), k.CSVLogger(str(theirs))])
    train(way, [Reports("late", late), CSVLogger(our)])
    their_rows, our_rows = theirs.read_text().splitlines(), our.read_text().splitlines()
    assert "late" not in their_rows[0]
    assert our_rows == [f"{row},{value}" for row, value in zip(their_rows, ["late", "NA", 0.5, 0.25], strict=True)]


@WAYS
def test_no_columns_are_invented_without_validation(train: Any, folders: Any, way: str) -> None:
    """Without validation Keras adds columns of ``NA``. Ours has none, and is otherwise equal."""
    theirs, our = folders("theirs") / "log.csv", folders("ours") / "log.csv"
    train("direct", [k.CSVLogger(str(theirs))], validation_data=None)
    train(way, [CSVLogger(our)], validation_data=None)
    their_rows = [row.split(",") for row in theirs.read_text().splitlines()]
    assert their_rows[0] == ["epoch", "accuracy", "loss", "val_accuracy", "val_loss"]
    assert {value for row in their_rows[1:] for value in row[3:]} == {"NA"}
    assert [row.split(",") for row in our.read_text().splitlines()] == [row[:3] for row in their_rows]


@WAYS
def test_a_log_makes_its_folder(train: Any, folders: Any, way: str) -> None:
    """In a folder that is not there Keras fails. Ours makes it."""
    with pytest.raises(FileNotFoundError):
        train("direct", [k.CSVLogger(str(folders("theirs") / "runs" / "log.csv"))], fails=True)
    file = folders("ours") / "runs" / "log.csv"
    train(way, [CSVLogger(file)])
    assert file.exists()


def test_progress_in_a_file_is_whole_lines(train: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Into a pipe or a file Keras writes control characters. Ours writes lines."""
    train("direct", [], verbose=1)
    theirs = capsys.readouterr().out
    train("bridged", [Callback()], verbose=1)
    ours = capsys.readouterr().out
    assert "\x08" in theirs
    assert "\x1b" in theirs
    assert "loss" in ours
    assert not set(ours) & set("\x08\x1b\r")


@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="TensorFlow is there")
@WAYS
def test_curves_need_no_tensorflow(train: Any, folders: Any, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without TensorFlow Keras's TensorBoard fails on any backend. Ours works."""
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    monkeypatch.setattr(module_utils.tensorflow, "module", None)
    with pytest.raises(ImportError, match="tensorflow"):
        train("direct", [k.TensorBoard(str(folders("theirs")), write_graph=False)], fails=True)
    our = folders("ours")
    train(way, [TensorBoard(our)])
    assert (our / "train").is_dir()


@WAYS
def test_epochs_are_drawn_whatever_the_batches(train: Any, folders: Any, way: str) -> None:
    """``update_freq=3`` with epochs of four batches: Keras draws only epochs that end on a third batch, ours all."""
    theirs, our = folders("theirs"), folders("ours")
    train("direct", [k.TensorBoard(str(theirs), update_freq=3, write_graph=False)])
    train(way, [TensorBoard(our, update_freq=3, write_graph=False)])
    read = []
    for folder in (theirs, our):
        events = EventAccumulator(str(folder / "train"), size_guidance={"tensors": 0})
        events.Reload()
        found = events.Tensors if "epoch_loss" in events.Tags()["tensors"] else events.Scalars
        read.append([event.step for event in found("epoch_loss")])
    assert read == [[2], [0, 1, 2]]


# ---- averages of the weights -------------------------------------------------------------------------------------------


@WAYS
def test_weights_are_back_after_a_prediction(data: Any, listed: Any, way: str) -> None:
    """After ``predict`` Keras leaves the average in the model. Ours puts the weights back."""
    left = []
    for kind, how in ((k.SwapEMAWeights, "direct"), (SwapEMAWeights, way)):
        keras.utils.set_random_seed(7)
        model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(3)])
        model.compile(keras.optimizers.SGD(0.5, use_ema=True, ema_momentum=0.9), "mse")
        for _ in range(3):  # fit would end with the average in the model
            model.train_on_batch(data[0], np.zeros((40, 3)))
        before = model.get_weights()[0].copy()
        model.predict(data[0], verbose=0, callbacks=listed(how, [kind()]))
        left.append(bool(np.array_equal(before, model.get_weights()[0])))
    assert left == [False, True]


# ---- when something fails ----------------------------------------------------------------------------------------------


class Breaks(CSVLogger):
    """Fails at the end of the second epoch."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if epoch == 1:
            raise OSError("the disk is full")
        super().on_epoch_end(epoch, logs)


class KerasBreaks(k.CSVLogger):  # type: ignore[misc, name-defined]
    """Fails at the end of the second epoch."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if epoch == 1:
            raise OSError("the disk is full")
        super().on_epoch_end(epoch, logs)


def test_what_only_observes_does_not_end_training(train: Any, folders: Any) -> None:
    """A log that cannot be written ends Keras's training. Conducted by jalon it is told once, and training goes on."""
    theirs = KerasBreaks(str(folders("theirs") / "log.csv"))
    with pytest.raises(OSError, match="disk is full"):
        train("direct", [theirs], fails=True)
    theirs.csv_file.close()
    file = folders("ours") / "log.csv"
    with pytest.warns(CallbackDegraded, match="disk is full"):
        model = train("bridged", [Breaks(file)])
    assert model.history.epoch == [0, 1, 2]
    assert [row[0] for row in file.read_text().splitlines()] == ["e", "0", "2"]


@pytest.mark.parametrize("exception", [RuntimeError, KeyboardInterrupt])
def test_what_was_opened_is_closed_on_an_exception(train: Any, folders: Any, exception: type[BaseException]) -> None:
    """When ``fit`` raises, Keras tells no callback. Conducted by jalon every one gets ``on_exception`` and is closed."""
    told: list[str] = []

    def fail(epoch: int, logs: Any) -> None:
        raise exception("on purpose")

    class Hears(Callback):
        def on_exception(self, exc: BaseException) -> None:
            told.append(type(exc).__name__)

        def on_train_end(self, logs: Any = None) -> None:
            told.append("on_train_end")

        def close(self) -> None:
            told.append("close")

    theirs = k.CSVLogger(str(folders("theirs") / "log.csv"))
    fails = k.LambdaCallback(on_epoch_end=fail)
    with pytest.raises(exception):
        train("direct", [Hears(), theirs, fails], fails=True)
    assert told == []
    assert not theirs.csv_file.closed
    theirs.csv_file.close()
    with pytest.raises(exception):
        train("bridged", [Hears(), fails], fails=True)
    assert told == [exception.__name__, "close"]


def test_the_reason_for_a_stop_is_kept(train: Any) -> None:
    """Keras does not say why training stopped. Conducted by jalon the history does."""
    stops = {"monitor": "val_loss", "mode": "max", "patience": 1}
    assert not hasattr(train("direct", [k.EarlyStopping(**stops)]).history, "stop_reason")
    assert train("bridged", [EarlyStopping(**stops)]).history.stop_reason == "no improvement in val_loss for 1 epoch"


def test_hooks_get_their_arguments_by_position(train: Any) -> None:
    """Keras passes a batch hook's ``logs`` by name, so that no other name works. Conducted by jalon any name does."""
    seen: list[float] = []
    with pytest.raises(TypeError, match="logs"):
        train("direct", [k.LambdaCallback(on_train_batch_end=lambda batch, metrics: None)], fails=True)
    for kind in (LambdaCallback, k.LambdaCallback):
        train("bridged", [kind(on_train_batch_end=lambda batch, metrics: seen.append(metrics["loss"]))], epochs=1)
    assert len(seen) == 8
