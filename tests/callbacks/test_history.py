"""History: what a training reported."""

from __future__ import annotations

import json
import math
import pickle

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import jalon._optional
from jalon import Callback, CallbackList
from jalon.callbacks import EarlyStopping, History, LambdaCallback, ReduceLROnPlateau
from jalon.core.run import Best
from jalon.errors import MissingPackage
from jalon.testing import play

SCRIPT = [
    {"loss": 3.0, "accuracy": 0.25},
    {"loss": 2.0, "accuracy": 0.5, "val_loss": 2.5},
    {"loss": 1.0, "accuracy": 0.75},
    {"loss": 1.5, "accuracy": 0.75, "val_loss": 2.0},
]


@pytest.fixture
def history():
    history = History()
    play(history, SCRIPT)
    return history


class Late(Callback):
    """Adds a key, at the very end of the list."""

    order = 1000

    def on_epoch_end(self, epoch, logs=None):
        logs["late"] = float(epoch)


def test_it_has_each_metrics_values(history):
    """history maps each metric to its values; epoch and params are Keras's."""
    assert {
        "loss": [3.0, 2.0, 1.0, 1.5],
        "accuracy": [0.25, 0.5, 0.75, 0.75],
        "val_loss": [2.5, 2.0],
    } == history.history
    assert [0, 1, 2, 3] == history.epoch
    assert {"verbose": 1, "epochs": 4, "steps": 1} == history.params


def test_rows_keep_metrics_aligned(history):
    """rows say which epoch reported what."""
    assert SCRIPT == history.rows


def test_it_sees_what_all_others_add(history):
    """It runs after every other callback, wherever it stands in the list."""
    play([history, Late(), ReduceLROnPlateau("loss")], SCRIPT[:2])

    assert [0.0, 1.0] == history.history["late"]
    assert [0.001, 0.001] == history.history["learning_rate"]


def test_the_run_has_it_too():
    """The run's history is the same, with several Histories in the list too."""
    first, second = History(), History()

    run = play([first, second], SCRIPT)

    assert run.history == first.history == second.history


def test_the_model_has_it():
    """model.history is the History, as in Keras."""
    history = History()

    play(history, SCRIPT)

    assert history.model.history is history


def test_a_model_that_takes_none_is_let_alone():
    """A model that refuses the attribute trains all the same."""

    class Closed:
        __slots__ = ()

    history = History()
    callbacks = [LambdaCallback(on_train_begin=lambda logs: history.set_model(Closed())), history]

    assert 4 == len(play(callbacks, SCRIPT).history["loss"])


def test_values_are_floats():
    """Numbers of any kind are kept as floats; what is no number is kept as it is."""
    image = np.zeros((2, 2))
    history = History()
    play(history, [{"loss": np.float32(0.5), "steps": 3, "shown": image, "note": "warm"}])

    assert {"loss": [0.5], "steps": [3.0], "note": ["warm"]} == {k: v for k, v in history.history.items() if k != "shown"}
    assert [float, float] == [type(history.history[name][0]) for name in ("loss", "steps")]
    assert history.history["shown"][0] is image


def test_a_new_training_starts_afresh(history):
    """A second training with the same instance holds that training alone; the first run keeps its own."""
    first = play(history, SCRIPT)
    play(history, SCRIPT[:1], first_epoch=7)

    assert ({"loss": [3.0], "accuracy": [0.25]}, [7]) == (history.history, history.epoch)
    assert [3.0, 2.0, 1.0, 1.5] == first.history["loss"]


def test_it_knows_why_training_ended(history):
    """stop_reason is the run's, also after it ended; None where training went to its end."""
    stopped = History()
    play([EarlyStopping("loss", patience=1), stopped], SCRIPT)
    stopped.set_run(None)

    assert "no improvement in loss for 1 epoch" == stopped.stop_reason
    assert history.stop_reason is None
    assert History().stop_reason is None


def test_the_best_is_what_a_callback_recorded():
    """best is the best of val_loss if a callback compared it, else of the first metric compared."""
    history = History()
    play([EarlyStopping("accuracy", mode="max", patience=9), EarlyStopping("val_loss", patience=9), history], SCRIPT)
    by_accuracy = History()
    play([EarlyStopping("accuracy", mode="max", patience=9), by_accuracy], SCRIPT)

    assert Best("val_loss", 2.0, 3) == history.best
    assert {"accuracy": Best("accuracy", 0.75, 2), "val_loss": Best("val_loss", 2.0, 3)} == history.bests
    assert Best("accuracy", 0.75, 2) == by_accuracy.best


def test_without_a_record_the_least_loss_is_the_best(history):
    """Where no callback compared, the epoch of the least val_loss is the best, else of the least loss, NaN left out."""
    unvalidated = History()
    play(unvalidated, [{"loss": math.nan}, {"loss": 2.0}, {"loss": 1.0}, {"loss": 1.0}])

    assert Best("val_loss", 2.0, 3) == history.best
    assert Best("loss", 1.0, 2) == unvalidated.best


