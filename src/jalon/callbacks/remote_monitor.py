"""RemoteMonitor: post what each epoch reports to a server."""

from __future__ import annotations

import json
import math
import threading
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from jalon._optional import require
from jalon.callbacks._arguments import finite_number
from jalon.callbacks._arrays import to_numpy
from jalon.core.callback import Callback, Logs
from jalon.errors import ArgumentError, CallbackDegraded

MOST_UNDER_WAY = 16
"""How many messages may be on their way at a time."""


class RemoteMonitor(Callback):
    """Post what each epoch reports to a server.

    The message is ``epoch``, counted from 0, and the metrics by name, in JSON; a value that is NaN or infinite is
    ``null``, since JSON has no such numbers. Messages are sent one after another while training goes on, and the end of
    training waits for them. One that does not arrive is lost; the first is warned of.

    Args:
        root: The server's address. Defaults to ``"http://localhost:9000"``.
        path: What follows it. Defaults to ``"/publish/epoch/end/"``.
        field: The name of the form's field that holds the message; not used with ``send_as_json``. Defaults to ``"data"``.
        headers: HTTP headers to send along. Defaults to none.
        send_as_json: Send the message as ``application/json``, in place of a form. Defaults to False.
        timeout: How many seconds a message waits for the one before it, and the end of training for the last. Defaults to
            10.

    Raises:
        ArgumentError: An argument cannot be what it is.
        MissingPackage: ``requests`` is not installed.

    Example:
        >>> monitor = RemoteMonitor("https://example.org", path="/runs/7", headers={"Authorization": "Bearer …"})
        >>> monitor.root + monitor.path
        'https://example.org/runs/7'

    Outside a training, ``on_epoch_end`` waits for its message.

    Source: Keras's class of this name.
    """

    critical = False
    adds_metrics = False

    _is_mute = False

    def __init__(
        self,
        root: str = "http://localhost:9000",
        path: str = "/publish/epoch/end/",
        field: str = "data",
        headers: Mapping[str, str] | None = None,
        send_as_json: bool = False,
        *,
        timeout: float = 10.0,
    ) -> None:
        who = type(self).__name__
        require("requests", extra="remote", who=who)
        if not isinstance(root, str) or not root.lower().startswith(("http://", "https://")):
            raise ArgumentError(f"{who}: root must be an address, as 'http://localhost:9000'. Received: root={root!r}.")
        for name, text in (("path", path), ("field", field)):
            if not isinstance(text, str):
                raise ArgumentError(f"{who}: {name} must be a string. Received: {name}={text!r}.")
        if headers is not None and not isinstance(headers, Mapping):
            raise ArgumentError(f"{who}: headers must be a mapping of names to values, or None. Received: headers={headers!r}.")
        self.root = root
        self.path = path
        self.field = field
        self.headers = headers
        self.send_as_json = send_as_json
        self.timeout = finite_number(timeout, name="timeout", who=who)
        if self.timeout <= 0:
            raise ArgumentError(f"{who}: timeout must be above 0 seconds. Received: timeout={timeout!r}.")
        self._in_training = False
        self._warned = False
        self._under_way: list[_Delivery] = []
        self._last: _Delivery | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._in_training, self._warned = True, False

    def rehearse(self, folder: Path) -> None:
        self._is_mute = True

    def skips_hook(self, hook: str) -> bool:
        """Return whether nothing is sent, as in a dry run."""
        return self._is_mute and hook == "on_epoch_end"

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Send what the epoch reports on its way."""
        if self._in_training and not self.run.is_main:
            return
        self._look_back()
        if len(self._under_way) >= MOST_UNDER_WAY:
            self._warn(f"{MOST_UNDER_WAY} messages are still under way, epoch {epoch + 1} is not sent")
            return
        self._last = _Delivery(self._post(epoch, logs or {}), after=self._last, patience=self.timeout)
        self._under_way.append(self._last)
        self._last.start()
        if not self._in_training:
            self._settle()

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Wait until the last message has arrived, for ``timeout`` seconds at most."""
        self.close()

    def close(self) -> None:
        self._in_training = False
        self._settle()

    def _post(self, epoch: int, logs: Logs) -> Callable[[], Any]:
        """Return what posts an epoch's message.

        The call is Keras's to the letter, so that tests which replace ``requests.post`` go on to pass. It has no timeout
        therefore, and what bounds the wait is that nobody waits for the thread that makes it.
        """
        requests = require("requests", extra="remote", who=type(self).__name__)
        send = {"epoch": epoch} | {name: _plain(value) for name, value in logs.items()}
        form = {self.field: json.dumps(send)}  # in any case, so that what JSON cannot hold is an error of this hook
        post = partial(requests.post, self.root + self.path, headers=self.headers)
        return partial(post, json=send) if self.send_as_json else partial(post, form)

    def _settle(self) -> None:
        """Wait for what is under way, and leave alone what takes too long."""
        if self._under_way and self._last is not None:
            self._last.join(self.timeout)
        self._look_back()
        if self._under_way:
            self._warn(f"no answer within {self.timeout:g} seconds")
        self._under_way, self._last = [], None

    def _look_back(self) -> None:
        """Warn of what went wrong, in the thread that trains."""
        ended = [delivery for delivery in self._under_way if not delivery.is_alive()]
        self._under_way = [delivery for delivery in self._under_way if delivery not in ended]
        for delivery in ended:
            if delivery.fault is not None:
                self._warn(str(delivery.fault))

    def _warn(self, cause: str) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"Could not reach RemoteMonitor root server at {self.root}: {cause}. "
                "The message is lost; training goes on. Check that the server runs at this address and takes what is sent.",
                CallbackDegraded,
                stacklevel=3,
            )


class _Delivery(threading.Thread):
    """Is one message on its way, in a thread that does not keep the process from ending.

    Args:
        post: Posts it.
        after: The message before it, whose end is waited for so that messages arrive in order.
        patience: For how many seconds, since that one may never end.
    """

    def __init__(self, post: Callable[[], Any], *, after: _Delivery | None, patience: float) -> None:
        super().__init__(name="jalon-remote-monitor", daemon=True)
        self._post = post
        self._after = after
        self._patience = patience
        self.fault: Exception | None = None

    def run(self) -> None:
        if self._after is not None:
            self._after.join(self._patience)
            self._after = None
        try:
            answer = self._post()
            if answer is not None:  # as of a function that stands in for requests.post
                answer.raise_for_status()
        except (OSError, ValueError) as exc:  # every exception of requests is an OSError
            self.fault = exc


def _plain(value: Any) -> Any:
    """Return a value as JSON has it."""
    if not isinstance(value, (str, int, float, type(None))):
        array = to_numpy(value)
        value = array.item() if array.size == 1 else array.tolist()
    return None if isinstance(value, float) and not math.isfinite(value) else value
