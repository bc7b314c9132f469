"""XGBoostAdapter: answers callbacks on behalf of a booster of XGBoost, or of the boosters of its ``cv``."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
import xgboost

from jalon.bridges.boosting.adapter import BoosterAdapter
from jalon.bridges.boosting.metric_names import MetricNames
from jalon.core.trainer import Direction
from jalon.errors import CheckpointError

_MORE_IS_BETTER = ("auc", "map", "ndcg", "pre", "interval-regression-accuracy")
_LESS_IS_BETTER = (
    *("rmse", "rmsle", "mae", "mape", "mphe", "logloss", "error", "merror", "mlogloss", "cox-nloglik", "quantile", "expectile"),
    *("gamma-deviance", "gamma-nloglik", "poisson-nloglik", "tweedie-nloglik", "aft-nloglik", "loss"),
)
_DRAWS_WHERE_NOT_1 = ("subsample", "colsample_bytree", "colsample_bylevel", "colsample_bynode")
_DRAWS_WHERE_NOT_0 = ("rate_drop", "one_drop")


@cache
def direction_of(metric: str) -> Direction | None:
    """Return whether less or more of a metric of XGBoost's own is better, as in ``ndcg@5-``; ``None`` for one of the user's."""
    name = metric.partition("@")[0].rstrip("-")
    return "min" if name in _LESS_IS_BETTER else "max" if name in _MORE_IS_BETTER or name == "aucpr" else None


class XGBoostAdapter(BoosterAdapter):
    """Answers callbacks on behalf of a booster of XGBoost.

    Args:
        booster: The booster, or what stands for the boosters of ``cv``.
        names: What its metrics are called.
        validates: Whether a set beside the training set is evaluated.
        data: The training set and the names of the sets that are evaluated, to tell one training from another.
        strangers: Callbacks beside jalon's whose state nobody keeps.
    """

    library = "XGBoost"
    going_on_by = "xgb_model="

    def __init__(
        self,
        booster: Any,
        *,
        names: MetricNames | None = None,
        validates: bool = True,
        data: dict[str, Any] | None = None,
        strangers: Sequence[str] = (),
    ) -> None:
        super().__init__(booster, names=names, validates=validates)
        self._data = {} if data is None else data
        self._strangers = strangers
        self.hears_of_settings = False
        """Whether ``settings_changed`` is called, so that the rate need not be read each time."""
        self._rate: float | None = None
        self._rate_set: float | None = None
        self._only_grows: bool | None = None

    @property
    def suffixes(self) -> tuple[str, ...]:
        return (".ubj", ".json")

    @property
    def iterations(self) -> int:
        return int(self.booster.num_boosted_rounds())

    @property
    def is_cross_validation(self) -> bool:
        return not isinstance(self.booster, xgboost.Booster)

    @property
    def only_grows(self) -> bool:
        """Whether it is a booster of trees: ``dart`` weighs earlier trees anew, ``gblinear`` has none."""
        if self._only_grows is None:
            self._only_grows = _config(self.booster)["learner"]["gradient_booster"]["name"] == "gbtree"
        return self._only_grows

    # ---- the learning rate -----------------------------------------------------------------------------------------------

    def learning_rates(self) -> list[float]:
        if self._rate is None or not self.hears_of_settings:
            self._rate = self._read_rate()
        return [] if self._rate is None else [self._rate]

    def _read_rate(self) -> float | None:
        booster = self.booster.cvfolds[0].bst if self.is_cross_validation else self.booster
        settings = {name.rpartition(".")[2]: value for name, value in _leaves(_config(booster))}
        told = settings.get("eta", settings.get("learning_rate"))
        if told is None:
            return None
        held = np.float32(told)
        # XGBoost holds the rate in single precision; what was set is told as it was given.
        return self._rate_set if self._rate_set is not None and np.float32(self._rate_set) == held else float(str(held))

    def set_learning_rates(self, rates: Sequence[float]) -> None:
        rate = float(rates[0])
        if [rate] != self.learning_rates():
            self.booster.set_param({"eta": rate})
            self._rate = self._rate_set = rate

    def settings_changed(self) -> None:
        """Take note that somebody set a parameter, which may be the rate."""
        self._rate = None

    # ---- the model as bytes ------------------------------------------------------------------------------------------------

    def model_bytes(self, suffix: str) -> bytes | bytearray:
        return self.booster.save_raw(raw_format="json" if suffix == ".json" else "ubj")  # type: ignore[no-any-return]

    def put_back(self, model: bytes) -> None:
        self._take(bytearray(model))
        self.exchanged()

    def _take(self, model: bytearray) -> None:
        config = self.booster.save_config()
        try:
            self.booster.load_model(model)
            self.settings_changed()
            self.booster.load_config(config)  # a file holds no settings of training, and those of before are gone
        except (xgboost.core.XGBoostError, ValueError) as exc:
            raise CheckpointError(f"XGBoost cannot read the model: {str(exc).strip().splitlines()[-1]}") from exc

    def cut_back(self, rounds: int) -> None:
        if not self.is_cross_validation and rounds < self.iterations:
            self._take(self.booster[:rounds].save_raw(raw_format="ubj"))

    # ---- going on after an interruption ----------------------------------------------------------------------------------

    def obstacles(self) -> list[str]:
        config = dict(_leaves(_config(self.booster)))
        found = [f"the state of {name} is not kept; use jalon's callback in its place" for name in self._strangers]
        found += _randomness(config)
        if config["learner.generic_param.device"] != "cpu":
            found.append("the order of sums on a GPU is not known to be the same again; train on the CPU")
        return found

    def identity(self) -> dict[str, Any]:
        """Return what XGBoost was configured with, by its own names, and what the data are like."""
        told = {name.removeprefix("learner."): value for name, value in _leaves(_config(self.booster))}
        threads = int(told.get("generic_param.nthread", 0)) or os.cpu_count()
        return told | {"threads": threads, "rounds before": self.iterations} | self._data


def _randomness(config: dict[str, Any]) -> list[str]:
    """Return which settings make XGBoost draw random numbers that nobody can put back."""
    own = {name.rpartition(".")[2]: (name, value) for name, value in config.items()}
    drawing = [name for name in _DRAWS_WHERE_NOT_1 if float(own.get(name, ("", 1))[1]) != 1]
    per_round = own["seed_per_iteration"][1] != "0"
    found = []
    if drawing and not (per_round and own.get("tree_method", ("", ""))[1] == "exact"):
        shown = ", ".join(f"{name}={float(own[name][1]):g}" for name in drawing)
        found.append(
            f"it draws random numbers ({shown}), and where XGBoost stands in them can be neither read nor put back; "
            "leave that out, or pass tree_method='exact' and seed_per_iteration=True"
        )
    dropping = [name for name in _DRAWS_WHERE_NOT_0 if float(own.get(name, ("", 0))[1]) != 0]
    if dropping and not per_round:
        found.append(f"dart draws the trees that it leaves out ({', '.join(dropping)}); pass seed_per_iteration=True")
    if config["learner.gradient_booster.name"] == "gblinear" and "shotgun" in config.values():
        found.append("gblinear's updater 'shotgun' gives another model at every start; pass updater='coord_descent'")
    if own.get("feature_selector", ("", ""))[1] in ("random", "shuffle"):
        found.append("feature_selector draws random numbers; pass feature_selector='cyclic'")
    if own.get("process_type", ("", "default"))[1] != "default":
        found.append("process_type='update' changes trees that are there")
    if own.get("lambdarank_unbiased", ("", "0"))[1] != "0":
        found.append("lambdarank_unbiased keeps estimates that no file holds; leave it out")
    return found


def _config(booster: Any) -> dict[str, Any]:
    config: dict[str, Any] = json.loads(booster.save_config())
    return config


def _leaves(config: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the settings of a nested configuration by their paths."""
    if isinstance(config, (dict, list)):
        for name, value in config.items() if isinstance(config, dict) else enumerate(config):
            yield from _leaves(value, f"{path}.{name}" if path else str(name))
    else:
        yield path, config
