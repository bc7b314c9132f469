"""History: what a training reported, epoch by epoch."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jalon._optional import require
from jalon.core.callback import Callback, Logs
from jalon.core.logs import scalar
from jalon.core.run import Best, Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame


class History(Callback):
    """Record what each epoch reports. ``fit`` adds one to every training, and returns it.

    It runs after all others, so that it has what they added to ``logs``.

    Attributes:
        history: For each metric, its values by epoch, as far as it was reported.
        epoch: The numbers of the epochs, from 0.
        rows: For each epoch, what it reported.
        params: ``{"verbose", "epochs", "steps"}`` of the ``fit``.

    Example:
        >>> from jalon.testing import play
        >>> history = History()
        >>> run = play(history, [{"loss": 0.5, "val_loss": 0.6}, {"loss": 0.4, "val_loss": 0.7}])
        >>> history.history
        {'loss': [0.5, 0.4], 'val_loss': [0.6, 0.7]}
        >>> history.best
        Best(monitor='val_loss', value=0.6, epoch=0, path=None)

    After a resume: the epochs from before come first.

    Source: Keras's class of this name.
    """

    order = sys.maxsize

    def __init__(self) -> None:
        self._of: Run | None = None
        self._reset()

    def _reset(self) -> None:
        self.history: dict[str, list[Any]] = {}
        self.epoch: list[int] = []
        self.rows: list[dict[str, Any]] = []

    def __repr__(self) -> str:
        last = ", ".join(
            f"{name} {value:.4g}" for name, value in (self.rows[-1] if self.rows else {}).items() if _is_number(value)
        )
        ended = f"; stopped: {self.stop_reason}" if self.stop_reason else ""
        return f"<History of {len(self.epoch)} epochs{'; last: ' if last else ''}{last}{ended}>"

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Start afresh, and become the run's history and, where it takes one, the model's."""
        self._reset()
        self._of = self.run
        self._of.history = self.history
        with suppress(AttributeError, TypeError):
            self.model.history = self

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._append(epoch, {name: _plain(value) for name, value in (logs or {}).items()})

    def _append(self, epoch: int, row: dict[str, Any]) -> None:
        self.epoch.append(epoch)
        self.rows.append(row)
        for name, value in row.items():
            self.history.setdefault(name, []).append(value)

    @property
    def stop_reason(self) -> str | None:
        """Why training ended before its last epoch, in words; ``None`` where it did not."""
        return None if self._of is None else self._of.stop_reason

    @property
    def bests(self) -> dict[str, Best]:
        """The best value of each metric that a callback compared."""
        return {} if self._of is None else dict(self._of.bests)

    @property
    def best(self) -> Best | None:
        """The best epoch: by what callbacks compared, ``val_loss`` first; else by the least ``val_loss`` or ``loss``."""
        bests = self.bests
        if bests:
            return bests.get("val_loss") or next(iter(bests.values()))
        return self._least("val_loss") or self._least("loss")

    def _least(self, name: str) -> Best | None:
        reached = [(row[name], epoch) for epoch, row in zip(self.epoch, self.rows, strict=True) if _is_number(row.get(name))]
        return Best(name, *min(reached)) if reached else None

    def to_frame(self) -> DataFrame:
        """Return a row for each epoch and a column for each metric, NaN where an epoch did not report it.

        Raises:
            MissingPackage: pandas is not installed.
        """
        pandas: Any = require("pandas", extra="plot", who="History.to_frame")
        frame: DataFrame = pandas.DataFrame(self.rows, index=pandas.Index(self.epoch, name="epoch"))
        return frame

    def plot(self, path: str | Path | None = None) -> Figure:
        """Draw a curve for each metric, dashed for validation, with the learning rate and the best epoch.

        Args:
            path: A file to write, its suffix naming the format; none by default.

        Raises:
            MissingPackage: matplotlib is not installed.
        """
        require("matplotlib", extra="plot", who="History.plot")
        from jalon.callbacks._plot import draw

        figure = draw(self.epoch, self.rows, self.best)
        if path is not None:
            figure.savefig(path)
        return figure

    def rows_from(self, first: int) -> list[tuple[int, dict[str, Any]]]:
        """Return each epoch's number and what it reported, from one on. Another thread may ask while an epoch is added."""
        return list(zip(self.epoch[first:], self.rows[first:], strict=False))

    def begin_with(self, rows: Iterable[tuple[int, dict[str, Any]]]) -> None:
        """Become the history of the run, with the epochs from before."""
        self.on_train_begin()
        for epoch, row in rows:
            self._append(epoch, row)

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": list(self.epoch), "rows": [dict(row) for row in self.rows]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.history.clear()
        self.epoch.clear()
        self.rows.clear()
        for epoch, row in zip(state["epoch"], state["rows"], strict=True):
            self._append(epoch, dict(row))


def _plain(value: Any) -> Any:
    number = scalar(value)
    return value if number is None else number


def _is_number(value: Any) -> bool:
    return isinstance(value, float) and not math.isnan(value)
