"""Optimizers by Keras's name, by torch's name, as classes, functions and objects; and the face they show to callbacks.

A name written as torch writes its class, ``"Adam"``, is torch's optimizer with torch's defaults. Any other spelling is
Keras's name, ``"adam"``: torch's algorithm with Keras's defaults (learning rate, decay rates, epsilon).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from jalon.engines.torch.functions import name_of
from jalon.errors import ArgumentError, CheckpointMismatch, UnknownName

if TYPE_CHECKING:
    from torch.amp.grad_scaler import GradScaler

KERAS: dict[str, tuple[str, dict[str, Any]]] = {
    "adadelta": ("Adadelta", {"lr": 0.001, "rho": 0.95, "eps": 1e-7}),
    "adafactor": ("Adafactor", {"lr": 0.001}),
    "adagrad": ("Adagrad", {"lr": 0.001, "initial_accumulator_value": 0.1, "eps": 1e-7}),
    "adam": ("Adam", {"lr": 0.001, "eps": 1e-7}),
    "adamax": ("Adamax", {"lr": 0.001, "eps": 1e-7}),
    "adamw": ("AdamW", {"lr": 0.001, "eps": 1e-7, "weight_decay": 0.004}),
    "nadam": ("NAdam", {"lr": 0.001, "eps": 1e-7, "momentum_decay": 1.0}),
    "rmsprop": ("RMSprop", {"lr": 0.001, "alpha": 0.9, "eps": 1e-7}),
    "sgd": ("SGD", {"lr": 0.01}),
}
"""Torch's class and Keras's defaults, by Keras's name."""

TORCH: dict[str, type[torch.optim.Optimizer]] = {
    name: kind
    for name, kind in vars(torch.optim).items()
    if inspect.isclass(kind) and issubclass(kind, torch.optim.Optimizer) and kind is not torch.optim.Optimizer
}
"""Torch's classes by name."""

_TORCH_LOWERED = {name.lower(): name for name in TORCH}
_OF_THIS_MACHINE = ("fused", "foreach", "capturable", "differentiable")


# ---- making one ------------------------------------------------------------------------------------------------------


def check_optimizer_name(spec: Any, where: str) -> None:
    """Refuse what cannot be an optimizer, before there are any weights.

    Args:
        spec: As in ``build_optimizer``.
        where: Who asks, for messages.

    Raises:
        UnknownName: No optimizer has that name; the nearest is suggested.
        ArgumentError: It is no optimizer.
    """
    if isinstance(spec, str):
        _named(spec, where)
    elif not callable(spec) and not isinstance(spec, (torch.optim.Optimizer, Optimizer)):
        raise ArgumentError(f"{where}: optimizer must be a name, a class, a function or an object. Received: {spec!r}.")


def build_optimizer(spec: Any, parameters: Iterable[nn.Parameter], *, where: str = "Model.compile") -> torch.optim.Optimizer:
    """Return the torch optimizer that a name, a class, a function or an object means.

    Args:
        spec: Keras's name, torch's class name, a class of optimizers, a function that takes the parameters, as
            ``functools.partial(torch.optim.SGD, lr=0.1)``, or an optimizer over some of the parameters, taken as it is.
            By name, the fused implementation is taken where the device has one.
        parameters: The model's weights.
        where: Who asks, for messages.

    Raises:
        UnknownName: No optimizer has that name; the nearest is suggested.
        ArgumentError: It cannot be made, or belongs to another model.

    Example:
        >>> build_optimizer("adam", nn.Linear(2, 1).parameters()).param_groups[0]["eps"]
        1e-07
    """
    check_optimizer_name(spec, where)
    parameters = list(parameters)
    if isinstance(spec, Optimizer):
        spec = spec.torch
    made = spec
    if isinstance(spec, str):
        made = _make(*_named(spec, where), parameters, where)
    elif not isinstance(spec, torch.optim.Optimizer):
        made = _call(spec, parameters, where)
    _refuse(made, parameters, where)
    optimizer: torch.optim.Optimizer = made
    return optimizer


def _named(name: str, where: str) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    if name in TORCH:
        return TORCH[name], {}
    lowered = name.lower()
    if lowered in KERAS:
        kind, defaults = KERAS[lowered]
        return TORCH[kind], defaults
    if lowered in _TORCH_LOWERED:
        return TORCH[_TORCH_LOWERED[lowered]], {}
    raise UnknownName("optimizer", name, {*KERAS, *TORCH}, where=where)


def _make(
    kind: type[torch.optim.Optimizer], defaults: Mapping[str, Any], parameters: list[nn.Parameter], where: str
) -> torch.optim.Optimizer:
    make: Callable[..., torch.optim.Optimizer] = kind
    options = {**defaults, "fused": True} if _fuses(make, parameters) else defaults
    try:
        return make(parameters, **options)
    except ValueError as error:
        raise ArgumentError(f"{where}: optimizer {kind.__name__} cannot be made for this model: {error}.") from error


