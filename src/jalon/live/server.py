"""The page's server: it hands out the page, what :mod:`jalon.live.api` says of runs, and passes commands on."""

from __future__ import annotations

import math
import secrets
import socket
import threading
import time
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
import psutil
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from jalon.errors import JalonError
from jalon.live import api, system
from jalon.live.connections import Connection
from jalon.live.guard import Guard
from jalon.live.runs import Runs
from jalon.store import control

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

LOCAL = "127.0.0.1"
_STATIC = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/chart.js": ("chart.js", "text/javascript; charset=utf-8"),
    "/uplot.js": ("uplot.js", "text/javascript; charset=utf-8"),
    "/uplot.css": ("uplot.css", "text/css; charset=utf-8"),
    "/uplot-LICENSE.txt": ("uplot-LICENSE.txt", "text/plain; charset=utf-8"),
}
_STEERED = ("running", "paused")
_FIRST_BYTES, _MORE_BYTES = 2 << 20, 16 << 20
"""How much of a long record is read before something is shown, and each time after that."""
_IDLE_SECONDS = 600.0
_LOOK_SECONDS = 2.0
_MOST_FILES = 8192


@dataclass(frozen=True, slots=True)
class Settings:
    """Is how a page is served.

    Args:
        folder: Where the runs are.
        port: The port; 0 for one that is free.
        host: The address that is listened on.
        token: What has to be known to be answered.
        while_process: As long as this process lives, and for some minutes after somebody has looked, the page stays; 0 for ever.
    """

    folder: Path
    port: int = 0
    host: str = LOCAL
    token: str = ""
    while_process: int = 0


class Page:
    """Answers what the page asks.

    Args:
        runs: The runs that it shows.

    Attributes:
        looked_at: When something was asked last.
    """

    def __init__(self, runs: Runs) -> None:
        self.runs = runs
        self.looked_at = time.monotonic()

    async def list_of_runs(self, request: Request) -> Response:
        """Return the runs."""
        search = request.query_params.get("search", "")[:200]
        return _json(await run_in_threadpool(partial(api.list_of, self.runs, now=time.time(), search=search)))

    async def run(self, request: Request) -> Response:
        """Return a run, with its curves unless the one who asks has them."""
        return await run_in_threadpool(self._run, request)

    def _run(self, request: Request) -> Response:
        asked = request.query_params
        run = self.runs.get(asked.get("id", ""))
        if run is None:
            return _json({"error": "There is no such run."}, 404)
        axis, width, begin, end = _view(asked)
        with self.runs.lock:
            run.refresh(most=_FIRST_BYTES if run.version < 2 else _MORE_BYTES)
            told = api.detail(run, now=time.time())
            if asked.get("known") != f"{run.version}":
                told["curves"] = api.curves(run, axis=axis, width=width, begin=begin, end=end)
        told["system"] = system.load(run.begin.get("process"))
        self.looked_at = time.monotonic()
        return _json(told)

    async def command(self, request: Request) -> Response:
        """Give a command to a run, and return its name, by which the answer is asked for."""
        try:
            said = msgspec.json.decode(await request.body())
            run, name, arguments = self.runs.get(said["run"]), said["command"], said.get("arguments", {})
        except (msgspec.DecodeError, KeyError, TypeError, AttributeError, RecursionError):
            return _json({"error": "Expected {run, command, arguments}."}, 400)
        if run is None:
            return _json({"error": "There is no such run."}, 404)
        return await run_in_threadpool(_give, run, name, arguments)

    async def answer(self, request: Request) -> Response:
        """Return the answer to a command, or nothing while there is none."""
        run, id = self.runs.get(request.query_params.get("run", "")), request.query_params.get("id", "")  # noqa: A001
        if run is None or not control.is_id(id):
            return _json({"error": "There is no such command."}, 404)
        found = await run_in_threadpool(control.answer_to, run.path, control.Command(id, ""))
        return _json(None if found is None else {"outcome": found.outcome, "text": found.text})

    async def file(self, request: Request) -> Response:
        """Return a file of the page. Only those that are listed are ever opened."""
        name, kind = _STATIC[request.url.path]
        return Response(files("jalon.live").joinpath("static", name).read_bytes(), media_type=kind)


