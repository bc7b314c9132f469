"""WeightAverages: the moving average of the weights, kept beside them on their device."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class WeightAverages:
    """Keeps the moving average of the weights, as Keras's optimizers do with ``use_ema=True``.

    After the first step the average is what the weights are; after every other step it is
    ``momentum * average + (1 - momentum) * weight``.

    Args:
        momentum: The share that stays at a step, from 0 to 1.
        overwrite_frequency: Steps after which the weights become the average, each time; ``None`` for never.

    Example:
        >>> weight = torch.tensor([1.0])
        >>> averages = WeightAverages(momentum=0.75, overwrite_frequency=None)
        >>> averages.begin({"weight": weight})
        >>> averages.update(step=1)
        >>> weight += 4
        >>> averages.update(step=2)
        >>> averages.state_dict()
        {'weight': tensor([2.])}
    """

    def __init__(self, momentum: float, overwrite_frequency: int | None) -> None:
        self._momentum = momentum
        self._overwrite_frequency = overwrite_frequency
        self._weights: dict[str, Tensor] = {}
        self._averages: dict[str, Tensor] = {}

    @property
    def begun(self) -> bool:
        """Whether it is known which weights are averaged."""
        return bool(self._weights)

    @torch.no_grad()
    def begin(self, weights: Mapping[str, Tensor]) -> None:
        """Take the weights about to be trained, by name; one that was not trained until now is its own average."""
        self._weights = dict(weights)
        if self._averages:
            known = self._averages
            self._averages = {
                name: known[name].to(weight) if name in known else weight.clone() for name, weight in weights.items()
            }

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take the weights into the average.

        Args:
            step: The number of the step just taken, from 1.
        """
        if self._averages:
            torch._foreach_lerp_([*self._averages.values()], [*self._weights.values()], 1 - self._momentum)
        else:
            self._averages = {name: weight.clone() for name, weight in self._weights.items()}
        if self._overwrite_frequency is not None and step % self._overwrite_frequency == 0:
            self.put_in_place()

    @torch.no_grad()
    def put_in_place(self) -> None:
        """Let the weights be what the average is now."""
        if self._averages:
            torch._foreach_copy_([*self._weights.values()], [*self._averages.values()])

    @torch.no_grad()
    def settle(self) -> None:
        """Let the average be what the weights are now."""
        if self._averages:
            torch._foreach_copy_([*self._averages.values()], [*self._weights.values()])

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange weights and average, one at a time, so that the memory of one weight is enough."""
        for name, average in self._averages.items():
            weight = self._weights[name]
            kept = weight.clone()
            weight.copy_(average)
            average.copy_(kept)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the average of each weight by name; nothing before the first step."""
        return dict(self._averages)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take back what ``state_dict`` returned; to be followed by ``begin``."""
        self._averages = {name: average.clone() for name, average in state.items()}
