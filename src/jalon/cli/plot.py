"""``jalon plot``: draw the curves of a run into a file."""

from __future__ import annotations

import html
import importlib.util
import io
import math
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from jalon._optional import require
from jalon.core.run import Best
from jalon.errors import ArgumentError
from jalon.store import atomic

SUFFIXES = (".png", ".svg", ".html")

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<style>body{{font:15px sans-serif;margin:1.5rem;max-width:60rem}}svg{{max-width:100%;height:auto}}
table{{border-collapse:collapse}}td,th{{padding:.2rem .7rem;border-bottom:1px solid #ccc;text-align:right}}</style></head>
<body><h1>{title}</h1>{drawing}<table><tr>{head}</tr>{rows}</table></body></html>
"""


def plot(run: Path, *, output: Annotated[Path, Parameter(name=["--output", "-o"])]) -> None:
    """Draw the curves of a run: its metrics, training and validation together, and its learning rate.

    Args:
        run: The run's folder, a table of CSVLogger, or a folder of event files.
        output: The file, ending in .png, .svg or .html.
    """
    require("matplotlib", extra="plot", who="jalon plot")
    if output.suffix not in SUFFIXES:
        raise ArgumentError(f"jalon plot: the file must end in one of {', '.join(SUFFIXES)}. Received: {output}.")
    epochs, rows, best = _read(run)
    from jalon.callbacks._plot import draw

    figure, drawn = draw(epochs, rows, best), io.BytesIO()
    figure.savefig(drawn, format="png" if output.suffix == ".png" else "svg")
    content = drawn.getvalue()
    if output.suffix == ".html":
        content = _page(run.name, content.decode(), epochs, rows).encode()
    atomic.write_bytes(output, [content])


def png_of(run: Path) -> bytes | None:
    """Return the curves of a run as a picture in PNG; nothing where it has none, or matplotlib is not installed.

    Args:
        run: As for ``plot``.
    """
    if importlib.util.find_spec("matplotlib") is None:
        return None
    epochs, rows, best = _read(run)
    if not epochs:
        return None
    from jalon.callbacks._plot import png

    return png(epochs, rows, best)


def _read(path: Path) -> tuple[list[int], list[dict[str, Any]], Best | None]:
    from jalon.live import api
    from jalon.live.runs import Runs

    if not path.exists():
        raise ArgumentError(f"jalon plot: {path} is not there.")
    runs = Runs(path if path.is_dir() else path.parent)
    run = runs.get("." if path.is_dir() else path.name)
    if run is None:
        raise ArgumentError(f"jalon plot: {path} holds no run: no journal, no table with epochs, no event file.")
    while not run.complete:
        run.refresh()
    table = run.epochs if len(run.epochs) else run.steps
    columns = {name: table.column(name).tolist() for name in table.names}
    rows = [{name: values[row] for name, values in columns.items() if not math.isnan(values[row])} for row in range(len(table))]
    best = api.summary(run, now=0.0)["best"]
    return [int(one) for one in table.places], rows, None if best is None else Best(**best)


def _page(name: str, drawing: str, epochs: list[int], rows: list[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(key for row in rows for key in row))
    head = "".join(f"<th>{html.escape(one)}</th>" for one in ("epoch", *names))
    lines = "".join(
        f"<tr><td>{epoch + 1}</td>{''.join(f'<td>{row[one]:.6g}</td>' if one in row else '<td></td>' for one in names)}</tr>"
        for epoch, row in zip(epochs, rows, strict=True)
    )
    return _PAGE.format(title=html.escape(name), drawing=drawing[drawing.index("<svg") :], head=head, rows=lines)
