"""Under the trainers of Lightning and transformers callbacks decide by a recorded curve as under ``jalon.Model.fit``."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from jalon.callbacks import CSVLogger, EarlyStopping, ModelCheckpoint, ReduceLROnPlateau

CURVE = [
    {"loss": 0.9, "accuracy": 0.3, "val_loss": 0.8, "val_accuracy": 0.4},
    {"loss": 0.7, "accuracy": 0.5, "val_loss": 0.6, "val_accuracy": 0.5},
    {"loss": 0.6, "accuracy": 0.6, "val_loss": 0.7, "val_accuracy": 0.45},
    {"loss": 0.5, "accuracy": 0.7, "val_loss": 0.65, "val_accuracy": 0.55},
    {"loss": 0.4, "accuracy": 0.8, "val_loss": 0.61, "val_accuracy": 0.5},
    {"loss": 0.3, "accuracy": 0.9, "val_loss": 0.1, "val_accuracy": 0.9},
]


@pytest.mark.filterwarnings("ignore:::transformers")
@pytest.mark.filterwarnings("ignore:::accelerate")
@pytest.mark.parametrize("loop", ["under_lightning", "under_transformers"])
def test_a_recorded_curve_is_decided_by(loop, tmp_path):
    """Stop, rates, files, table and history are those that the curve calls for, to the last digit."""
    found = importlib.util.spec_from_file_location(loop, Path(__file__).parent / "loops" / f"{loop}.py")
    driver = importlib.util.module_from_spec(found)
    found.loader.exec_module(driver)
    callbacks = [
        ReduceLROnPlateau("val_loss", factor=0.5, patience=2, min_delta=0),
        EarlyStopping("val_loss", patience=3),
        ModelCheckpoint(tmp_path / "{epoch}-{val_loss:.2f}.safetensors", save_best_only=True),
        CSVLogger(tmp_path / "log.csv"),
    ]

    history = driver.train(callbacks, CURVE, tmp_path)

    rates = [0.1, 0.1, 0.1, 0.1, 0.05]
    expected = [row | {"learning_rate": rate} for row, rate in zip(CURVE, rates, strict=False)]
    assert expected == history.rows
    assert "no improvement in val_loss for 3 epochs" == history.stop_reason
    assert ["1-0.80.safetensors", "2-0.60.safetensors"] == sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert "4,0.8,0.05,0.4,0.5,0.61" == (tmp_path / "log.csv").read_text().splitlines()[-1]
