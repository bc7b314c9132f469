"""What Keras's ``fit``, ``evaluate`` or ``predict`` was called with, and how its callbacks hear that it failed."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

import keras

METHODS = ("fit", "evaluate", "predict")


@dataclass(frozen=True, slots=True)
class Call:
    """Is a call of ``fit``, ``evaluate`` or ``predict`` that is under way.

    Args:
        model: The model.
        epochs: The number of the epoch before which training ends.
        initial_epoch: The number of the first epoch.
        verbose: As given.
        steps: Batches per epoch, where the data have a length.
        batch_size: Samples in a batch, where that is known.
        validates: Whether the loop validates.
    """

    model: Any
    epochs: int
    initial_epoch: int
    verbose: Any
    steps: int | None
    batch_size: int | None
    validates: bool


def call_under_way() -> Call | None:
    """Return the call from which a callback is reached, or ``None`` where the loop is somebody else's.

    Keras hands what it was called with to no list of callbacks that was made beforehand, nor to any callback; so it is
    read where it stands, in the frame of the call.
    """
    for frame in _frames():
        if frame.f_code.co_name in METHODS and isinstance(frame.f_locals.get("self"), keras.Model):
            found = frame.f_locals
            if "epoch_iterator" in found:
                return Call(
                    model=found["self"],
                    epochs=found.get("epochs", 1),
                    initial_epoch=found.get("initial_epoch", 0),
                    verbose=found.get("verbose", "auto"),
                    steps=found["epoch_iterator"].num_batches,
                    batch_size=found["epoch_iterator"].data_adapter.batch_size,
                    validates=found.get("validation_data") is not None,
                )
    return None


def list_that_calls() -> keras.callbacks.CallbackList | None:
    """Return the list of Keras's that is giving its callbacks their model, if one is."""
    for frame in _frames():
        caller = frame.f_locals.get("self") if frame.f_code.co_name == "set_model" else None
        if isinstance(caller, keras.callbacks.CallbackList):
            return caller
    return None


def _frames() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


class HearsOfFailure(keras.callbacks.CallbackList):  # type: ignore[misc]  # Keras has no types
    """Is a list of callbacks that is told when the call that it was given to fails."""

    def failed(self, exc: BaseException) -> None:
        """Take the exception that ends the call."""
        raise NotImplementedError


@functools.cache
def tell_of_failures() -> None:
    """Have lists that want it told when the call that they were given to fails.

    Keras tells its callbacks nothing of an exception, whoever raises it. The methods of ``keras.Model`` are therefore
    wrapped, once; calls without such a list pass through unchanged.
    """
    for name in METHODS:
        method = getattr(keras.Model, name)
        # In ``model.fit(callbacks=jalon.bridges.keras(...))`` the method has been looked up before this runs. Keras's is a
        # shell that filters tracebacks: what it calls is exchanged, so that the call that is being made is wrapped too.
        inner = next((cell for cell in method.__closure__ or () if getattr(cell.cell_contents, "__name__", "") == name), None)
        if inner is None:
            setattr(keras.Model, name, _around(method))
        else:
            inner.cell_contents = _around(inner.cell_contents)


def _around(method: Any) -> Any:
    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, *args, **kwargs)
        except BaseException as exc:
            for given in (*args, *kwargs.values()):
                if isinstance(given, HearsOfFailure):
                    given.failed(exc)
            raise

    return call
