"""NnxHost: answers callbacks on behalf of modules of Flax NNX and their optimizers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from flax import nnx

from jalon.engines.loop.array_host import ArrayHost
from jalon.engines.loop.leaves import like, on_host
from jalon.errors import ArgumentError

_MODES = ("deterministic", "use_running_average")
"""What layers look at to know whether they are trained."""

_RANDOM = (nnx.RngKey, nnx.RngCount)


class NnxHost(ArrayHost):
    """Answers callbacks on behalf of modules of Flax NNX and their optimizers.

    Weights are all variables of a module but those of its random numbers, which are kept with a backup alone.

    Args:
        modules: A module, or several by name.
        optimizers: An ``nnx.Optimizer``, or several, by name or in order; none where nobody has to know the learning rate.

    Raises:
        ArgumentError: Something is neither.

    Example:
        >>> import optax
        >>> module = nnx.Linear(2, 1, rngs=nnx.Rngs(0))
        >>> optimizer = nnx.Optimizer(module, optax.inject_hyperparams(optax.adam)(learning_rate=0.1), wrt=nnx.Param)
        >>> host = NnxHost(module, optimizer)
        >>> list(host.weights()), host.learning_rates()
        (['bias', 'kernel'], [0.1])
    """

    def __init__(self, modules: Any, optimizers: Any) -> None:
        super().__init__()
        self._modules: dict[str, Any] = dict(modules) if isinstance(modules, Mapping) else {"": modules}
        self._optimizers = _by_name(optimizers)
        for kind, several in (("model", self._modules), ("optimizer", self._optimizers)):
            wrong = [one for one in several.values() if not isinstance(one, nnx.Module if kind == "model" else nnx.Optimizer)]
            if wrong:
                raise ArgumentError(
                    f"Loop: {kind}= of Flax takes an nnx.{'Module' if kind == 'model' else 'Optimizer'}, or several in a dict by "
                    f"name. Received: a {type(wrong[0]).__name__}. A state of Optax belongs into a jalon.Tree with its weights."
                )
        self.whose = " and ".join(type(module).__name__ for module in self._modules.values())

    def weights(self) -> dict[str, Any]:
        return _values(self._modules, random=False)

    def put_weights(self, weights: Mapping[str, Any]) -> None:
        _put(self._modules, weights)

    def optimizer_state(self) -> dict[str, Any] | None:
        return _values(self._optimizers, random=False, only=("opt_state", "step")) if self._optimizers else None

    def put_optimizer_state(self, state: Mapping[str, Any]) -> None:
        _put(self._optimizers, state)

    def reported_rates(self) -> dict[str, float]:
        """Return ``learning_rate``, or ``learning_rate_<name>`` for each of several optimizers."""
        if len(self._optimizers) < 2:
            return super().reported_rates()
        first: dict[str, float] = {}
        for name, rate in zip(self._rates(), self.learning_rates(), strict=True):
            first.setdefault(f"learning_rate_{name.partition('.')[0]}", rate)
        return first

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Put the modules into evaluation, and leave each layer in the mode it was in."""
        layers = [layer for module in self._modules.values() for _, layer in nnx.iter_modules(module)]
        modes = [(layer, mode, getattr(layer, mode)) for layer in layers for mode in _MODES if hasattr(layer, mode)]
        for module in self._modules.values():
            module.eval()
        try:
            yield
        finally:
            for layer, mode, value in modes:
                setattr(layer, mode, value)

    def loop_state(self) -> dict[str, Any]:
        return {"random": {name: on_host(value) for name, value in _values(self._modules, random=True).items()}}

    def load_loop_state(self, state: Mapping[str, Any]) -> None:
        own = _values(self._modules, random=True)
        _put(self._modules, {name: like(own[name], value) for name, value in state["random"].items()})


def _by_name(optimizers: Any) -> dict[str, Any]:
    if isinstance(optimizers, Mapping):
        return dict(optimizers)
    if optimizers is None:
        return {}
    if not isinstance(optimizers, (list, tuple)):
        return {"": optimizers}
    return {f"optimizer_{place}": optimizer for place, optimizer in enumerate(optimizers)}


def _variables(owner: str, node: Any) -> Iterator[tuple[str, tuple[Any, ...], Any]]:
    """Yield each variable of a module or an optimizer: its name, its path and itself."""
    for path, variable in nnx.to_flat_state(nnx.state(node)):
        yield ".".join([owner, *map(str, path)] if owner else map(str, path)), path, variable


def _values(nodes: Mapping[str, Any], *, random: bool, only: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        name: variable.get_value()
        for owner, node in nodes.items()
        for name, path, variable in _variables(owner, node)
        if isinstance(variable, _RANDOM) == random and (not only or path[0] in only)
    }


def _put(nodes: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    for owner, node in nodes.items():
        changed = [(path, variable.replace(values[name])) for name, path, variable in _variables(owner, node) if name in values]
        nnx.update(node, nnx.from_flat_state(changed))
