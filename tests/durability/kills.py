"""Kills a training, once, twice or again and again, and says what of its end is not as it should be."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from harness import Lab, difference
from scenario import Plan
from shim import Mode, Watch

KILLED = -9
KILLS: tuple[Mode, ...] = ("kill before", "kill within")

PLANS = (
    Plan(".safetensors", backup=3, saves="background"),
    Plan(".h5", backup="epoch", saves="background", by="run_dir"),
    Plan(".pt", backup=3, saves="foreground"),
    Plan(".safetensors", backup="epoch", saves="foreground", by="run_dir"),
    Plan(".h5", backup=5, saves="background"),
)
"""Every format, in the background and waited for, backed up within epochs and at their ends, by callback and by ``run_dir``."""

ALL_PLANS = (
    *(
        Plan(suffix, backup, saves)
        for suffix, backup, saves in product((".safetensors", ".h5", ".pt"), (1, 3, "epoch"), ("background", "foreground"))
    ),
    *(
        Plan(suffix, "epoch", saves, "run_dir")
        for suffix, saves in product((".safetensors", ".h5", ".pt"), ("background", "foreground"))
    ),
)


@dataclass(frozen=True, slots=True)
class Point:
    """Is where a process is killed.

    Args:
        mode: Before a call, or within a write.
        at: The number of the call.
        again: The same of the process that goes on, if that one is killed too.
    """

    mode: Mode
    at: int
    again: tuple[Mode, int] | None = None


def points(kinds: str) -> Iterator[Point]:
    """Yield every point of a process with these calls: before each, and within each write."""
    for at, kind in enumerate(kinds, start=1):
        yield Point("kill before", at)
        if kind == "w":
            yield Point("kill within", at)


def fault_at(lab: Lab, plan: Plan, point: Point) -> str | None:
    """Kill a training at a point, let it go on, and return what is wrong, or ``None``. ``"missed"``: it was not killed there."""
    with lab.folder() as root:
        killed = lab.run(root, plan, Watch(point.mode, point.at))
        if point.again is not None:
            killed = lab.run(root, plan, Watch(*point.again))
        fault = fault_of(lab, plan, lab.run(root, plan, look=True))
    if killed["status"] == KILLED:
        return fault and f"{point}: {fault}"
    return "missed" if killed["status"] == 0 else f"{point}: {killed.get('trace')}"


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


def points_of_recovery(lab: Lab, plan: Plan, first: Point) -> list[Point]:
    """Return the points at which what goes on after a first kill can be killed before its first batch."""
    with lab.folder() as root:
        lab.run(root, plan, Watch(first.mode, first.at))
        resumed = lab.run(root, plan)
    calls = resumed["result"]["recovery"]
    return [Point(first.mode, first.at, (point.mode, point.at)) for point in points(resumed["kinds"][:calls])]


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
