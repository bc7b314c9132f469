"""Conductor: one training of XGBoost's, told to callbacks of jalon's, with XGBoost's own callbacks beside them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from types import FrameType
from typing import Any

from xgboost import collective
from xgboost.callback import CallbackContainer, EvaluationMonitor, LearningRateScheduler, TrainingCallback, TrainingCheckPoint

from jalon.bridges.boosting.metric_names import NAMES_OF_TRAINING, MetricNames, Result
from jalon.bridges.boosting.rounds import Rounds
from jalon.bridges.xgboost_bridge import watched
from jalon.bridges.xgboost_bridge.adapter import XGBoostAdapter, direction_of
from jalon.bridges.xgboost_bridge.support import SUPPORT
from jalon.core.callback_list import CallbackList
from jalon.errors import ArgumentError, NotReady

_WITHOUT_STATE = (EvaluationMonitor, LearningRateScheduler, TrainingCheckPoint)
_METHODS = ("before_iteration", "after_iteration", "after_training")
_STOPPED_BY_OTHERS = "a callback of XGBoost's own ended training"


class Conductor:
    """Takes over the callbacks of one call of ``xgboost.train`` or ``xgboost.cv``.

    XGBoost asks its ``CallbackContainer`` around each round. The methods of that one container are replaced, so that
    callbacks are told of every round although another one before them ends training, and of exceptions.

    Args:
        callbacks: Those of jalon's.
        bridge: What stands for them in XGBoost's list.
        container: XGBoost's list.
        call: The frame of the call, where it says what it was asked for.

    Raises:
        ArgumentError: The list has two bridges.
        NotReady: This version of XGBoost does not say how many rounds it was asked for.
    """

    def __init__(self, callbacks: CallbackList, bridge: TrainingCallback, container: CallbackContainer, call: FrameType) -> None:
        if "before_iteration" in vars(container):
            raise ArgumentError("callbacks: there are two bridges of jalon's. Give one the callbacks of both, as a list.")
        if "num_boost_round" not in call.f_locals:
            raise NotReady("This version of XGBoost trains in a way that jalon does not know. Known is xgboost 3.2.")
        self._epochs = int(call.f_locals["num_boost_round"])
        self._callbacks = callbacks
        self._bridge = bridge
        self._container: Any = container
        self._original = type(container)
        self._rounds_before = 0
        self.rounds: Rounds | None = None
        self._adapter: XGBoostAdapter | None = None
        vars(container).update({name: getattr(self, f"_{name}") for name in _METHODS})

    # ---- what XGBoost asks -------------------------------------------------------------------------------------------------

    def _before_iteration(self, model: Any, epoch: int, dtrain: Any, evals: Any) -> bool:
        rounds, _ = self._begun(model, dtrain, evals)
        epoch += rounds.run.initial_epoch
        if rounds.is_over(epoch):
            return True
        with rounds.hearing():
            if self._original.before_iteration(self._container, model, epoch, dtrain, evals):
                rounds.run.stop(_STOPPED_BY_OTHERS)
                return True
        rounds.begin_round(epoch)
        return False

    def _after_iteration(self, model: Any, epoch: int, dtrain: Any, evals: Any) -> bool:
        rounds, adapter = self._begun(model, dtrain, evals)
        epoch += rounds.run.initial_epoch
        with rounds.hearing():
            if self._original.after_iteration(self._container, model, epoch, dtrain, evals):
                rounds.run.stop(_STOPPED_BY_OTHERS)
            results = list(_results(self._container.history))
            logs = adapter.names.logs(results)
            if rounds.run.resumed:
                self._recall(results, rounds, adapter)
        rounds.end_round(epoch, logs)
        if rounds.run.stop_requested and adapter.is_cross_validation:
            rounds.end()  # cv looks at once how many rounds it has to tell of
            model.set_attr(best_iteration=str((adapter.best_rounds or epoch + 1) - 1))
        return rounds.run.stop_requested

    def _after_training(self, model: Any) -> Any:
        rounds, adapter = self._begun(model)
        rounds.end()
        if adapter.best_rounds is not None and not adapter.is_cross_validation:
            self._say_which_is_best(model, adapter.best_rounds, rounds)
        for name in _METHODS:
            del vars(self._container)[name]
        return self._container.after_training(model)

    # ---- how -----------------------------------------------------------------------------------------------------------------

    def _begun(self, model: Any, dtrain: Any = None, evals: Any = None) -> tuple[Rounds, XGBoostAdapter]:
        """Return the training, begun if it is not: when all other callbacks have had their say about the model."""
        if self.rounds is None or self._adapter is None:
            adapter = self._adapter = self._adapter_for(model, dtrain, evals or [])
            ranks = {"rank": collective.get_rank(), "world_size": collective.get_world_size()}
            self.rounds = Rounds(self._callbacks, adapter, loop=SUPPORT, epochs=self._epochs, **ranks)
            self.rounds.run.share = _shared
            self._rounds_before = adapter.iterations
            watched.watch(model, self.rounds)
            self.rounds.begin()
        return self.rounds, self._adapter

    def _adapter_for(self, model: Any, dtrain: Any, evals: Sequence[tuple[Any, str]]) -> XGBoostAdapter:
        if self._container.is_cv or dtrain is None:  # it was asked for no round
            return XGBoostAdapter(model, names=MetricNames(None))
        names = [name for _, name in evals]
        training = next((name for data, name in evals if data is dtrain), None)
        return XGBoostAdapter(
            model,
            names=MetricNames(training),
            validates=any(data is not dtrain and name not in NAMES_OF_TRAINING for data, name in evals),
            data={"rows": dtrain.num_row(), "columns": dtrain.num_col(), "evaluated sets": names},
            strangers=[type(one).__name__ for one in self._container.callbacks if not self._is_known(one)],
        )

    def _is_known(self, callback: TrainingCallback) -> bool:
        return callback is self._bridge or type(callback) in _WITHOUT_STATE

    def _say_which_is_best(self, model: Any, best_rounds: int, rounds: Rounds) -> None:
        """Say in the booster which round is its best, as XGBoost's own early stopping does."""
        epoch = best_rounds - 1 - self._rounds_before
        best = next((best for best in rounds.run.bests.values() if best.epoch == epoch), None)
        model.set_attr(best_iteration=str(best_rounds - 1), best_score=None if best is None else str(best.value))

    def _recall(self, results: Iterable[Result], rounds: Rounds, adapter: XGBoostAdapter) -> None:
        """Put the rounds of an earlier start before the first one of this start, in XGBoost's own history."""
        for result in results:
            values = self._container.history[result.data][result.metric]
            if len(values) == 1:
                values[:0] = [adapter.names.value_of(result, row) for row in rounds.history.rows]


def _results(history: Any) -> Iterator[Result]:
    """Yield what the last round has brought."""
    for data, metrics in history.items():
        for metric, values in metrics.items():
            value, std = values[-1] if isinstance(values[-1], tuple) else (values[-1], None)
            yield Result(data, metric, float(value), direction_of(metric), std)


def _shared(value: Any) -> Any:
    """Give a value of the main process to all of them."""
    return collective.broadcast(value, 0)
