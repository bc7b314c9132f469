"""``jalon watch``: show the runs of a folder on a page in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from jalon._optional import require
from jalon.errors import ArgumentError

LOCAL = ("127.0.0.1", "localhost", "::1")


def watch(
    folder: Path = Path("runs"),
    *,
    port: int = 0,
    host: str = "127.0.0.1",
    let_others_in: Annotated[bool, Parameter(negative=())] = False,
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
    from jalon.live.server import Server, Settings

    try:
        server = Server(Settings(folder.absolute(), port, host))
    except OSError as exc:
        raise ArgumentError(f"jalon watch: cannot listen on {host}, port {port}: {exc.strerror}. Choose another port.") from exc
    Console(soft_wrap=True).print(f"Watching {folder}: {server.address}", markup=False, highlight=False)
    server.run()