def _fuses(make: Callable[..., torch.optim.Optimizer], parameters: list[nn.Parameter]) -> bool:
    """Return whether there is a fused step for these weights; torch says so in the step alone, so one is taken aside."""
    if "fused" not in inspect.signature(make).parameters:
        return False
    try:
        for device, dtype in {(each.device, each.dtype) for each in parameters if each.requires_grad}:
            stand_in = nn.Parameter(torch.zeros(1, device=device, dtype=dtype))
            stand_in.grad = torch.zeros_like(stand_in)
            make([stand_in], fused=True).step()
    except RuntimeError:
        return False
    return True


def _call(make: Callable[..., Any], parameters: list[nn.Parameter], where: str) -> torch.optim.Optimizer:
    try:
        made = make(parameters)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"{where}: {name_of(make)} could not make an optimizer of the parameters: {error}.") from error
    if not isinstance(made, torch.optim.Optimizer):
        raise ArgumentError(
            f"{where}: {name_of(make)} must take the parameters and return a torch optimizer. It returned: {made!r}."
        )
    return made


def _refuse(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], where: str) -> None:
    if isinstance(optimizer, torch.optim.LBFGS):
        raise ArgumentError(f"{where}: LBFGS evaluates the model several times a step, which this loop does not do.")
    own = set(map(id, parameters))
    held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    strangers = sum(id(parameter) not in own for parameter in held)
    if strangers:
        raise ArgumentError(
            f"{where}: {strangers} of the {len(held)} parameters of the {type(optimizer).__name__} are not this model's. "
            "Make it of model.parameters() once the model has its final layers, or pass a function that makes it."
        )


# ---- the face --------------------------------------------------------------------------------------------------------


class LearningRate(float):
    """Is a learning rate that Keras code can use: a number with ``assign`` and ``numpy``; a copy is a plain number."""

    _assign: Callable[[float], None]

    def __new__(cls, value: float, assign: Callable[[float], None]) -> LearningRate:
        rate = super().__new__(cls, value)
        rate._assign = assign
        return rate

    def __reduce__(self) -> tuple[type[float], tuple[float]]:
        return float, (float(self),)

    def numpy(self) -> np.float64:
        """Return the rate as numpy's number."""
        return np.float64(self)

    def assign(self, value: float) -> None:
        """Put another rate in force."""
        self._assign(float(value))


