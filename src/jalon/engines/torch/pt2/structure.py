"""Structure: how the inputs or the outputs of a program are nested."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct
from torch import Tensor

from jalon.engines.torch.formats import Refused

_DICTS = ("builtins.dict", "collections.OrderedDict")
_KINDS: dict[str, type] = {"builtins.tuple": tuple, "builtins.list": list}


class Misfit(Exception):
    """Says that a value is nested in another way."""


class Structure(Struct):
    """Is a tuple, a list or a dict of others, or a single value.

    Args:
        type: The name of the container's class; ``None`` for a single value.
        context: A dict's keys, as JSON.
        children_spec: What is in it.
    """

    type: str | None
    context: str | None
    children_spec: list[Structure]

    def flat(self, value: Any) -> Iterator[Tensor]:
        """Yield the tensors of a value that is nested like this.

        Raises:
            Misfit: It is nested in another way, or of something else.
        """
        if self.type is None:
            if not isinstance(value, Tensor):
                raise Misfit
            yield value
            return
        if self.type in _DICTS:
            if not isinstance(value, dict) or value.keys() != set(self.keys):
                raise Misfit
            children = [value[key] for key in self.keys]
        elif isinstance(value, (tuple, list)) and len(value) == len(self.children_spec):
            children = list(value)
        else:
            raise Misfit
        for structure, child in zip(self.children_spec, children, strict=True):
            yield from structure.flat(child)

    def nested(self, values: Iterator[Any]) -> Any:
        """Return single values nested like this."""
        if self.type is None:
            return next(values)
        children = [structure.nested(values) for structure in self.children_spec]
        if self.type in _DICTS:
            return dict(zip(self.keys, children, strict=True))
        return _KINDS[self.type](children)

    @property
    def size(self) -> int:
        """How many single values are in it."""
        return 1 if self.type is None else sum(child.size for child in self.children_spec)

    @property
    def keys(self) -> list[str]:
        """The keys of a dict."""
        return msgspec.json.decode(self.context or "[]", type=list[str])

    def __str__(self) -> str:
        if self.type is None:
            return "x"
        children = [str(child) for child in self.children_spec]
        if self.type in _DICTS:
            return "{" + ", ".join(f"{key}: {child}" for key, child in zip(self.keys, children, strict=True)) + "}"
        return "(" + ", ".join(children) + ")"


def read_structure(text: str) -> Structure:
    """Return a structure from ``torch.export``'s text of it.

    Raises:
        Refused: It is of another version, or nested in something else than tuples, lists and dicts.
    """
    version, content = msgspec.json.decode(text, type=tuple[int, msgspec.Raw])
    if version != 1:
        raise Refused(f"describes inputs and outputs in another way ({version}; 1 is read)")
    structure = msgspec.json.decode(content, type=Structure)
    _refuse_others(structure)
    return structure


def _refuse_others(structure: Structure) -> None:
    if structure.type is not None and structure.type not in (*_KINDS, *_DICTS):
        raise Refused(f"takes or returns a {structure.type}; tuples, lists and dicts of tensors can be read")
    if structure.type in _DICTS and len(structure.keys) != len(structure.children_spec):
        raise Refused("is damaged: a dict in it has another number of keys than of values")
    for child in structure.children_spec:
        _refuse_others(child)
