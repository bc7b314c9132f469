"""Connection: one that has to ask for something and to take the answer in time, or is dropped."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Any, ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

WAIT_SECONDS = 10.0
MOST_WAITING = 256


class Connection(H11Protocol):
    """Drop a client that asks for nothing, or does not take what it asked for, within ten seconds.

    Of many that ask for nothing the oldest are dropped at once, so that whoever does ask is answered.
    """

    _waiting: ClassVar[OrderedDict[Connection, None]] = OrderedDict()
    _timer: asyncio.TimerHandle | None = None
    _slow: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wait()
        while len(self._waiting) > MOST_WAITING:
            oldest, _ = self._waiting.popitem(last=False)
            oldest._drop()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._wait_no_longer()
        elif self._timer is None:
            self._wait()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.transport.is_closing():
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_longer()
        self.resume_writing()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._slow is None:
            self._slow = self.loop.call_later(WAIT_SECONDS, self._drop)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None

    def _wait(self) -> None:
        self._wait_no_longer()
        self._waiting[self] = None
        self._timer = self.loop.call_later(WAIT_SECONDS, self._drop)

    def _wait_no_longer(self) -> None:
        self._waiting.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _drop(self) -> None:
        self._wait_no_longer()
        self.transport.abort()
