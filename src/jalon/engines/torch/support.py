"""What callbacks get under ``jalon.Model``, as data."""

from __future__ import annotations

from jalon.core.hooks import HOOKS
from jalon.core.loop_support import LoopSupport

SUPPORT = LoopSupport(
    loop="jalon.Model.fit",
    hooks={name: hook.when for name, hook in HOOKS.items()},
    logs={
        "on_train_batch_end": "loss and metrics so far in the epoch",
        "on_test_batch_end": "loss and metrics so far",
        "on_test_end": "loss and metrics",
        "on_predict_batch_end": "outputs, what the batch was predicted as",
        "on_epoch_end": "loss and metrics, and those of the validation with `val_`",
        "on_train_end": "what the last epoch reported",
    },
    transforms=True,
)
