"""Guard: whom the page's server answers, and how: who does not know the token, or comes from elsewhere, gets no data."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BODY_BYTES = 64 << 10
BODY_SECONDS = 10.0

_PAGE_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}
_HEADERS = [(name.encode(), value.encode()) for name, value in _PAGE_HEADERS.items()]


class Guard:
    """Let through what comes from the page itself, with the token, and is of bounded size.

    Files of the page hold no data and need no token. Everything else does, in the ``Authorization`` header, which no other page
    can make a browser send, so that commands cannot be forged. ``Host`` has to be one by which the server is known, or a
    name that somebody points here could be used to read through a browser; an ``Origin`` has to be the page's own.

    Args:
        app: What answers.
        token: The token.
        hosts: The names, with the port, by which the server is known.
        open_paths: The paths that need no token.
    """

    def __init__(self, app: ASGIApp, *, token: str, hosts: Iterable[str], open_paths: Iterable[str]) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()
        self._hosts, self._open = frozenset(hosts), frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        fault = self._fault(scope)
        if fault is not None:
            status, text = fault
            refusal = PlainTextResponse(text, status, {"connection": "close"})
            await refusal(scope, receive, send_with_headers)
            return
        try:
            body = await _body(receive) if scope["method"] == "POST" else b""
        except _Refused as refused:
            await PlainTextResponse(refused.text, refused.status, {"connection": "close"})(scope, receive, send_with_headers)
            return
        await self._app(scope, _Handed(body, receive), send_with_headers)

    def _fault(self, scope: Scope) -> tuple[int, str] | None:
        """Return with what a request is refused, if it is."""
        headers = Headers(scope=scope)
        if len(headers.getlist("host")) != 1 or headers["host"].lower() not in self._hosts:
            return 421, "This server is not known by that name."
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in {f"http://{headers['host'].lower()}"}:
            return 403, "This comes from another page."
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return 403, "This comes from another page."
        if scope["method"] not in ("GET", "POST"):
            return 405, "GET and POST are answered."
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > MOST_BODY_BYTES:
            return 413, "The body is too long."
        if scope["path"] in self._open and scope["method"] == "GET":
            return None
        if not hmac.compare_digest(headers.get("authorization", "").encode(), self._expected):
            return 401, "The token is missing or wrong. Open the address that jalon watch printed."
        if scope["method"] == "POST" and headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return 415, "JSON is expected."
        return None


class _Refused(Exception):
    """Says that a body is refused while it comes in."""

    def __init__(self, status: int, text: str) -> None:
        self.status, self.text = status, text
        super().__init__(text)


async def _body(receive: Receive) -> bytes:
    """Return a body of bounded length that comes in bounded time."""
    taken, more = b"", True
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while more:
                message = await receive()
                taken += message.get("body", b"")
                more = message.get("more_body", False)
                if len(taken) > MOST_BODY_BYTES:
                    raise _Refused(413, "The body is too long.")
    except TimeoutError:
        raise _Refused(408, "The body did not come.") from None
    return taken


class _Handed:
    """Hands a body on that has come already."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Message:
        body, self._body = self._body, None
        return await self._receive() if body is None else {"type": "http.request", "body": body, "more_body": False}
