"""Ending: what there is to know when a training has ended: why, what was kept and where, and what went wrong on the way."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from jalon.callbacks._saving import expected_bests
from jalon.core.run import Best, Run
from jalon.errors import Preempted
from jalon.sinks.progress import number


class Ending:
    """Hears of what happens in a training, to tell of it at the end.

    Args:
        run: The training.
        epochs: How many epochs there are to be.
    """

    def __init__(self, run: Run, *, epochs: int) -> None:
        self._run = run
        self._epochs = epochs
        self._warnings: dict[str, list[str]] = {}
        self._put_back: set[str] = set()
        run.recorders.append(self._hear)

    def close(self) -> None:
        """Hear no more."""
        if self._hear in self._run.recorders:
            self._run.recorders.remove(self._hear)

    def lines(self, *, epoch: int, fault: BaseException | None = None) -> Iterator[str]:
        """Yield what there is to know; nothing of a training that ran as planned, kept nothing and wrote nothing.

        Args:
            epoch: The last epoch's number, from 1; 0 before the first one.
            fault: What ended the training before its end.
        """
        if fault is not None:
            yield f"{_how(fault)} in epoch {epoch} of {self._epochs}: {_why(fault)}"
        elif self._run.stop_reason:
            yield f"Stopped after epoch {epoch} of {self._epochs}: {self._run.stop_reason}"
        bests = expected_bests(self._run)
        yield from map(self._kept, bests.values())
        yield from self._written({best.path for best in bests.values()}, all_of_it=fault is not None)
        for label, error in self._run.degraded.items():
            yield f"{label} failed on the way: {error}"
        for label, texts in self._warnings.items():
            if label not in self._run.degraded:
                yield from (f"On the way: {text}" for text in texts)

    def _hear(self, kind: str, facts: Mapping[str, Any]) -> None:
        if kind == "warning":
            self._warnings.setdefault(facts["who"], []).append(facts["text"])
        elif kind == "restore":
            self._put_back.add(facts["monitor"])

    def _kept(self, best: Best) -> str:
        places = [f"kept in {best.path}"] if best.path is not None else []
        if best.monitor in self._put_back:
            places.append("put back into the model")
        return f"Best {best.monitor} {number(best.value)} in epoch {best.epoch + 1}, {' and '.join(places) or 'kept in no file'}"

    def _written(self, told: Collection[Path | None], *, all_of_it: bool) -> Iterator[str]:
        """Yield what else is on the disk, without a backup that is deleted when training has ended."""
        callbacks = self._run.callbacks
        known = {} if callbacks is None or all_of_it else callbacks.labelled()
        written = {label: path for label, path in self._run.files.items() if path not in told and path.exists()}
        files = [
            f"{path} ({who})" for who, path in sorted(written.items()) if not getattr(known.get(who), "delete_checkpoint", False)
        ]
        if files:
            yield f"Written: {', '.join(files)}"


def _how(fault: BaseException) -> str:
    return "Left" if isinstance(fault, (Preempted, KeyboardInterrupt)) else "Failed"


def _why(fault: BaseException) -> str:
    text = next(iter(str(fault).splitlines()), "")
    name = type(fault).__name__
    return text if text and isinstance(fault, Preempted) else f"{name}: {text}" if text else name
