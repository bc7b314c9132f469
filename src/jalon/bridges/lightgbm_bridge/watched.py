"""WatchedBooster: a booster of LightGBM in training, whose failures are heard."""

from __future__ import annotations

import copyreg
import weakref
from collections.abc import Callable
from typing import Any

from lightgbm import Booster

from jalon.bridges.boosting.rounds import Rounds

_WATCHED: weakref.WeakKeyDictionary[Booster, Rounds] = weakref.WeakKeyDictionary()


class WatchedBooster(Booster):
    """Is a booster while ``train`` works on it.

    LightGBM tells callbacks nothing of an exception; the booster, which it asks for each round and evaluation, is the place
    where one can be heard. Copies and pickles of it are plain boosters.
    """

    def update(self, train_set: Any = None, fobj: Any = None) -> bool:
        """Train a round, if there is one left to train."""
        rounds = _WATCHED[self]
        if rounds.is_over(rounds.run.epoch):
            return True
        with rounds.hearing():
            return super().update(train_set, fobj)

    def eval_train(self, feval: Any = None) -> list[Any]:
        """Evaluate the training set."""
        with _WATCHED[self].hearing():
            return super().eval_train(feval)

    def eval_valid(self, feval: Any = None) -> list[Any]:
        """Evaluate the other sets."""
        with _WATCHED[self].hearing():
            return super().eval_valid(feval)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return (copyreg._reconstructor, (Booster, object, None), self.__getstate__())  # type: ignore[attr-defined]


def watch(booster: Any, rounds: Rounds) -> None:
    """Have a booster, or the boosters of ``cv``, watched until the training has ended."""
    if isinstance(booster, Booster):
        _WATCHED[booster] = rounds
        booster.__class__ = WatchedBooster
        rounds.at_end(lambda: _leave_alone(booster))
    else:
        for name in ("update", "eval_valid"):
            vars(booster)[name] = _heard(getattr(booster, name), rounds)
        rounds.at_end(lambda: [vars(booster).pop(name) for name in ("update", "eval_valid")])


def _leave_alone(booster: Booster) -> None:
    del _WATCHED[booster]
    booster.__class__ = Booster


def _heard(method: Callable[..., Any], rounds: Rounds) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        with rounds.hearing():
            return method(*args, **kwargs)

    return call
