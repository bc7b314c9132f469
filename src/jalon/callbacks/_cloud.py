"""What the metadata service of a cloud says of the machine: whether it is taken back."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from http.client import HTTPException
from typing import Literal

Provider = Literal["aws", "gcp", "azure"]
Ask = Callable[[], str | None]
"""Returns what a cloud says of its taking the machine back, in words, or ``None`` where it says nothing of it."""

ADDRESS = "http://169.254.169.254"
"""Where each of these clouds tells a machine of itself."""
_TIMEOUTS: dict[Provider, float] = {"aws": 5.0, "gcp": 5.0, "azure": 150.0}
"""Seconds to wait for an answer. Azure's first one takes up to two minutes."""
_AZURES_HEADERS = {"Metadata": "true"}


class NoAnswer(OSError):
    """Says that a service does not answer, or not what it is documented to.

    Args:
        what: What happened.
        code: The HTTP status, if there was one.
    """

    def __init__(self, what: str, code: int | None = None) -> None:
        self.code = code
        super().__init__(what)


def asks(provider: Provider, address: str = ADDRESS) -> Ask:
    """Return what asks a cloud whether it takes this machine back; it raises ``NoAnswer``."""
    service = _Service(address, timeout=_TIMEOUTS[provider])
    kinds: dict[Provider, Callable[[_Service], Ask]] = {"aws": _Aws, "gcp": _Gcp, "azure": _Azure}
    ask = kinds[provider](service)

    def ask_in_one_way() -> str | None:
        try:
            return ask()
        except (LookupError, TypeError, ValueError) as exc:
            raise NoAnswer(f"its answer is not as documented ({type(exc).__name__}: {exc})") from exc

    return ask_in_one_way


class _Service:
    """Is a machine's metadata service.

    Args:
        address: Where it is.
        timeout: Seconds to wait for an answer.
    """

    def __init__(self, address: str, *, timeout: float) -> None:
        self._address = address
        self._timeout = timeout
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy reaches it

    def ask(self, path: str, headers: Mapping[str, str], *, method: str = "GET") -> str:
        """Return what it answers."""
        request = urllib.request.Request(self._address + path, headers=dict(headers), method=method)
        try:
            with self._opener.open(request, timeout=self._timeout) as answer:
                return str(answer.read().decode().strip())
        except urllib.error.HTTPError as exc:
            exc.close()
            raise NoAnswer(f"{exc.code} {exc.reason}", exc.code) from None
        except (OSError, HTTPException) as exc:
            raise NoAnswer(str(exc) or type(exc).__name__) from exc


class _Aws:
    """Asks AWS.

    Args:
        service: Answers.
    """

    def __init__(self, service: _Service) -> None:
        self._service = service
        self._token: str | None = None

    def __call__(self) -> str | None:
        if self._token is None:
            headers = {"X-aws-ec2-metadata-token-ttl-seconds": "21600"}
            self._token = self._service.ask("/latest/api/token", headers, method="PUT")
        try:
            told = self._service.ask("/latest/meta-data/spot/instance-action", {"X-aws-ec2-metadata-token": self._token})
        except NoAnswer as exc:
            if exc.code == 404:  # there is no notice
                return None
            if exc.code == 401:  # the token is too old
                self._token = None
                return None
            raise
        action = json.loads(told)
        return f" at {action['time']} ({action['action']})"


class _Gcp:
    """Asks GCP.

    Args:
        service: Answers.
    """

    def __init__(self, service: _Service) -> None:
        self._service = service

    def __call__(self) -> str | None:
        told = self._service.ask("/computeMetadata/v1/instance/preempted", {"Metadata-Flavor": "Google"})
        if told not in ("TRUE", "FALSE"):
            raise ValueError(f"it says {told[:40]!r} in place of TRUE or FALSE")
        return " within 30 seconds" if told == "TRUE" else None


class _Azure:
    """Asks Azure, which tells a machine of others' events too.

    Args:
        service: Answers.
    """

    def __init__(self, service: _Service) -> None:
        self._service = service
        self._name: str | None = None

    def __call__(self) -> str | None:
        if self._name is None:
            path = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"
            self._name = self._service.ask(path, _AZURES_HEADERS)
        told = json.loads(self._service.ask("/metadata/scheduledevents?api-version=2020-07-01", _AZURES_HEADERS))
        for event in told["Events"]:
            if event["EventType"] in ("Preempt", "Terminate") and self._name in event["Resources"]:
                return f" at {event['NotBefore']}" if event.get("NotBefore") else " now"
        return None
