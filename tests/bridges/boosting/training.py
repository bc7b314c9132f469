"""A training by boosting that a signal ends, as a program: ``python training.py library kind folder kill_at signal``."""

import hashlib
import json
import os
import signal
import sys
from pathlib import Path

from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.model_selection import train_test_split

import jalon
from jalon.callbacks import BackupAndRestore, Callback, CSVLogger, EarlyStopping, ModelCheckpoint, ReduceLROnPlateau


class Kill(Callback):
    """Send the process a signal as a round begins."""

    def __init__(self, at, signum):
        self.at, self.signum = at, signum

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.at and not self.run.resumed:
            os.kill(os.getpid(), self.signum)


def callbacks(folder, suffix, kill_at):
    return [
        Kill(*kill_at),
        EarlyStopping(patience=4, min_delta=0.002, restore_best_weights=True),
        ReduceLROnPlateau(patience=2, factor=0.5, min_delta=0.002),
        ModelCheckpoint(folder / f"{{epoch:02d}}{suffix}", save_best_only=True, keep_best=2),
        CSVLogger(folder / "log.csv"),
        BackupAndRestore(folder / "backup"),
    ]


def by_xgboost(kind, data, folder, kill_at):
    import xgboost

    x, x_valid, y, y_valid = data
    train, valid = xgboost.DMatrix(x, y), xgboost.DMatrix(x_valid, y_valid)
    params = {
        "binary": {"objective": "binary:logistic", "eval_metric": ["auc", "logloss"]},
        "multiclass": {"objective": "multi:softprob", "num_class": 10, "max_depth": 3},
        "dart": {"objective": "binary:logistic", "booster": "dart", "rate_drop": 0.2, "seed_per_iteration": True},
        "exact": {"objective": "binary:logistic", "tree_method": "exact", "subsample": 0.5, "seed_per_iteration": True},
    }[kind]
    evals_result = {}
    bridge = jalon.bridges.xgboost(callbacks(folder, ".ubj", kill_at))
    booster = xgboost.train(
        {"eta": 0.5, "nthread": 2, **params},
        train,
        40,
        evals=[(train, "train"), (valid, "valid")],
        callbacks=[bridge],
        evals_result=evals_result,
        verbose_eval=False,
    )
    return bytes(booster.save_raw("ubj")), bridge.history, evals_result


def by_lightgbm(kind, data, folder, kill_at):
    import lightgbm

    x, x_valid, y, y_valid = data
    train = lightgbm.Dataset(x, y, free_raw_data=False)
    valid = train.create_valid(x_valid, y_valid)
    params = {
        "binary": {"objective": "binary", "metric": ["auc", "binary_logloss"]},
        "multiclass": {"objective": "multiclass", "num_class": 10, "max_depth": 3},
    }[kind]
    bridge = jalon.bridges.lightgbm(callbacks(folder, ".txt", kill_at))
    booster = lightgbm.train(
        {"learning_rate": 0.5, "num_threads": 2, "verbosity": -1, "deterministic": True, "force_row_wise": True, **params},
        train,
        40,
        valid_sets=[train, valid],
        callbacks=[bridge],
    )
    best = {name: dict(values) for name, values in booster.best_score.items()}
    return booster.model_to_string(num_iteration=-1).encode(), bridge.history, [booster.best_iteration, best]


if __name__ == "__main__":
    library, kind, place, kill_at, name = sys.argv[1:]
    folder = Path(place)
    load = load_digits if kind == "multiclass" else load_breast_cancer
    data = train_test_split(*load(return_X_y=True), random_state=0)
    by = {"xgboost": by_xgboost, "lightgbm": by_lightgbm}[library]
    model, history, own = by(kind, data, folder, (int(kill_at), signal.Signals[name]))
    files = sorted(path for path in folder.iterdir() if path.is_file())
    result = {
        "model": hashlib.sha256(model).hexdigest(),
        "history": history.history,
        "stopped": history.stop_reason,
        "best": [history.best.monitor, history.best.value, history.best.epoch],
        "own": own,
        "files": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files},
    }
    sys.stdout.write(json.dumps(result))
