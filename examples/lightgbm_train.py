"""The callbacks of the Keras tutorial around LightGBM, on scikit-learn's breast cancer data.

Usage: python examples/lightgbm_train.py

Writes best.txt, training.log and logs/ into the current folder. Takes a few seconds.
"""

import lightgbm
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

import jalon
from jalon.callbacks import CSVLogger, EarlyStopping, ModelCheckpoint, ProgbarLogger, ReduceLROnPlateau, TensorBoard

x, x_val, y, y_val = train_test_split(*load_breast_cancer(return_X_y=True), random_state=0)
train = lightgbm.Dataset(x, y)
valid = train.create_valid(x_val, y_val)

bridge = jalon.bridges.lightgbm(
    [
        ModelCheckpoint("best.txt", save_best_only=True),
        ReduceLROnPlateau(factor=0.5, patience=3, min_lr=0.01),
        EarlyStopping(patience=8, restore_best_weights=True),
        CSVLogger("training.log"),
        ProgbarLogger(),
        TensorBoard(log_dir="./logs"),
    ]
)
params = {"objective": "binary", "learning_rate": 0.3, "num_leaves": 15, "metric": ["auc", "binary_logloss"]}
booster = lightgbm.train(
    params | {"num_threads": 1, "verbosity": -1},
    train,
    num_boost_round=200,
    valid_sets=[train, valid],
    callbacks=[bridge],
)
print(bridge.history.stop_reason, bridge.history.best)

# Later, anywhere: the best rounds, in LightGBM's own format.
best = lightgbm.Booster(model_file="best.txt")
print("the first sample is malignant with", 1 - best.predict(x[:1])[0])
