"""``xgboost.train``, whose metric tells a recorded curve."""

from pathlib import Path

import xgboost
from sklearn.datasets import load_breast_cancer

import jalon
from jalon.callbacks import History


def train(callbacks: list, curve: list[dict[str, float]], folder: Path) -> History:  # as every loop's
    """Train as many rounds as the curve has epochs, each reporting the curve's metrics, and return the history.

    XGBoost tells metrics of the user's with six decimals.
    """
    x, y = load_breast_cancer(return_X_y=True)
    data, valid = xgboost.DMatrix(x[::2], y[::2]), xgboost.DMatrix(x[1::2], y[1::2])
    rows = {id(data): iter(curve), id(valid): iter(curve)}

    def recorded(_, asked):
        row = next(rows[id(asked)])
        wanted = {name.removeprefix("val_"): value for name, value in row.items() if name.startswith("val_") == (asked is valid)}
        return list(wanted.items())

    bridge = jalon.bridges.xgboost(callbacks)
    xgboost.train(
        {"objective": "binary:logistic", "eta": 0.1, "max_depth": 1, "nthread": 1, "disable_default_eval_metric": 1},
        data,
        len(curve),
        evals=[(data, "train"), (valid, "valid")],
        custom_metric=recorded,
        callbacks=[bridge],
        verbose_eval=False,
    )
    return bridge.history
