"""BoosterAdapter: answers callbacks on behalf of a booster, whatever its library."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from jalon.bridges.boosting.metric_names import MetricNames
from jalon.core.trainer import Direction, Snapshot, TrainerAdapter, Write
from jalon.errors import ArgumentError, CheckpointError, NotReady
from jalon.store import atomic


class BoosterAdapter(TrainerAdapter):
    """Answers callbacks on behalf of a booster.

    A booster grows by trees and never changes those that it has; to keep its weights is therefore to keep their number,
    and to put them back is to cut the booster back to it. Where that is not so, the whole model is kept.

    Args:
        booster: The booster in training, or what stands for several in a cross-validation.
        names: What its metrics are called.
        validates: Whether a set beside the training set is evaluated.
    """

    library: ClassVar[str]

    def __init__(self, booster: Any, *, names: MetricNames | None = None, validates: bool = True) -> None:
        self.booster = booster
        self.names = MetricNames(None) if names is None else names
        self.best_rounds: int | None = None
        """To how many rounds the booster was cut back."""
        self._validates = validates
        self._lineage = 0

    # ---- what each library does in its own way -----------------------------------------------------------------------------

    @property
    @abstractmethod
    def iterations(self) -> int:
        """The rounds that the booster has."""

    @property
    @abstractmethod
    def is_cross_validation(self) -> bool:
        """Whether there are several boosters, of which none is kept."""

    @property
    @abstractmethod
    def only_grows(self) -> bool:
        """Whether a round leaves the trees of earlier rounds as they are."""

    @abstractmethod
    def model_bytes(self, suffix: str) -> bytes | bytearray:
        """Return the model as it stands in a file of that format."""

    @abstractmethod
    def put_back(self, model: bytes) -> None:
        """Let the booster be another model."""

    @abstractmethod
    def cut_back(self, rounds: int) -> None:
        """Leave out all rounds after the first ones."""

    @abstractmethod
    def obstacles(self) -> list[str]:
        """Return why a training that went on from a file would end with another model, and what to do about it."""

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """Return what two trainings must have in common for one to go on with the other."""

    # ---- what a callback asks ------------------------------------------------------------------------------------------------

    @property
    def validates(self) -> bool:
        return self._validates

    def metric_names(self) -> frozenset[str] | None:
        """Return nothing: the library tells its metrics when they are first computed."""
        return None

    def metric_direction(self, metric: str) -> Direction | None:
        """Return what the library knows of the metric."""
        return self.names.directions.get(metric)

    def suffix_fault(self, path: str, *, weights_only: bool) -> str | None:
        if self.is_cross_validation:
            return f"cannot be written: {self.library}'s cv trains a booster for each fold and keeps none. Use train"
        return super().suffix_fault(path, weights_only=weights_only)

    def snapshot_weights(self, into: Snapshot | None = None) -> Snapshot:
        if self.is_cross_validation or (self.only_grows and self.iterations):
            return {"rounds": np.array([self.iterations]), "lineage": np.array([self._lineage])}
        return {"model": self.model_as_array()}

    def restore_weights(self, snapshot: Mapping[str, Any]) -> None:
        if "model" in snapshot:
            self.put_back(bytes(np.asarray(snapshot["model"], np.uint8)))
            return
        if int(snapshot["lineage"][0]) != self._lineage:
            raise NotReady(
                "The best weights were a number of rounds, and the booster has been exchanged since, by set_weights or "
                "load_weights. Leave the booster as it is, or restore the best weights yourself."
            )
        self.best_rounds = int(snapshot["rounds"][0])
        self.cut_back(self.best_rounds)

    def freeze(self, path: Path, *, weights_only: bool, about: Mapping[str, Any], exposed: bool = True) -> Write:
        """Serialise the model now; what is returned writes the bytes. No format holds ``about``."""
        return partial(atomic.write_bytes, path, [memoryview(self.model_bytes(path.suffix))], exposed=exposed)

    def model_as_array(self) -> Any:
        """Return the model as an array of bytes."""
        if self.is_cross_validation:
            raise NotReady(f"{self.library}'s cv trains a booster for each fold and keeps none. Use train.")
        return np.frombuffer(bytes(self.model_bytes(self.suffixes[0])), np.uint8)

    def read(self, path: Path) -> bytes:
        """Return a file's bytes.

        Raises:
            CheckpointError: It cannot be read.
        """
        try:
            return path.read_bytes()
        except OSError as exc:
            raise CheckpointError(f"{path} cannot be read: {exc.strerror}.") from exc

    def load(self, path: Path) -> None:
        self.put_back(self.read(path))

    def exchanged(self) -> None:
        """Note that what was a number of rounds is another model now."""
        self._lineage += 1

    def named_weights(self) -> Iterator[tuple[str, Any]]:
        raise NotReady(f"A booster of {self.library} has trees and no named weights.")

    # ---- going on after an interruption ----------------------------------------------------------------------------------

    def fingerprint(self) -> dict[str, Any]:
        """Return what two trainings must have in common.

        Raises:
            ArgumentError: A training that went on would end with another model.
        """
        if self.is_cross_validation:
            raise ArgumentError(
                f"BackupAndRestore: {self.library}'s cv trains a booster for each fold and keeps none. "
                "Leave it out, or use train."
            )
        obstacles = self.obstacles()
        if obstacles:
            raise ArgumentError(
                f"BackupAndRestore: under {self.library} this training cannot go on where it was left: {'; '.join(obstacles)}. "
                f"Or leave BackupAndRestore out, keep files by ModelCheckpoint and go on from one by {self.going_on_by}."
            )
        return self.identity()

    going_on_by: ClassVar[str]
    """The library's own way to go on from a file."""

    def loop_state(self) -> dict[str, Any]:
        return {"learning_rates": self.learning_rates(), "lineage": self._lineage}

    def load_loop_state(self, state: Mapping[str, Any]) -> None:
        if state["learning_rates"] != self.learning_rates():
            self.set_learning_rates(state["learning_rates"])
        self._lineage = state["lineage"]
