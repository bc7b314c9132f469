"""Callbacks decide under XGBoost and LightGBM what they decide where the same metrics are told by a script."""

import importlib.util
from pathlib import Path

import pytest

from jalon.callbacks import CSVLogger, EarlyStopping, ModelCheckpoint, ReduceLROnPlateau
from jalon.testing import FakeTrainer, play

LOOPS = Path(__file__).parents[2] / "parity" / "loops"
CURVE = [
    {"loss": loss, "val_loss": val_loss}
    for loss, val_loss in [
        (0.9, 0.8),
        (0.7, 0.6),
        (0.6, 0.65),
        (0.5, 0.7),
        (0.45, 0.5),
        (0.4, 0.55),
        (0.35, 0.6),
        (0.3, 0.7),
        (0.2, 0.4),
    ]
]
METRICS = {"loss": "min", "val_loss": "min"}


def driver(name):
    spec = importlib.util.spec_from_file_location(name, LOOPS / f"under_{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def callbacks(folder, suffix):
    return [
        ModelCheckpoint(folder / f"{{epoch:02d}}-{{val_loss:.2f}}{suffix}", save_best_only=True),
        ReduceLROnPlateau(factor=0.5, patience=2),
        EarlyStopping(patience=3),
        CSVLogger(folder / "training.log"),
    ]


@pytest.mark.parametrize(("name", "suffix"), [("xgboost", ".ubj"), ("lightgbm", ".txt")])
def test_decisions(name, suffix, tmp_path):
    """The same stop, rates, files, table and history."""
    here, there = tmp_path / "here", tmp_path / "there"
    scripted = play(callbacks(there, ".json"), CURVE, trainer=FakeTrainer(learning_rates=[0.1], metrics=METRICS))
    history = driver(name).train(callbacks(here, suffix), CURVE, here)

    assert scripted.stop_reason == history.stop_reason == "no improvement in val_loss for 3 epochs"
    assert scripted.history == history.history
    assert [0.1] * 4 + [0.05] * 3 + [0.025] == pytest.approx(history.history["learning_rate"])
    assert (there / "training.log").read_text() == (here / "training.log").read_text()
    assert sorted(path.stem for path in there.iterdir()) == sorted(path.stem for path in here.iterdir())
    assert scripted.bests["val_loss"].epoch == history.best.epoch
