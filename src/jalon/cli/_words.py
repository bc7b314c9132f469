"""How what files say of themselves is told: names of facts, and values in words.

Epochs and batches are counted from 0 in files, and from 1 here, as where progress is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

LABELS = {
    "bests": "best so far",
    "callbacks": "callbacks with state",
    "fingerprint": "what is trained",
    "id": "run",
    "stop_reason": "why it stopped",
    "tags": "curves",
    "transforms": "data prepared by",
    "written_at": "written",
}
"""The names of facts that are called otherwise than in the file."""


def facts(about: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield name and value of what a file or a snapshot says of itself.

    Args:
        about: What it says, as JSON values.
    """
    for key, value in about.items():
        if value is None:
            continue
        if key == "epoch" and "finished" in about:
            yield position(about)
        elif not (key == "batch" and "finished" in about):
            yield LABELS.get(key, key), _WORDS.get(key, plainly)(value)


def position(about: Mapping[str, Any]) -> tuple[str, str]:
    """Return where a training goes on, or how far it came.

    Args:
        about: What a snapshot says of itself.
    """
    epoch, batch = about["epoch"], about.get("batch", 0)
    if about["finished"]:
        return "trained", f"{epoch:,} epochs"
    return "goes on with", f"epoch {epoch + 1:,}" + (f", batch {batch + 1:,}" if batch else "")


def plainly(value: Any) -> str:
    """Return a value in words, whatever it is.

    Args:
        value: A JSON value.
    """
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {plainly(one)}" for name, one in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(plainly, value)) or "none"
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def kept(value: Any) -> str:
    """Return what plain data has in it, without the values.

    Args:
        value: Plain data.
    """
    if isinstance(value, Mapping):
        return ", ".join(map(str, value)) or "none"
    return f"{len(value):,} values" if isinstance(value, (list, tuple)) or hasattr(value, "shape") else plainly(value)


def size(number: int) -> str:
    """Return a number of bytes in the unit in which it has one to three digits before the point.

    Args:
        number: The bytes.

    Example:
        >>> size(999), size(16_384), size(2_500_000_000)
        ('999 B', '16.4 kB', '2.5 GB')
    """
    told, unit = float(number), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if told < 1000:
            break
        told, unit = told / 1000, larger
    return f"{number} B" if unit == "B" else f"{told:.1f} {unit}"


def date(moment: datetime) -> str:
    """Return a moment in words.

    Args:
        moment: The moment, in any time zone.
    """
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


# ---- one fact each ---------------------------------------------------------------------------------------------------


def _ordinal(value: Any) -> str:
    return f"{value + 1:,}" if isinstance(value, int) else plainly(value)


def _date(value: Any) -> str:
    with suppress(ValueError, TypeError):
        return date(datetime.fromisoformat(value))
    return plainly(value)


def _bests(value: Any) -> str:
    told = []
    for best in value:
        where = f", {best['path']}" if best.get("path") else ""
        told.append(f"{best['monitor']} {plainly(best['value'])} in epoch {_ordinal(best['epoch'])}{where}")
    return "; ".join(told) or "none"


def _transforms(value: Any) -> str:
    return ", ".join(str(one.get("class", "")).rpartition(".")[2] for one in value) or "none"


def _curves(value: Any) -> str:
    told = (f"{tag} ({one['points']:,} up to step {one['last_step']:,})" for tag, one in value.items())
    return ", ".join(told) or "none"


def _robust(tell: Callable[[Any], str]) -> Callable[[Any], str]:
    """Return what tells a value in its words, or plainly where a file has something else under that name."""

    def told(value: Any) -> str:
        with suppress(KeyError, TypeError, AttributeError, ValueError):
            return tell(value)
        return plainly(value)

    return told


_WORDS: dict[str, Callable[[Any], str]] = {
    "epoch": _ordinal,
    "batch": _ordinal,
    "written_at": _date,
    "bests": _robust(_bests),
    "transforms": _robust(_transforms),
    "tags": _robust(_curves),
    "files": _robust(lambda value: ", ".join(f"{name} ({size(one['bytes'])})" for name, one in value.items())),
    "history": _robust(lambda value: f"{value['rows']:,} epochs"),
    "versions": _robust(lambda value: ", ".join(f"{name} {one}" for name, one in value.items())),
}