def application(settings: Settings, *, port: int) -> Guard:
    """Return the application that serves the page, guarded.

    Args:
        settings: How it is served.
        port: The port on which it is reached.
    """
    page = Page(Runs(settings.folder))
    app = Starlette(
        routes=[
            *(Route(path, page.file) for path in _STATIC),
            Route("/api/runs", page.list_of_runs),
            Route("/api/run", page.run),
            Route("/api/answer", page.answer),
            Route("/api/command", page.command, methods=["POST"]),
        ]
    )
    app.state.page = page
    names = {LOCAL, "localhost", "[::1]", _in_address(settings.host)}
    if settings.host in ("0.0.0.0", "::"):  # whoever asks for every address is reached by the machine's names
        names |= {socket.gethostname(), socket.getfqdn(), *_addresses()}
    hosts = {f"{name.lower()}:{port}" for name in names} | ({name.lower() for name in names} if port == 80 else set())
    guarded = Guard(app, token=settings.token, hosts=hosts, open_paths=_STATIC)
    guarded.page = page  # type: ignore[attr-defined]
    return guarded


class Server:
    """Serves the page.

    Args:
        settings: How.

    Attributes:
        address: Where the page is, with the token.
    """

    def __init__(self, settings: Settings) -> None:
        token = settings.token or secrets.token_urlsafe(32)
        self._settings = Settings(settings.folder, settings.port, settings.host, token, settings.while_process)
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        self._socket = socket.socket(family)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((settings.host, settings.port))
        self._socket.listen(512)
        port = self._socket.getsockname()[1]
        shown = "localhost" if settings.host in ("0.0.0.0", "::") else _in_address(settings.host)
        self.address = f"http://{shown}:{port}/#token={token}"
        self._app = application(self._settings, port=port)
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._app,
                http=Connection,
                ws="none",
                lifespan="off",
                access_log=False,  # an address may hold what is nobody's business
                log_config=None,
                log_level="critical",
                server_header=False,
                date_header=False,
                proxy_headers=False,
                h11_max_incomplete_event_size=16 << 10,
                timeout_graceful_shutdown=2,
            )
        )

    def run(self) -> None:
        """Serve until somebody ends it."""
        _allow_many_connections()
        if self._settings.while_process:
            threading.Thread(target=self._end_when_nobody_looks, daemon=True).start()
        self._server.run(sockets=[self._socket])

    def stop(self) -> None:
        """End it; from another thread."""
        self._server.should_exit = True

    def _end_when_nobody_looks(self) -> None:
        page: Page = self._app.page  # type: ignore[attr-defined]
        while not self._server.should_exit:
            time.sleep(_LOOK_SECONDS)
            idle = time.monotonic() - page.looked_at > _IDLE_SECONDS
            if idle and not _lives(self._settings.while_process):
                self.stop()


def _give(run: Any, name: Any, arguments: Any) -> Response:
    state = run.state(time.time())
    if run.kind != "journal" or state not in (*_STEERED, "silent"):
        return _json({"error": f"It takes no commands: it is {state}."}, 409)
    try:
        given = control.send(run.path, str(name), dict(arguments), time=time.time())
    except (JalonError, TypeError, ValueError) as exc:
        return _json({"error": str(exc)}, 400)
    except OSError as exc:
        return _json({"error": f"The command could not be written: {exc.strerror}."}, 500)
    return _json({"id": given.id})


def _view(asked: Any) -> tuple[api.Axis, int, float | None, float | None]:
    axis = api.axis_of(asked.get("axis"))
    width = _float(asked.get("width")) or 800
    return axis, int(min(width, api.WIDEST)), _float(asked.get("begin")), _float(asked.get("end"))


def _float(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _json(value: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def _in_address(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _addresses() -> set[str]:
    try:
        return {_in_address(str(info[4][0])) for info in socket.getaddrinfo(socket.gethostname(), None)}
    except OSError:
        return set()


def _lives(pid: int) -> bool:
    return bool(psutil.pid_exists(pid))


def _allow_many_connections() -> None:
    """Let many clients that ask for nothing not keep others out, where the system limits files."""
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(_MOST_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
