"""Commands to a running training, as files in the folder ``control`` of its folder, and its answers beside them."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from jalon.errors import ArgumentError
from jalon.store import atomic

CONTROL = "control"
"""The folder's name in a run's folder. It is there from the first command on."""

Outcome = Literal["done", "refused"]

COMMANDS: dict[str, tuple[str, ...]] = {
    "pause": (),
    "resume": (),
    "stop": ("at",),
    "save": (),
    "set": ("name", "value"),
    "note": ("text",),
}
"""Each command with the names of its arguments."""

_MOST_BYTES = 64 << 10
_KEPT_ANSWERS = 100
_NAME = re.compile(r"[0-9]{20}-[0-9a-f]{8}")


@dataclass(frozen=True, slots=True)
class Command:
    """Is a command to a run.

    Args:
        id: Its own name. Later ones sort behind earlier ones.
        name: ``"pause"``, ``"resume"``, ``"stop"``, ``"save"``, ``"set"`` or ``"note"``.
        arguments: What goes with it, as ``{"name": "learning_rate", "value": 0.01}``.
        time: When it was given, in seconds since 1970.
    """

    id: str
    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    time: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """Is what became of a command.

    Args:
        id: The command's own name.
        outcome: Whether it was ``"done"`` or ``"refused"``.
        text: In words, for the one who gave it.
        command: The command's name.
        time: When it was answered, in seconds since 1970.
    """

    id: str
    outcome: Outcome
    text: str
    command: str = ""
    time: float = 0.0


def checked(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return a command's arguments, or refuse them.

    Raises:
        ArgumentError: There is no such command, or an argument cannot be what it is.

    Example:
        >>> checked("stop", {"at": "epoch"})
        {'at': 'epoch'}
    """
    if name not in COMMANDS:
        raise ArgumentError(f"There is no command {name!r}. Commands: {', '.join(COMMANDS)}.")
    if set(arguments) != set(COMMANDS[name]):
        raise ArgumentError(f"{name}: expected the arguments {list(COMMANDS[name])}. Received: {sorted(map(str, arguments))}.")
    if name == "stop" and arguments["at"] not in ("batch", "epoch"):
        raise ArgumentError(f"stop: at must be 'batch' or 'epoch'. Received: at={arguments['at']!r}.")
    if name == "set":
        value = arguments["value"]
        if not isinstance(arguments["name"], str) or isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ArgumentError(f"set: expected the name of a number, and a number. Received: {dict(arguments)!r}.")
    if name == "note" and (not isinstance(arguments["text"], str) or not arguments["text"].strip()):
        raise ArgumentError(f"note: expected a text. Received: {arguments['text']!r}.")
    return dict(arguments)


def send(run: Path, name: str, arguments: Mapping[str, Any], *, time: float) -> Command:
    """Give a command to a run, and return it.

    Args:
        run: The run's folder.
        name: The command.
        arguments: What goes with it.
        time: Now, in seconds since 1970.

    Raises:
        ArgumentError: As in ``checked``.
        OSError: The file cannot be written.
    """
    command = Command(f"{int(time * 1e9):020d}-{secrets.token_hex(4)}", name, checked(name, arguments), time)
    content = json.dumps(asdict(command)).encode()
    if len(content) > _MOST_BYTES:
        raise ArgumentError(f"{name}: {len(content):,} bytes are too many; {_MOST_BYTES:,} can be given.")
    atomic.write_bytes(run / CONTROL / f"{command.id}.json", [content])
    return command


def answer_to(run: Path, command: Command) -> Answer | None:
    """Return a run's answer to a command, or ``None`` while there is none."""
    return _answer_in(run / CONTROL / f"{command.id}.answer.json")


def is_id(text: str) -> bool:
    """Return whether a text can be the name of a command, and so part of a file's name.

    Args:
        text: What was received.
    """
    return _NAME.fullmatch(text) is not None


class Inbox:
    """Holds the commands that a run has not answered yet.

    Args:
        run: The run's folder. Nothing is made in it before a command is answered.
    """

    def __init__(self, run: Path) -> None:
        self._folder = run / CONTROL

    def waiting(self) -> list[Command]:
        """Return the commands that wait, in the order in which they were given. One that cannot be read is removed."""
        try:
            names = os.listdir(self._folder)  # noqa: PTH208  # asked for four times a second
        except OSError:
            return []
        if not names:
            return []
        found = []
        for name in sorted(names):
            if name.endswith(".json") and _NAME.fullmatch(name.removesuffix(".json")):
                command = _command_in(self._folder / name)
                if command is None:
                    with suppress(OSError):
                        (self._folder / name).unlink()
                else:
                    found.append(command)
        return found

    def answer(self, command: Command, outcome: Outcome, text: str, *, time: float) -> None:
        """Say what became of a command, which then waits no longer.

        Raises:
            OSError: The answer cannot be written.
        """
        said = Answer(command.id, outcome, text, command.name, time)
        atomic.write_bytes(self._folder / f"{command.id}.answer.json", [json.dumps(asdict(said)).encode()])
        (self._folder / f"{command.id}.json").unlink(missing_ok=True)
        for old in sorted(self._folder.glob("*.answer.json"))[:-_KEPT_ANSWERS]:
            old.unlink(missing_ok=True)


def _command_in(path: Path) -> Command | None:
    said = _json_in(path)
    try:
        arguments = checked(said["name"], said["arguments"])
        return Command(path.stem, said["name"], arguments, float(said.get("time", 0.0)))
    except (ArgumentError, KeyError, TypeError, ValueError):
        return None


def _answer_in(path: Path) -> Answer | None:
    said = _json_in(path)
    try:
        return Answer(said["id"], said["outcome"], str(said["text"]), str(said.get("command", "")), float(said.get("time", 0.0)))
    except (KeyError, TypeError, ValueError):
        return None


def _json_in(path: Path) -> Any:
    try:
        with open(path, "rb") as file:
            return json.loads(file.read(_MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
