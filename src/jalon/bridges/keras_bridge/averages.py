"""The moving average of the weights that Keras's optimizers keep with ``use_ema=True``, on any backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras

from jalon.errors import ArgumentError


def averages(model: Any) -> KerasAverages | None:
    """Return the average of a model's weights, or ``None`` where its optimizer keeps none.

    Args:
        model: The model, its variables up to date.

    Raises:
        ArgumentError: It has a ``MultiOptimizer``, and none of its optimizers keeps an average.
    """
    optimizer = getattr(model, "optimizer", None)
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # of a LossScaleOptimizer
    several = getattr(optimizer, "optimizers", None)
    averaging = [one for one in (several or [optimizer]) if getattr(one, "use_ema", False)]
    if several and not averaging:
        raise ArgumentError(
            "SwapEMAWeights must be used when at least one inner optimizer has `use_ema=True` set. Received: a MultiOptimizer "
            f"of {len(several)} optimizers, all with use_ema=False. Pass use_ema=True to those whose weights shall be averaged."
        )
    return KerasAverages(averaging) if averaging else None


class KerasAverages:
    """Is the average that Keras's optimizers keep of the weights they change.

    Args:
        optimizers: Those with ``use_ema=True``.
    """

    def __init__(self, optimizers: list[Any]) -> None:
        self._optimizers = optimizers

    def swap(self) -> None:
        """Exchange weights and average, bit for bit.

        Raises:
            ArgumentError: No optimizer has its variables yet, as before ``fit``.
        """
        self._each(_exchange)

    def settle(self) -> None:
        """Let the average be what the weights are now."""
        self._each(_take_over)

    def _each(self, act: Callable[[Any, Any], None]) -> None:
        for optimizer in self._built():
            if int(keras.ops.convert_to_numpy(optimizer._iterations)) == 0:
                continue  # its averages are zeros until it has taken a step
            for weight, average in _pairs(optimizer):
                if keras.config.backend() == "tensorflow":
                    # on every replica that a distribution strategy keeps
                    optimizer._distribution_strategy.extended.update(_bare(weight), act, args=(_bare(average),))
                else:
                    act(weight, average)

    def _built(self) -> list[Any]:
        built = [one for one in self._optimizers if hasattr(one, "_model_variables_moving_average")]
        if not built:
            raise ArgumentError(
                "SwapEMAWeights must be used when `use_ema=True` is set on the optimizer and it has averaged weights. "
                f"Received: {self._optimizers[0].name}, which has not been trained with yet. Call fit first, or load a model "
                "with its optimizer's state."
            )
        return built


def _pairs(optimizer: Any) -> Iterator[tuple[Any, Any]]:
    for pair in zip(optimizer._trainable_variables, optimizer._model_variables_moving_average, strict=True):
        if pair[1] is not None:  # as for a scale of quantized training, which is no weight
            yield pair


def _exchange(weight: Any, average: Any) -> None:
    kept = keras.ops.copy(weight)
    weight.assign(average)
    average.assign(kept)


def _take_over(weight: Any, average: Any) -> None:
    average.assign(keras.ops.copy(weight))  # JAX takes no buffer for two variables


def _bare(variable: Any) -> Any:
    return variable.value if isinstance(variable, keras.Variable) else variable
