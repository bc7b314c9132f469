"""WandB: report a run to Weights & Biases."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from jalon._optional import require
from jalon.callbacks._destination import Destination, Outcome, Point
from jalon.errors import ArgumentError

WandBMode = Literal["online", "offline", "disabled", "shared"]
_EXIT_CODES: dict[Outcome, int] = {"finished": 0, "failed": 1, "killed": 255, "preempted": 143}
_EPOCH, _STEP = "epoch", "step"


class WandB(Destination):
    """Report a run to Weights & Biases.

    Its configuration becomes the run's config, what each epoch reports its history, and how it ended its state. Metrics are drawn
    over ``epoch``, from 0; with ``update_freq`` batches are reported too, as ``batch_<metric>`` over ``step``, the training
    batches. A run that the caller has begun by ``wandb.init`` is joined, and left for the caller to finish.

    A thread of its own speaks to the service; training does not wait for it, but for its beginning and its end, for at most
    ``timeout`` seconds each. What it does not take is kept and tried again with the next epoch, and warned of once. Of several
    processes the main one reports.

    Args:
        project: The project. Defaults to wandb's choice: its variable ``WANDB_PROJECT``, else ``"uncategorized"``.
        name: What the run is called there. Defaults to one that wandb makes.
        entity: Whose project it is. Defaults to the user's.
        mode: ``"online"``, ``"offline"`` to write files for ``wandb sync``, ``"disabled"`` or ``"shared"``. Defaults to wandb's
            choice: its variable ``WANDB_MODE``, else ``"online"``.
        config: Further values of the run's config, by name. Defaults to none.
        update_freq: ``"epoch"``; or ``"batch"`` or a number of batches, to report batches that often besides. Defaults to
            ``"epoch"``.
        timeout: How many seconds the beginning and the end of training wait for the service, the latter for none that has
            never answered. Defaults to 30.

    Raises:
        ArgumentError: An argument cannot be what it is.
        MissingPackage: ``wandb`` is not installed.

    Example:
        >>> wandb = WandB("digits", name="wide", mode="offline", config={"width": 64})
        >>> wandb.project, wandb.mode
        ('digits', 'offline')

    After a resume: the same run is gone on with. Points are drawn over epochs, so that none is dropped where epochs go back.
    """

    def __init__(
        self,
        project: str | None = None,
        *,
        name: str | None = None,
        entity: str | None = None,
        mode: WandBMode | None = None,
        config: Mapping[str, Any] | None = None,
        update_freq: int | Literal["epoch", "batch"] = "epoch",
        timeout: float = 30.0,
    ) -> None:
        require("wandb", extra="wandb", who="WandB")
        if mode is not None and mode not in get_args(WandBMode):
            raise ArgumentError(f"WandB: mode must be one of {', '.join(get_args(WandBMode))}, or None. Received: mode={mode!r}.")
        super().__init__(update_freq=update_freq, timeout=timeout)
        self.project = project
        self.run_name = name  # not as name: that is the key of a callback's state
        self.entity = entity
        self.mode = mode
        self._config_of_user = dict(config or {})
        self._there: Any = None
        self._defined: set[str] = set()

    def _joined(self) -> str | None:
        self._there = _wandb().run
        return None if self._there is None else str(self._there.id)

    def _begin(self, name: str | None, config: Mapping[str, Any]) -> str:
        told = {**config, **self._config_of_user}
        if self._joins:
            self._there.config.update({key: value for key, value in told.items() if key not in self._there.config})
        else:
            self._there = _wandb().init(
                project=self.project,
                name=self.run_name,
                entity=self.entity,
                mode=self.mode,
                id=name or os.environ.get("WANDB_RUN_ID") or secrets.token_hex(4),
                resume="allow",
                config=told,
            )
        self._defined = set()
        return str(self._there.id)

    def _report(self, points: Sequence[Point]) -> None:
        for point in points:
            axis = _STEP if point.of_batch else _EPOCH
            for name in point.values.keys() - self._defined:
                self._there.define_metric(name, step_metric=axis)
            self._defined |= point.values.keys()
            self._there.log({**point.values, axis: point.step})

    def _end(self, outcome: Outcome, reason: str | None) -> None:
        if reason:
            self._there.summary["reason"] = reason[:500]
        if outcome == "preempted":
            self._there.mark_preempting()
        self._there.finish(exit_code=_EXIT_CODES[outcome])


def _wandb() -> Any:
    return require("wandb", extra="wandb", who="WandB")
