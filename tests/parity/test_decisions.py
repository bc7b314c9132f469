"""The same decisions as Keras's classes take, on random curves under random policies.

Curves hold NaN, infinities and epochs that lack the metric. Values are of single precision, as metrics are; many lie on a
grid, and all do where a ``min_delta`` is added to them, since Keras adds in single precision. Where the two differ on purpose
is told by ``test_differences``.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import keras
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from jalon.callbacks import EarlyStopping, ModelCheckpoint, ReduceLROnPlateau


@pytest.fixture(scope="module")
def ready(fresh: Any) -> Callable[[], Any]:
    """Return a function that gives the small classifier, its metrics made."""
    return lambda: fresh(evaluated=True)


CASES = settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
WAYS = pytest.mark.parametrize("way", ["direct", "bridged"])
MISSING = None

numbers = st.one_of(
    st.integers(-6, 6).map(lambda number: number / 8),
    st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False, min_value=-4, max_value=4),
)
values = st.one_of(numbers, numbers, numbers, st.sampled_from([math.nan, math.inf, -math.inf, MISSING]))
curves = st.lists(values, min_size=1, max_size=14)
modes = st.sampled_from(["auto", "min", "max"])
deltas = st.sampled_from([0, 0.125, -0.25, 0.5])


def exact(curve: list[float | None], policy: dict[str, Any]) -> list[float | None]:
    """Return a curve from which ``min_delta`` can be taken exactly, and make the baseline so."""

    def on_grid(value: float | None) -> float | None:
        return value if value is MISSING or not math.isfinite(value) else round(value * 8) / 8

    if not policy["min_delta"]:
        return curve
    if "baseline" in policy:
        policy["baseline"] = on_grid(policy["baseline"])
    return [on_grid(value) for value in curve]


def epochs_of(curve: list[float | None], monitor: str) -> list[dict[str, float]]:
    """Return each epoch's logs; an epoch without the metric is one without validation."""
    return [{"loss": 1.0} | ({} if value is MISSING else {monitor: value}) for value in curve]


def present(curve: list[float | None]) -> list[float]:
    """Return the values that the metric has."""
    return [value for value in curve if value is not MISSING]


def same(first: Any, second: Any) -> bool:
    """Return whether two values are equal, NaN with NaN too."""
    return first == second or (first is not None and second is not None and math.isnan(first) and math.isnan(second))


