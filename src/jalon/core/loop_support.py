"""LoopSupport: which hooks and features a loop gives to callbacks, as data, and what is said of the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from jalon.core.hooks import HOOKS, implementation
from jalon.core.transform import Transform
from jalon.errors import ArgumentError


@dataclass(frozen=True, slots=True)
class LoopSupport:
    """Is what callbacks get under one loop.

    Args:
        loop: The loop's name, as users write it.
        hooks: For each hook that is reached, the moment in that loop's own words.
        logs: For each of these hooks that has something to tell, what its ``logs`` hold.
        lacks: What cannot be had there, and what to do instead; by hook, or by the feature's name.
        transforms: Whether a ``Transform`` can prepare its batches.
    """

    loop: str
    hooks: Mapping[str, str]
    logs: Mapping[str, str]
    lacks: Mapping[str, str] = field(default_factory=dict)
    transforms: bool = False

    def refuse(self, callbacks: Iterable[Any]) -> None:
        """Refuse a callback that prepares batches, where nobody would ask it to.

        Raises:
            ArgumentError: It names the callback.
        """
        for callback in callbacks if not self.transforms else ():
            if isinstance(callback, Transform):
                raise ArgumentError(
                    f"callbacks: {type(callback).__name__} prepares batches, which {self.loop} does not let callbacks do. "
                    f"{self.lacks.get('Transform', 'Prepare the data before it is given to the loop.')}"
                )

    def missed_by(self, callback: Any) -> list[str]:
        """Return the hooks in which a callback takes part and which are never reached."""
        optional = getattr(callback, "optional_hooks", ())
        unreached = (hook for hook in HOOKS if hook not in self.hooks and hook not in optional)
        return [hook for hook in unreached if implementation(callback, hook) is not None]
