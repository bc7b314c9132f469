"""ScheduledRates: rates that callbacks set on optimizers whose schedulers somebody else steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from jalon.errors import ArgumentError


class ScheduledRates:
    """Reads and sets the rates of optimizers, some of which have a scheduler that the trainer steps.

    Without a scheduler a rate that is set holds. With one, it is a multiplier on what the scheduler says, per parameter
    group: it is in force during the optimizer's step alone, so that the scheduler sees its own rates, whatever it reckons
    from them, and so does the trainer's checkpoint.

    Args:
        optimizers: The torch optimizers.
        has_scheduler: Says of an optimizer whether a scheduler owns its rates.

    Example:
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
        >>> scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
        >>> rates = ScheduledRates([optimizer], lambda optimizer: True)
        >>> rates.set([0.01])
        >>> optimizer.step(), scheduler.step(), rates.get()
        (None, None, [0.005])
    """

    def __init__(
        self, optimizers: Sequence[torch.optim.Optimizer], has_scheduler: Callable[[torch.optim.Optimizer], bool]
    ) -> None:
        self._parts = [_Part(optimizer, scheduled=has_scheduler(optimizer)) for optimizer in optimizers]

    def get(self) -> list[float]:
        """Return the rates in force, one per parameter group, the first optimizer's first."""
        return [rate for part in self._parts for rate in part.rates()]

    def note(self) -> None:
        """Note what the schedulers say now, for ``first``."""
        for part in self._parts:
            part.note()

    def first(self) -> list[float]:
        """Return the rate in force of each optimizer's first parameter group.

        Where something was noted, it is the one in force when the schedulers say that, whatever they have said since.
        """
        return [part.noted()[0] for part in self._parts]

    def set(self, rates: Sequence[float]) -> None:
        """Put rates in force.

        Raises:
            ArgumentError: Another number of rates than groups, or a rate that is no rate.
        """
        groups = sum(len(part.optimizer.param_groups) for part in self._parts)
        if len(rates) != groups:
            raise ArgumentError(f"The optimizers have {groups} parameter groups. Received: {len(rates)} rates.")
        if not all(math.isfinite(rate) and rate >= 0 for rate in rates):
            raise ArgumentError(f"A learning rate must be a finite number of 0 or more. Received: {[*map(float, rates)]}.")
        given = iter(rates)
        for part in self._parts:
            part.set([next(given) for _ in part.optimizer.param_groups])

    def state_dict(self) -> dict[str, Any]:
        """Return the rates in force where nobody owns them, and the multipliers where a scheduler does."""
        return {"parts": [part.state() for part in self._parts]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what ``state_dict`` returned."""
        for part, kept in zip(self._parts, state["parts"], strict=True):
            part.load(kept)

    def release(self) -> None:
        """Leave the optimizers as they are without this."""
        for part in self._parts:
            part.unhook()


class _Part:
    """Is one optimizer.

    Args:
        optimizer: The optimizer.
        scheduled: Whether a scheduler owns its rates.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, *, scheduled: bool) -> None:
        self.optimizer = optimizer
        self._scheduled = scheduled
        # By group: what the scheduler said when a rate was set, and that rate.
        self._set: list[tuple[float, float]] = [(1.0, 1.0)] * len(optimizer.param_groups)
        self._own: list[float] | None = None
        self._noted: list[float] | None = None
        self._hooks: list[Any] = []

    def rates(self) -> list[float]:
        """Return the rates in force in the next step, or in the one that is being taken."""
        rates = self._written()
        return rates if self._own is not None else self._in_force(rates)

    def set(self, rates: Sequence[float]) -> None:
        if not self._scheduled:
            self._put(rates)
            return
        own = self._own or self._written()
        known = zip(own, rates, self._set, strict=True)
        self._multiply([(scheduled, rate) if scheduled else before for scheduled, rate, before in known])
        if self._own is not None:
            self._put(rates)

    def note(self) -> None:
        self._noted = self._own or self._written()

    def noted(self) -> list[float]:
        return self.rates() if self._noted is None or not self._scheduled else self._in_force(self._noted)

    def _in_force(self, own: Sequence[float]) -> list[float]:
        pairs = zip(own, self._set, strict=True)
        return [rate if scheduled == then else scheduled * (rate / then) for scheduled, (then, rate) in pairs]

    def _multiply(self, pairs: list[tuple[float, float]]) -> None:
        self._set = pairs
        if not self._hooks and any(then != rate for then, rate in pairs):
            self._hooks = [
                self.optimizer.register_step_pre_hook(self._before_step),
                self.optimizer.register_step_post_hook(self._after_step),
            ]

    def _before_step(self, *_: Any) -> None:
        if self._own is None:  # a step that calls that of its base class is announced twice
            self._own = self._written()
            self._put(self._in_force(self._own))

    def _after_step(self, *_: Any) -> None:
        if self._own is not None:
            self._put(self._own)
            self._own = None

    def _written(self) -> list[float]:
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def _put(self, rates: Sequence[float]) -> None:
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = float(rate)

    def unhook(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        self._after_step()

    def state(self) -> dict[str, Any]:
        return {"set": [list(pair) for pair in self._set], "rates": None if self._scheduled else self.rates()}

    def load(self, state: Mapping[str, Any]) -> None:
        if state["rates"] is not None and not self._scheduled:
            self._put(state["rates"])
        if self._scheduled:
            self._multiply([(then, rate) for then, rate in state["set"]])
