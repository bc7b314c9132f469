"""Rule: one mistake that can be seen before the first step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from jalon.check.finding import Finding, Severity
from jalon.check.setup import Setup
from jalon.errors import ArgumentError, UnknownName


@dataclass(frozen=True, slots=True)
class Said:
    """Is what a rule says of a callback.

    Args:
        who: The callback, or its name.
        message: What is wrong, in a sentence.
        remedy: What to do about it.
        numbers: What the sentence is about, by name.
    """

    who: Any
    message: str
    remedy: str
    numbers: dict[str, Any] = field(default_factory=dict)


def said(who: Any, message: str, remedy: str, /, **numbers: Any) -> Said:
    """Return what a rule says, with the numbers it is about by name."""
    return Said(who, message, remedy, numbers)


Look = Callable[[Setup], Iterable[Said]]


@dataclass(frozen=True, slots=True)
class Rule:
    """Is one mistake that can be seen before the first step.

    Args:
        code: Its name: ``JAL`` and a number, the first digit of which is the family's.
        severity: ``"error"`` where training would fail or do damage; it cannot be silenced.
        title: The mistake, in a few words.
        begins: Whether it is said when training begins, too. What depends on how long or how often is said when asked
            for alone, so that a short trial run is not scolded; what a callback refuses by itself is refused there.
        look: Says it of each callback that makes the mistake.
    """

    code: str
    severity: Severity
    title: str
    begins: bool
    look: Look

    def findings(self, setup: Setup) -> Iterator[Finding]:
        """Yield what it finds."""
        for one in self.look(setup):
            who = one.who if isinstance(one.who, str) else setup.label(one.who)
            yield Finding(self.code, self.severity, who, one.message, one.remedy, one.numbers)


RULES: dict[str, Rule] = {}
"""Every rule by its code."""


def rule(code: str, severity: Severity, title: str, *, begins: bool = False) -> Callable[[Look], Look]:
    """Make a rule of a function that looks at a setup.

    Args:
        code: Its code, used once.
        severity: How bad the mistake is.
        title: The mistake, in a few words.
        begins: Whether it is said when training begins, too.
    """

    def register(look: Look) -> Look:
        if code in RULES:
            raise RuntimeError(f"Two rules have the code {code}: {RULES[code].title!r} and {title!r}.")
        RULES[code] = Rule(code, severity, title, begins, look)
        return look

    return register


def silenced(codes: Iterable[str], *, where: str) -> frozenset[str]:
    """Return codes of warnings that are not to be said.

    Args:
        codes: The codes, or one of them.
        where: Who asks, for messages.

    Raises:
        UnknownName: A code that no rule has.
        ArgumentError: The code of an error.
    """
    names = frozenset([codes] if isinstance(codes, str) else codes)
    for name in sorted(names):
        if name not in RULES:
            raise UnknownName("code", name, RULES, where=where)
        if RULES[name].severity == "error":
            raise ArgumentError(
                f"{where}: {name} is an error, and errors cannot be silenced. Received: ignore={sorted(names)!r}."
            )
    return names
