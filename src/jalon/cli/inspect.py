"""``jalon inspect``: show what is in a checkpoint, a snapshot, a log or a folder of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from jalon.cli import _words
from jalon.cli._screen import Screen
from jalon.cli.contents.found import Array, Found
from jalon.cli.contents.search import search
from jalon.cli.verify import STYLES, as_json_of, told
from jalon.errors import ArgumentError

_SHOWN = 12
_LONGEST = 300
_IN_SHORT = ("epoch", "batch", "records", "rows")


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
        as_json: Show it as JSON, in full. Epochs and batches are counted from 0 there, as in the files.
    """
    found = _found_at(path)
    screen = Screen()
    if as_json:
        screen.json([_as_json(one) for one in found])
    elif len(found) == 1:
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
    weights = [asdict(one) | {"parameters": one.parameters} for one in found.arrays]
    parts = [_as_json(one) for one in _parts(found)]
    return as_json_of(found) | {"about": found.facts, "weights": weights, "optimizer": found.optimizer, "parts": parts}


def _parts(found: Found) -> Iterator[Found]:
    """Yield what the files of a whole snapshot hold, without what the snapshot says of itself too."""
    if found.kind != "snapshot" or found.state != "whole":
        return
    for name in found.facts["files"]:
        for part in search(found.path / name):
            part.note = None  # the manifest has the checksums
            part.facts = {key: value for key, value in part.facts.items() if key not in found.facts}
            yield part


def _in_short(found: Found) -> str:
    """Return a line: what is wrong, or what it is and the values that tell it from its neighbours."""
    if found.state != "whole":
        return told(found)
    chosen = {key: found.facts[key] for key in (*_IN_SHORT, "finished") if key in found.facts}
    values = [f"{name} {value}" for name, value in _words.facts(chosen) if name != "finished"]
    if {"monitor", "value"} <= found.facts.keys():
        values.append(f"{found.facts['monitor']} {_words.plainly(found.facts['value'])}")
    return "; ".join([found.kind, *values, *filter(None, [found.note])])


# ---- one thing in detail ---------------------------------------------------------------------------------------------


def _show(screen: Screen, found: Found, *, in_full: bool) -> None:
    screen.line(str(found.path), style="bold")
    troubles = {"reason": found.reason, "what to do": found.remedy, "note": found.note}
    rows = [("what it is", found.kind), ("state", found.state)]
    rows += [(label, text) for label, text in troubles.items() if text is not None]
    rows += [(label, text if in_full else _shortened(text)) for label, text in _facts(found)]
    screen.rows(rows, styles=STYLES)
    _show_arrays(screen, found.arrays, in_full=in_full)
    for part in _parts(found):
        screen.line()
        _show(screen, part, in_full=in_full)


def _facts(found: Found) -> Iterator[tuple[str, str]]:
    if found.kind == "plain data":
        yield from ((_words.LABELS.get(key, key), _words.kept(value)) for key, value in found.facts.items())
        return
    yield from _words.facts(found.facts)
    if "written_at" not in found.facts and found.path.is_file():
        yield "last changed", _words.date(datetime.fromtimestamp(found.path.stat().st_mtime, UTC))
    if found.arrays:
        parameters, size = sum(one.parameters for one in found.arrays), sum(one.bytes for one in found.arrays)
        yield "weights", f"{parameters:,} parameters in {_number(len(found.arrays))}, {_words.size(size)}"
        yield "optimizer", "no" if found.optimizer is None else _optimizer(found.optimizer)


def _optimizer(state: Mapping[str, Any]) -> str:
    parts = [str(state["class"])] if state.get("class") else []
    parts += [f"step {state['step']:,}"] if "step" in state else []
    parts += [f"learning rate {_words.plainly(state['learning_rate'])}"] if "learning_rate" in state else []
    parts += ["with an average of the weights"] if state.get("averages") else []
    return ", ".join([*parts, _number(state["tensors"]), _words.size(state["bytes"])])


def _show_arrays(screen: Screen, arrays: Sequence[Array], *, in_full: bool) -> None:
    if not arrays:
        return
    shown = arrays if in_full or len(arrays) <= _SHOWN else arrays[: _SHOWN - 2]
    rows = [
        (one.name, "×".join(map(str, one.shape)) or "one", one.dtype, f"{one.parameters:,}", _words.size(one.bytes))
        for one in shown
    ]
    screen.line()
    screen.rows(rows, head=("name", "shape", "type", "parameters", "size"), right=(3, 4), styles={})
    if len(shown) < len(arrays):
        screen.line(f"and {len(arrays) - len(shown):,} more: --all shows them")


def _number(tensors: int) -> str:
    return f"{tensors:,} tensor{'' if tensors == 1 else 's'}"


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… (--all shows the rest)"
