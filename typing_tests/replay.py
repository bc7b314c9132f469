"""``jalon.replay`` as its users write it. Only type checkers read this."""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

import jalon
from jalon.callbacks import EarlyStopping, ModelCheckpoint
from jalon.replay import Replay, Save, Stop
from jalon.replay.grid_result import GridResult

result = jalon.replay("training.log", [EarlyStopping(patience=5), ModelCheckpoint("best.h5", save_best_only=True)])
assert_type(result, Replay)
assert_type(result.stop, Stop | None)
assert_type(result.saves, tuple[Save, ...])
assert_type(result.cost, float | None)
assert_type(jalon.replay([{"loss": 0.5}], EarlyStopping("loss"), metric="loss", mode="min"), Replay)

grid = jalon.replay_grid({"a": Path("a.csv")}, {EarlyStopping: {"patience": range(1, 20)}}, sample=100, seed=1)
assert_type(grid, GridResult)
assert_type(grid.front(), list[int])
assert_type(str(grid.policies[grid.choose(tolerance=0.02)]), str)
