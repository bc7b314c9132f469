"""check: say what is wrong with a list of callbacks, without training."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from jalon.check.finding import Findings
from jalon.check.rule import RULES, silenced
from jalon.check.rules import load
from jalon.check.setup import Setup
from jalon.core.callback_list import CallbackList
from jalon.core.trainer import TrainerAdapter, adapter_of

_ignored: ContextVar[frozenset[str]] = ContextVar("jalon_ignored_codes", default=frozenset())


def check(
    callbacks: Any,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    metrics: Iterable[str] | None = None,
    validation: bool | None = None,
    validation_freq: int | Collection[int] | None = None,
    learning_rate: float | Sequence[float] | None = None,
    model: Any = None,
    history: Mapping[str, Sequence[float]] | None = None,
    ignore: Iterable[str] = (),
) -> Findings:
    """Say what is wrong with a list of callbacks, without training and without writing anything.

    What is not told is not judged: each argument lets more rules speak. ``docs/check.md`` lists every rule.

    Args:
        callbacks: What would be given to ``fit``: a callback, or a list. Keras's own are understood too.
        epochs: For how many epochs.
        steps: The batches in an epoch.
        metrics: What an epoch reports, as ``["loss", "accuracy"]``; with ``validation``, their ``val_`` as well.
        validation: Whether there is validation data.
        validation_freq: As in ``fit``: every how many epochs, or after which.
        learning_rate: The rate at the start, or one per parameter group.
        model: A compiled ``jalon.Model`` or Keras model: it knows its metrics, its rates and the formats it can be saved in.
        history: The metrics of an earlier training, as ``model.fit(...).history``.
        ignore: Codes of warnings that are not to be said.

    Raises:
        UnknownName: ``ignore`` has a code that no rule has.
        ArgumentError: ``ignore`` has the code of an error.

    Example:
        >>> from jalon.callbacks import EarlyStopping, ReduceLROnPlateau
        >>> callbacks = [ReduceLROnPlateau(patience=5, min_lr=0.001), EarlyStopping(patience=10, restore_best_weights=True)]
        >>> print(check(callbacks, epochs=100, learning_rate=0.001))
        JAL201  warning  ReduceLROnPlateau(min_lr=0.001) can never reduce the learning rate: it starts at 0.001. Pass a min_lr
                         below it, as min_lr=1e-05.
        1 warning in 2 callbacks.
    """
    load()
    unsaid = silenced(ignore, where="jalon.check") | _ignored.get()
    trainer = None if model is None else adapter_of(model)
    names = _metric_names(metrics, validation, trainer)
    setup = Setup(
        callbacks=in_order(callbacks),
        epochs=epochs,
        steps=steps,
        metrics=names,
        validates=_validates(validation, metrics, trainer),
        validation_freq=validation_freq,
        rates=_rates(learning_rate),
        history=history or {},
        trainer=trainer,
    )
    return look(setup, ignore=unsaid)


def look(setup: Setup, *, ignore: Collection[str] = ()) -> Findings:
    """Return what every rule finds in a setup, those that are ignored left out."""
    load()
    found = [one for code, rule in RULES.items() if code not in ignore for one in rule.findings(setup)]
    return Findings(found, looked_at=len(setup.callbacks))


@contextmanager
def ignoring(*codes: str) -> Iterator[None]:
    """Leave warnings unsaid while the block runs, when training begins as well.

    The same can be had by Python's own means, since what is said begins with the code:
    ``warnings.filterwarnings("ignore", "JAL201")``, or ``python -W ignore:JAL201``.

    Args:
        *codes: Their codes.

    Raises:
        UnknownName: A code that no rule has.
        ArgumentError: The code of an error.

    Example:
        >>> from jalon.callbacks import ReduceLROnPlateau
        >>> from jalon.testing import play
        >>> with ignoring("JAL201"):
        ...     run = play(ReduceLROnPlateau("loss", min_lr=0.001), [{"loss": 1.0}])
    """
    load()
    token = _ignored.set(_ignored.get() | silenced(codes, where="jalon.check.ignoring"))
    try:
        yield
    finally:
        _ignored.reset(token)


def ignored_now() -> frozenset[str]:
    """Return the codes that are left unsaid by a block of ``ignoring``."""
    return _ignored.get()


def in_order(callbacks: Any) -> list[Any]:
    """Return callbacks as they would run, with what is no callback among them."""
    return sorted(_flat(callbacks), key=_order)


def _order(callback: Any) -> int:
    order = getattr(callback, "order", 0)
    return order if isinstance(order, int) else 0


def _flat(callbacks: Any) -> Iterator[Any]:
    if callbacks is None:
        return
    if isinstance(callbacks, (list, tuple, CallbackList)):
        for callback in callbacks:
            yield from _flat(callback)
    else:
        yield callbacks


def _metric_names(
    metrics: Iterable[str] | None, validation: bool | None, trainer: TrainerAdapter | None
) -> frozenset[str] | None:
    """Return what an epoch reports, with what its validation does."""
    known = None if trainer is None else trainer.metric_names()
    names = {"loss", *metrics} if metrics is not None else (set(known) if known else None)
    if names is None:
        return None
    if validation is False:
        return frozenset(name for name in names if not name.startswith("val_"))
    return frozenset(names | {f"val_{name}" for name in names if validation and not name.startswith("val_")})


def _validates(validation: bool | None, metrics: Iterable[str] | None, trainer: TrainerAdapter | None) -> bool | None:
    if validation is not None:
        return validation
    if metrics is not None and any(name.startswith("val_") for name in metrics):
        return True
    return True if trainer is not None and trainer.validates else None


def _rates(learning_rate: float | Sequence[float] | None) -> list[float] | None:
    if learning_rate is None:
        return None
    return list(learning_rate) if isinstance(learning_rate, Sequence) else [learning_rate]