class Walk:
    """Walks one class through a curve and keeps what it decided.

    Args:
        drive: What walks.
        way: How the callback is given to Keras.
        callback: The callback.
        model: The model, fresh.
    """

    def __init__(self, drive: Callable[..., list[Any]], way: str, callback: Any, model: Any) -> None:
        self.drive, self.way, self.callback, self.model = drive, way, callback, model

    def through(self, epochs: list[dict[str, float]], watch: Callable[[int], Any], **options: Any) -> list[Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # Keras's about epochs without the metric, ours about rates at min_lr
            return self.drive(self.way, [self.callback], self.model, epochs, watch=watch, **options)


def mark(model: Any, epoch: int) -> None:
    """Let the weights tell of which epoch they are."""
    bias = model.layers[-1].bias
    bias.assign([float(epoch)] * bias.shape[0])


def marked(model: Any) -> int:
    """Return the epoch of which the weights are."""
    return int(keras.ops.convert_to_numpy(model.layers[-1].bias)[0])


stopping = st.fixed_dictionaries(
    {
        "monitor": st.sampled_from(["val_loss", "val_accuracy"]),
        "mode": modes,
        "min_delta": deltas,
        "patience": st.integers(0, 4),
        "baseline": st.one_of(st.none(), numbers),
        "restore_best_weights": st.booleans(),
        "start_from_epoch": st.sampled_from([0, 0, 1, 3]),
    }
)


@WAYS
@CASES
@given(curve=curves, policy=stopping)
def test_early_stopping_decides_as_keras_does(way: str, curve: Any, policy: Any, ready: Any, drive: Any) -> None:
    """The epoch of the stop, the count, the best value and its epoch after every epoch, and the weights in the end are equal."""
    looked_at = present(curve[policy["start_from_epoch"] :])
    assume(not looked_at or not math.isnan(looked_at[0]))
    epochs, decided = epochs_of(exact(curve, policy), policy["monitor"]), []
    for kind, given_as in ((keras.callbacks.EarlyStopping, "direct"), (EarlyStopping, way)):
        model, callback = ready(), kind(**policy)

        def watch(epoch: int, callback: Any = callback, model: Any = model) -> Any:
            after = callback.wait, callback.best, callback.best_epoch, callback.stopped_epoch, model.stop_training
            mark(model, epoch + 1)
            return after

        mark(model, 0)
        seen = Walk(drive, given_as, callback, model).through(epochs, watch)
        decided.append((seen, marked(model)))
    assert decided[0] == decided[1]


plateaus = st.fixed_dictionaries(
    {
        "monitor": st.sampled_from(["val_loss", "val_accuracy"]),
        "mode": modes,
        "factor": st.sampled_from([0.0, 0.1, 0.5, 0.9]),
        "patience": st.integers(0, 3),
        "min_delta": st.one_of(deltas, st.just(1e-4)),
        "cooldown": st.integers(0, 3),
        "min_lr": st.sampled_from([0.0, 0.01, 0.2, 0.5]),
    }
)


@WAYS
@CASES
@given(curve=curves, policy=plateaus)
def test_reduce_lr_on_plateau_decides_as_keras_does(way: str, curve: Any, policy: Any, ready: Any, drive: Any) -> None:
    """The learning rate, the count, the cooldown and the best value are equal after every epoch."""
    values = present(curve)
    assume(not values or not math.isnan(values[0]))
    epochs, decided = epochs_of(exact(curve, policy), policy["monitor"]), []
    for kind, given_as in ((keras.callbacks.ReduceLROnPlateau, "direct"), (ReduceLROnPlateau, way)):
        model, callback = ready(), kind(**policy)

        def watch(epoch: int, callback: Any = callback, model: Any = model) -> Any:
            return float(model.optimizer.learning_rate), callback.wait, callback.cooldown_counter, callback.best

        decided.append(Walk(drive, given_as, callback, model).through(epochs, watch))
    assert decided[0] == decided[1]


saving = st.fixed_dictionaries(
    {
        "monitor": st.sampled_from(["val_loss", "val_accuracy"]),
        "mode": modes,
        "save_best_only": st.booleans(),
        "initial_value_threshold": st.one_of(st.none(), numbers),
    }
)


def saved_in(folder: Path) -> dict[str, int]:
    """Return of which epoch each file is."""
    found = {}
    for path in folder.glob("*.weights.h5"):
        with h5py.File(path) as file:
            found[path.name] = int(file["layers/dense/vars/1"][0])
    return found


def saved_by(kind: Any, way: str, curve: Any, name: str, policy: Any, model: Any, drive: Any, batches: int = 0) -> Any:
    """Return a class's files after a training, and its best value."""
    with TemporaryDirectory() as folder:
        callback = kind(f"{folder}/{name}", save_weights_only=True, **policy)
        mark(model, 1)

        def watch(epoch: int) -> None:
            mark(model, epoch + 2)

        Walk(drive, way, callback, model).through(epochs_of(curve, policy["monitor"]), watch, batches=batches)
        return saved_in(Path(folder)), callback.best


@CASES
@given(
    way=st.sampled_from(["direct", "bridged"]),
    curve=st.lists(values, min_size=1, max_size=4),
    policy=saving,
    name=st.sampled_from(["{epoch}.weights.h5", "one.weights.h5"]),
)
def test_model_checkpoint_saves_what_keras_saves(way: str, curve: Any, policy: Any, name: str, ready: Any, drive: Any) -> None:
    """The files, of which epoch each is, and the best value are equal.

    With ``save_best_only`` Keras saves epochs without the metric too, and lets a NaN become the best: these are left out.
    """
    if policy["save_best_only"]:
        named = present(curve)
        assume(policy["initial_value_threshold"] is not None or not named or not math.isnan(named[0]))
        curve = curve if name.startswith("{epoch}") else named
        assume(curve)
    theirs, best = saved_by(keras.callbacks.ModelCheckpoint, "direct", curve, name, policy, ready(), drive)
    ours, our_best = saved_by(ModelCheckpoint, way, curve, name, policy, ready(), drive)
    if policy["save_best_only"]:
        theirs = {file: epoch for file, epoch in theirs.items() if curve[epoch - 1] is not MISSING}
        assert same(best, our_best)
    assert theirs == ours


@settings(CASES, max_examples=100)
@given(
    way=st.sampled_from(["direct", "bridged"]),
    freq=st.integers(1, 9),
    batches=st.integers(1, 5),
    epochs=st.integers(1, 3),
    template=st.booleans(),
)
def test_model_checkpoint_counts_batches_as_keras_does(
    way: str, freq: int, batches: int, epochs: int, template: bool, ready: Any, drive: Any
) -> None:
    """With ``save_freq`` as a number the same batches are saved, counted across epochs, under the same names."""
    name = "{epoch}-{batch}.weights.h5" if template else "one.weights.h5"
    policy = {"monitor": "val_loss", "save_freq": freq}
    given_as = ((keras.callbacks.ModelCheckpoint, "direct"), (ModelCheckpoint, way))
    theirs, ours = (saved_by(kind, how, [1.0] * epochs, name, policy, ready(), drive, batches)[0] for kind, how in given_as)
    assert theirs == ours
