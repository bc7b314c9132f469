"""Where the random numbers of Python, numpy and torch stand, and those that a loader has of its own, as plain data."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch.utils.data import Sampler

from jalon.callbacks import _randomness
from jalon.errors import CheckpointMismatch

_GENERATORS = (torch.Generator, random.Random, np.random.RandomState, np.random.Generator)


def torch_state() -> dict[str, Any]:
    """Return where torch's random numbers stand, on every device."""
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state().numpy(), "cuda": [each.numpy() for each in devices]}


def load_torch_state(state: Mapping[str, Any]) -> None:
    """Let torch go on from what ``torch_state`` returned."""
    torch.set_rng_state(torch.from_numpy(state["cpu"]))
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([torch.from_numpy(each) for each in state["cuda"]])


def random_state() -> dict[str, Any]:
    """Return where the random numbers of Python, numpy and torch stand."""
    return {"torch": torch_state()} | _randomness.random_state()


def load_random_state(state: Mapping[str, Any]) -> None:
    """Let all go on from what ``random_state`` returned."""
    load_torch_state(state["torch"])
    _randomness.load_random_state(state)


def own_state(loader: Any) -> dict[str, Any]:
    """Return where the random numbers stand that a loader draws from generators of its own, and what its samplers have counted.

    A generator is found where it is an attribute of the loader, of a sampler or of the dataset. A sampler that is not torch's
    may count its passes in an attribute too.
    """
    return {place: _state_of(one) for place, (_, one) in _own(loader).items()}


def load_own_state(loader: Any, state: Mapping[str, Any]) -> None:
    """Let a loader go on from what ``own_state`` returned.

    Raises:
        CheckpointMismatch: It draws from other generators.
    """
    own = _own(loader)
    if own.keys() != state.keys():
        raise CheckpointMismatch(
            f"The data is drawn in another way: its random numbers and counts were {', '.join(state) or 'none'}, "
            f"are {', '.join(own) or 'none'}. Go on with the loader of the first start."
        )
    for place, (part, one) in own.items():
        if isinstance(one, int):
            setattr(part, place.rpartition(".")[2], state[place])
        else:
            _load_state_of(one, state[place])


def _own(loader: Any) -> dict[str, tuple[Any, Any]]:
    """Return each generator and count with the part whose attribute it is, by its place; each once."""
    found: dict[str, tuple[Any, Any]] = {}
    seen: set[int] = set()
    for name, part in _parts(loader):
        counts = isinstance(part, Sampler) and not type(part).__module__.startswith("torch.")
        for attribute, one in getattr(part, "__dict__", {}).items():
            if isinstance(one, _GENERATORS) and not isinstance(one, random.SystemRandom) and id(one) not in seen:
                seen.add(id(one))
                found[f"{name}.{attribute}"] = part, one
            elif counts and type(one) is int:
                found[f"{name}.{attribute}"] = part, one
    return found


def _parts(loader: Any) -> Iterator[tuple[str, Any]]:
    """Yield a loader and what it reads by, each with its name and once."""
    yield "loader", loader
    sampler, batch_sampler = getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None)
    yield "dataset", getattr(loader, "dataset", None)
    yield "sampler", sampler
    yield "batch_sampler", batch_sampler
    within = getattr(batch_sampler, "sampler", None)
    if within is not sampler:
        yield "batch_sampler.sampler", within


def _state_of(one: Any) -> Any:
    if isinstance(one, torch.Generator):
        return one.get_state().numpy()
    if isinstance(one, random.Random):
        return _randomness.python_state(one)
    if isinstance(one, np.random.RandomState):
        return one.get_state(legacy=False)
    return one.bit_generator.state if isinstance(one, np.random.Generator) else one


def _load_state_of(one: Any, state: Any) -> None:
    if isinstance(one, torch.Generator):
        one.set_state(torch.from_numpy(state))
    elif isinstance(one, random.Random):
        _randomness.load_python_state(one, state)
    elif isinstance(one, np.random.RandomState):
        one.set_state(state)
    else:
        one.bit_generator.state = state
