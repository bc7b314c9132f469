"""What a power cut may leave on a disk: the log of a process's file calls, replayed on a disk that lies as far as it may.

The model is pessimistic. Until a file is synced, each write to it may be lost, done, torn, or garbage in the place of what was
written. Until a folder is synced, each name made, changed or removed in it may be lost or done, in any combination. A file's
sync makes its content last, not its name; a folder's sync its names, not what is in the files. What is synced stays.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Literal

SECTOR = 512
EXHAUSTIVE = 8
"""Up to so many calls that are not synced, all combinations are tried; of more, a sample."""

How = Literal["lost", "done", "torn", "garbage"]


@dataclass(frozen=True, slots=True)
class Call:
    """Is a line of the log.

    Args:
        kind: What was called; ``mark`` is a word of the program's.
        path: On what, or the word.
        to: The new name of a ``rename``.
        offset: Where a write begins, or the length that a ``truncate`` leaves.
        data: What was written.
    """

    kind: str
    path: str
    to: str
    offset: int
    data: bytes


def read_log(path: Path) -> list[Call]:
    """Return the calls that succeeded, in order; of a log that is being written, up to its last whole line."""
    content, at, calls = path.read_bytes(), 0, []
    while (end := content.find(b"\n", at)) >= 0:
        kind, result, offset, length, first, second = content[at:end].decode().split("\t")
        at = end + 1 + int(length)
        if int(result) >= 0:
            calls.append(Call(kind, first, second, int(offset), content[end + 1 : at]))
    return calls


# ---- the disk --------------------------------------------------------------------------------------------------------------


@dataclass(eq=False, slots=True)
class File:
    """Is a file, whatever its names."""

    content: bytearray = field(default_factory=bytearray)


@dataclass(eq=False, slots=True)
class Folder:
    """Is a folder with its names."""

    names: dict[str, File | Folder] = field(default_factory=dict)


Node = File | Folder


@dataclass(frozen=True, eq=False, slots=True)
class Write:
    """Is a change of a file's content; without data its length is set to ``offset``."""

    node: File
    offset: int
    data: bytes | None

    @property
    def ways(self) -> tuple[How, ...]:
        return ("lost", "done") if self.data is None else ("lost", "done", "torn", "garbage")


@dataclass(frozen=True, eq=False, slots=True)
class Naming:
    """Is a change of the names in a folder; ``None`` removes a name."""

    node: Folder
    names: dict[str, Node | None]

    @property
    def ways(self) -> tuple[How, ...]:
        return ("lost", "done")


Change = Write | Naming


