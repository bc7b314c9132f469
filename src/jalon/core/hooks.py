"""The hooks, as data, and the loop that reaches them.

::

    on_train_begin(logs)
    for epoch in range(initial_epoch, epochs):
        on_epoch_begin(epoch, logs)
        for batch, data in enumerate(train):          # every Transform has prepared the batch
            on_train_batch_begin(batch, logs)         # also reached as on_batch_begin
            forward, backward
            on_before_optimizer_step(step)
            optimizer
            on_train_batch_end(batch, logs)           # also reached as on_batch_end
            stop asked for? end the epoch: validation and on_epoch_end still run
        on_test_begin(logs)                           # validation; also evaluate
            on_test_batch_begin(batch, logs), on_test_batch_end(batch, logs)
        on_test_end(logs)
        on_epoch_end(epoch, logs)                     # loss, metrics, val_loss, val_metrics
        commit                                        # after every callback
    normal end:     on_train_end(logs) → close(), in reverse
    after a fault:  on_exception(exc) → close(), in reverse

``predict`` reaches ``on_predict_begin``, ``on_predict_batch_begin``, ``on_predict_batch_end`` and ``on_predict_end``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

Method = TypeVar("Method", bound=Callable[..., Any])
BoundHook = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Hook:
    """Is one moment of a run at which callbacks are told.

    Args:
        name: The method's name.
        arguments: The names of its arguments, in order.
        when: The moment, in a few words.
        alias: An older name under which it is reached too.
    """

    name: str
    arguments: tuple[str, ...]
    when: str
    alias: str | None = None


HOOKS: dict[str, Hook] = {
    hook.name: hook
    for hook in (
        Hook("on_train_begin", ("logs",), "training begins"),
        Hook("on_epoch_begin", ("epoch", "logs"), "an epoch begins"),
        Hook("on_train_batch_begin", ("batch", "logs"), "before a training batch", alias="on_batch_begin"),
        Hook("on_before_optimizer_step", ("step",), "gradients are ready, weights are not yet changed"),
        Hook("on_train_batch_end", ("batch", "logs"), "after a training batch", alias="on_batch_end"),
        Hook("on_test_begin", ("logs",), "validation or evaluate begins"),
        Hook("on_test_batch_begin", ("batch", "logs"), "before a validation batch"),
        Hook("on_test_batch_end", ("batch", "logs"), "after a validation batch"),
        Hook("on_test_end", ("logs",), "validation or evaluate ends"),
        Hook("on_predict_begin", ("logs",), "predict begins"),
        Hook("on_predict_batch_begin", ("batch", "logs"), "before a batch of predict"),
        Hook("on_predict_batch_end", ("batch", "logs"), "after a batch of predict"),
        Hook("on_predict_end", ("logs",), "predict ends"),
        Hook("on_epoch_end", ("epoch", "logs"), "an epoch ends, validation included"),
        Hook("on_train_end", ("logs",), "training ends as planned or by a stop"),
        Hook("on_exception", ("exc",), "training ends by an exception, Ctrl-C included"),
    )
}


def default(method: Method) -> Method:
    """Mark a hook's base method, so that overriding it can be seen.

    The attribute is the one that Keras sets on its own base methods: a callback of Keras's is read the same way.
    """
    method._is_default = True  # type: ignore[attr-defined]
    return method


def is_default(method: object) -> bool:
    """Return whether a method is a marked base method."""
    return getattr(method, "_is_default", False)


def implementation(callback: object, name: str) -> BoundHook | None:
    """Return the bound method with which a callback takes part in a hook, or ``None``.

    A hook with an older name is taken under that name where only that one is overridden. A callback may say by
    ``skips_hook(name)`` that this instance has nothing to do in a hook that its class overrides.
    """
    skips = getattr(callback, "skips_hook", None)
    if skips is not None and skips(name):
        return None
    for candidate in (name, HOOKS[name].alias):
        method: BoundHook | None = getattr(callback, candidate, None) if candidate else None
        if method is not None and not is_default(method):
            return method
    return None