class Optimizer:
    """Shows a torch optimizer under Keras's names, and lets callbacks and a scheduler share its rate.

    Without a scheduler a rate that is set holds. With one, a rate that is set is a multiplier on what the scheduler
    says, per parameter group: it holds through the scheduler's next steps, and the scheduler sees its own rates alone.
    What is not named here is torch's.

    Args:
        optimizer: The torch optimizer.

    Attributes:
        torch: The torch optimizer.
        iterations: How often it has changed the weights.
        before_step: Called with ``iterations`` before each step, if set.
        scheduler: The torch scheduler, if there is one.

    Example:
        >>> optimizer = Optimizer(torch.optim.SGD(nn.Linear(2, 1).parameters(), lr=0.1))
        >>> optimizer.learning_rate = optimizer.learning_rate * 0.5
        >>> optimizer.learning_rate
        0.05
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.torch = optimizer
        self.iterations = 0
        self.before_step: Callable[[int], None] | None = None
        self.scheduler: LRScheduler | None = None
        self._scheduled: list[float] | None = None
        self._multipliers = [1.0] * len(optimizer.param_groups)

    def __repr__(self) -> str:
        return f"<Optimizer {type(self.torch).__name__} iterations={self.iterations} rates={self.rates()}>"

    def __getattr__(self, name: str) -> Any:
        if name == "torch":  # not yet there while a copy is made
            raise AttributeError(name)
        return getattr(self.torch, name)

    @property
    def name(self) -> str:
        """The optimizer's name in lower case, as Keras gives it."""
        return type(self.torch).__name__.lower()

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The torch optimizer's parameter groups."""
        return self.torch.param_groups

    def step(self, scaler: GradScaler | None = None) -> bool:
        """Change the weights by their gradients, and return whether they were changed.

        Args:
            scaler: Scaled the loss: it skips the step where gradients overflowed, and is updated.
        """
        if self.before_step is not None:
            self.before_step(self.iterations)
        if scaler is not None and not self._scaled_step(scaler):
            return False
        if scaler is None:
            self.torch.step()
        self.iterations += 1
        return True

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        self.torch.zero_grad(set_to_none)

    def _scaled_step(self, scaler: GradScaler) -> bool:
        scale = scaler.get_scale()
        scaler.step(self.torch)
        scaler.update()
        return scaler.get_scale() >= scale  # the scaler says by a smaller scale alone that it skipped the step

    # ---- the rate

    @property
    def learning_rate(self) -> LearningRate:
        """The rate in force of the first parameter group. Setting it changes all groups, their ratios kept."""
        return LearningRate(float(self.torch.param_groups[0]["lr"]), self._set_rate)

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._set_rate(float(value))

    @property
    def lr(self) -> LearningRate:
        """The same under Keras 2's name."""
        return self.learning_rate

    @lr.setter
    def lr(self, value: float) -> None:
        self._set_rate(float(value))

    def rates(self) -> list[float]:
        """Return the rate in force, one per parameter group."""
        return [float(group["lr"]) for group in self.torch.param_groups]

    def set_rates(self, rates: Sequence[float]) -> None:
        """Put rates in force, one per parameter group; with a scheduler, as multipliers on its own.

        Raises:
            ArgumentError: Another number of rates than groups, or a rate that is no rate.
        """
        if len(rates) != len(self.torch.param_groups):
            raise ArgumentError(
                f"The optimizer has {len(self.torch.param_groups)} parameter groups. Received: {len(rates)} rates."
            )
        if not all(math.isfinite(rate) and rate >= 0 for rate in rates):
            raise ArgumentError(f"A learning rate must be a finite number of 0 or more. Received: {[*map(float, rates)]}.")
        if self.scheduler is not None:
            scheduled = self._scheduled or self.rates()
            known = zip(rates, scheduled, self._multipliers, strict=True)
            self._multipliers = [rate / own if own else multiplier for rate, own, multiplier in known]
            self._scheduled = scheduled
        self._put(rates)

    def _set_rate(self, value: float) -> None:
        rates = self.rates()
        first = rates[0]
        self.set_rates([value * (rate / first) if first else value for rate in rates])

    def _put(self, rates: Sequence[float]) -> None:
        for group, rate in zip(self.torch.param_groups, rates, strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = float(rate)

    # ---- a scheduler

    @property
    def owns_rate(self) -> bool:
        """Whether a scheduler of the optimizer's own says the rate, so that a rate set is a multiplier on it."""
        return self.scheduler is not None

    def attach_scheduler(self, scheduler: LRScheduler | Callable[[torch.optim.Optimizer], LRScheduler]) -> None:
        """Take a torch scheduler that says the rate from now on.

        Args:
            scheduler: Over this torch optimizer, or a function that makes one of it.

        Raises:
            ArgumentError: It is none, or another optimizer's.
        """
        made = scheduler
        if not isinstance(made, LRScheduler) and callable(made):
            made = made(self.torch)
        if not isinstance(made, LRScheduler):
            raise ArgumentError(
                f"scheduler must be a torch learning-rate scheduler or a function that makes one of the optimizer. "
                f"Received: {scheduler!r}."
            )
        if made.optimizer is not self.torch:
            raise ArgumentError(
                f"The {type(made).__name__} belongs to another optimizer. Pass the optimizer it was made for, or a function of "
                "the optimizer, as functools.partial(StepLR, step_size=10)."
            )
        self.scheduler = made

    def step_scheduler(self, metric: float | None = None) -> None:
        """Let the scheduler say the next rates; nothing happens without one.

        Args:
            metric: What torch's ``ReduceLROnPlateau`` watches.

        Raises:
            ArgumentError: The scheduler watches a metric and there is none.
        """
        if self.scheduler is None:
            return
        if self._scheduled is not None:
            self._put(self._scheduled)  # many schedulers reckon the next rate from the one they find
        self._step_bare(metric)
        if self._scheduled is not None:
            self._scheduled = self.rates()
            self._put([rate * by for rate, by in zip(self._scheduled, self._multipliers, strict=True)])

    def _step_bare(self, metric: float | None) -> None:
        if not isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step()  # type: ignore[union-attr]
        elif metric is None:
            raise ArgumentError("torch's ReduceLROnPlateau watches a metric, and there is none where it is stepped.")
        else:
            self.scheduler.step(metric)

    # ---- what is saved

    def state_dict(self) -> dict[str, Any]:
        """Return the optimizer's and the scheduler's state, the steps taken and the rates set."""
        return {
            "optimizer": self.torch.state_dict(),
            "iterations": self.iterations,
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
            "scheduled": self._scheduled,
            "multipliers": list(self._multipliers),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what ``state_dict`` returned; how this machine reckons a step, fused or not, stays as it is.

        Raises:
            CheckpointMismatch: It belongs to another optimizer, or to one with a scheduler where there is none.
        """
        if (state["scheduler"] is None) != (self.scheduler is None):
            has, lacks = ("the state", "this optimizer") if self.scheduler is None else ("this optimizer", "the state")
            raise CheckpointMismatch(f"The optimizer's state does not fit: {has} has a scheduler, {lacks} has none.")
        try:
            self.torch.load_state_dict(self._for_this_machine(state["optimizer"]))
        except (ValueError, KeyError) as error:
            raise CheckpointMismatch(f"The optimizer's state belongs to another optimizer: {error}") from error
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        self.iterations = state["iterations"]
        self._scheduled, self._multipliers = state["scheduled"], list(state["multipliers"])

    def _for_this_machine(self, state: Mapping[str, Any]) -> dict[str, Any]:
        groups = [
            saved | {key: own[key] for key in _OF_THIS_MACHINE if key in own}
            for saved, own in zip(state["param_groups"], self.torch.param_groups, strict=True)
        ]
        return {**state, "param_groups": groups}