class Disk:
    """Is a disk as the process sees it, as it is sure to be, and what may be of the rest.

    Args:
        root: The folder that everything lies in; it is there, and stays.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.seen = Folder()
        self._nodes: dict[Node, Node] = {self.seen: Folder()}
        self.pending: list[Change] = []

    # ---- what the process does -------------------------------------------------------------------------------------------

    def do(self, call: Call) -> None:
        """Take in a call that the process has made."""
        if call.kind == "fsync":
            self._sync(self._at(call.path))
        elif call.kind in ("write", "truncate"):
            node = self._at(call.path)
            self._change(Write(node, call.offset, call.data if call.kind == "write" else None))
        elif call.kind in ("create", "mkdir"):
            made: Node = File() if call.kind == "create" else Folder()
            self._nodes[made] = type(made)()
            self._name(call.path, made)
        elif call.kind in ("unlink", "rmdir"):
            self._name(call.path, None)
        elif call.kind == "rename":
            self._rename(call.path, call.to)

    def _name(self, path: str, node: Node | None) -> None:
        self._change(Naming(self._folder(path), {Path(path).name: node}))

    def _rename(self, path: str, to: str) -> None:
        """Rename, within a folder as one change. Between two it is two, which no file system does; nothing here counts on it."""
        node, new, old = self._at(path), self._folder(to), self._folder(path)
        if new is old:
            self._change(Naming(new, {Path(to).name: node, Path(path).name: None}))
        else:
            self._name(to, node)
            self._name(path, None)

    def _change(self, change: Change) -> None:
        _apply(change, "done", change.node, random.Random(0))  # no secret
        self.pending.append(change)

    def _sync(self, node: Node) -> None:
        """Make what was changed of a node last, and forget what nothing can lead to any more."""
        for change in self.pending:
            if change.node is node:
                _apply(change, "done", self._nodes[node], random.Random(0))
        self.pending = [change for change in self.pending if change.node is not node]
        alive = {self.seen}
        for names in self._all_names():
            alive |= {one for one in names.values() if one is not None}
        self._nodes = {one: sure for one, sure in self._nodes.items() if one in alive}
        self.pending = [change for change in self.pending if change.node in alive]

    def _all_names(self) -> Iterator[Mapping[str, Node | None]]:
        for seen, sure in self._nodes.items():
            if isinstance(seen, Folder) and isinstance(sure, Folder):
                yield from (seen.names, sure.names)
        yield from (change.names for change in self.pending if isinstance(change, Naming))

    def _at(self, path: str) -> Node:
        node: Node = self.seen
        for name in Path(path).relative_to(self.root).parts:
            node = node.names[name]  # type: ignore[union-attr]
        return node

    def _folder(self, path: str) -> Folder:
        node = self._at(str(Path(path).parent))
        if isinstance(node, File):
            raise NotADirectoryError(path)
        return node

    def content(self, path: str) -> bytes | None:
        """Return what the process sees in a file, or ``None`` where there is none."""
        try:
            node = self._at(path)
        except KeyError:
            return None
        return bytes(node.content) if isinstance(node, File) else None

    # ---- what may be of it -----------------------------------------------------------------------------------------------

    def cuts(self, draw: random.Random, most: int) -> Iterator[dict[str, bytes | None]]:
        """Yield what a power cut may leave, as files by path, and ``None`` for folders.

        Args:
            draw: Decides what is torn where, what garbage is, and which combinations are tried of more than can all be.
            most: How many combinations are tried at most.
        """
        for ways in combinations(self.pending, draw, most):
            copies: dict[Node, Node] = {}
            for node, sure in self._nodes.items():
                copies[node] = File(bytearray(sure.content)) if isinstance(sure, File) else Folder(dict(sure.names))
            for change, how in zip(self.pending, ways, strict=True):
                _apply(change, how, copies[change.node], draw)
            yield dict(_tree(self.seen, copies, ""))


def combinations(pending: list[Change], draw: random.Random, most: int) -> Iterator[tuple[How, ...]]:
    """Yield what becomes of each change that is not synced: lost or done in every combination, and then spoilt."""
    number = len(pending)
    if number <= EXHAUSTIVE and 2**number <= most:
        yield from product(("lost", "done"), repeat=number)
    else:
        yield from ((how,) * number for how in ("lost", "done"))
        for place, how in product(range(number), ("lost", "done")):
            other: How = "done" if how == "lost" else "lost"
            yield (*(other,) * place, how, *(other,) * (number - place - 1))
        for _ in range(most - 2 - 2 * number):
            yield tuple(draw.choice(("lost", "done")) for _ in range(number))
    spoils = [place for place, change in enumerate(pending) if len(change.ways) > 2]
    for place in spoils:
        for how in ("torn", "garbage"):
            yield tuple(how if at == place else "done" for at in range(number))
    for _ in range(len(spoils)):
        yield tuple(draw.choice(change.ways) for change in pending)


def _apply(change: Change, how: How, node: Node, draw: random.Random) -> None:
    """Let a change become what it becomes, on a node or on a copy of it."""
    if how == "lost":
        return
    if isinstance(node, Folder):
        for name, named in change.names.items():
            if named is None:
                node.names.pop(name, None)
            else:
                node.names[name] = named
        return
    content = node.content
    if change.data is None:
        content[:] = content[: change.offset].ljust(change.offset, b"\0")
        return
    data = change.data
    if how == "torn":
        data = data[: draw.randrange(len(data) + 1)]
    elif how == "garbage":
        data = bytes(_spoilt(data, draw))
    if len(content) < change.offset:
        content.extend(bytes(change.offset - len(content)))
    content[change.offset : change.offset + len(data)] = data


def _spoilt(data: bytes, draw: random.Random) -> Iterable[int]:
    for start in range(0, len(data), SECTOR):
        sector = data[start : start + SECTOR]
        yield from draw.choice((draw.randbytes(len(sector)), bytes(len(sector)), sector))


def _tree(folder: Folder, copies: dict[Node, Node], above: str) -> Iterator[tuple[str, bytes | None]]:
    for name, node in copies[folder].names.items():
        path = f"{above}{name}"
        if isinstance(node, File):
            yield path, bytes(copies[node].content)
        else:
            yield path, None
            yield from _tree(node, copies, f"{path}/")
