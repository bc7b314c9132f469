"""What Lightning's ``Trainer`` gives to callbacks, as data."""

from __future__ import annotations

from jalon.core.loop_support import LoopSupport

SUPPORT = LoopSupport(
    loop="Lightning's Trainer",
    hooks={
        "on_train_begin": "on_train_start, after the sanity check",
        "on_epoch_begin": "on_train_epoch_start",
        "on_train_batch_begin": "on_train_batch_start",
        "on_before_optimizer_step": "on_before_optimizer_step, for each optimizer",
        "on_train_batch_end": "on_train_batch_end",
        "on_test_begin": "on_validation_start, on_test_start; not for the sanity check",
        "on_test_batch_begin": "on_validation_batch_start, on_test_batch_start",
        "on_test_batch_end": "on_validation_batch_end, on_test_batch_end",
        "on_test_end": "on_validation_end, on_test_end",
        "on_predict_begin": "on_predict_start",
        "on_predict_batch_begin": "on_predict_batch_start",
        "on_predict_batch_end": "on_predict_batch_end",
        "on_predict_end": "on_predict_end",
        "on_epoch_end": "on_train_epoch_end, after the module's own and before Lightning's checkpoints",
        "on_train_end": "on_train_end",
        "on_exception": "on_exception; KeyboardInterrupt too",
    },
    logs={
        "on_train_batch_end": "loss, the mean so far of what training_step returns, and what the module has logged in the epoch",
        "on_test_end": "what the module logged in this validation or test, without val_ or test_",
        "on_predict_batch_end": "outputs, what predict_step returned",
        "on_epoch_end": "what the module logged in the epoch, under its names; loss besides: train_loss, else the mean of what "
        "training_step returned",
        "on_train_end": "what the last epoch reported",
    },
    lacks={
        "Transform": "Put the preparation into the dataset or the module's on_after_batch_transfer.",
        "SwapEMAWeights": "The trainer keeps no average that it could swap in; it is refused at the start.",
        "BackupAndRestore": (
            "Pass lightning's ModelCheckpoint(dirpath=..., save_last=True) to the Trainer, and fit(..., ckpt_path='last')."
        ),
    },
)
