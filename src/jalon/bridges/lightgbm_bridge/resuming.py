"""What going on with a training of LightGBM's takes: the same sums, on the same data, with no random numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightgbm
from lightgbm.basic import _InnerPredictor  # what init_model= is made of

from jalon.errors import CheckpointError

_DRAWS_WHERE_NOT_1 = ("feature_fraction", "feature_fraction_bynode")
_PLAIN = {
    "boosting": "gbdt",
    "data_sample_strategy": "bagging",
    "extra_trees": "0",
    "linear_tree": "0",
    "use_quantized_grad": "0",
    "tree_learner": "serial",
    "device_type": "cpu",
    "lambdarank_position_bias_regularization": "0",
    "cegb_penalty_feature_lazy": "",
    "cegb_penalty_feature_coupled": "",
}
"""Settings under which each round depends on nothing but the scores so far."""


def settings(booster: lightgbm.Booster) -> dict[str, str]:
    """Return all parameters of a booster, those that were left out included, by LightGBM's names."""
    text = booster.model_to_string(num_iteration=1)
    lines = text[text.index("parameters:") : text.index("end of parameters")].splitlines()
    pairs = (line.strip("[]").partition(": ") for line in lines if line.startswith("["))
    return {name: value for name, _, value in pairs}


def obstacles(booster: lightgbm.Booster) -> list[str]:
    """Return why a training that went on from a file would end with another model, and what to do."""
    own = settings(booster)
    found = _randomness(own)
    kept = {name: own[name] for name, plain in _PLAIN.items() if own.get(name, plain) != plain}
    found += [f"{name}={value} keeps more than its trees; leave it at {_PLAIN[name] or 'none'}" for name, value in kept.items()]
    if own.get("objective") == "rank_xendcg":
        found.append("the objective rank_xendcg draws random numbers; use lambdarank")
    if own["deterministic"] != "1" or "1" not in (own["force_row_wise"], own["force_col_wise"]):
        found.append("its sums may come in another order at another start; pass deterministic=True and force_row_wise=True")
    datasets = [booster.train_set, *booster.valid_sets]
    if any(data.data is None for data in datasets):
        found.append("the scores so far are computed from the data, which are gone; make each Dataset with free_raw_data=False")
    if any(data.get_init_score() is not None for data in datasets):
        found.append("the training begins from scores of its own, by init_score or init_model; begin without")
    return found


def _randomness(own: dict[str, str]) -> list[str]:
    drawing = [name for name in _DRAWS_WHERE_NOT_1 if float(own[name]) != 1]
    bagging = ("bagging_fraction", "pos_bagging_fraction", "neg_bagging_fraction")
    if int(own["bagging_freq"]):
        drawing += [name for name in bagging if float(own[name]) != 1]
    if not drawing:
        return []
    shown = ", ".join(f"{name}={own[name]}" for name in drawing)
    told = f"it draws random numbers ({shown}), and where LightGBM stands in them can be neither read nor put back"
    return [f"{told}; leave that out"]


def identity(booster: lightgbm.Booster) -> dict[str, Any]:
    """Return what LightGBM was configured with and what the data are like."""
    sets = zip(booster.name_valid_sets, booster.valid_sets, strict=True)
    return settings(booster) | {
        "version": lightgbm.__version__,
        "rows": booster.train_set.num_data(),
        "columns": booster.train_set.num_feature(),
        "evaluated sets": {name: data.num_data() for name, data in sets},
    }


def go_on_from(booster: lightgbm.Booster, model: str, path: Path) -> None:
    """Let a booster that has no rounds yet be the one that a file was written of, on the data that it has.

    LightGBM goes on from a model by computing the scores so far from the data, for which it has ``init_model=``, before
    ``train`` begins. Here it is done when ``train`` has made its booster: another one takes its place in the same object.

    Args:
        booster: The booster of ``train``.
        model: The text of the file.
        path: The file, for messages.

    Raises:
        CheckpointError: LightGBM cannot read it.
    """
    try:
        before = lightgbm.Booster(model_str=model)
    except lightgbm.basic.LightGBMError as exc:
        raise CheckpointError(f"{path} cannot be read by LightGBM: {exc}") from exc
    if not before.current_iteration():
        return
    datasets = [booster.train_set, *booster.valid_sets]
    predictor = _InnerPredictor.from_booster(before, pred_parameter={})
    for data in datasets:
        data.set_init_score(before.predict(data.data, raw_score=True))
        data._predictor = predictor
    try:
        _exchange(booster)
    finally:
        for data in datasets:
            data.set_init_score(None)
            data._predictor = None


def _exchange(booster: lightgbm.Booster) -> None:
    fresh = lightgbm.Booster(booster.params, booster.train_set)
    fresh.set_train_data_name(booster._train_data_name)
    for name, data in zip(booster.name_valid_sets, booster.valid_sets, strict=True):
        fresh.add_valid(data, name)
    fresh.best_iteration = booster.best_iteration
    booster.__dict__, fresh.__dict__ = fresh.__dict__, booster.__dict__
