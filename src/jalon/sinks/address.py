"""Address: where messages go, with what nobody else is to see; and silence about it in logs."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from urllib.parse import parse_qsl, quote, unquote

HIDDEN = "•••"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,31}(?=://)")
_SEPARATORS = re.compile(r"[/:@,;#\s]+")
_SURE_LENGTH = 8
"""From this length on a piece is hidden within words too."""


class Address:
    """Is the address of a service, all of which may be secret but its scheme.

    Args:
        url: The address, as in ``"slack://tokens"``.

    Example:
        >>> address = Address("slack://T1JJ3T3L2/A1BRTD4JY/TIiajkdnlazkcOXrIdevi7FQ")
        >>> address
        slack://•••
        >>> address.hide("No way to https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JY/TIiajkdnlazkcOXrIdevi7FQ")
        'No way to https://hooks.slack.com/services/•••'
    """

    def __init__(self, url: str) -> None:
        self.url = url
        found = _SCHEME.match(url)
        self.scheme = found[0].lower() if found else None
        self._secrets = re.compile("|".join(map(_pattern, sorted(_pieces(url), key=len, reverse=True))) or "(?!)")

    def __repr__(self) -> str:
        return HIDDEN if self.scheme is None else f"{self.scheme}://{HIDDEN}"

    def hide(self, text: str) -> str:
        """Return a text without what of the address may be secret.

        Args:
            text: Any text.
        """
        return self._secrets.sub(HIDDEN, text)


def _pieces(url: str) -> set[str]:
    """Return what an address consists of, as it stands there and as it is meant: all but its scheme and the port."""
    rest, _, query = url.partition("://")[2].partition("?") if "://" in url else (url, "", "")
    values = [value for _, value in parse_qsl(query)]
    pieces = {rest, query, *values, *(part for text in (rest, *values) for part in _SEPARATORS.split(text))}
    spelt = {form for piece in pieces for form in (piece, unquote(piece), quote(unquote(piece), safe=""))}
    return {piece for piece in spelt if piece and not (piece.isdigit() and len(piece) <= len("65535"))}


def _pattern(piece: str) -> str:
    whole = re.escape(piece)
    return whole if len(piece) >= _SURE_LENGTH else rf"(?<![^\W_]){whole}(?![^\W_])"


_HEARD: ContextVar[list[str] | None] = ContextVar("heard", default=None)
"""What the silenced thread has warned of; of a thread that is not silenced, ``None``."""


@contextmanager
def unlogged() -> Iterator[list[str]]:
    """Let what is logged in here reach no handler; yield what of it was a warning or worse.

    Libraries that send messages log addresses with their tokens. Other threads log as before.
    """
    heard: list[str] = []
    before = _HEARD.set(heard)  # not by the thread's number: Apprise hands a call on to others of its own, with the context
    known = [one for one in list(logging.root.manager.loggerDict.values()) if isinstance(one, logging.Logger)]
    loggers, silence = [logging.root, *known], _Silence()
    for logger in loggers:
        logger.addFilter(silence)
    try:
        yield heard
    finally:
        for logger in loggers:
            logger.removeFilter(silence)
        _HEARD.reset(before)


class _Silence(logging.Filter):
    """Stops what is logged where ``unlogged`` says so."""

    def filter(self, record: logging.LogRecord) -> bool:
        heard = _HEARD.get()
        if heard is not None and record.levelno >= logging.WARNING:
            heard.append(record.getMessage())
        return heard is None
