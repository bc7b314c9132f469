"""Policies: lists of callbacks that differ in what their options are, written as Python calls or as mappings."""

from __future__ import annotations

import ast
import inspect
import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jalon.callbacks
from jalon.errors import ArgumentError, UnknownName

MOST = 1_000_000
"""How many policies a grid may have."""
_BASES = ("Callback", "CallbackList", "MonitorCallback")
_WHO = "jalon replay"
_HOW = "Write a call, as 'EarlyStopping(monitor=\"val_loss\", patience=5)'; values are literals."


@dataclass(frozen=True, slots=True)
class Family:
    """Is a callback with options, of which some may have several values to try.

    Args:
        kind: The callback's class.
        fixed: The options that have one value.
        choices: The options that have several.
    """

    kind: type[Any]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    choices: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def make(self, chosen: Mapping[str, Any] | None = None) -> Any:
        """Return a callback.

        Args:
            chosen: The value of each option that has several.

        Raises:
            JalonError: The class refuses them.
        """
        return self.kind(**self.fixed, **(chosen or {}))


@dataclass(frozen=True, slots=True)
class Policy:
    """Is one choice from families of callbacks.

    Args:
        families: The families.
        chosen: For each of them, the value of each option that has several.
    """

    families: tuple[Family, ...]
    chosen: tuple[Mapping[str, Any], ...]

    def callbacks(self) -> list[Any]:
        """Return new callbacks that follow it."""
        return [family.make(chosen) for family, chosen in zip(self.families, self.chosen, strict=True)]

    def __str__(self) -> str:
        names = [name for chosen in self.chosen for name in chosen]
        told = [
            f"{name if names.count(name) == 1 else f'{family.kind.__name__}.{name}'}={_shown(value)}"
            for family, chosen in zip(self.families, self.chosen, strict=True)
            for name, value in chosen.items()
        ]
        return ", ".join(told) or "as given"


def families_of(policies: Mapping[Any, Mapping[str, Any]]) -> list[Family]:
    """Return the families that a mapping describes: by class or name, its options; of a list or a range, each value is tried.

    Args:
        policies: The mapping.

    Raises:
        ArgumentError: It describes none.
    """
    found = []
    for kind, options in policies.items():
        several = {name: list(value) for name, value in options.items() if isinstance(value, (list, range))}
        empty = next((name for name, values in several.items() if not values), None)
        if empty is not None:
            raise ArgumentError(f"replay_grid: there is no value to try. Received: {empty}=[]. Give one, or leave it out.")
        single = {name: value for name, value in options.items() if name not in several}
        found.append(Family(class_named(kind) if isinstance(kind, str) else kind, single, several))
    return found


def expand(families: Sequence[Family], *, sample: int | None = None, seed: int = 0) -> list[Policy]:
    """Return every combination of the values to try, or random ones.

    Args:
        families: The families.
        sample: How many to draw at random, in place of all.
        seed: Of the drawing.

    Raises:
        ArgumentError: There are too many.
    """
    options = [(place, name, values) for place, family in enumerate(families) for name, values in family.choices.items()]
    size = 1
    for _, _, values in options:
        size *= len(values)
    if sample is None and size > MOST:
        raise ArgumentError(f"replay_grid: the grid has {size:,} policies, more than {MOST:,}. Draw some, as with sample=10_000.")
    combinations = itertools.product(*(values for *_, values in options)) if sample is None else _drawn(options, sample, seed)
    return [_policy(families, options, combination) for combination in combinations]


def _drawn(options: Sequence[tuple[int, str, Sequence[Any]]], sample: int, seed: int) -> Iterator[tuple[Any, ...]]:
    rng = random.Random(seed)
    for _ in range(sample):
        yield tuple(rng.choice(values) for *_, values in options)


def _policy(families: Sequence[Family], options: Sequence[tuple[int, str, Any]], combination: Sequence[Any]) -> Policy:
    chosen: tuple[dict[str, Any], ...] = tuple({} for _ in families)
    for (place, name, _), value in zip(options, combination, strict=True):
        chosen[place][name] = value
    return Policy(tuple(families), chosen)


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else repr(value)


# ---- calls as texts --------------------------------------------------------------------------------------------------


def parse(expression: str, *, choices: bool = False) -> Family:
    """Return the family that a Python call describes, without running it: a class of ``jalon.callbacks``, and literals.

    Args:
        expression: The call.
        choices: Whether a list or a ``range`` stands for values to try.

    Raises:
        ArgumentError: It is something else.

    Example:
        >>> parse("EarlyStopping('loss', patience=5)").make().patience
        5
        >>> parse("EarlyStopping(patience=range(2, 5))", choices=True).choices
        {'patience': [2, 3, 4]}
    """
    try:
        call = ast.parse(expression.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as exc:
        raise ArgumentError(f"{_WHO}: {expression!r} is no Python expression: {exc}. {_HOW}") from exc
    if isinstance(call, ast.Name):
        call = ast.Call(call, [], [])
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        raise ArgumentError(f"{_WHO}: {expression!r} does not call a callback. {_HOW}")
    kind = class_named(call.func.id)
    if any(isinstance(one, ast.Starred) for one in call.args) or any(one.arg is None for one in call.keywords):
        raise ArgumentError(f"{_WHO}: {expression!r} has stars, which stand for what is known only when it runs. {_HOW}")
    given = [_value(one, expression) for one in call.args]
    named = {str(one.arg): _value(one.value, expression) for one in call.keywords}
    try:
        options = {**inspect.signature(kind).bind_partial(*given).arguments, **named}
    except TypeError as exc:
        raise ArgumentError(f"{_WHO}: {expression!r}: {exc}. {_HOW}") from exc
    if choices:
        return families_of({kind: options})[0]
    return Family(kind, {name: list(value) if isinstance(value, range) else value for name, value in options.items()})


def class_named(name: str) -> type[Any]:
    """Return a callback's class.

    Args:
        name: Its name in ``jalon.callbacks``.

    Raises:
        UnknownName: There is none of this name.
    """
    known = [one for one in dir(jalon.callbacks) if one not in _BASES]
    if name not in known:
        raise UnknownName("callback", name, known, where=_WHO)
    kind: type[Any] = getattr(jalon.callbacks, name)
    return kind


def _value(node: ast.expr, expression: str) -> Any:
    """Return a literal, or a range of whole numbers.

    Raises:
        ArgumentError: It is something else.
    """
    try:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range" and not node.keywords:
            return range(*(ast.literal_eval(one) for one in node.args))
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as exc:
        raise ArgumentError(f"{_WHO}: {ast.unparse(node)} in {expression!r} is no literal. {_HOW}") from exc
