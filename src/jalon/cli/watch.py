"""``jalon watch``: show the runs of a folder on a page in the browser."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console

from jalon._optional import require
from jalon.errors import ArgumentError
from jalon.sinks.address import Address
from jalon.sinks.messages import Messenger

if TYPE_CHECKING:
    from jalon.cli._alarms import Alarms

LOCAL = ("127.0.0.1", "localhost", "::1")


def watch(
    folder: Path = Path("runs"),
    *,
    port: int = 0,
    host: str = "127.0.0.1",
    let_others_in: Annotated[bool, Parameter(negative=())] = False,
    notify: Annotated[list[str] | None, Parameter(negative=())] = None,
    stalled_after: float = 600.0,
) -> None:
    """Show the runs of a folder on a page in the browser, and take commands there.

    It reads what runs have written: their folders, tables of CSVLogger, TensorBoard's event files. It can come and go while they
    train. The address that is printed holds a token; who does not have it gets nothing.

    Args:
        folder: Where the runs are.
        port: The port; by default one that is free.
        host: The address to listen on. Another one than this machine's own takes --let-others-in: what is sent is not
            encrypted, so that others on the way can read it, the token included.
        let_others_in: Whether other machines may reach the page.
        notify: An address as Apprise has it, to which a message is sent when a run is killed or hangs; may be given several
            times. Addresses are secrets, which others see on a command line: the variable JALON_NOTIFY holds them too, with
            spaces between.
        stalled_after: Seconds without a step after which a run hangs; more than the longest validation takes.
    """
    for package in ("starlette", "uvicorn", "psutil"):
        require(package, extra="live", who="jalon watch")
    if not folder.is_dir():
        raise ArgumentError(f"jalon watch: {folder} is no folder. Name the one that holds the runs: jalon watch runs")
    if host not in LOCAL and not let_others_in:
        raise ArgumentError(
            f"jalon watch: --host {host} would let other machines in. Add --let-others-in if that is meant; an ssh "
            f"tunnel is safer: ssh -L 8000:127.0.0.1:{port or 'PORT'} this-machine"
        )
    alarms = _alarms(folder, [*(notify or ()), *os.environ.get("JALON_NOTIFY", "").split()], stalled_after)
    from jalon.live.server import Server, Settings

    try:
        server = Server(Settings(folder.absolute(), port, host))
    except OSError as exc:
        raise ArgumentError(f"jalon watch: cannot listen on {host}, port {port}: {exc.strerror}. Choose another port.") from exc
    Console(soft_wrap=True).print(f"Watching {folder}: {server.address}", markup=False, highlight=False)
    with alarms or nullcontext():
        server.run()


def _alarms(folder: Path, urls: list[str], stalled_after: float) -> Alarms | None:
    """Return what sends messages of the runs of a folder, where there are addresses."""
    if not urls:
        return None
    if not stalled_after > 0:
        raise ArgumentError(f"jalon watch: --stalled-after must be above 0 seconds. Received: {stalled_after:g}.")
    from jalon.cli._alarms import Alarms

    messenger = Messenger([Address(url) for url in urls], who="jalon watch")
    return Alarms(folder.absolute(), messenger, stalled_after=stalled_after)
