"""Kills a training, once, twice or again and again, and says what of its end is not as it should be."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from harness import Lab, difference
from scenario import Plan
from shim import Mode, Watch

KILLED = -9

PLANS = (
    Plan(".safetensors", backup=3, saves="background"),
    Plan(".h5", backup="epoch", saves="background", by="run_dir"),
    Plan(".pt", backup=3, saves="foreground"),
    Plan(".safetensors", backup="epoch", saves="foreground", by="run_dir"),
    Plan(".h5", backup=5, saves="background"),
    Plan(".safetensors", backup=3, saves="background", by="loop"),
)
"""Every format, in the background and waited for, backed up within epochs and at their ends, by callback and by ``run_dir``;
and a loop written by hand."""

RESTING = Plan(".safetensors", backup="epoch", saves="background", rest=0.02)
"""Backed up as by default, where not every epoch's backup is written; how many are, the time decides."""

ALL_PLANS = (
    *(
        Plan(suffix, backup, saves)
        for suffix, backup, saves in product((".safetensors", ".h5", ".pt"), (1, 3, "epoch"), ("background", "foreground"))
    ),
    *(
        Plan(suffix, "epoch", saves, "run_dir")
        for suffix, saves in product((".safetensors", ".h5", ".pt"), ("background", "foreground"))
    ),
    *(Plan(".safetensors", backup, saves, "loop") for backup, saves in product((1, 3, "epoch"), ("background", "foreground"))),
)


@dataclass(frozen=True, slots=True)
class Point:
    """Is where a process is killed.

    Args:
        mode: Before a call, or within a write.
        at: The number of the call.
    """

    mode: Mode
    at: int


def points(kinds: str) -> Iterator[Point]:
    """Yield every point of a process with these calls: before each, and within each write."""
    for at, kind in enumerate(kinds, start=1):
        yield Point("kill before", at)
        if kind == "w":
            yield Point("kill within", at)


def fault_at(lab: Lab, plan: Plan, point: Point, left: Path | None = None) -> str | None:
    """Kill a training at a point, let it go on, and return what is wrong, or ``None``. ``"missed"``: it was not killed there.

    Args:
        lab: Runs it.
        plan: The training.
        point: Where it is killed.
        left: What an earlier one that was killed has left, if it is the second.
    """
    with lab.folder() as root:
        if left is not None:
            shutil.copytree(left, root, dirs_exist_ok=True)
        killed = lab.run(root, plan, Watch(point.mode, point.at))
        fault = fault_of(lab, plan, lab.run(root, plan, look=True))
    if killed["status"] == KILLED:
        return fault and f"{point}: {fault}"
    return "missed" if killed["status"] == 0 else f"{point}: {killed.get('trace')}"


def points_of_recovery(lab: Lab, plan: Plan, left: Path) -> list[Point]:
    """Return the points before the first batch of what goes on with what a killed training has left."""
    with lab.folder() as root:
        shutil.copytree(left, root, dirs_exist_ok=True)
        resumed = lab.run(root, plan)
    return list(points(resumed["kinds"][: resumed["result"]["recovery"]]))


def fault_of(lab: Lab, plan: Plan, resumed: dict[str, Any]) -> str | None:
    """Return what is wrong with a training that went on after kills and was not killed again."""
    before = resumed.get("before", {"faults": [], "best file": None})
    if before["faults"]:
        return f"the kill left {'; '.join(before['faults'])}"
    if before["best file"] not in best_contents(lab, plan):
        return "the best file is whole, but of no epoch's best weights"
    if resumed.get("warnings"):
        return f"it warned of {resumed['warnings']}"
    return difference(lab.reference(plan), resumed)


def best_contents(lab: Lab, plan: Plan) -> list[str | None]:
    """Return what the best file holds in a training that nothing interrupts: nothing, and then after each epoch."""
    epochs = range(1, len(lab.reference(plan)["result"]["history"]["loss"]) + 1)
    return [None, *(lab.reference(replace(plan, epochs=done))["disk"]["best file"] for done in epochs)]


def contents(lab: Lab, plan: Plan) -> list[str | None]:
    """Return what the best file holds where none of better weights could be written: nothing, or the weights of any epoch."""
    epochs = range(1, len(lab.reference(plan)["result"]["history"]["loss"]) + 1)
    return [None, *(lab.reference(replace(plan, epochs=done, best_only=False))["disk"]["best file"] for done in epochs)]


def fault_after(lab: Lab, plan: Plan, seconds: list[float]) -> str | None:
    """Kill a training after some seconds, and what goes on after some more, and so on; return what is wrong, or ``None``."""
    with lab.folder() as root:
        for after in seconds:
            killed = lab.run(root, plan, kill_after=after)
            if killed["status"] not in (0, KILLED):
                return f"after {seconds}: {killed.get('trace')}"
        fault = fault_of(lab, plan, lab.run(root, plan, look=True))
    return fault and f"after {seconds}: {fault}"


def instants(seed: int, chains: int, length: int, longest: float) -> list[list[float]]:
    """Return chains of random instants, each from 0 to the longest."""
    draw = random.Random(seed)  # no secret
    return [[draw.uniform(0, longest) for _ in range(length)] for _ in range(chains)]
