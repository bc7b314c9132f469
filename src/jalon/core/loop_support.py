"""LoopSupport: which hooks and features a loop gives to callbacks, as data, and what is said of the rest."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from jalon.core.hooks import HOOKS, implementation
from jalon.core.transform import Transform
from jalon.errors import ArgumentError, HookNotReached


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

    def check(self, callbacks: Iterable[Any]) -> None:
        """Say at the start what callbacks will not be told here, by name.

        Raises:
            ArgumentError: A callback prepares batches, and nobody here would ask it to.
        """
        for callback in callbacks:
            name = type(callback).__name__
            if isinstance(callback, Transform) and not self.transforms:
                raise ArgumentError(
                    f"callbacks: {name} prepares batches, which {self.loop} does not let callbacks do. "
                    f"{self.lacks.get('Transform', 'Prepare the data before it is given to the loop.')}"
                )
            missed = [hook for hook in HOOKS if hook not in self.hooks and self._is_missed(callback, hook)]
            if missed:
                remedies = dict.fromkeys(self.lacks[hook] for hook in missed if hook in self.lacks)
                warnings.warn(
                    f"{name} overrides {', '.join(missed)}, never reached under {self.loop}. {' '.join(remedies)}".rstrip(),
                    HookNotReached,
                    stacklevel=3,
                )

    @staticmethod
    def _is_missed(callback: Any, hook: str) -> bool:
        return hook not in getattr(callback, "optional_hooks", ()) and implementation(callback, hook) is not None
