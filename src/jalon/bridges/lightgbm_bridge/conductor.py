"""Conductor: one training of LightGBM's, told to callbacks of jalon's, with LightGBM's own callbacks beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import lightgbm
from lightgbm.callback import CallbackEnv, EarlyStopException

from jalon.bridges.boosting.metric_names import MetricNames, Result
from jalon.bridges.boosting.rounds import Rounds
from jalon.bridges.lightgbm_bridge import watched
from jalon.bridges.lightgbm_bridge.adapter import LightGBMAdapter
from jalon.bridges.lightgbm_bridge.support import SUPPORT
from jalon.core.callback_list import CallbackList

OneOfLightGBMs = Callable[[CallbackEnv], None]
_WITHOUT_STATE = ("_LogEvaluationCallback", "_ResetParameterCallback")


class Conductor:
    """Takes over the callbacks of one call of ``lightgbm.train`` or ``lightgbm.cv``.

    LightGBM goes through two lists of callbacks around each round. Both get one entry, from which all are called, so that
    callbacks of jalon's are told of every round although another one before them ends training, and of exceptions.

    Args:
        callbacks: Those of jalon's.
        before: LightGBM's callbacks before a round.
        after: LightGBM's callbacks after one.
        env: What LightGBM shows of the training.
        validates: Whether a set beside the training set is evaluated.
    """

    def __init__(
        self,
        callbacks: CallbackList,
        before: Iterable[OneOfLightGBMs],
        after: Iterable[OneOfLightGBMs],
        env: CallbackEnv,
        *,
        validates: bool,
    ) -> None:
        self._before, self._after = list(before), list(after)
        self._first = env.begin_iteration
        strangers = [type(one).__name__.strip("_") for one in (*self._before, *self._after) if not _has_no_state(one)]
        self._adapter = LightGBMAdapter(
            env.model,
            names=MetricNames(str(env.model._train_data_name) if isinstance(env.model, lightgbm.Booster) else None),
            validates=validates,
            params=env.params,
            strangers=strangers,
        )
        self.rounds = Rounds(callbacks, self._adapter, loop=SUPPORT, epochs=env.end_iteration - env.begin_iteration)
        self._results: list[Any] = []

    def begin(self, env: CallbackEnv) -> None:
        """Begin the training."""
        watched.watch(env.model, self.rounds)
        self.rounds.begin()

    def before_round(self, env: CallbackEnv) -> None:
        """Tell that a round begins, unless none is left: LightGBM cannot be kept from asking for the first one."""
        epoch = self._epoch(env)
        if self.rounds.is_over(epoch):
            self.rounds.run.epoch = epoch
            return
        with self.rounds.hearing():
            for callback in self._before:
                callback(self._shifted(env))
        self.rounds.begin_round(epoch)

    def after_round(self, env: CallbackEnv) -> None:
        """Tell what a round has brought, and end training where it is over."""
        epoch, rounds = self._epoch(env), self.rounds
        if rounds.is_over(epoch):
            self._end(env, None)
            return
        ended_by: EarlyStopException | None = None
        with rounds.hearing():
            try:
                for callback in self._after:
                    callback(self._shifted(env))
            except EarlyStopException as exc:
                ended_by = exc
                rounds.run.stop("a callback of LightGBM's own ended training")
            self._results = env.evaluation_result_list or []
            logs = self._adapter.names.logs(list(map(_result, self._results)))
        rounds.end_round(epoch, logs)
        if rounds.is_over(epoch + 1):
            self._end(env, ended_by)

    # ---- how -----------------------------------------------------------------------------------------------------------------

    def _epoch(self, env: CallbackEnv) -> int:
        return env.iteration - self._first + self.rounds.run.initial_epoch

    def _shifted(self, env: CallbackEnv) -> CallbackEnv:
        """Return what LightGBM shows, with rounds counted from where an earlier start began."""
        ahead = self.rounds.run.initial_epoch
        return replace(env, iteration=env.iteration + ahead) if ahead else env

    def _end(self, env: CallbackEnv, ended_by: EarlyStopException | None) -> None:
        """End the training, and leave LightGBM's loop where it would go on."""
        self._adapter.is_training = False
        self.rounds.end()
        best = self._adapter.best_rounds
        if best is not None:
            raise EarlyStopException(best - 1, self._results_of(best - 1 - self._first))
        if ended_by is not None:
            raise ended_by
        if env.iteration + 1 < env.end_iteration:
            # cv tells of as many rounds as this says; a booster with a best round leaves the later ones out when it predicts.
            raise EarlyStopException(env.iteration if self._adapter.is_cross_validation else -1, self._results)

    def _results_of(self, epoch: int) -> list[Any]:
        """Return what was evaluated after a round, in LightGBM's form."""
        rows = dict(zip(self.rounds.history.epoch, self.rounds.history.rows, strict=True))
        names = self._adapter.names
        told = map(tuple[Any, ...], self._results)
        return [(*one[:2], names.value_of(_result(one), rows[epoch]), *one[3:]) for one in told]


def _has_no_state(callback: Any) -> bool:
    return type(callback).__module__ == "lightgbm.callback" and type(callback).__name__ in _WITHOUT_STATE


def _result(told: Any) -> Result:
    data, metric, value, more_is_better, *rest = told
    return Result(data, metric, float(value), "max" if more_is_better else "min", rest[0] if rest else None)
