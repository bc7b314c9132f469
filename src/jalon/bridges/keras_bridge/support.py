"""What Keras's ``fit``, ``evaluate`` and ``predict`` give to callbacks, as data."""

from __future__ import annotations

from jalon.core.hooks import HOOKS
from jalon.core.loop_support import LoopSupport

_OWN = dict.fromkeys((name for name in HOOKS if name not in ("on_before_optimizer_step", "on_exception")), "as in Keras")

SUPPORT = LoopSupport(
    loop="Keras's fit",
    hooks={**_OWN, "on_exception": "`fit`, `evaluate` or `predict` raises, Ctrl-C included; with `jalon.bridges.keras(…)` alone"},
    logs={
        "on_train_batch_end": "loss and metrics so far in the epoch",
        "on_test_batch_end": "loss and metrics so far",
        "on_test_end": "loss and metrics",
        "on_predict_batch_end": "outputs, what the batch was predicted as",
        "on_epoch_end": "loss and metrics, and those of the validation with `val_`",
        "on_train_end": "what the last epoch reported",
    },
    lacks={
        "on_before_optimizer_step": "Keras takes a step within compiled code; do it in train_step of your own.",
        "Transform": "Prepare the data before fit, or by a preprocessing layer in the model.",
    },
)
