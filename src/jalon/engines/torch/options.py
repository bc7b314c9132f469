"""Options: how a step is taken."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch

from jalon.errors import ArgumentError

Precision = Literal["float32", "mixed_bfloat16", "mixed_float16"]


@dataclass(frozen=True, slots=True)
class Options:
    """Is how a step is taken.

    Args:
        precision: ``"float32"``, or Keras's policies ``"mixed_bfloat16"`` and ``"mixed_float16"``.
        gradient_accumulation_steps: Batches whose gradients are averaged for one step of the optimizer.
        clipnorm: The greatest norm of each weight's gradient.
        use_ema: Whether a moving average of the weights is kept.
        ema_momentum: The share of the average that stays at a step.
        ema_overwrite_frequency: Steps after which the weights become their average, each time.
    """

    precision: Precision = "float32"
    gradient_accumulation_steps: int = 1
    clipnorm: float | None = None
    use_ema: bool = False
    ema_momentum: float = 0.99
    ema_overwrite_frequency: int | None = None

    def __post_init__(self) -> None:
        if self.precision not in get_args(Precision):
            raise ArgumentError(f"precision must be one of {', '.join(get_args(Precision))}. Received: {self.precision!r}.")
        if not isinstance(self.gradient_accumulation_steps, int) or self.gradient_accumulation_steps < 1:
            raise ArgumentError(
                f"gradient_accumulation_steps must be a positive whole number. Received: {self.gradient_accumulation_steps!r}."
            )
        if self.clipnorm is not None and not self.clipnorm > 0:
            raise ArgumentError(f"clipnorm must be positive. Received: {self.clipnorm!r}.")
        if not 0 <= self.ema_momentum <= 1:
            raise ArgumentError(f"ema_momentum must be from 0 to 1. Received: {self.ema_momentum!r}.")
        frequency = self.ema_overwrite_frequency
        if frequency is not None and (not isinstance(frequency, int) or frequency < 1):
            raise ArgumentError(f"ema_overwrite_frequency must be a positive whole number or None. Received: {frequency!r}.")

    def changed(self, **given: Any) -> Options:
        """Return the options with those replaced that were given."""
        return replace(self, **{name: value for name, value in given.items() if value is not None})

    @property
    def autocast_dtype(self) -> torch.dtype | None:
        """The type in which the module computes, where it is not its own."""
        return {"mixed_bfloat16": torch.bfloat16, "mixed_float16": torch.float16}.get(self.precision)
