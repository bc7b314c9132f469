"""Tree: holds trees of arrays that a loop exchanges at every step, as those of JAX."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from jalon.core.trainer import TrainerAdapter
from jalon.engines.loop.array_host import ArrayHost
from jalon.engines.loop.leaves import as_saved, named, on_host, with_leaves
from jalon.errors import ArgumentError

_PARAMS, _OPT_STATE = "params", "opt_state"


class Tree:
    """Hold trees of arrays that a loop exchanges at every step, so that callbacks find those in force.

    JAX's arrays never change: a step returns new ones. Where a loop binds them to names of its own, nobody else could know, or
    put the best ones back. Let it bind them to this object's attributes instead, and give the object to
    ``jalon.Loop(model=...)``, which then saves, restores and sets the learning rate as with any model. Numpy's arrays do as well.

    Args:
        params: The weights: dicts, lists, tuples, or whatever JAX takes for a tree.
        opt_state: The state of the optimizer. Made by ``optax.inject_hyperparams(...)``, callbacks know its learning rate and
            set it.
        more: What else belongs to the weights, by name, as ``batch_stats``.

    Raises:
        AttributeError: Something is bound to a name that it was not made with.

    Example:
        >>> import jalon
        >>> from jalon.callbacks import EarlyStopping
        >>> tree = Tree({"weight": np.zeros(1)})
        >>> loop = jalon.Loop(EarlyStopping("loss", restore_best_weights=True), model=tree, epochs=3, verbose=0)
        >>> for epoch, loss in zip(loop, [2.0, 1.0, 3.0]):
        ...     tree.params = {"weight": tree.params["weight"] + 1}  # the step, which makes new weights
        ...     loop.log(loss=loss)
        >>> tree.params  # those of the best epoch
        {'weight': array([2.])}

    After a resume: it holds what it held at the backup. An object with random keys alone can be named in ``state=``.
    """

    def __init__(self, params: Any, opt_state: Any = None, **more: Any) -> None:
        taken = {_PARAMS: params, _OPT_STATE: opt_state} | more
        self.__dict__.update(taken)
        if not named({name: tree for name, tree in taken.items() if name != _OPT_STATE}):
            raise ArgumentError(f"Tree: params must be a tree of arrays. Received: {params!r:.80}.")

    def __setattr__(self, name: str, tree: Any) -> None:
        if name not in self.__dict__:
            held = ", ".join(self.__dict__)
            raise AttributeError(f"Tree: it was not made with {name!r}, which nobody would save. It holds {held}.")
        self.__dict__[name] = tree

    def __repr__(self) -> str:
        return f"<jalon.Tree of {len(named(self.__dict__))} arrays in {', '.join(self.__dict__)}>"

    def trainer_adapter(self) -> TrainerAdapter:
        """Return what answers callbacks for it."""
        return TreeHost(self)

    def state_dict(self) -> dict[str, Any]:
        """Return every array by name, as plain data."""
        return {name: _plain(on_host(value)) for name, value in named(self.__dict__).items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what ``state_dict`` returned.

        Raises:
            ValueError: It holds other arrays.
        """
        own = named(self.__dict__)
        if own.keys() != state.keys():
            raise ValueError(f"it holds {', '.join(own)}; received: {', '.join(state)}")
        leaves = {name: as_saved(own[name], _array(value)) for name, value in state.items()}
        self.__dict__.update(with_leaves(dict(self.__dict__), leaves))


class TreeHost(ArrayHost):
    """Answers callbacks on behalf of a tree.

    Args:
        tree: Holds the arrays.
    """

    def __init__(self, tree: Tree) -> None:
        super().__init__()
        self._tree = tree
        self.whose = f"this {type(tree).__name__}"

    def weights(self) -> dict[str, Any]:
        held = vars(self._tree)
        return named(held[_PARAMS]) | named({name: one for name, one in held.items() if name not in (_PARAMS, _OPT_STATE)})

    def put_weights(self, weights: Mapping[str, Any]) -> None:
        held = vars(self._tree)
        for name, tree in held.items():
            if name != _OPT_STATE:
                held[name] = with_leaves(tree, weights, "" if name == _PARAMS else name)

    def optimizer_state(self) -> dict[str, Any] | None:
        state = self._tree.__dict__[_OPT_STATE]
        return None if state is None else named(state)

    def put_optimizer_state(self, state: Mapping[str, Any]) -> None:
        self._tree.__dict__[_OPT_STATE] = with_leaves(self._tree.__dict__[_OPT_STATE], state)


def _plain(array: Any) -> Any:
    if array.dtype.kind in "biufc":
        return array
    return {"type": array.dtype.name, "shape": list(array.shape), "bytes": np.frombuffer(array.tobytes(), np.uint8)}


def _array(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return np.frombuffer(value["bytes"].tobytes(), np.dtype(value["type"])).reshape(value["shape"])
