"""``jalon inspect``: show what is in a checkpoint, a snapshot, a log or a folder of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from jalon.cli._screen import Screen
from jalon.cli.contents.found import Array, Found
from jalon.cli.contents.search import search
from jalon.cli.verify import STYLES, as_json_of, told
from jalon.errors import ArgumentError

LABELS = {
    "bests": "best so far",
    "callbacks": "callbacks with state",
    "fingerprint": "what is trained",
    "id": "run",
    "learning_rate": "learning rate",
    "stop_reason": "why it stopped",
    "tags": "curves",
    "transforms": "data prepared by",
    "written_at": "written",
}
"""How what a file says of itself is called; anything else is shown under its own name."""

_SHOWN = 12
_LONGEST = 300


def inspect(
    path: Path,
    *,
    in_full: Annotated[bool, Parameter(name="--all", negative=())] = False,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """Show what is in a checkpoint, a snapshot, a log or a folder: weights, optimizer, what it was, whether it is whole.

    Nothing is changed, and no code in a file is run. The exit code is 0 where all is whole, 1 where something is damaged or
    cannot be checked, 2 where there is nothing to look at.

    Args:
        path: A file or a folder.
        in_full: Show long lists and texts in full.
        as_json: Show it as JSON, in full.
    """
    found = _found_at(path)
    screen = Screen()
    if as_json:
        screen.json([_as_json(one) for one in found])
    elif len(found) == 1 and found[0].path == path:
        _show(screen, found[0], in_full=in_full)
    else:
        screen.rows([(one.state, f"{one.path}  {_in_short(one)}") for one in found], styles=STYLES)
        for one in found:
            if one.resumes:
                screen.line()
                _show(screen, one, in_full=in_full)
    return 0 if all(one.is_sound for one in found) else 1


def _found_at(path: Path) -> list[Found]:
    """Return what there is at a path.

    Raises:
        ArgumentError: There is nothing.
    """
    if not path.exists():
        raise ArgumentError(f"jalon inspect: {path} is not there.")
    found = list(search(path))
    if not found:
        raise ArgumentError(f"jalon inspect: {path} {'holds' if path.is_dir() else 'is'} nothing that jalon writes.")
    return found


def _as_json(found: Found) -> dict[str, Any]:
    arrays = [
        {"name": one.name, "shape": one.shape, "dtype": one.dtype, "values": one.values, "bytes": one.size}
        for one in found.arrays
    ]
    parts = [_as_json(one) for one in _parts(found)]
    return as_json_of(found) | {"about": found.facts, "weights": arrays, "optimizer": found.optimizer, "parts": parts}


def _parts(found: Found) -> Iterator[Found]:
    """Yield what the files of a whole snapshot hold."""
    if found.kind == "snapshot" and found.state == "whole":
        yield from (part for name in found.facts["files"] for part in search(found.path / name))


def _in_short(found: Found) -> str:
    """Return a line: what is wrong, or what it is and the values that tell it from its neighbours."""
    if found.state != "whole":
        return told(found)
    values = [f"{key} {_said(key, found.facts[key])}" for key in ("epoch", "batch", "records", "rows") if key in found.facts]
    if "monitor" in found.facts and "value" in found.facts:
        values.append(f"{found.facts['monitor']} {_said('value', found.facts['value'])}")
    return "; ".join([found.kind, *values, *filter(None, [found.note])])


def _show(screen: Screen, found: Found, *, in_full: bool) -> None:
    """Show one thing: what it is, what it says of itself, its arrays."""
    screen.line(str(found.path), style="bold")
    rows = [("what it is", found.kind), ("state", found.state), *_troubles(found), *_facts(found, in_full=in_full)]
    screen.rows(rows, styles=STYLES)
    _show_arrays(screen, found.arrays, in_full=in_full)
    for part in _parts(found):
        screen.line()
        _show(screen, part, in_full=in_full)


def _troubles(found: Found) -> Iterator[tuple[str, str]]:
    for label, text in (("reason", found.reason), ("what to do", found.remedy), ("note", found.note)):
        if text is not None:
            yield label, text


def _facts(found: Found, *, in_full: bool) -> Iterator[tuple[str, str]]:
    for key, value in found.facts.items():
        text = _said(key, value)
        if len(text) > _LONGEST and not in_full:
            text = f"{text[:_LONGEST]}… (--all shows the rest)"
        yield LABELS.get(key, key), text
    if "written_at" not in found.facts and found.path.is_file():
        yield "last changed", _date(found.path.stat().st_mtime)
    if found.arrays:
        size = sum(one.size for one in found.arrays)
        yield "weights", f"{sum(one.values for one in found.arrays):,} values in {_number(found.arrays)}, {_bytes(size)}"
        yield "optimizer", "no" if found.optimizer is None else _optimizer(found.optimizer)


def _optimizer(told: Mapping[str, Any]) -> str:
    parts = [str(told["class"])] if told.get("class") else []
    parts += [f"step {told['step']:,}"] if "step" in told else []
    parts += [f"learning rate {_said('', told['learning_rate'])}"] if "learning_rate" in told else []
    parts += ["with an average of the weights"] if told.get("averages") else []
    return ", ".join([*parts, f"{told['tensors']:,} arrays, {_bytes(told['bytes'])}"])


def _show_arrays(screen: Screen, arrays: Sequence[Array], *, in_full: bool) -> None:
    if not arrays:
        return
    shown = arrays if in_full or len(arrays) <= _SHOWN else arrays[: _SHOWN - 2]
    rows = [(one.name, "×".join(map(str, one.shape)) or "one", one.dtype, f"{one.values:,}", _bytes(one.size)) for one in shown]
    screen.line()
    screen.rows(rows, head=("name", "shape", "type", "values", "size"), right=(3, 4), styles={})
    if len(shown) < len(arrays):
        screen.line(f"and {len(arrays) - len(shown):,} more: --all shows them")


# ---- words -----------------------------------------------------------------------------------------------------------


def _said(key: str, value: Any) -> str:
    """Return a value in words."""
    if key == "written_at" and isinstance(value, (int, float)):
        return _date(value)
    if key == "transforms" and isinstance(value, list):
        return ", ".join(str(one.get("class")).rpartition(".")[2] if isinstance(one, dict) else str(one) for one in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_said(name, one)}" for name, one in value.items()) or "nothing"
    if isinstance(value, (list, tuple)):
        return ", ".join(_said("", one) for one in value) or "none"
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _date(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _number(arrays: Sequence[Array]) -> str:
    return f"{len(arrays):,} array{'s' * (len(arrays) > 1)}"


def _bytes(size: int) -> str:
    """Return a size in the unit in which it has one to three digits before the point."""
    number, unit = float(size), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if number < 1000:
            break
        number, unit = number / 1000, larger
    return f"{size:,} bytes" if unit == "bytes" else f"{number:.1f} {unit}"
