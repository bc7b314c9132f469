"""The callbacks of the Keras tutorial around XGBoost, on scikit-learn's breast cancer data.

Usage: python examples/xgboost_train.py

Writes best.ubj, training.log and logs/ into the current folder. Takes a few seconds.
"""

import xgboost
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

import jalon
from jalon.callbacks import CSVLogger, EarlyStopping, ModelCheckpoint, ProgbarLogger, ReduceLROnPlateau, TensorBoard

x, x_val, y, y_val = train_test_split(*load_breast_cancer(return_X_y=True), random_state=0)
train, valid = xgboost.DMatrix(x, y), xgboost.DMatrix(x_val, y_val)

bridge = jalon.bridges.xgboost(
    [
        ModelCheckpoint("best.ubj", save_best_only=True),
        ReduceLROnPlateau(factor=0.5, patience=3, min_lr=0.01),
        EarlyStopping(patience=8, restore_best_weights=True),
        CSVLogger("training.log"),
        ProgbarLogger(),
        TensorBoard(log_dir="./logs"),
    ]
)
booster = xgboost.train(
    {"objective": "binary:logistic", "eta": 0.3, "max_depth": 4, "eval_metric": ["auc", "logloss"], "nthread": 1},
    train,
    num_boost_round=200,
    evals=[(train, "train"), (valid, "valid")],
    callbacks=[bridge],
    verbose_eval=False,  # ProgbarLogger shows it
)
print(bridge.history.stop_reason, bridge.history.best)

# Later, anywhere: the best rounds, in XGBoost's own format.
best = xgboost.Booster(model_file="best.ubj")
print("the first sample is malignant with", 1 - best.predict(xgboost.DMatrix(x[:1]))[0])
