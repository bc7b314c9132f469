"""How callbacks hear of the calls of a ``Trainer`` of transformers: of their beginning, their end and their failure."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from typing import Any

import transformers

METHODS = ("train", "evaluate", "predict")


class HearsOfCalls:
    """Is a callback that is told of the calls of its trainer."""

    def call_begins(self, trainer: Any, method: str, arguments: dict[str, Any]) -> None:
        """Take what a method was called with, which may be changed."""
        raise NotImplementedError

    def call_ends(self, method: str, arguments: Mapping[str, Any], result: Any) -> None:
        """Take what a method is going to return."""
        raise NotImplementedError

    def call_fails(self, method: str, exc: BaseException) -> None:
        """Take the exception that ends a call."""
        raise NotImplementedError


@functools.cache
def tell_of_calls() -> None:
    """Have callbacks that want it told of calls.

    The trainer tells its callbacks nothing of an exception, nor when an evaluation begins. The methods of
    ``transformers.Trainer`` are therefore wrapped, once; calls of trainers without such a callback pass through unchanged.
    """
    for name in METHODS:
        setattr(transformers.Trainer, name, _around(name, getattr(transformers.Trainer, name)))


def _around(name: str, method: Any) -> Any:
    signature = inspect.signature(method)

    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        hearing = next((one for one in self.callback_handler.callbacks if isinstance(one, HearsOfCalls)), None)
        if hearing is None:
            return method(self, *args, **kwargs)
        given = signature.bind(self, *args, **kwargs)
        try:
            hearing.call_begins(self, name, given.arguments)
            result = method(*given.args, **given.kwargs)
            hearing.call_ends(name, given.arguments, result)
        except BaseException as exc:
            hearing.call_fails(name, exc)
            raise
        return result

    return call
