"""What callbacks get under ``jalon.Loop``, as data."""

from __future__ import annotations

from dataclasses import replace

from jalon.core.loop_support import LoopSupport

_STEP = "on_before_optimizer_step"

SUPPORT = LoopSupport(
    loop="jalon.Loop",
    hooks={
        "on_train_begin": "the first turn of `for epoch in loop` begins",
        "on_epoch_begin": "a turn begins",
        "on_train_batch_begin": "`loop.batches` hands out a batch outside of `loop.validation()`",
        _STEP: "`optimizer.step()` of a PyTorch optimizer given as `optimizer=` begins",
        "on_train_batch_end": "the next batch is asked for",
        "on_test_begin": "`with loop.validation()` or `loop.evaluate` begins",
        "on_test_batch_begin": "`loop.batches` hands out a batch within them",
        "on_test_batch_end": "the next batch is asked for",
        "on_test_end": "they end",
        "on_epoch_end": "a turn is over",
        "on_train_end": "the last turn is over, a stop was asked for, or the loop was left by `break` or `return`",
        "on_exception": "an exception goes through the loop; with `with jalon.Loop(…) as loop` it is always the exception itself",
    },
    logs={
        "on_train_batch_end": "the means so far of what was logged in this turn",
        "on_test_batch_end": "the means so far of what was logged in this validation",
        "on_test_end": "their means",
        "on_epoch_end": "the means of all that was logged, from validations as `val_…`",
        "on_train_end": "what the last epoch reported",
    },
    lacks={
        _STEP: "Only an optimizer of PyTorch given as optimizer= tells that it is about to step; do it in your own step.",
        **dict.fromkeys(
            ("on_predict_begin", "on_predict_batch_begin", "on_predict_batch_end", "on_predict_end"),
            "The loop does not predict; call the model yourself.",
        ),
        "the learning rate": "Under Optax where the optimizer is wrapped in optax.inject_hyperparams; elsewhere by optimizer=.",
        "SwapEMAWeights": "A loop written by hand keeps its averages itself; they can be named in state=.",
    },
    transforms=True,
)
"""Where the optimizer is one of PyTorch's."""

WITHOUT_STEPS = replace(SUPPORT, hooks={hook: when for hook, when in SUPPORT.hooks.items() if hook != _STEP})
"""Where nobody tells that the weights are about to change."""
