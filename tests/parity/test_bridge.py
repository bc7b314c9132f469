"""What ``jalon.bridges.keras`` adds to Keras's ``fit``, and what a list given directly does without."""

import re
import threading
import warnings

import keras
import numpy as np
import pytest

import jalon
from jalon.bridges.keras_bridge import conductor
from jalon.callbacks import (
    BackupAndRestore,
    Callback,
    CSVLogger,
    EarlyStopping,
    History,
    LambdaCallback,
    ModelCheckpoint,
    ProgbarLogger,
    ReduceLROnPlateau,
)
from jalon.errors import ArgumentError, CallbackDegraded, MissingMetric, WithoutBridge


class Told(Callback):
    """Writes down what it is told of a run's end."""

    def __init__(self):
        self.events = []

    def on_train_end(self, logs=None):
        self.events.append("on_train_end")

    def on_exception(self, exc):
        self.events.append(repr(exc))

    def close(self):
        self.events.append("close")


def test_it_is_a_list_of_keras_s():
    """Keras takes it as its own kind of list, and it holds what it was given, by order."""
    history, stopper = History(), EarlyStopping()

    made = jalon.bridges.keras([history, [stopper]])

    assert isinstance(made, keras.callbacks.CallbackList)
    assert [stopper, history] == made.callbacks


def test_what_is_no_callback_is_refused():
    """Something else in the list is an error before anything is trained."""
    with pytest.raises(ArgumentError, match="is not a callback"):
        jalon.bridges.keras([print])


@pytest.mark.parametrize("way", ["direct", "bridged"])
def test_the_run_counts(build, data, listed, way):
    """A callback's run knows epoch, batch, step and phase at each hook."""
    seen = []

    class Watch(Callback):
        def on_epoch_begin(self, epoch, logs=None):
            seen.append(("epoch", self.run.epoch, self.run.step))

        def on_train_batch_end(self, batch, logs=None):
            seen.append(("batch", self.run.batch, self.run.step, self.run.phase))

        def on_test_begin(self, logs=None):
            seen.append(self.run.phase)

    build().fit(*data, 20, epochs=2, validation_data=data, callbacks=listed(way, [Watch()]), verbose=0)

    batches = [("batch", 0, 1, "train"), ("batch", 1, 2, "train")]
    later = [("batch", 0, 3, "train"), ("batch", 1, 4, "train")]
    assert [("epoch", 0, 0), *batches, "validation", ("epoch", 1, 2), *later, "validation"] == seen


@pytest.mark.parametrize("way", ["direct", "bridged"])
def test_callbacks_of_a_list_share_a_run_and_the_next_fit_has_another(build, data, listed, way):
    """All callbacks of one list see one run; the same objects in a second fit see a new one."""
    one, other, model = Told(), Told(), build()
    model.fit(*data, epochs=1, callbacks=listed(way, [one, other]), verbose=0)
    first = one.run
    assert first is other.run

    model.fit(*data, epochs=1, callbacks=listed(way, [one, other]), verbose=0)

    assert one.run is other.run
    assert one.run is not first


