"""Time XGBoost's and LightGBM's training with jalon's callbacks against their own equivalents.

    .venv/bin/python benchmarks/boosting.py [--rounds 9] [--boost 200] [--data digits|cancer] [--saving]

The data are scikit-learn's, one thread. The same training runs in turn with no callbacks, with the library's own and with
jalon's; the order changes from round to round. The library's own are XGBoost's EarlyStopping, EvaluationMonitor,
TrainingCheckPoint and LearningRateScheduler, and LightGBM's early_stopping, log_evaluation, record_evaluation and
reset_parameter, with a function that saves, of which LightGBM has none. jalon's are EarlyStopping, ProgbarLogger,
ModelCheckpoint and LearningRateScheduler. Nobody stops early. With ``--saving`` every tenth round is saved, by jalon so that
it is on the disk; without, the round to save at is never reached. Output goes to a string. Printed: the median time of a
boosting round, and the median ratio to the library's own in the same round; by the clock, and by the processor's time, which
other programs on the machine disturb less.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import lightgbm
import xgboost
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.model_selection import train_test_split

import jalon
from jalon.callbacks import EarlyStopping, LearningRateScheduler, ModelCheckpoint, ProgbarLogger
from jalon.core.cadence import every

WAYS = ("none", "own", "jalon")
DATA = {
    "digits": (load_digits, "multi:softprob", "multiclass", 10),
    "cancer": (load_breast_cancer, "binary:logistic", "binary", 1),
}
NEVER = 10**6


def rate(epoch: int) -> float:
    return 0.1 * 0.99**epoch


def ours(folder: Path, suffix: str, save_every: int) -> list:
    return [
        EarlyStopping(patience=NEVER),
        ProgbarLogger(),
        ModelCheckpoint(folder / f"{{epoch}}{suffix}", save_freq=every(epochs=save_every)),
        LearningRateScheduler(rate),
    ]


def by_xgboost(way: str, folder: Path, options: argparse.Namespace) -> Callable[[], object]:
    load, objective, _, classes = DATA[options.data]
    x, x_valid, y, y_valid = train_test_split(*load(return_X_y=True), random_state=0)
    train, valid = xgboost.DMatrix(x, y), xgboost.DMatrix(x_valid, y_valid)
    own = xgboost.callback
    callbacks = {
        "none": lambda: [],
        "own": lambda: [
            own.EarlyStopping(rounds=NEVER),
            own.EvaluationMonitor(),
            own.TrainingCheckPoint(directory=folder, interval=options.save_every),
            own.LearningRateScheduler(rate),
        ],
        "jalon": lambda: [jalon.bridges.xgboost(ours(folder, ".ubj", options.save_every))],
    }[way]()
    params = {"objective": objective, "eta": 0.1, "nthread": 1, "max_depth": 4} | ({"num_class": classes} if classes > 1 else {})
    evals = [(train, "train"), (valid, "valid")]
    return lambda: xgboost.train(params, train, options.boost, evals=evals, callbacks=callbacks, verbose_eval=False)


def by_lightgbm(way: str, folder: Path, options: argparse.Namespace) -> Callable[[], object]:
    load, _, objective, classes = DATA[options.data]
    x, x_valid, y, y_valid = train_test_split(*load(return_X_y=True), random_state=0)
    train = lightgbm.Dataset(x, y).construct()
    valid = train.create_valid(x_valid, y_valid).construct()

    def save(env: lightgbm.callback.CallbackEnv) -> None:
        if (env.iteration + 1) % options.save_every == 0:
            env.model.save_model(folder / f"{env.iteration + 1}.txt")

    callbacks = {
        "none": lambda: [],
        "own": lambda: [
            lightgbm.early_stopping(NEVER, verbose=False),
            lightgbm.log_evaluation(1),
            lightgbm.record_evaluation({}),
            lightgbm.reset_parameter(learning_rate=rate),
            save,
        ],
        "jalon": lambda: [jalon.bridges.lightgbm(ours(folder, ".txt", options.save_every))],
    }[way]()
    params = {
        "objective": objective,
        "learning_rate": 0.1,
        "num_leaves": 15,
        "num_threads": 1,
        "verbosity": -1,
        "num_class": classes,
    }
    return lambda: lightgbm.train(params, train, options.boost, valid_sets=[train, valid], callbacks=callbacks)


def timed(by: Callable[..., Callable[[], object]], way: str, options: argparse.Namespace) -> tuple[float, float]:
    """Return the seconds of a boosting round, by the clock and by the processor."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        train = by(way, Path(folder), options)
        began, worked = time.perf_counter(), time.process_time()
        train()
        return (time.perf_counter() - began) / options.boost, (time.process_time() - worked) / options.boost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--boost", type=int, default=200)
    parser.add_argument("--data", choices=DATA, default="digits")
    parser.add_argument("--saving", dest="save_every", action="store_const", const=10, default=NEVER)
    options = parser.parse_args()
    for name, by in (("XGBoost", by_xgboost), ("LightGBM", by_lightgbm)):
        times: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
        for turn in range(-1, options.rounds):
            for place in range(len(WAYS)):
                way = WAYS[(turn + place) % len(WAYS)]
                seconds = timed(by, way, options)
                if turn >= 0:
                    times[way].append(seconds)
        print(f"{name}, {options.data}, one thread, {options.boost} boosting rounds, {options.rounds} times, medians")
        for way in WAYS:
            clock, processor = zip(*times[way], strict=True)
            ratios = [
                [mine / own for mine, own in zip(part, parts, strict=True)]
                for part, parts in zip((clock, processor), zip(*times["own"], strict=True), strict=True)
            ]
            told = [f"{1e6 * statistics.median(part):8.0f} µs" for part in (clock, processor)]
            shown = [f"{statistics.median(part):5.2f} ×" for part in ratios]
            print(f"  {way:<6} clock{told[0]}{shown[0]}   processor{told[1]}{shown[1]}")


if __name__ == "__main__":
    main()
