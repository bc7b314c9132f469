"""Callbacks of other packages, which name them in the entry point group ``jalon.callbacks``."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

GROUP = "jalon.callbacks"


def names() -> set[str]:
    """Return the names of the callbacks that installed packages offer."""
    return set(entry_points(group=GROUP).names)


def load(name: str) -> Any:
    """Return a callback that an installed package offers.

    Args:
        name: Its name.

    Raises:
        AttributeError: There is none of this name, or several packages offer one.
    """
    offered = {point.value: point for point in entry_points(group=GROUP, name=name)}
    if not offered:
        raise AttributeError(f"module {GROUP!r} has no attribute {name!r}")
    if len(offered) > 1:
        raise AttributeError(
            f"{GROUP}.{name} is offered by several packages: {', '.join(sorted(map(_place, offered.values())))}. "
            "Import it from the one that is meant."
        )
    (point,) = offered.values()
    try:
        return point.load()
    except Exception as exc:
        exc.add_note(f"raised while {GROUP}.{name} was loaded, which is {_place(point)}")
        raise


def _place(point: EntryPoint) -> str:
    whose = "" if point.dist is None else f" of {point.dist.name}"
    return f"{point.value}{whose}"
