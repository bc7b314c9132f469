"""What callbacks of jalon and Keras say by their arguments, and classes of users by their code."""

from __future__ import annotations

import dis
import inspect
import re
import string
from collections.abc import Callable, Collection
from functools import cache
from typing import Any, TypeVar

from jalon.check.setup import Setup, may_add_metrics
from jalon.core.cadence import Cadence
from jalon.core.trainer import Direction

Result = TypeVar("Result")


def per_class(function: Callable[[type], Result]) -> Callable[[type], Result]:
    """Let a function of a class be called once for each class."""
    return cache(function)


_LESS = frozenset(
    [
        "loss",
        "error",
        "err",
        "mse",
        "mae",
        "rmse",
        "mape",
        "msle",
        "perplexity",
        "ppl",
        "wer",
        "cer",
        "fid",
        "nll",
        "brier",
        "hinge",
        "divergence",
    ]
)
_SHARES = frozenset(["acc", "accuracy", "auc", "auroc", "f1", "precision", "recall", "iou", "dice", "specificity", "sensitivity"])
_MORE = _SHARES | frozenset(["bleu", "rouge", "r2", "map", "psnr", "ssim", "reward", "return", "score"])


def meant_direction(metric: str) -> Direction | None:
    """Return which direction a metric's name means, or ``None`` where it says nothing or both.

    Example:
        >>> meant_direction("val_top5_accuracy"), meant_direction("val_mae"), meant_direction("margin")
        ('max', 'min', None)
    """
    words = _words(metric)
    less, more = not words.isdisjoint(_LESS), not words.isdisjoint(_MORE)
    return None if less == more else "min" if less else "max"


def is_share(metric: str) -> bool:
    """Return whether a metric is from 0 to 1 by its name."""
    words = _words(metric)
    return not words.isdisjoint(_SHARES) and words.isdisjoint(_LESS)


@cache
def _words(metric: str) -> frozenset[str]:
    return frozenset(re.findall(r"[a-z]+\d?", metric.lower()))


def fields_of(template: str) -> set[str]:
    """Return the names of the fields in a path."""
    if "{" not in template:
        return set()
    try:
        return {name for _, name, _, _ in string.Formatter().parse(template) if name}
    except ValueError:
        return set()


def cadence_of(saver: Any) -> Cadence:
    """Return how often a callback saves, as its ``save_freq`` says it."""
    freq = saver.save_freq
    if isinstance(freq, Cadence):
        return freq
    return Cadence(steps=freq) if isinstance(freq, int) and not isinstance(freq, bool) and freq > 0 else Cadence(epochs=1)


def saves_in(setup: Setup, saver: Any) -> int | None:
    """Return how many files a callback will have written and kept at least, or ``None`` where that cannot be known."""
    kept = [getattr(saver, name, None) for name in ("keep_last", "keep_best", "max_to_keep")]
    if any(kept):
        return max(int(number) for number in kept if number)
    path = getattr(saver, "filepath", None)
    if path is None or saver.save_best_only or not fields_of(str(path)) & {"epoch", "batch"}:
        return 1
    cadence = cadence_of(saver)
    total = setup.epochs if cadence.epochs is not None else setup.total_steps
    every = cadence.epochs or cadence.steps
    return None if total is None or every is None else total // every


def reports_in(setup: Setup, metric: str) -> int | None:
    """Return how many epochs report a metric, or ``None`` where that cannot be known."""
    if setup.epochs is None or not metric.startswith("val_") or setup.validation_freq is None:
        return setup.epochs
    if isinstance(setup.validation_freq, int):
        return setup.epochs // setup.validation_freq
    return sum(1 for epoch in setup.validation_freq if epoch <= setup.epochs)


def takes_rate(schedule: Callable[..., Any]) -> bool:
    """Return whether a schedule is given the rate in force, beside the epoch."""
    try:
        inspect.signature(schedule).bind(0, 0.1)
    except TypeError:
        return False
    except ValueError:  # a function in C
        return True
    return True


def adds_after(setup: Setup, who: Any, metric: str) -> Any:
    """Return the callback that adds a metric to the logs, but is told after the one who waits for it; ``None`` if none is."""
    is_after = False
    for other in setup.callbacks:
        if is_after and may_add_metrics(other) and metric in keys_added(type(other)):
            return other
        is_after = is_after or other is who
    return None


@per_class
def keys_added(kind: type) -> Collection[str]:
    """Return the keys that a class writes into the logs of an epoch's end, as far as its code says so: ``logs["f1"] = …``."""
    code = getattr(getattr(kind, "on_epoch_end", None), "__code__", None)
    if code is None or code.co_argcount < 3:
        return frozenset()
    logs = code.co_varnames[2]
    steps = list(dis.get_instructions(code))
    return frozenset(
        key.argval
        for target, key, store in zip(steps, steps[1:], steps[2:], strict=False)
        if store.opname == "STORE_SUBSCR" and isinstance(key.argval, str) and logs in _names(target)
    )


def _names(step: dis.Instruction) -> Collection[Any]:
    return step.argval if isinstance(step.argval, tuple) else (step.argval,)
