"""CSVLogger: write what each epoch reports to a CSV file."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jalon.callbacks._arrays import to_numpy
from jalon.core.callback import Callback, Logs
from jalon.errors import ArgumentError, CallbackDegraded, CheckpointError
from jalon.sinks.csv_file import MISSING, CsvFile, check_separator, read_columns
from jalon.store import atomic

_GONE = (
    "CSVLogger: {0} does not hold the {1:,} rows that were written to it before the interruption. "
    "Training goes on, and new rows are added to what is there."
)
_NOT_CUT = (
    "CSVLogger: {0} could not be cut back to the backup, and would have rows twice: {1}. Check that it can be written to, and "
    "start again."
)


class CSVLogger(Callback):
    """Write what each epoch reports to a CSV file, a row an epoch.

    Rows are whole and there to be read as soon as their epoch ends. The columns are ``epoch``, counted from 0, and the
    metrics by name. A metric that is reported for the first time later on becomes a column at the right end; a value that
    is missing is ``NA``.

    Args:
        filename: The file. Missing folders are made.
        separator: What stands between values, one character. Defaults to a comma.
        append: Whether to add to the file that is there, in place of starting it anew. Defaults to False.

    Raises:
        ArgumentError: ``separator`` is not a single character; when training begins, that the file cannot be written, or
            that what is to be added to is no such table.
        CheckpointError: When training is gone on with, that the file cannot be cut back.

    Example:
        >>> from jalon.testing import play
        >>> run = play(CSVLogger("training.log"), [{"loss": 0.5, "accuracy": 0.75}, {"loss": 0.25, "accuracy": 1.0}])
        >>> print(Path("training.log").read_text())
        epoch,accuracy,loss
        0,0.75,0.5
        1,1.0,0.25
        <BLANKLINE>

    After a resume: the file is cut back to the rows and columns that the backup counts on, and goes on, with ``append`` or
    without; in the end it is, byte for byte, what it would have been.

    Source: Keras's class of this name.
    """

    critical = False
    adds_metrics = False

    def __init__(self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False) -> None:
        self.filename = os.fsdecode(filename)
        self.separator = check_separator(separator, who=type(self).__name__)
        self.append = append
        self._table: CsvFile | None = None
        self._closed: CsvFile | None = None

    def check_setup(self) -> None:
        """Refuse a file that cannot be written or, with ``append``, one that holds something else."""
        if not self.run.is_main:
            return
        path, who = Path(self.filename), type(self).__name__
        reason = atomic.obstacle(path)
        if reason:
            raise ArgumentError(f"{who}: cannot write {self.filename!r}: {reason}. Pass a filename that can be written.")
        columns = read_columns(path, self.separator) if self.append else []
        if columns and "epoch" not in columns:
            raise ArgumentError(
                f"{who}(append=True): {self.filename!r} has no column 'epoch'. Its first line has: {', '.join(columns)}. "
                "Pass the separator that it was written with, or another filename."
            )

    def rehearse(self, folder: Path) -> None:
        self.filename = str(folder / Path(self.filename).name)

    def state_dict(self) -> dict[str, Any]:
        """Return how far the file is: its columns, rows and bytes, and the rows that could not be written yet."""
        table = self._table or self._closed
        return {} if table is None else table.position()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        table = self._table
        if table is None or not self.run.resumed or not state:
            return
        try:
            if not table.cut_back(state):
                warnings.warn(_GONE.format(self.filename, state["rows"]), CallbackDegraded, stacklevel=2)
        except OSError as exc:
            raise CheckpointError(_NOT_CUT.format(self.filename, exc.strerror or exc)) from exc

    def growing_files(self) -> Iterable[Path]:
        table = self._table or self._closed
        return [] if table is None else [table.path]

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.close()
        self._closed = None
        if self.run.is_main:
            self.run.files[self.name or type(self).__name__] = Path(self.filename)
            goes_on = self.run.resumed and self.run.callbacks is not None  # a foreign loop gives no state back
            self._table = CsvFile(self.filename, separator=self.separator, append=self.append or goes_on)
            if self.run.id is not None:
                atomic.make_folder(Path(self.filename).absolute().parent)  # a backup counts on it
            self._table.open()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self._table is None:
            return
        row: dict[str, Any] = {"epoch": epoch}
        for name, value in sorted((logs or {}).items()):
            row.setdefault(name, _text(value))
        if not self._table.columns:
            row |= dict.fromkeys(self._awaited(row), MISSING)
        self._table.write(row)

    def on_train_end(self, logs: Logs | None = None) -> None:
        self.close()

    def close(self) -> None:
        if self._table is not None:
            self._closed, self._table = self._table, None
            self._closed.close()

    def _awaited(self, row: dict[str, Any]) -> list[str]:
        """Return the columns of a validation that comes in a later epoch than the first."""
        if not self.trainer.validates or any(name.startswith("val_") for name in row):
            return []
        known = self.trainer.metric_names()
        if known is not None:
            return sorted(name for name in known if name.startswith("val_"))
        return [f"val_{name}" for name in row if name not in ("epoch", "learning_rate")]


def _text(value: Any) -> Any:
    """Return a value as its text is wanted: one number as it is, several in brackets."""
    if isinstance(value, (str, float, int)):
        return value
    if value is None:
        return MISSING
    if hasattr(value, "detach"):
        value = to_numpy(value)
    if isinstance(value, Iterable) and getattr(value, "ndim", None) != 0:
        return f'"[{", ".join(map(str, value))}]"'
    return value
