"""Makes the pictures of README.md: a terminal in which ``jalon demo`` runs, and the curves of that run.

Usage: python examples/show_off.py [folder for the pictures]

Needs a system with pseudo-terminals, that is, not Windows.
"""

from __future__ import annotations

import csv
import fcntl
import os
import re
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

from rich.console import Console
from rich.text import Text

from jalon.callbacks import History

COLUMNS, ROWS_SHOWN = 150, 22


def run_in_terminal(command: list[str], folder: str) -> str:
    """Return all that a command writes to a terminal."""
    ours, its = os.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    environment = os.environ | {"TERM": "xterm-256color"}
    process = subprocess.Popen(command, cwd=folder, stdin=its, stdout=its, stderr=its, env=environment)
    os.close(its)
    written = bytearray()
    while chunk := read(ours):
        written += chunk
    os.close(ours)
    if process.wait():
        raise SystemExit(written.decode())
    return written.decode()


def read(terminal: int) -> bytes:
    """Return what has been written since; nothing once the other side is closed."""
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""


def draw_terminal(written: str, path: Path) -> None:
    """Draw the end of what was written, as it stood on the screen."""
    console = Console(record=True, width=COLUMNS, file=open(os.devnull, "w"))  # noqa: SIM115 - it lives as long as we do
    rows = [row.rsplit("\r", 1)[-1] for row in written.replace("\r\n", "\n").split("\n")]  # as overwritten last
    lines = [Text.from_ansi(row) for row in rows]
    for line in [Text("$ jalon demo", style="bold"), Text("…"), *lines[-ROWS_SHOWN:]]:
        console.print(line)
    # rich fetches its font from the network; the reader's own will do.
    picture = re.sub(r"@font-face \{.*?\}", "", console.export_svg(title="jalon demo"), flags=re.DOTALL)
    path.write_text(picture, encoding="utf-8")


def draw_curves(table: Path, path: Path) -> None:
    """Draw the metrics of a training from the table that it wrote."""
    with table.open(newline="") as file:
        rows = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
    history = History()
    history.load_state_dict({"epoch": [int(row.pop("epoch")) for row in rows], "rows": rows})
    history.plot(path)


def main(pictures: Path) -> None:
    pictures.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        written = run_in_terminal([sys.executable, "-m", "jalon", "demo"], folder)
        draw_terminal(written, pictures / "terminal.svg")
        draw_curves(Path(folder, "demo-run", "training.csv"), pictures / "curves.svg")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs" / "images")
