"""What callbacks get under LightGBM."""

from __future__ import annotations

from jalon.core.loop_support import LoopSupport

_BATCHES = "A round of boosting has no batches: save and look at epochs, as with save_freq='epoch'."
_EVALUATION = "LightGBM evaluates all sets in one step: on_epoch_end has their metrics."

SUPPORT = LoopSupport(
    loop="lightgbm.train",
    hooks={
        "on_train_begin": "before the first round",
        "on_epoch_begin": "before a round",
        "on_epoch_end": "after a round and the evaluation of `valid_sets`",
        "on_train_end": "after the last round, before `train` returns",
        "on_exception": "an exception in a round, an evaluation, an objective or metric of yours, or any callback",
    },
    logs={
        "on_epoch_end": "the metrics of `valid_sets`: those of the training set by their names, of the last other set with "
        "`val_`, of the rest with the set's name; the first of which less is better also as `loss`",
        "on_train_end": "those of the last round",
    },
    lacks={
        "on_train_batch_begin": _BATCHES,
        "on_train_batch_end": _BATCHES,
        "on_before_optimizer_step": _BATCHES,
        "on_test_begin": _EVALUATION,
        "on_test_batch_begin": _EVALUATION,
        "on_test_batch_end": _EVALUATION,
        "on_test_end": _EVALUATION,
        "on_predict_begin": "LightGBM's predict takes no callbacks.",
        "on_predict_end": "LightGBM's predict takes no callbacks.",
        "Transform": "Prepare the data before the Dataset is made.",
        "BackupAndRestore": "It needs Dataset(..., free_raw_data=False), deterministic=True, force_row_wise=True and no random "
        "numbers, as those of bagging; else leave it out and go on from a file by init_model=.",
        "cv": "lightgbm.cv keeps no booster to save; its metrics, stops and rates are as in train.",
    },
)
