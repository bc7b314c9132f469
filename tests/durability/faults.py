"""Lets file calls of a training fail, and says what of it is not as it should be."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harness import Lab, difference
from kills import contents
from scenario import Plan
from shim import Watch

ERRORS = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EIO,
    errno.EROFS,
    errno.EACCES,
    errno.EMFILE,
    errno.EXDEV,
    errno.ESTALE,
)
PLAN = Plan(".safetensors", backup=3, saves="foreground", epochs=3)
REFUSALS = ("CheckpointError", "ArgumentError", "FolderInUse")
REMEDIES = re.compile(r"Free |Check |Choose |Pass |Delete |Wait |Put back |tried again|asked again|goes on", re.IGNORECASE)
PATH = re.compile(r"saved|run/backup|training\.log|logs")
LOGS = {"CSVLogger": "csv", "TensorBoard": "scalars"}


@dataclass(frozen=True, slots=True)
class Failure:
    """Is a file call that fails.

    Args:
        mode: Once, or from this call on.
        at: The number of the call.
        errno: How.
    """

    mode: Literal["fail once", "fail from"]
    at: int
    errno: int

    def __str__(self) -> str:
        return f"{self.mode} at call {self.at} with {errno.errorcode[self.errno]}"


def calls(lab: Lab, plan: Plan, left: Path | None = None) -> int:
    """Return how many calls there are that can fail; with what a killed training has left, up to the first batch."""
    with lab.folder() as root:
        _copy(left, root)
        report = lab.run(root, plan, Watch(closes=True))
    number: int = report["calls"] if left is None else report["result"]["recovery"]
    return number


def fault_with(lab: Lab, plan: Plan, failure: Failure, left: Path | None = None) -> str | None:
    """Let a call fail, start the training again without that, and return what is wrong, or ``None``."""
    with lab.folder() as root:
        _copy(left, root)
        failed = lab.run(root, plan, Watch(failure.mode, failure.at, failure.errno, closes=True))
        again = lab.run(root, plan, look=True)
    fault = fault_of_failed(lab, plan, failed, failure) or fault_of_next(lab, plan, failed, again)
    return fault and f"{failure}: {fault}"


def _copy(left: Path | None, root: Path) -> None:
    if left is not None:
        shutil.copytree(left, root, dirs_exist_ok=True)


def fault_of_failed(lab: Lab, plan: Plan, failed: dict[str, Any], failure: Failure) -> str | None:
    """Return what is wrong with a training in which a call failed."""
    told = [failed["fault"]] if failed.get("fault") else failed["warnings"]
    bad = next((text for text in told if not explains(text, failure.errno)), None)
    if bad is not None:
        return f"this does not say what, where, why and what to do: {bad}"
    if failed["disk"].get("temporary") and failure.mode == "fail once":  # where all fails, deleting does
        return f"it left {failed['disk']['temporary']}"
    if failed.get("fault"):
        refused = failed["fault"].startswith(REFUSALS) and not failed["begun"]
        return None if refused else f"it ended: {failed['trace']}"
    most = 1 if failure.mode == "fail once" else len(LOGS) + 3
    if len(told) > most or max(Counter(told).values(), default=0) > 1:
        return f"it warned {len(told)} times: {told}"
    kept = {"result": failed["result"], "disk": {}, "status": failed["status"]}
    fault = difference(lab.reference(plan) | {"disk": {}}, kept, ignore=["bests"])
    if fault is None and failed["disk"].get("best file") not in contents(lab, plan):
        return "the best file is of no epoch's weights"
    return fault


def explains(text: str, code: int) -> bool:
    """Return whether a message names the place, the reason and what to do."""
    return bool(PATH.search(text) and REMEDIES.search(text) and os.strerror(code) in text)


def fault_of_next(lab: Lab, plan: Plan, failed: dict[str, Any], again: dict[str, Any]) -> str | None:
    """Return what is wrong with the start after that, with nothing in the way.

    What a callback has warned of is lost, and no more: its log lacks that, and has the rest, the end included.
    """
    warned = " ".join(failed.get("warnings", []))
    reference = lab.reference(plan)
    lost = [log for who, log in LOGS.items() if f"{who}." in warned]
    unsaved = ["bests", "best file"] if "ModelCheckpoint" in warned else []
    fault = difference(reference, again, ignore=[*lost, *unsaved])
    if fault is None and again["disk"]["best file"] not in contents(lab, plan):
        fault = "the best file is of no epoch's weights"
    return fault or next((fault for log in lost if (fault := fault_of_log(log, reference, again))), None)


def fault_of_log(log: str, reference: dict[str, Any], again: dict[str, Any]) -> str | None:
    """Return what is wrong with a log that lacks something."""
    expected, actual = reference["disk"][log], again["disk"][log]
    if log == "csv":
        expected, actual = expected.splitlines(), (actual or "").splitlines()
    else:
        expected, actual = [tuple(row) for row in expected], [tuple(row) for row in actual]
    more = Counter(actual) - Counter(expected)
    if more:
        return f"{log} has {list(more)[:3]} once too often"
    if expected[-1] not in actual:
        return f"{log} has lost its end: {actual[-3:]}"
    return None
