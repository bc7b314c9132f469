"""What the ``Trainer`` of transformers gives to callbacks, as data."""

from __future__ import annotations

from jalon.core.loop_support import LoopSupport

SUPPORT = LoopSupport(
    loop="transformers' Trainer",
    hooks={
        "on_train_begin": "on_train_begin",
        "on_epoch_begin": "on_epoch_begin",
        "on_train_batch_begin": "on_step_begin: the batches of one optimizer step count as one",
        "on_before_optimizer_step": "on_pre_optimizer_step",
        "on_train_batch_end": "on_step_end",
        "on_test_begin": "evaluate begins",
        "on_test_batch_end": "on_prediction_step of evaluate",
        "on_test_end": "evaluate ends",
        "on_predict_begin": "predict begins",
        "on_predict_batch_end": "on_prediction_step of predict",
        "on_predict_end": "predict ends",
        "on_epoch_end": "the epoch's evaluation ends; on_epoch_end where there is none",
        "on_train_end": "on_train_end",
        "on_exception": "train, evaluate or predict raises; KeyboardInterrupt too",
    },
    logs={
        "on_train_batch_end": "loss, the mean so far over the optimizer steps of the epoch, and what trainer.log was given in it",
        "on_test_end": "the metrics without eval_, and without those that time the evaluation",
        "on_epoch_end": "loss, the mean over the optimizer steps of the epoch; what trainer.log was given in it; the metrics of "
        "its last evaluation, with val_ for eval_",
        "on_train_end": "what the last epoch reported",
    },
    lacks={
        "Transform": "Put the preparation into the dataset or the data_collator.",
        "on_test_batch_begin": "Use on_test_batch_end.",
        "on_predict_batch_begin": "Use on_predict_batch_end.",
        "SwapEMAWeights": "The trainer keeps no average that it could swap in; it is refused at the start.",
        "BackupAndRestore": "Pass save_strategy='epoch' in TrainingArguments, and train(resume_from_checkpoint=True).",
    },
)
