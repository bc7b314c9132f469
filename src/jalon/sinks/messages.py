"""Messenger: messages to chats, mail, desktops and webhooks, through Apprise, from threads of their own."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from jalon._optional import require
from jalon.core.clock import SYSTEM_CLOCK
from jalon.errors import ArgumentError
from jalon.sinks.address import Address, unlogged
from jalon.sinks.courier import Courier

Kind = Literal["info", "success", "warning", "failure"]

MOST_WAITING = 16
"""How many messages may wait for one service."""
PAUSES = (1.0, 4.0)
"""Seconds before the second attempt, and before the third."""


@dataclass(frozen=True, slots=True)
class Message:
    """Is something to be told.

    Args:
        title: Its first line.
        text: The rest.
        kind: How it is meant; services show it by a colour or a sign.
        picture: A picture that belongs to it, in PNG.
    """

    title: str
    text: str
    kind: Kind = "info"
    picture: bytes | None = None


class Messenger:
    """Send messages to services, each in a thread of its own, so that one that is slow or dead delays nothing.

    A message is tried three times, the last time without its picture; the process does not wait for the threads unless
    ``settle`` is called. What the threads log, the addresses with their tokens among it, reaches nobody.

    Args:
        addresses: The services.
        who: Who sends, for what is said of a wrong address.
        pauses: Seconds before each further attempt.

    Attributes:
        takes_pictures: Whether any of the services does.

    Raises:
        ArgumentError: Apprise cannot make anything of an address.
        MissingPackage: Apprise is not installed.
    """

    def __init__(self, addresses: Sequence[Address], *, who: str, pauses: Sequence[float] = PAUSES) -> None:
        self._services = [_Service(address, who=who, pauses=pauses) for address in addresses]
        self._addresses = addresses
        self.takes_pictures = any(service.takes_pictures for service in self._services)

    def send(self, message: Message) -> None:
        """Send a message on its way; from any thread."""
        for service in self._services:
            service.send(message)

    def hide(self, text: str) -> str:
        """Return a text without what of the addresses may be secret."""
        for address in self._addresses:
            text = address.hide(text)
        return text

    def settle(self, seconds: float) -> None:
        """Wait until all is sent or lost, but not longer than so many seconds."""
        until = SYSTEM_CLOCK.monotonic() + seconds
        for service in self._services:
            service.settle(max(0.0, until - SYSTEM_CLOCK.monotonic()), told=seconds)

    def faults(self) -> list[str]:
        """Return what went wrong since this was asked last, in words, by service."""
        return [f"{service.address!r}: {service.faults.popleft()}" for service in self._services for _ in list(service.faults)]


class _Service:
    """Sends messages to one address, one after another."""

    def __init__(self, address: Address, *, who: str, pauses: Sequence[float]) -> None:
        self.address = address
        self.faults: deque[str] = deque()
        self._pauses = pauses
        self._courier = Courier("jalon-messages", most=MOST_WAITING)
        self._apprise = _apprise_for(address, who)
        self.takes_pictures = any(service.attachment_support for service in self._apprise)

    def send(self, message: Message) -> None:
        if not self._courier.send(partial(self._deliver, message)):
            self.faults.append(f"{MOST_WAITING} messages are still waiting, a further one is not sent")

    def settle(self, seconds: float, *, told: float) -> None:
        if not self._courier.settle(seconds):
            self.faults.append(f"no answer within {told:g} seconds")

    def _deliver(self, message: Message) -> None:
        """Send a message, with further attempts; the last one goes without the picture, which may be what does not pass."""
        picture = message.picture if self.takes_pictures else None
        cause = self._attempt(message, picture)
        for number, pause in enumerate(self._pauses, 1):
            if cause is None:
                return
            time.sleep(pause)
            cause = self._attempt(message, None if number == len(self._pauses) else picture)
        if cause is not None:
            self.faults.append(self.address.hide(cause))

    def _attempt(self, message: Message, picture: bytes | None) -> str | None:
        """Send a message; return why it did not arrive, or ``None`` where it did."""
        with unlogged() as heard:
            try:
                attached = None if picture is None else _attachment(picture)
                arrived = self._apprise.notify(
                    body=message.text, title=message.title, notify_type=message.kind, body_format="text", attach=attached
                )
            except Exception as exc:  # noqa: BLE001  # 150 services, and training does not end by any of them
                return type(exc).__name__
        return None if arrived else heard[-1] if heard else "it did not take the message"


def _attachment(picture: bytes) -> Any:
    memory: Any = require("apprise.attachment.memory", extra="notify", who="a picture in a message")
    return memory.AttachMemory(content=picture, name="curves.png", mimetype="image/png")


def _apprise_for(address: Address, who: str) -> Any:
    """Return what Apprise makes of one address, to be used in one thread."""
    apprise: Any = require("apprise", extra="notify", who=who)
    with unlogged():
        found = apprise.Apprise(asset=apprise.AppriseAsset(app_id="jalon", app_desc="jalon", app_url="", async_mode=False))
        taken = address.scheme is not None and found.add(address.url)
    if taken:
        return found
    shown = "one without a scheme" if address.scheme is None else repr(address)
    raise ArgumentError(
        f"{who}: Apprise cannot make anything of an address. Received: {shown}. Write it as the service's page in "
        "Apprise's documentation says, as 'slack://…', 'mailto://…' or 'json://host/path'; the rest of it is not shown here, "
        "since it may be secret."
    )
