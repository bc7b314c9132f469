"""Evaluation: data measured outside of a training, with callbacks told of a test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from jalon.callbacks.progbar_logger import ProgbarLogger
from jalon.core.callback_list import CallbackList
from jalon.core.logs import BatchLogs
from jalon.core.run import Run
from jalon.core.transform import Transform
from jalon.engines.loop.means import Means
from jalon.engines.loop.preparing import Preparation, rows_of
from jalon.engines.loop.sources import source_of

Step = Callable[[Any], Mapping[str, Any] | None]
"""Takes a batch, and returns its values by name."""


class Evaluation:
    """Measures on data outside of a training.

    Args:
        callbacks: Who is told.
        run: Of this evaluation alone.
        model: What callbacks get as ``self.model``.
        verbose: As given to the loop.
    """

    def __init__(self, callbacks: CallbackList, run: Run, model: Any, verbose: int) -> None:
        bar = [] if not verbose or any(isinstance(one, ProgbarLogger) for one in callbacks) else [ProgbarLogger()]
        self._callbacks = CallbackList([callbacks, *bar])
        self._run, self._model, self._verbose = run, model, verbose
        self._means = Means()

    def __call__(self, data: Any, step: Step, steps: int | None, evaluating: AbstractContextManager[Any]) -> dict[str, float]:
        """Return the means over every batch."""
        source, callbacks = source_of(data, steps), self._callbacks
        with callbacks.session():
            callbacks.begin(self._run, self._model, {"verbose": self._verbose, "epochs": 1, "steps": source.steps})
            transforms = [one for one in callbacks if isinstance(one, Transform)]
            prepare = Preparation(transforms, self._run.trainer).function("test")
            self._run.phase = "test"
            callbacks.on_test_begin({})
            with evaluating:
                for number, batch in enumerate(source.epoch()):
                    self._measure(number, batch, lambda batch: step(batch if prepare is None else prepare(batch)))
            values = self._means.read()
            callbacks.on_test_end(dict(values))
        return values

    def _measure(self, number: int, batch: Any, step: Step) -> None:
        callbacks = self._callbacks
        if callbacks.batch_hooks["on_test_batch_begin"]:
            callbacks.tell_batch("on_test_batch_begin", number, {})
        for name, value in (step(batch) or {}).items():
            self._means.add(name, value, rows_of(batch))
        if callbacks.batch_hooks["on_test_batch_end"]:
            callbacks.tell_batch("on_test_batch_end", number, BatchLogs(self._means.read, lambda: self._means.updates))