@pytest.mark.parametrize("way", ["direct", "bridged"])
def test_a_stop_has_a_reason(build, data, listed, way):
    """run.stop ends Keras's fit, and the reason stays with the run."""

    class Stops(Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                self.run.stop("enough")

    stops = Stops()
    history = build().fit(*data, epochs=9, callbacks=listed(way, [stops]), verbose=0)

    assert [0, 1] == history.epoch
    assert "enough" == stops.run.stop_reason


def test_a_stop_without_a_reason_names_who_asked(build, data):
    """model.stop_training set by a callback is credited to it."""

    class Stops(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    history = build().fit(*data, epochs=9, callbacks=jalon.bridges.keras([Stops()]), verbose=0)

    assert "Stops set model.stop_training" == history.stop_reason


def test_order_decides_who_is_told_first(build, data):
    """Callbacks run by their order, whatever their place in the list."""
    told = []

    def recording(name, at):
        class Recording(Callback):
            order = at

            def on_epoch_end(self, epoch, logs=None):
                told.append(name)

        return Recording()

    build().fit(*data, epochs=1, callbacks=jalon.bridges.keras([recording("late", 5), recording("early", -5)]), verbose=0)

    assert ["early", "late"] == told


def batches_then(fault):
    """Yield batches for a while, then raise."""
    for _ in range(40):
        yield np.zeros((2, 4)), np.zeros(2)
    raise fault


@pytest.mark.filterwarnings("ignore:.shuffle=True. was passed:UserWarning")
@pytest.mark.parametrize("fault", [RuntimeError("the data broke"), KeyboardInterrupt()], ids=repr)
def test_an_exception_anywhere_in_fit_reaches_every_callback(build, fault):
    """When fit raises, from the data too, on_exception and close run on every callback, and on_train_end does not."""
    told = Told()
    with pytest.raises((type(fault), Exception)) as raised:  # tensorflow raises one of its own
        build().fit(batches_then(fault), epochs=30, steps_per_epoch=3, callbacks=jalon.bridges.keras([told]), verbose=0)

    assert "close" == told.events[-1]
    assert 2 == len(told.events)
    assert repr(raised.value) == told.events[0]


def test_the_end_closes_once_training_has_ended(build, data):
    """After on_train_end every callback is closed."""
    told = Told()
    build().fit(*data, epochs=1, callbacks=jalon.bridges.keras([told]), verbose=0)

    assert ["on_train_end", "close"] == told.events


def test_an_exception_in_a_hook_is_raised_with_its_place(build, data):
    """What a critical callback raises ends fit, says where it came from, and closes the others."""

    def fail(epoch, logs):
        raise RuntimeError("no")

    told = Told()
    with pytest.raises(RuntimeError, match="no") as raised:
        build().fit(*data, epochs=1, callbacks=jalon.bridges.keras([told, LambdaCallback(on_epoch_end=fail)]), verbose=0)

    assert "raised in LambdaCallback.on_epoch_end" in raised.value.__notes__
    assert ["RuntimeError('no')", "close"] == told.events


def test_an_observer_that_fails_ends_nothing(build, data):
    """A callback that only observes is warned of once, and training goes on."""

    class Observes(Callback):
        critical = False

        def on_epoch_end(self, epoch, logs=None):
            raise OSError("disk full")

    with pytest.warns(CallbackDegraded, match="disk full"):
        history = build().fit(*data, epochs=3, callbacks=jalon.bridges.keras([Observes()]), verbose=0)

    assert [0, 1, 2] == history.epoch


def test_there_is_one_progress_bar(build, data, capsys):
    """With verbose the bar is jalon's alone; a list that brings one gets no second."""
    build().fit(*data, epochs=1, callbacks=jalon.bridges.keras([]), verbose=2)
    added = capsys.readouterr().out
    build().fit(*data, epochs=1, callbacks=jalon.bridges.keras([ProgbarLogger()]), verbose=2)
    brought = capsys.readouterr().out

    assert 1 == added.count("loss:") == brought.count("loss:")


@pytest.mark.parametrize("bridged", [True, False])
def test_the_bar_says_what_is_best_and_how_fast_it_goes(build, data, capsys, bridged):
    """jalon's bar knows the best, the rate and the size of a batch under Keras too, and by the bridge when a callback stops."""
    callbacks = [EarlyStopping("loss", patience=3), ProgbarLogger()]

    given = jalon.bridges.keras(callbacks) if bridged else callbacks
    build().fit(*data, epochs=1, batch_size=2, callbacks=given, verbose=2)

    (line,) = (line for line in capsys.readouterr().out.splitlines() if "loss:" in line)
    assert re.search(r" - [\d.,]+ samples/s - .*loss: [\d.]+ best - ", line)
    assert line.endswith("stop in 3" if bridged else "lr 0.25")


def test_a_direct_list_with_jalon_s_bar_has_no_other(build, data, capsys):
    """A list given directly that holds jalon's bar shows that one alone."""
    build().fit(*data, epochs=1, callbacks=[ProgbarLogger()], verbose=2)

    assert 1 == capsys.readouterr().out.count("loss:")


def test_batch_hooks_given_directly_run_in_the_training_thread(build, data):
    """Keras would call them on threads of its own where the callback stands in no list."""
    threads = set()

    class Where(Callback):
        def on_train_batch_end(self, batch, logs=None):
            threads.add(threading.current_thread())

    build().fit(*data, epochs=1, callbacks=Where(), verbose=0)

    assert {threading.current_thread()} == threads


def test_the_parameters_are_keras_s(build, data):
    """Callbacks get what Keras's fit would have given: verbose, epochs, steps."""
    told = Told()
    build().fit(*data, 16, epochs=2, callbacks=jalon.bridges.keras([told]), verbose=0)

    assert {"verbose": 0, "epochs": 2, "steps": 3} == told.params


def test_evaluate_and_predict_take_it_too(build, data):
    """In evaluate and predict callbacks are told and closed, and results are Keras's."""
    model, told = build(), Told()
    plain = model.evaluate(*data, verbose=0), model.predict(data[0], verbose=0)

    bridged = (
        model.evaluate(*data, callbacks=jalon.bridges.keras([told]), verbose=0),
        model.predict(data[0], callbacks=jalon.bridges.keras([told]), verbose=0),
    )

    assert plain[0] == bridged[0]
    np.testing.assert_array_equal(plain[1], bridged[1])
    assert ["close", "close"] == told.events


@pytest.mark.parametrize("way", ["direct", "bridged"])
def test_a_monitor_that_nothing_reports_is_an_error(build, data, listed, way):
    """It names the metrics there are and the nearest one."""
    with pytest.raises(MissingMetric, match="Did you mean 'val_accuracy'"):
        build().fit(
            *data, epochs=3, validation_data=data, callbacks=listed(way, [EarlyStopping("val_acuracy", mode="max")]), verbose=0
        )


@pytest.mark.parametrize("way", ["direct", "bridged"])
def test_a_validation_that_comes_later_is_waited_for(build, data, listed, way):
    """With validation_freq an epoch without validation is not counted, and is no error."""
    history = build().fit(
        *data, epochs=6, validation_data=data, validation_freq=3, callbacks=listed(way, [EarlyStopping(patience=9)]), verbose=0
    )

    assert 6 == len(history.epoch)


@pytest.mark.parametrize("way", ["direct", "bridged"])
def test_what_cannot_be_saved_is_refused_before_training(build, data, listed, way, tmp_path):
    """A suffix that Keras cannot write is an error before the first epoch."""
    begun = []
    with pytest.raises(ArgumentError, match=r"must end in \.keras or \.h5"):
        build().fit(
            *data,
            epochs=1,
            callbacks=listed(
                way, [ModelCheckpoint(tmp_path / "model.pt"), LambdaCallback(on_epoch_begin=lambda *a: begun.append(a))]
            ),
            verbose=0,
        )
    assert [] == begun


def test_a_resume_does_not_leak_into_the_next_fit(build, data, listed, tmp_path):
    """After a restored training, a plain fit of the same model runs all its epochs; Keras's would begin late."""

    def fail(epoch, logs):
        if epoch == 2:
            raise RuntimeError("killed")

    model = build()
    with pytest.raises(RuntimeError, match="killed"):
        model.fit(
            *data,
            epochs=4,
            callbacks=jalon.bridges.keras([BackupAndRestore(tmp_path / "backup"), LambdaCallback(on_epoch_begin=fail)]),
            verbose=0,
        )
    begun = []
    told = [BackupAndRestore(tmp_path / "backup"), LambdaCallback(on_epoch_begin=lambda epoch, logs: begun.append(epoch))]
    resumed = model.fit(*data, epochs=4, callbacks=jalon.bridges.keras(told), verbose=0)
    after = model.fit(*data, epochs=2, verbose=0)

    assert [2, 3] == begun
    assert [0, 1, 2, 3] == resumed.epoch
    assert [0, 1] == after.epoch


def test_a_list_given_directly_says_once_what_it_does_without(build, data, tmp_path, monkeypatch):
    """The first direct list of a process warns and names the remedy; later ones do not."""
    monkeypatch.setattr(conductor, "_told", [])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(2):
            build().fit(*data, epochs=1, callbacks=[CSVLogger(tmp_path / "log.csv")], verbose=0)

    mine = [one for one in told if one.category is WithoutBridge]
    assert 1 == len(mine)
    assert "jalon.bridges.keras([...])" in str(mine[0].message)


def test_the_bridge_warns_of_nothing(build, data, tmp_path, monkeypatch):
    """With the bridge nothing is missing, so nothing is said."""
    monkeypatch.setattr(conductor, "_told", [])
    build().fit(*data, epochs=1, callbacks=jalon.bridges.keras([CSVLogger(tmp_path / "log.csv")]), verbose=0)

    assert [] == conductor._told


@pytest.mark.parametrize("way", ["direct", "bridged"])
def test_several_optimizers_are_reported_and_reduced_each(data, listed, way):
    """Under a MultiOptimizer each rate is reported under its optimizer's name, and all are reduced."""
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(4, name="one"), keras.layers.Dense(3, activation="softmax", name="two")]
    model = keras.Sequential([keras.Input((4,)), *layers])
    first, second = keras.optimizers.SGD(0.5, name="first"), keras.optimizers.SGD(0.25, name="second")
    both = keras.optimizers.MultiOptimizer(lambda variable: first if "one" in variable.path else second)
    model.compile(both, "sparse_categorical_crossentropy")
    reducer = ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=100)

    history = model.fit(*data, epochs=3, callbacks=listed(way, [reducer]), verbose=0)

    assert [0.5, 0.5, 0.25] == history.history["learning_rate_first"]
    assert [0.25, 0.25, 0.125] == history.history["learning_rate_second"]
