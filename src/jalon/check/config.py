"""Callbacks and facts of a training from a file of TOML or JSON, to be checked without a program."""

from __future__ import annotations

import importlib
import json
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import jalon.callbacks
from jalon.check.checking import check
from jalon.check.finding import Findings
from jalon.errors import ArgumentError, UnknownName

SUFFIXES = (".toml", ".json")
FACTS = ("epochs", "steps", "metrics", "validation", "validation_freq", "learning_rate", "history")


def check_config(path: Path, *, ignore: Collection[str] = ()) -> Findings:
    """Say what is wrong with callbacks that a file lists.

    The file has the arguments of :func:`jalon.check`, and the callbacks as ``callbacks``: of each the ``class``, by its name in
    ``jalon.callbacks`` or as ``"module:Class"``, and its arguments.

    Args:
        path: A file of TOML or JSON.
        ignore: Codes of warnings that are not to be said.

    Raises:
        ArgumentError: The file is no such configuration, or a callback refuses its arguments.
    """
    content = _read(path)
    facts = {name: value for name, value in content.items() if name != "callbacks"}
    for name in facts:
        if name not in FACTS:
            raise UnknownName("fact", name, [*FACTS, "callbacks"], where=f"jalon check: {path}")
    return check([_built(one, path) for one in content.get("callbacks", [])], ignore=ignore, **facts)


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        content: Any = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as exc:
        raise ArgumentError(f"jalon check: {path} cannot be read: {exc}.") from exc
    if not isinstance(content, dict) or not isinstance(content.get("callbacks", []), list):
        raise ArgumentError(f"jalon check: {path} must hold facts by name, and a list of callbacks.")
    return content


def _built(described: Any, path: Path) -> Any:
    if not isinstance(described, Mapping) or not isinstance(described.get("class"), str):
        # Not the values, among which may be the address of a service, with its token.
        received = f"one with {', '.join(described)}" if isinstance(described, Mapping) else type(described).__name__
        raise ArgumentError(f"jalon check: {path}: each callback needs a class, as EarlyStopping. Received: {received}.")
    arguments = {name: value for name, value in described.items() if name != "class"}
    kind = _class_of(described["class"], path)
    try:
        return kind(**arguments)
    except TypeError as exc:
        raise ArgumentError(f"jalon check: {path}: {described['class']}: {exc}.") from exc


def _class_of(name: str, path: Path) -> Any:
    module, _, attribute = name.rpartition(":")
    if not module:
        known = dir(jalon.callbacks)
        if name not in known:
            raise UnknownName("class", name, known, where=f"jalon check: {path}")
        return getattr(jalon.callbacks, name)
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as exc:
        raise ArgumentError(f"jalon check: {path}: {name} cannot be loaded: {exc}.") from exc
