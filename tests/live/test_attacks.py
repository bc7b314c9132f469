"""Attacks on the page's server, each ending as it should: who has no business here gets no data, and keeps nobody waiting."""

from __future__ import annotations

import json
import socket
import time

import pytest
from conftest import watching
from runs_on_disk import epoch, write_journal

SECRET = "canary_metric"


@pytest.fixture(scope="module", autouse=True)
def _secret(watched):
    """Have a run whose metric's name is what nobody is to get, and a file beside the folder."""
    write_journal(watched.folder / "secret", epoch(0, **{SECRET: 1.0}))
    (watched.folder.parent / "beside.csv").write_text(f"epoch,{SECRET}\n0,1\n")


def sent(watched, text, *, more=b""):
    """Return all that the server answers to bytes, until it closes or has answered."""
    with socket.create_connection(("127.0.0.1", watched.port), timeout=20) as connection:
        try:
            connection.sendall(text.encode() if isinstance(text, str) else text)
            connection.sendall(more)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it would hear no more
        answer = b""
        try:
            while piece := connection.recv(65536):
                answer += piece
        except ConnectionResetError:
            pass
        return answer


def request(watched, path="/api/runs", *, method="GET", body="", **headers):
    """Return a request as text; a header that is None is left out."""
    given = {"Host": f"127.0.0.1:{watched.port}", "Authorization": f"Bearer {watched.token}", "Connection": "close"}
    if body:
        given |= {"Content-Length": len(body), "Content-Type": "application/json"}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{name}: {value}" for name, value in given.items() if value is not None]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", body])


def status(answer):
    return int(answer.split(b" ", 2)[1])


def test_who_has_the_token(watched):
    """With the token, by the server's own name, there is an answer, closed to other pages in every way."""
    answer = sent(watched, request(watched))
    head = answer.partition(b"\r\n\r\n")[0].decode().lower()

    assert 200 == status(answer)
    assert SECRET in answer.decode()
    for line in (
        "default-src 'none'; script-src 'self'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
        "cross-origin-resource-policy: same-origin",
        "cache-control: no-store",
    ):
        assert line in head
    assert "access-control" not in head
    assert "uvicorn" not in head


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Authorization": None}, 401),
        ({"Authorization": ""}, 401),
        ({"Authorization": "Bearer "}, 401),
        ({"Authorization": "Bearer short"}, 401),
        ({"Authorization": "Bearer " + "x" * 43}, 401),
        ({"Authorization": None, "Cookie": "token=TOKEN"}, 401),
        ({"Host": "evil.example"}, 421),
        ({"Host": "evil.example:PORT"}, 421),
        ({"Host": "127.0.0.1.evil.com:PORT"}, 421),
        ({"Host": "127.0.0.1:1"}, 421),
        ({"Host": ""}, 421),
        ({"Host": None}, 400),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "https://127.0.0.1:PORT"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
    ],
    ids=str,
)
@pytest.mark.parametrize("path", ["/api/runs", "/api/run?id=secret"])
def test_who_has_no_business_here(watched, path, headers, expected):
    """Without the token, under another name, from another page, or with headers without end: no data."""
    filled = {
        name: value and value.replace("PORT", str(watched.port)).replace("TOKEN", watched.token)
        for name, value in headers.items()
    }
    answer = sent(watched, request(watched, path, **filled))

    assert expected == status(answer)
    assert SECRET.encode() not in answer


def test_headers_without_end(watched):
    """Headers above 16 KiB are not read on."""
    answer = sent(watched, request(watched, X_Big="x" * 200_000))

    assert answer.startswith(b"HTTP/1.1 400") or not answer


