"""The same hooks in the same order with the same logs, whichever list a callback stands in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

import jalon
import jalon.bridges
from jalon.callbacks import Callback

EPOCH_HOOKS = ("on_epoch_begin", "on_epoch_end")
LOOP_HOOKS = tuple(f"on_{loop}_{moment}" for loop in ("train", "test", "predict") for moment in ("begin", "end"))
BATCH_HOOKS = tuple(f"on_{loop}_batch_{moment}" for loop in ("train", "test", "predict") for moment in ("begin", "end"))

Act = Callable[[Any], None]


def plain(value: Any) -> Any:
    """Return a logged value so that it can be compared."""
    return value.tolist() if isinstance(value, np.ndarray) else value


def recorder(base: type, acts: dict[tuple[str, int | None], Act] | None = None) -> Any:
    """Return a callback that notes every hook, its number and its logs, and acts in some."""

    def noting(name: str, *, numbered: bool) -> Any:
        def hook(self: Any, number: int | None, logs: Any) -> None:
            self.events.append((name, number, sorted((key, plain(value)) for key, value in (logs or {}).items())))
            self.seen_params.append(dict(self.params))
            act = (acts or {}).get((name, number))
            if act is not None:
                act(self)

        if numbered:
            return lambda self, number, logs=None: hook(self, number, logs)
        return lambda self, logs=None: hook(self, None, logs)

    hooks = {name: noting(name, numbered=True) for name in (*EPOCH_HOOKS, *BATCH_HOOKS)}
    hooks |= {name: noting(name, numbered=False) for name in LOOP_HOOKS}
    callback = type("Recorder", (base,), hooks)()
    callback.events, callback.seen_params = [], []
    return callback


WAYS = [
    pytest.param(Callback, "direct", id="ours, given to Keras directly"),
    pytest.param(Callback, "bridged", id="ours, conducted by jalon"),
    pytest.param(keras.callbacks.Callback, "bridged", id="Keras's, conducted by jalon"),
]


@pytest.fixture(scope="module")
def play(fresh: Any, build: Any, data: Any, listed: Any) -> Callable[..., Any]:
    """Return a function that plays a scenario with a recorder and returns it."""
    x, y = data

    def play(scenario: str, base: type, way: str, acts: Any = None, *, new: bool = False) -> Any:
        callback = recorder(base, acts)
        callbacks = listed(way, [callback])
        options = {"batch_size": 10, "verbose": 0, "callbacks": callbacks}
        steps = 3 if scenario == "steps per execution" else 1
        model = build() if new else fresh(steps_per_execution=steps)
        fit = {"x": x, "y": y, "shuffle": False, **options}
        if scenario == "fit":
            model.fit(epochs=3, **fit)
        elif scenario == "fit with validation":
            model.fit(epochs=2, validation_data=(x[:20], y[:20]), **fit)
        elif scenario == "validation every second epoch":
            model.fit(epochs=4, validation_data=(x[:20], y[:20]), validation_freq=2, **fit)
        elif scenario == "initial epoch":
            model.fit(epochs=4, initial_epoch=2, **fit)
        elif scenario == "no epochs":
            model.fit(epochs=0, **fit)
        elif scenario == "steps per execution":
            model.fit(epochs=2, **{**fit, "batch_size": 5})
        elif scenario == "a generator":
            batches = ((x[i : i + 10], y[i : i + 10]) for _ in range(2) for i in range(0, 40, 10))
            model.fit(batches, epochs=2, steps_per_epoch=4, shuffle=False, verbose=0, callbacks=callbacks)
        elif scenario == "evaluate":
            model.evaluate(x, y, **options)
        elif scenario == "predict":
            model.predict(x, **options)
        return callback

    return play


SCENARIOS = (
    "fit",
    "fit with validation",
    "validation every second epoch",
    "initial epoch",
    "no epochs",
    "steps per execution",
    "a generator",
    "evaluate",
    "predict",
)


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize(("base", "way"), WAYS)
def test_hooks_arrive_as_in_keras(play: Any, scenario: str, base: type, way: str) -> None:
    """Every hook arrives in Keras's order, with Keras's number, logs and parameters."""
    if scenario == "steps per execution" and keras.backend.backend() == "torch":
        pytest.skip("Keras refuses several steps per execution on torch")
    expected = play(scenario, keras.callbacks.Callback, "direct")
    received = play(scenario, base, way)
    assert len(expected.events) > 1
    assert expected.events == received.events
    assert expected.seen_params == received.seen_params


def stop(callback: Any) -> None:
    callback.model.stop_training = True


STOPS = [
    ("on_train_begin", None),
    ("on_epoch_begin", 0),
    ("on_epoch_begin", 1),
    ("on_train_batch_begin", 1),
    ("on_train_batch_end", 1),
    ("on_test_begin", None),
    ("on_test_batch_end", 0),
    ("on_epoch_end", 0),
    ("on_train_end", None),
]


@pytest.mark.parametrize("moment", STOPS, ids=lambda moment: f"{moment[0]} {moment[1]}")
@pytest.mark.parametrize(("base", "way"), WAYS)
def test_a_stop_ends_training_where_keras_ends_it(play: Any, moment: Any, base: type, way: str) -> None:
    """``model.stop_training = True`` set in a hook ends the same epoch, after the same hooks."""
    expected = play("fit with validation", keras.callbacks.Callback, "direct", {moment: stop})
    received = play("fit with validation", base, way, {moment: stop})
    assert expected.events == received.events


def fail(callback: Any) -> None:
    raise LookupError("on purpose")


FAILURES = [
    ("on_train_begin", None),
    ("on_epoch_begin", 0),
    ("on_train_batch_end", 1),
    ("on_test_end", None),
    ("on_epoch_end", 0),
]


@pytest.mark.parametrize("moment", FAILURES, ids=lambda moment: f"{moment[0]} {moment[1]}")
@pytest.mark.parametrize(("base", "way"), WAYS)
def test_an_exception_goes_up_after_the_same_hooks(play: Any, moment: Any, base: type, way: str) -> None:
    """What a hook raises comes out of ``fit`` as it is; the hooks until then are those of Keras, and none follow."""
    recorded = []

    def keep_and_fail(callback: Any) -> None:
        recorded.append(callback.events)
        fail(callback)

    for kind, given in ((keras.callbacks.Callback, "direct"), (base, way)):
        with pytest.raises(LookupError, match="on purpose"):
            play("fit with validation", kind, given, {moment: keep_and_fail}, new=True)
    expected, received = recorded
    assert expected == received


@pytest.mark.parametrize("base", [Callback, keras.callbacks.Callback], ids=["ours", "Keras's"])
@pytest.mark.parametrize("way", ["direct", "bridged"])
def test_the_older_names_of_batch_hooks_are_called(fresh: Any, data: Any, listed: Any, base: type, way: str) -> None:
    """``on_batch_begin`` and ``on_batch_end`` are called in training, as by Keras, and in training only."""
    called = []

    class Older(base):  # type: ignore[misc, valid-type]
        def on_batch_begin(self, batch: int, logs: Any = None) -> None:
            called.append(("begin", batch))

        def on_batch_end(self, batch: int, logs: Any = None) -> None:
            called.append(("end", batch))

    x, y = data
    model = fresh()
    model.fit(x, y, batch_size=20, verbose=0, callbacks=listed(way, [Older()]))
    model.evaluate(x, y, verbose=0, callbacks=listed(way, [Older()]))
    assert called == [("begin", 0), ("end", 0), ("begin", 1), ("end", 1)]


@pytest.mark.parametrize("way", ["direct", "bridged"])
def test_what_a_callback_adds_to_the_logs_reaches_later_ones_and_the_history(
    fresh: Any, data: Any, listed: Any, way: str
) -> None:
    """A key that an earlier callback adds at an epoch's end is seen by later ones, of ours and of Keras's, and by History."""

    class Adds(Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            logs["doubled"] = 2.0 * epoch

    seen = []
    theirs = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(logs["doubled"]))
    ours = jalon.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(logs["doubled"]))
    x, y = data
    history = fresh().fit(x, y, epochs=2, verbose=0, callbacks=listed(way, [Adds(), theirs, ours]))
    assert seen == [0.0, 0.0, 2.0, 2.0]
    assert history.history["doubled"] == [0.0, 2.0]


@pytest.mark.parametrize("way", ["direct", "bridged"])
def test_evaluate_inside_a_callback_leaves_the_training_as_it_was(fresh: Any, data: Any, listed: Any, way: str) -> None:
    """``model.evaluate`` called at an epoch's end neither stops training nor takes back a stop."""

    class Evaluates(Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.model.stop_training = epoch == 1
            self.model.evaluate(*data, verbose=0)

    x, y = data
    history = fresh().fit(x, y, epochs=5, verbose=0, callbacks=listed(way, [Evaluates()]))
    assert history.epoch == [0, 1]
