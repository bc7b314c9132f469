"""WatchedBooster: a booster of XGBoost in training, whose rounds go on from where they were left and whose failures are heard."""

from __future__ import annotations

import copyreg
import weakref
from collections.abc import Callable
from typing import Any

from xgboost import Booster

from jalon.bridges.boosting.rounds import Rounds

_WATCHED: weakref.WeakKeyDictionary[Booster, Rounds] = weakref.WeakKeyDictionary()


class WatchedBooster(Booster):
    """Is a booster while ``train`` works on it.

    XGBoost tells callbacks neither of an exception nor lets them say where rounds are counted from; the booster, which it
    asks for each round, is the place where both can be had. Copies and pickles of it are plain boosters.
    """

    def update(self, dtrain: Any, iteration: int, fobj: Any = None) -> None:
        """Train a round, whose number is counted from where an earlier start has left."""
        rounds = _WATCHED[self]
        with rounds.hearing():
            super().update(dtrain, rounds.run.initial_epoch + iteration, fobj)

    def set_param(self, params: Any, value: Any = None) -> None:
        """Set parameters, and let it be known."""
        super().set_param(params, value)
        _WATCHED[self].run.trainer.settings_changed()  # type: ignore[attr-defined]

    def __reduce_ex__(self, protocol: Any) -> Any:
        return (copyreg._reconstructor, (Booster, object, None), self.__getstate__())  # type: ignore[attr-defined]


def watch(booster: Any, rounds: Rounds) -> None:
    """Have the rounds of a booster, or of the boosters of ``cv``, watched until the training has ended."""
    if isinstance(booster, Booster):
        _WATCHED[booster] = rounds
        booster.__class__ = WatchedBooster
        rounds.run.trainer.hears_of_settings = True  # type: ignore[attr-defined]
        rounds.at_end(lambda: _leave_alone(booster))
    else:
        booster.update = _heard(booster.update, rounds)
        rounds.at_end(lambda: vars(booster).pop("update"))


def _leave_alone(booster: Booster) -> None:
    rounds = _WATCHED.pop(booster)
    rounds.run.trainer.hears_of_settings = False  # type: ignore[attr-defined]
    booster.__class__ = Booster


def _heard(update: Callable[..., None], rounds: Rounds) -> Callable[..., None]:
    def call(*args: Any) -> None:
        with rounds.hearing():
            update(*args)

    return call