@pytest.mark.parametrize(
    "path",
    [
        "/../beside.csv",
        "/..%2fbeside.csv",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/page.js/../../server.py",
        "/static/../server.py",
        "/etc/passwd",
        "//etc/passwd",
        "/page.js%00.html",
        "/api/run?id=../beside.csv",
        "/api/run?id=..%2fbeside.csv",
        "/api/run?id=%2fetc%2fpasswd",
        "/api/run?id=secret%00",
        "/api/run?id=secret/../../beside.csv",
        "/api/answer?run=secret&id=../journal",
        "/api/answer?run=secret&id=..%2f..%2fbeside",
    ],
)
def test_no_path_leads_out(watched, path):
    """Nothing is read but the page's own files and the runs that were found, whoever asks."""
    answer = sent(watched, request(watched, path))

    assert 404 == status(answer)
    for never in (SECRET, "root:", "import", "kind"):
        assert never.encode() not in answer.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ({"Authorization": None}, "{}", 401),
        ({"Content_Type": "text/plain"}, "{}", 415),
        ({"Content_Type": "application/x-www-form-urlencoded"}, "run=secret", 415),
        ({"Origin": "http://evil.example"}, "{}", 403),
        ({}, "{", 400),
        ({}, "[]", 400),
        ({}, '"x"', 400),
        ({}, json.dumps({"run": "nothing", "command": "stop", "arguments": {"at": "batch"}}), 404),
        ({}, json.dumps({"run": "../beside", "command": "stop", "arguments": {"at": "batch"}}), 404),
        ({}, json.dumps({"run": "secret", "command": "rm", "arguments": {}}), 400),
        ({}, json.dumps({"run": "secret", "command": "set", "arguments": {"name": "learning_rate", "value": "1"}}), 400),
        ({}, json.dumps({"run": "secret", "command": "stop", "arguments": ["at"]}), 400),
        ({}, "[" * 60_000, 400),
    ],
    ids=range(13),
)
def test_commands_that_are_none(watched, headers, body, expected):
    """What is no command, or comes from elsewhere, gives none."""
    answer = sent(watched, request(watched, "/api/command", method="POST", body=body, **headers))

    assert expected == status(answer)
    assert not (watched.folder / "secret" / "control").exists()


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH", "HEAD", "TRACE"])
def test_other_methods(watched, method):
    """Nothing but GET and POST is answered; another page that asks beforehand is told nothing."""
    assert 405 == status(sent(watched, request(watched, method=method)))


def test_a_body_of_a_gigabyte(watched):
    """A body that says it is too long is refused unread; one that does not say is cut off when it is."""
    told = sent(watched, request(watched, "/api/command", method="POST", Content_Length=1 << 30, Content_Type="application/json"))
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    untold = request(
        watched, "/api/command", method="POST", Transfer_Encoding="chunked", Content_Type="application/json"
    ).encode()

    assert 413 == status(told)
    assert 413 == status(sent(watched, untold, more=chunk * 64))
    assert watched.ask("/api/runs")


def test_a_thousand_idle_connections(watched):
    """A thousand clients that ask for nothing, or for half of something, are dropped, and others are answered meanwhile."""
    idle = []
    try:
        for number in range(1000):
            connection = socket.create_connection(("127.0.0.1", watched.port), timeout=30)
            if number % 2:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: ")
            idle.append(connection)
        assert watched.ask("/api/runs")
        began = time.monotonic()
        assert watched.ask("/api/run?id=secret")["id"] == "secret"
        answered = time.monotonic() - began
        assert all(_is_dropped(connection) for connection in idle)
    finally:
        for connection in idle:
            connection.close()
    assert answered < 20


def _is_dropped(connection):
    try:
        return connection.recv(1024) == b"" or _is_dropped(connection)
    except ConnectionResetError:
        return True


def test_nothing_is_logged(tmp_path):
    """However it is asked, the server writes nothing after its address: no log holds the token."""
    with watching(tmp_path) as watched:
        watched.ask("/api/runs")
        sent(watched, request(watched, "/api/command", method="POST", body="["))
        sent(watched, b"nonsense\r\n\r\n")
        sent(watched, request(watched, f"/?token={watched.token}", Host="evil.example"))
        watched.process.terminate()

        assert "" == watched.process.stdout.read()