def test_without_losses_there_is_no_best():
    """A training that reported no loss, or none that is a number, has no best epoch."""
    history = History()
    play(history, [{"accuracy": 0.5}, {"loss": math.nan}])

    assert history.best is None
    assert History().best is None


def test_a_table_has_a_row_for_each_epoch(history):
    """to_frame has the epochs as index, the metrics as columns, and NaN where an epoch did not report one."""
    expected = pd.DataFrame(
        {"loss": [3.0, 2.0, 1.0, 1.5], "accuracy": [0.25, 0.5, 0.75, 0.75], "val_loss": [math.nan, 2.5, math.nan, 2.0]},
        index=pd.Index([0, 1, 2, 3], name="epoch"),
    )

    pd.testing.assert_frame_equal(expected, history.to_frame())


def test_a_table_of_nothing_is_empty():
    """A training without epochs gives a table without rows."""
    assert (0, "epoch") == (len(History().to_frame()), History().to_frame().index.name)


def test_the_drawing_has_a_part_for_each_metric():
    """plot draws each metric with its validation dashed in one colour, the rate on a logarithmic axis, the best epoch."""
    history = History()
    play([ReduceLROnPlateau("loss", patience=1), history], SCRIPT)

    parts = history.plot().axes

    assert ["loss", "accuracy", "learning_rate"] == [part.get_ylabel() for part in parts]
    assert ["linear", "linear", "log"] == [part.get_yscale() for part in parts]
    loss, val_loss, best = parts[0].lines
    assert [("loss", "-"), ("val_loss", "--")] == [(line.get_label(), line.get_linestyle()) for line in (loss, val_loss)]
    assert loss.get_color() == val_loss.get_color()
    assert ([3, 3], "best val_loss: 2") == (list(best.get_xdata()), best.get_label())
    np.testing.assert_equal([math.nan, 2.5, math.nan, 2.0], val_loss.get_ydata())
    assert ["loss", "val_loss", "best val_loss: 2"] == [text.get_text() for text in parts[0].get_legend().get_texts()]
    assert ["", "", "epoch"] == [part.get_xlabel() for part in parts]


def test_a_single_epoch_is_seen():
    """Where a line would show nothing, as for one epoch, points are drawn; many epochs are a plain line."""
    one, many = History(), History()
    play(one, SCRIPT[:1])
    play(many, [{"loss": 1.0}] * 100)

    assert [".", ""] == [history.plot().axes[0].lines[0].get_marker() for history in (one, many)]


def test_the_drawing_is_saved_where_told(history, tmp_path):
    """With a path, the drawing is written there too, in the format of its suffix."""
    history.plot(tmp_path / "curves.png")

    assert b"\x89PNG" == (tmp_path / "curves.png").read_bytes()[:4]


def test_the_drawing_leaves_pyplot_alone(history):
    """plot opens no window and no figure of pyplot's; a notebook shows it as a picture."""
    figure = history.plot()

    assert [] == plt.get_fignums()
    assert b"\x89PNG" == figure._repr_png_()[:4]


def test_nothing_can_be_drawn():
    """A training without epochs is drawn as an empty part."""
    assert 1 == len(History().plot().axes)


@pytest.mark.parametrize(("method", "package"), [("to_frame", "pandas"), ("plot", "matplotlib")])
def test_a_missing_package_is_named(monkeypatch, history, method, package):
    """Without the package a table or a drawing needs, the error is the command that installs it."""
    monkeypatch.setattr(jalon._optional.importlib.util, "find_spec", lambda name: None)

    with pytest.raises(MissingPackage, match=rf"History.{method} needs '{package}'.*pip install 'jalon\[plot\]'"):
        getattr(history, method)()


def test_repr_shows_the_last_epoch():
    """A History shows how many epochs it has, the last one's numbers, and why training ended."""
    history = History()
    play([EarlyStopping("loss", patience=1), history], [{"loss": 0.5}, {"loss": 0.123456, "note": "x"}, {"loss": 1 / 3}])

    assert "<History of 3 epochs; last: loss 0.3333; stopped: no improvement in loss for 1 epoch>" == repr(history)
    assert "<History of 0 epochs>" == repr(History())


def test_a_resume_goes_on():
    """With the state of the first part, the history is that of the whole training."""
    whole, first, second = History(), History(), History()
    play(whole, SCRIPT)
    play(first, SCRIPT[:3])
    state = json.loads(json.dumps(CallbackList(first).state_dict()))

    run = play(second, SCRIPT[3:], first_epoch=3, state=state)

    assert (whole.history, whole.epoch, whole.rows) == (second.history, second.epoch, second.rows)
    assert whole.history == run.history


def test_a_state_replaces_what_it_had(history):
    """A state taken back is all that a History then has."""
    history.load_state_dict({"epoch": [0], "rows": [{"loss": 9.0}]})

    assert ({"loss": [9.0]}, [0], [{"loss": 9.0}]) == (history.history, history.epoch, history.rows)
    assert history.run.history == history.history


def test_its_record_can_be_pickled(history):
    """The lists of a History are plain data."""
    assert history.history == pickle.loads(pickle.dumps(history.history))
