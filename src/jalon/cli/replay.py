"""``jalon replay``: say what callbacks would have done in trainings that were recorded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from jalon.cli._screen import Screen
from jalon.errors import ArgumentError
from jalon.replay import Replay
from jalon.replay.adapter import START_RATE
from jalon.replay.grid import replay_grid
from jalon.replay.grid_result import MARK, GridResult, in_short
from jalon.replay.policies import parse
from jalon.replay.replaying import replay as replayed

_STYLES = {"ends": "bold", "best kept": "bold", MARK: "yellow"}


def replay(
    *files: Path,
    callback: Annotated[tuple[str, ...], Parameter(name="--callback", negative=(), show_default=False)] = (),
    grid: Annotated[bool, Parameter(negative=())] = False,
    sample: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    seed: int = 0,
    metric: str | None = None,
    mode: Literal["auto", "min", "max"] = "auto",
    learning_rate: float = START_RATE,
    plot: Path | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """Say what callbacks would have done in trainings that were recorded: without a model, and without writing.

    A record is a run's folder or its journal.jsonl, a file of CSVLogger, an event file or a folder of such, Lightning's
    metrics.csv, or trainer_state.json of transformers.

    Args:
        files: The records: files or folders. With --grid all of them together.
        callback: A callback as Python writes it, with literals: 'EarlyStopping(monitor="val_loss", patience=5)'. Can be given
            several times.
        grid: Try every value of a list or a range: 'EarlyStopping(patience=range(2, 30), min_delta=[0, 0.001])'.
        sample: How many policies to draw at random from the grid, in place of all.
        seed: Of that drawing.
        metric: The metric by which to tell what is best. By default what the first callback monitors.
        mode: Whether less or more of it is better.
        learning_rate: The rate at the beginning, where a record tells none.
        plot: With --grid, a file for the picture, its suffix naming the format.
        as_json: Show it as JSON. Epochs are counted from 0 there.
    """
    _refuse_half_a_line(files, callback, of_grid=sample is not None or plot is not None, grid=grid)
    screen, families = Screen(), [parse(one, choices=grid) for one in callback]
    if grid:
        result = replay_grid(
            list(files), families, sample=sample, seed=seed, metric=metric, mode=mode, learning_rate=learning_rate
        )
        screen.json(_grid_as_json(result)) if as_json else _show_grid(screen, result)
        if plot is not None:
            result.plot(plot)
        return 0
    found = [
        replayed(file, [family.make() for family in families], metric=metric, mode=mode, learning_rate=learning_rate)
        for file in files
    ]
    screen.json([_as_json(one) for one in found]) if as_json else _show(screen, found)
    return 0


def _refuse_half_a_line(files: Sequence[Path], callbacks: Sequence[str], *, of_grid: bool, grid: bool) -> None:
    """Refuse a command line that lacks something.

    Raises:
        ArgumentError: It does.
    """
    if not files:
        raise ArgumentError("jalon replay: there is no record to replay. Name a file or a folder of a training.")
    if not callbacks:
        raise ArgumentError("jalon replay: there is no callback. Give one, as --callback 'EarlyStopping(patience=5)'.")
    if of_grid and not grid:
        raise ArgumentError("jalon replay: --sample and --plot are of a grid. Add --grid.")


def _show(screen: Screen, results: Sequence[Replay]) -> None:
    for place, one in enumerate(results):
        if place:
            screen.line()
        screen.rows(list(one.rows()), styles=_STYLES)


def _show_grid(screen: Screen, result: GridResult) -> None:
    for line in result.lines():
        screen.line(line)
    screen.line()
    head, rows = _without_empty(result.front_head, in_short(list(result.front_rows())))
    screen.rows(rows, head=head, right=range(1, 4), styles=_STYLES)
    choices = list(result.choice_rows())
    if choices:
        screen.line()
        screen.rows(choices, head=result.choice_head, right=(2, 3, 4), styles=_STYLES)
    screen.line()
    screen.line(result.choice_line(), style="bold")


def _without_empty(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> tuple[list[str], list[list[str]]]:
    columns = [column for column in zip(head, *rows, strict=True) if any(column)]
    lines = [list(line) for line in zip(*columns, strict=True)]
    return lines[0], lines[1:]


def _as_json(result: Replay) -> dict[str, Any]:
    return {
        "record": result.record.name,
        "epochs": result.epochs,
        "recorded": len(result.record.epochs),
        "stop": result.stop and {"epoch": result.stop.epoch, "reason": result.stop.reason, "left": result.stop.left},
        "rates": [{"epoch": one.epoch, "before": one.before, "after": one.after} for one in result.changes],
        "saves": [{"epoch": one.epoch, "path": one.path} for one in result.saves],
        "disk": {str(path): epoch for path, epoch in result.disk.items()},
        "in_memory": result.in_memory,
        "metric": result.metric,
        "kept": result.kept and {"epoch": result.kept.epoch, "value": result.kept.value},
        "best": result.best and {"epoch": result.best.epoch, "value": result.best.value},
        "cost": result.cost,
        "epochs_saved": result.epochs_saved,
        "seconds_saved": result.seconds_saved,
        "departs_at": result.departs_at,
        "notes": [*result.record.notes, *result.notes],
    }


def _grid_as_json(result: GridResult) -> dict[str, Any]:
    def told(policy: int) -> dict[str, Any]:
        return {
            "policy": {family.kind.__name__: chosen for family, chosen in zip(*_parts(result, policy), strict=True)},
            "epochs": result.epochs[policy].tolist(),
            "kept": result.kept[policy].tolist(),
            "values": result.values[policy].tolist(),
            "lost": result.lost[policy].tolist(),
            "decisions_only": bool(result.decisions_only[policy]),
        }

    return {
        "runs": list(result.names),
        "metric": result.metric,
        "policies": len(result.policies),
        "front": [told(policy) for policy in result.front()],
        "choice": told(result.choose()),
        "left_out": [told(policy) for policy in result.left_out()] if len(result.names) > 1 else [],
    }


def _parts(result: GridResult, policy: int) -> tuple[Any, Any]:
    return result.policies[policy].families, result.policies[policy].chosen
