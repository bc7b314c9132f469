"""TensorBoard's event files: the curves of a run, put together by epoch."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from pathlib import Path

from jalon.errors import ArgumentError
from jalon.replay.record import Gathered, Record
from jalon.store.event_records import Point, event_files, points, runs

_TRAIN, _VALIDATION = "train", "validation"
_EPOCH = "epoch_"

Curves = dict[str, dict[int, Point]]
"""By the metric's name, its last point of each step."""


def is_in(folder: Path) -> bool:
    """Return whether there are event files in a folder, or in folders in it.

    Args:
        folder: The folder.
    """
    return bool(runs(folder))


def read(path: Path) -> Record:
    """Return the record in an event file, or in a folder of such.

    Where Keras or jalon wrote it, the curves are those by epoch, as ``epoch_loss``, and those of ``validation`` have
    ``val_`` before their names. Otherwise curves are taken under their own names: by the epochs that a curve named
    ``epoch`` tells, as Lightning writes it, and else by their steps.

    Args:
        path: The file or folder.

    Raises:
        ArgumentError: There are several runs in the folder.
    """
    gathered = Gathered(str(path))
    curves = _curves_of(path)
    if any(name.startswith((_EPOCH, f"val_{_EPOCH}")) for name in curves):
        curves = {_without_prefix(name): curve for name, curve in curves.items() if _EPOCH in name[: len(f"val_{_EPOCH}")]}
        _by_step(gathered, curves)
        gathered.rates_at_end = True
    elif "epoch" in curves:
        _by_epoch(gathered, curves)
    else:
        _by_step(gathered, curves)
        _count(gathered)
    return gathered.record()


def _curves_of(path: Path) -> Curves:
    """Return the curves of a run, those of its validation with ``val_`` before their names."""
    if path.is_file():
        beside = path.parent.parent / _VALIDATION
        if path.parent.name == _TRAIN and beside.is_dir():
            return _curves(points_of=path) | _curves(points_of=beside, prefix="val_")
        return _curves(points_of=path)
    parts = runs(path)
    if parts.keys() <= {_TRAIN, _VALIDATION}:
        return _curves(points_of=path / _TRAIN) | _curves(points_of=path / _VALIDATION, prefix="val_")
    if "." in parts or len(parts) == 1:
        return _curves(points_of=path if "." in parts else path / next(iter(parts)))
    raise ArgumentError(f"replay: {path} holds several runs: {', '.join(parts)}. Name the folder of one.")


def _curves(*, points_of: Path, prefix: str = "") -> Curves:
    curves: Curves = defaultdict(dict)
    if points_of.is_file() or (points_of.is_dir() and event_files(points_of)):
        for point in points(points_of):
            curves[prefix + point.tag][point.step] = point
    return curves


def _without_prefix(name: str) -> str:
    return f"val_{name[4 + len(_EPOCH) :]}" if name.startswith("val_") else name.removeprefix(_EPOCH)


def _by_step(gathered: Gathered, curves: Curves) -> None:
    """Gather each step as an epoch, which took as long as what it wrote first came after the same of the one before."""
    for name, curve in curves.items():
        for step, point in curve.items():
            gathered.add(step, {name: point.value})
    first = next(iter(curves.values()), {})
    steps = sorted(first)
    for before, step in pairwise(steps):
        seconds = first[step].wall_time - first[before].wall_time
        if seconds >= 0:
            gathered.seconds[step] = seconds


def _by_epoch(gathered: Gathered, curves: Curves) -> None:
    """Gather by the epochs that a curve of their numbers tells: of each, the last value of every curve."""
    epoch_at = {step: int(point.value) for step, point in curves.pop("epoch").items()}
    for name, curve in curves.items():
        for step, point in sorted(curve.items()):
            if step in epoch_at:
                gathered.add(epoch_at[step], {name: point.value})


def _count(gathered: Gathered) -> None:
    """Number the steps as epochs, where they are not numbers of epochs already."""
    steps = sorted(gathered.rows)
    if steps == list(range(len(steps))) or not steps:
        return
    gathered.rows = {place: gathered.rows[step] for place, step in enumerate(steps)}
    gathered.seconds = {place: gathered.seconds[step] for place, step in enumerate(steps) if step in gathered.seconds}
    gathered.notes.append(f"its steps, {steps[0]:,} to {steps[-1]:,}, are counted as epochs 1 to {len(steps):,}")
