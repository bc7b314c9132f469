"""What the page asks for, as pure functions of the runs and the time: JSON values in, JSON values out."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from jalon.live.curves import Table, as_json, reduced
from jalon.live.record import RunRecord
from jalon.live.runs import Runs

Axis = Literal["epoch", "step", "time"]
WIDEST = 4000
_FIRST_BYTES = 1 << 20
_RATE = "learning_rate"


def list_of(runs: Runs, *, now: float, search: str = "") -> list[dict[str, Any]]:
    """Return the runs, those that were written last first.

    Args:
        runs: The runs.
        now: The time, in seconds since 1970.
        search: Words that a run's name, state or callbacks must hold, all of them.
    """
    found = []
    for run in runs.find().values():
        with runs.lock:
            run.refresh(most=_FIRST_BYTES)
            told = summary(run, now=now)
        text = f"{run.id} {told['state']} {' '.join(run.begin.get('callbacks') or ())}".lower()
        if all(word in text for word in search.lower().split()):
            found.append(told)
    return sorted(found, key=lambda one: (-one["updated"], one["id"]))


def summary(run: RunRecord, *, now: float) -> dict[str, Any]:
    """Return what a line can say of a run.

    Args:
        run: The run.
        now: The time, in seconds since 1970.
    """
    last = run.epochs.last() or run.steps.last()
    return {
        "id": run.id,
        "kind": run.kind,
        "state": run.state(now),
        "updated": run.updated(),
        "begun": run.begin.get("time"),
        "epochs_done": len(run.epochs),
        "epochs": run.begin.get("epochs"),
        "last": {name: _plain(value) for name, value in last.items()},
        "best": _best(run),
        "reason": (run.end or {}).get("reason"),
        "version": run.version,
    }


def detail(run: RunRecord, *, now: float) -> dict[str, Any]:
    """Return all but the curves that the page shows of a run.

    Args:
        run: The run.
        now: The time, in seconds since 1970.
    """
    marks = list(run.marks)
    steerable = {name: dict(bounds) for name, bounds in (run.begin.get("steerable") or {}).items()}
    for mark in marks:
        who = _RATE if mark["kind"] == "rate" else mark.get("who") if mark["kind"] == "set" else None
        if who in steerable:
            steerable[who]["value"] = mark.get("value")
    return summary(run, now=now) | {
        "marks": marks[-200:],
        "steerable": steerable,
        "callbacks": run.begin.get("callbacks") or {},
        "versions": run.begin.get("versions") or {},
        "process": {name: (run.begin.get("process") or {}).get(name) for name in ("pid", "host")},
        "progress": progress(run, now=now),
        "complete": run.complete,
    }


def progress(run: RunRecord, *, now: float) -> dict[str, Any]:
    """Return how far a run has come, how fast it goes and when it will be done.

    Args:
        run: The run.
        now: The time, in seconds since 1970.
    """
    place = run.standing()
    epochs, steps = run.begin.get("epochs"), run.begin.get("steps")
    step = place.get("step", run.steps.places[-1] if run.steps.places else None)
    done: float = len(run.epochs)
    if run.epochs.places:
        done = run.epochs.places[-1] + 1
    epoch = place.get("epoch", int(done))
    if steps and place.get("phase") in ("train", "validation") and epoch >= done:
        done = epoch + min(1.0, (place.get("batch", 0) + 1) / steps)
    pace = _pace(run.steps)
    per_epoch = _seconds_per_epoch(run)
    left = None
    if epochs and per_epoch and run.state(now) == "running":
        left = max(0.0, (epochs - done) * per_epoch)
    share = min(1.0, done / epochs) if epochs else None
    return {
        "epoch": epoch, "step": step, "steps": steps, "epochs": epochs, "phase": place.get("phase"),
        "batch": place.get("batch"), "share": share, "seconds_left": left, "steps_per_second": pace,
        "seconds_per_epoch": per_epoch,
    }  # fmt: skip


def curves(
    run: RunRecord, *, axis: Axis, width: int, begin: float | None = None, end: float | None = None
) -> list[dict[str, Any]]:
    """Return the curves of a run, training and validation of a metric together, reduced to what a screen can show.

    Args:
        run: The run.
        axis: ``"epoch"`` for a point per epoch, ``"step"`` for one per batch, ``"time"`` for one per epoch over seconds.
        width: How many pixels a curve has.
        begin: Where the part that is shown begins; by default where the curve does.
        end: Where it ends.
    """
    table = run.steps if axis == "step" else run.epochs
    if axis == "time" and not len(table):
        table = run.steps
    x = np.array(table.times) if axis == "time" else np.array(table.places)
    if axis == "time" and len(x):
        x = x - min(x[0], run.begin.get("time", x[0]))
    if axis == "epoch":
        x = x + 1
    rows = _part(x, begin, end)
    found = []
    for group, names in _groups(table).items():
        columns = {name: table.column(name)[rows] for name in names}
        kept, values = reduced(x[rows], columns, max(10, min(width, WIDEST)))
        series = {name: as_json(one) for name, one in values.items()}
        found.append({"name": group, "x": as_json_places(kept), "series": series, "rows": len(x)})
    return found


def axis_of(text: str | None) -> Axis:
    """Return the axis that a text names, that of epochs if none."""
    return "step" if text == "step" else "time" if text == "time" else "epoch"


def as_json_places(x: Any) -> list[float]:
    """Return places on an axis, exactly: epochs and steps may be long numbers."""
    return [round(value, 3) for value in np.nan_to_num(x).tolist()]


def _part(x: Any, begin: float | None, end: float | None) -> slice:
    """Return the rows of a part, with one on each side so that lines reach its edges."""
    first = 0 if begin is None else max(0, int(np.searchsorted(x, begin)) - 1)
    last = len(x) if end is None else int(np.searchsorted(x, end, side="right")) + 1
    return slice(first, max(first, last))


def _groups(table: Table) -> dict[str, list[str]]:
    """Return the columns by the metric that they are of, the learning rate last."""
    groups: dict[str, list[str]] = {}
    for name in table.names:
        groups.setdefault(name.removeprefix("val_"), []).append(name)
    return {name: sorted(groups[name], key=len) for name in sorted(groups, key=lambda one: (one == _RATE, one != "loss"))}


def _best(run: RunRecord) -> dict[str, Any] | None:
    """Return the best that callbacks compared, ``val_loss`` first; else the least ``val_loss`` or ``loss``."""
    if run.bests:
        name = "val_loss" if "val_loss" in run.bests else next(iter(run.bests))
        return {"monitor": name, "value": _plain(run.bests[name]["value"]), "epoch": run.bests[name]["epoch"]}
    for name in ("val_loss", "loss"):
        values = run.epochs.column(name)
        if len(values) and np.isfinite(values).any():
            row = int(np.nanargmin(np.where(np.isfinite(values), values, np.inf)))
            return {"monitor": name, "value": float(values[row]), "epoch": int(run.epochs.places[row])}
    return None


def _pace(table: Table) -> float | None:
    """Return the steps per second of the last minute or so that was recorded."""
    rows = len(table)
    if rows < 2:
        return None
    first = max(0, rows - 100)
    seconds = table.times[-1] - table.times[first]
    return (table.places[-1] - table.places[first]) / seconds if seconds > 0 else None


def _seconds_per_epoch(run: RunRecord) -> float | None:
    if len(run.epochs) >= 2:
        first = max(0, len(run.epochs) - 10)
        seconds = (run.epochs.times[-1] - run.epochs.times[first]) / (len(run.epochs) - 1 - first)
        return seconds if math.isfinite(seconds) else None
    return next(iter(run.seconds.values()), None)


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
