"""Where the random numbers of Python, numpy and torch stand, as plain data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from jalon.callbacks import _randomness


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


def generators_of(loader: Any) -> list[torch.Generator]:
    """Return the generators of its own that a loader draws from, its samplers' included, each once."""
    batch_sampler = getattr(loader, "batch_sampler", None)
    parts = (loader, getattr(loader, "sampler", None), batch_sampler, getattr(batch_sampler, "sampler", None))
    found = (getattr(part, "generator", None) for part in parts)
    return list({id(each): each for each in found if isinstance(each, torch.Generator)}.values())


def generator_states(generators: Iterable[torch.Generator]) -> list[Any]:
    """Return where generators stand."""
    return [generator.get_state().numpy() for generator in generators]


def load_generator_states(generators: Iterable[torch.Generator], states: Iterable[Any]) -> None:
    """Let generators go on from what ``generator_states`` returned."""
    for generator, state in zip(generators, states, strict=True):
        generator.set_state(torch.from_numpy(state))
