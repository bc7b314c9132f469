"""Grids of policies: the front, what to choose, and how it does on a run that it was not tuned on."""

from __future__ import annotations

import math

import numpy as np
import pytest

import jalon
from jalon.callbacks import EarlyStopping, ReduceLROnPlateau, TerminateOnNaN
from jalon.errors import ArgumentError, MissingMetric
from jalon.replay.policies import families_of

CURVE = [0.9, 0.6, 0.5, 0.55, 0.56, 0.4, 0.41, 0.42, 0.43, 0.44]
"""Two minima: one of patience 1 stops at the first, of 3 at the second."""


def rows(curve, metric="val_loss"):
    return [{metric: value} for value in curve]


PATIENCE = {EarlyStopping: {"patience": range(1, 7), "restore_best_weights": True}}


def test_the_front():
    """The front has the policies that none beats in both; of equals the first, and none that takes more for nothing."""
    result = jalon.replay_grid(rows(CURVE), PATIENCE)

    assert ["patience=1", "patience=3"] == [str(result.policies[policy]) for policy in result.front()]
    assert [4, 5, 9, 10, 10, 10] == result.epochs[:, 0].tolist()
    assert [0.5, 0.5, 0.4, 0.4, 0.4, 0.4] == result.values[:, 0].tolist()
    assert [2, 2, 5, 5, 5, 5] == result.kept[:, 0].tolist()
    assert [0.2, 0.2, 0, 0, 0, 0] == pytest.approx(result.lost[:, 0].tolist())
    assert [True] * 3 + [True, False, False] == result.stopped[:, 0].tolist()


def test_what_to_choose():
    """The one to choose takes the fewest epochs of those that lose no more than is tolerated."""
    result = jalon.replay_grid(rows(CURVE), PATIENCE)

    assert "patience=3" == str(result.policies[result.choose()])
    assert "patience=1" == str(result.policies[result.choose(tolerance=0.25)])
    assert "choose patience=3: 90.0% of the epochs, 0.00% of the improvement lost" in str(result)


def test_a_run_left_out():
    """For each run the policy is chosen by the others, so that one that fits its own run alone is not praised for it."""
    easy = [1.0, 0.5, 0.25, 0.3, 0.31, 0.32, 0.33, 0.34, 0.35, 0.36]
    result = jalon.replay_grid({"easy": rows(easy), "hard": rows(CURVE)}, PATIENCE)

    assert ["patience=3", "patience=1"] == [str(result.policies[policy]) for policy in result.left_out()]
    row = next(row for row in result.choice_rows() if row[0] == "hard")
    assert ("hard", "patience=1", "4 of 10", "20.00%", "9, 0.00%") == row
    assert "run left out" in str(result)


def test_several_records_of_one_kind():
    """Runs given as a list are told apart by number where they have one name."""
    assert ("a list 1", "a list 2") == jalon.replay_grid([rows(CURVE), rows(CURVE[::-1])], PATIENCE).names


def test_more_is_better():
    """Where more is better, what is lost is counted the other way round."""
    result = jalon.replay_grid(
        rows([-value for value in CURVE], "val_f1"), {EarlyStopping: {"monitor": "val_f1", "mode": "max", "patience": [1, 3]}}
    )

    assert ("val_f1", "max") == (result.metric, result.direction)
    assert [0.3, 0.06] == pytest.approx(result.lost[:, 0].tolist())


def test_rates_give_decisions_only():
    """Policies that would have changed the rate before an epoch are marked in what is printed."""
    rates = {ReduceLROnPlateau: {"patience": [2, 3]}, EarlyStopping: {"patience": 4, "restore_best_weights": True}}
    result = jalon.replay_grid(rows(CURVE), rates)

    assert [True, True] == result.decisions_only.tolist()
    assert "2 policies decisions only: with another learning rate the curves would be others" in str(result)
    assert "choose patience=2 (decisions only)" in str(result)


def test_of_equals_one_that_leaves_the_rate_alone():
    """Of policies that come to the same, one that leaves the curves as they were recorded stands for all."""
    rates = {ReduceLROnPlateau: {"patience": [2, 20]}, EarlyStopping: {"patience": 3, "restore_best_weights": True}}
    result = jalon.replay_grid(rows(CURVE), rates)

    assert [True, False] == result.decisions_only.tolist()
    assert [1] == result.front()
    assert 1 == result.choose()


def test_curves_that_say_little():
    """A run that never improves, or of NaN alone, has nothing to lose; NaN at its beginning is passed over."""
    flat = jalon.replay_grid(rows([1.0] * 5), PATIENCE)
    worse = jalon.replay_grid(rows([1.0, 2.0, 3.0, 4.0]), {EarlyStopping: {"patience": [1, 2]}})
    late = jalon.replay_grid(rows([math.nan, 3.0, 2.0, 2.5, 1.0]), {EarlyStopping: {"patience": [1, 9], "start_from_epoch": 1}})
    empty = jalon.replay_grid(rows([math.nan] * 5), PATIENCE)

    assert [0.0] * 6 == flat.lost[:, 0].tolist()
    assert [1.0, 1.0] == worse.lost[:, 0].tolist()
    assert [0.0] * 6 == empty.lost[:, 0].tolist()
    assert [0.75, 0.0] == late.lost[:, 0].tolist()
    assert [-1] * 6 == empty.kept[:, 0].tolist()
    assert "patience=1" in str(empty)


def test_the_picture(tmp_path):
    """The picture shows every policy, the front and the choice, and is written where it is asked for."""
    runs = {"a": rows(CURVE), "b": rows(CURVE[::-1])}
    for sources in (runs, runs["a"]):
        policies = PATIENCE | {ReduceLROnPlateau: {"patience": [2, 20]}}
        figure = jalon.replay_grid(sources, policies).plot(tmp_path / "grid.svg")
        labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]

        assert ["policies", "decisions only", "front"] == labels[:3]
        assert labels[3].startswith("choose ")
        assert b"<svg" in (tmp_path / "grid.svg").read_bytes()


def test_a_sample_is_the_same_by_its_seed():
    """Random policies are drawn by the seed, and their families can be given too."""
    families = families_of({EarlyStopping: {"patience": range(50)}})
    first, again = (jalon.replay_grid(rows(CURVE), families, sample=20, seed=3) for _ in range(2))

    assert 20 == len(first.policies)
    assert np.array_equal(first.epochs, again.epochs)


def test_what_is_refused():
    """A metric that a run lacks, nothing to compare by, and nothing to try are refused."""
    with pytest.raises(MissingMetric, match="'val_los'"):
        jalon.replay_grid(rows(CURVE), {EarlyStopping: {"monitor": "val_los", "patience": [1]}}, metric="val_loss")
    with pytest.raises(ArgumentError, match="no metric to compare"):
        jalon.replay_grid({"a": rows(CURVE), "b": rows(CURVE, "loss")}, {TerminateOnNaN: {}})
    with pytest.raises(ArgumentError, match="Pass mode="):
        jalon.replay_grid(rows(CURVE, "val_f1"), {TerminateOnNaN: {}}, metric="val_f1")
    with pytest.raises(ArgumentError, match="no policy to try"):
        jalon.replay_grid(rows(CURVE), {})
