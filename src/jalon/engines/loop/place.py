"""LoopPlace: where a loop stands: its epoch's means, its data, and the state of what the user named."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from jalon.callbacks import _randomness
from jalon.core.run import Run
from jalon.engines.loop.means import Means
from jalon.engines.loop.plain_state import is_random, load_state, state_of
from jalon.engines.loop.sources import Source, source_of
from jalon.errors import NotReady


class LoopPlace:
    """Holds where a loop stands.

    An epoch's calls of ``batches`` and of ``validation`` are counted. A start that goes on within an epoch runs the body from
    its top; what was done before the interruption is passed over there: those calls yield nothing, and the one in hand goes on
    after its last batch. Random numbers stand at the top as they stood there, and at the batch as they stood at it.

    Args:
        named: What the user named.

    Attributes:
        run: The training.
        means: What was logged in this epoch, outside of validations.
        validated: What its validations came to, by ``val_`` names.
        calls: The calls of ``batches`` in this epoch that are over.
        validations: Its validations that are over.
        batches: Its training batches that are done.
        logs: What the last epoch reported.
    """

    run: Run

    def __init__(self, named: Mapping[str, Any]) -> None:
        self._named = dict(named)
        self.logs: dict[str, float] = {}
        self._sources: dict[str, tuple[Any, int | None, Source]] = {}
        self._replaced: set[str] = set()
        self._awaited: dict[str, Any] = {}
        self._within: dict[str, Any] | None = None
        self._top: dict[str, Any] | None = None
        self.begin_epoch()

    def begin_epoch(self) -> None:
        """Begin to count, unless an epoch is gone on with."""
        self.means, self.validated = Means(), dict[str, float]()
        self.calls = self.validations = self.batches = 0
        self._under_way: str | None = None
        self._within = None

    def note_the_top(self, *, wanted: bool) -> None:
        """Note where random numbers stand before the body of an epoch, where somebody may want to go on within it."""
        self._top = self._random_numbers() if wanted else None

    # ---- the data ------------------------------------------------------------------------------------------------------

    def open(self, key: str, data: Any, steps: int | None) -> Source:
        """Return what reads an iterable: the same for the same one, epoch after epoch."""
        known = self._sources.get(key)
        if known is not None and known[0] is data and known[1] == steps:
            return known[2]
        if known is not None:
            self._replaced.add(key)
        source = source_of(data, steps, (known[2] for known in self._sources.values()))
        self._sources[key] = (data, steps, source)
        awaited = self._awaited.pop(key, None)
        if awaited is not None:
            self._go_on_reading(source, awaited)
        return source

    def _go_on_reading(self, source: Source, state: Mapping[str, Any]) -> None:
        kept = _random()
        read_again = source.load_state_dict(state)
        _load_random(kept)
        if read_again:
            self.run.say(
                f"Batches read again and left aside to get back to where the data stood: {read_again:,}. "
                "A loader that keeps its place, as torchdata's StatefulDataLoader, goes there at once."
            )

    def begin_pass(self, key: str) -> None:
        """Note that a call of ``batches`` in the training has begun.

        Raises:
            NotReady: Another one is under way.
        """
        if self._under_way is not None:
            raise NotReady(
                "Loop.batches: the batches of another call are being handed out. To read two sources together, zip them: "
                "loop.batches(zip(first, second))."
            )
        self._under_way = key

    def end_pass(self) -> None:
        """Note that it is over."""
        self._under_way = None
        self.calls += 1

    @property
    def is_passed_over(self) -> bool:
        """Whether what the body does now was done before an interruption."""
        within = self._within
        return within is not None and (self.calls < within["calls"] or self.validations < within["validations"])

    @property
    def is_catching_up(self) -> bool:
        """Whether the body has not come to where it was interrupted."""
        return self._within is not None

    def catch_up(self, *, at_last: bool = False) -> None:
        """Go on from the interruption on, once all that was done before it is passed over.

        Args:
            at_last: Whether the body is over, so that nothing more can come.
        """
        within = self._within
        if within is None or (self.is_passed_over and not at_last):
            return
        self._within = None
        self.batches = within["batches"]
        self.validated = dict(within["validated"])
        self.means.load_state_dict(within["means"])
        self._load_random_numbers(within["random"])

    # ---- what is saved -------------------------------------------------------------------------------------------------

    def fingerprint(self) -> dict[str, Any]:
        return {"state": sorted(self._named)}

    def state_dict(self) -> dict[str, Any]:
        return {
            "named": {name: state_of(name, one) for name, one in self._named.items()},
            "sources": {key: self._source_state(key) for key in self._sources},
            "awaited": self._awaited,
            "within": self._within_state(),
            "logs": self.logs,
        }

    def _source_state(self, key: str) -> Any:
        data, steps, source = self._sources[key]
        abandoned = key != self._under_way
        one_by_one = hasattr(data, "__next__")
        if one_by_one and abandoned and (steps is None or key in self._replaced):
            return None  # read to its end, and another one takes its place
        return source.state_dict(abandoned=abandoned)

    def _within_state(self) -> dict[str, Any] | None:
        if self._top is None or not (self.batches or self.validations or self.calls):
            return None
        return {
            "top": self._top,
            "calls": self.calls,
            "validations": self.validations,
            "batches": self.batches,
            "means": self.means.state_dict(),
            "validated": self.validated,
            "random": self._random_numbers(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, one in state["named"].items():
            load_state(name, self._named[name], one)
        self._awaited = {key: one for key, one in (state["awaited"] | state["sources"]).items() if one is not None}
        self.logs = dict(state["logs"])
        self._within = state["within"]

    def go_to_the_top(self) -> None:
        """Let random numbers stand as they stood before the body of the epoch that is gone on with."""
        if self._within is not None:
            self._top = self._within["top"]
            self._load_random_numbers(self._top)

    def _random_numbers(self) -> dict[str, Any]:
        """Return where the random numbers of the process stand, and those of the generators that the user named."""
        named = {name: state_of(name, one) for name, one in self._named.items() if is_random(one)}
        return {"process": _random(), "named": named}

    def _load_random_numbers(self, state: Mapping[str, Any]) -> None:
        _load_random(state["process"])
        for name, one in state["named"].items():
            load_state(name, self._named[name], one)


def _random() -> dict[str, Any]:
    """Return where the random numbers of the process stand: Python's, numpy's, and PyTorch's where it is loaded."""
    state = {"python": _randomness.random_state(), "torch": None}
    if "torch" in sys.modules:
        from jalon.engines.torch.randomness import torch_state

        state["torch"] = torch_state()
    return state


def _load_random(state: Mapping[str, Any]) -> None:
    _randomness.load_random_state(state["python"])
    if state["torch"] is not None:
        from jalon.engines.torch.randomness import load_torch_state

        load_torch_state(state["torch"])
