"""LambdaCallback: a callback made of functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jalon.core.callback import Callback
from jalon.core.hooks import HOOKS
from jalon.errors import ArgumentError, UnknownName, suggestion

Function = Callable[..., Any]
ALIASES = {hook.alias: hook.name for hook in HOOKS.values() if hook.alias}


class LambdaCallback(Callback):
    """Call functions at given moments of a run.

    Each function gets the arguments of its hook by position: ``(epoch, logs)``, ``(batch, logs)`` or ``(logs)``;
    :mod:`jalon.core.hooks` lists them all.

    Args:
        on_epoch_begin: Called as ``f(epoch, logs)``.
        on_epoch_end: Called as ``f(epoch, logs)``.
        on_train_begin: Called as ``f(logs)``.
        on_train_end: Called as ``f(logs)``.
        on_train_batch_begin: Called as ``f(batch, logs)``.
        on_train_batch_end: Called as ``f(batch, logs)``.
        **kwargs: A function for any other hook, by the hook's name. Anything else becomes an attribute, unless its name
            looks like a hook's.

    Raises:
        UnknownName: An argument looks like the name of a hook and is none.
        ArgumentError: A value cannot be called, or one hook is given under two names.

    Example:
        >>> from jalon.testing import play
        >>> show = LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, logs["loss"]))
        >>> run = play(show, [{"loss": 0.5}, {"loss": 0.25}])
        0 0.5
        1 0.25

    Source: Keras's class of this name.
    """

    def __init__(
        self,
        on_epoch_begin: Function | None = None,
        on_epoch_end: Function | None = None,
        on_train_begin: Function | None = None,
        on_train_end: Function | None = None,
        on_train_batch_begin: Function | None = None,
        on_train_batch_end: Function | None = None,
        **kwargs: Any,
    ) -> None:
        given = {
            "on_epoch_begin": on_epoch_begin,
            "on_epoch_end": on_epoch_end,
            "on_train_begin": on_train_begin,
            "on_train_end": on_train_end,
            "on_train_batch_begin": on_train_batch_begin,
            "on_train_batch_end": on_train_batch_end,
            **kwargs,
        }
        functions = {name: function for name, function in given.items() if function is not None}
        for name, function in given.items():
            if name not in HOOKS and name not in ALIASES:
                if name.startswith("on_") or suggestion(name, HOOKS):
                    raise UnknownName("hook", name, [*HOOKS, *ALIASES], where=type(self).__name__)
                continue
            if function is None:
                continue
            if not callable(function):
                raise ArgumentError(f"{type(self).__name__}: {name} must be a function. Received: {name}={function!r}.")
            if ALIASES.get(name) in functions:
                raise ArgumentError(f"{type(self).__name__}: {name} is another name of {ALIASES[name]}. Pass one of the two.")
        vars(self).update({name: _by_position(function) if "batch" in name else function for name, function in functions.items()})


def _by_position(function: Any) -> Any:
    """Return a batch hook that gives its logs by position: Keras names them, and few functions call theirs ``logs``."""
    if not callable(function):
        return function

    def hook(batch: int, logs: Any = None) -> Any:
        return function(batch, logs)

    return hook
