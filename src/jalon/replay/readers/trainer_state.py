"""``trainer_state.json``, in which the ``Trainer`` of transformers keeps what it logged."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

from jalon.errors import ArgumentError
from jalon.replay.record import Gathered, Record, numbers_of

_TIMES = ("runtime", "samples_per_second", "steps_per_second", "model_preparation_time", "jit_compilation_time")
_SUMMARY = ("train_", "total_flos")
_LOSS = "loss"


def read(path: Path) -> Record:
    """Return the record in a state. Names are those under jalon's bridge: ``loss``, and ``val_`` in place of ``eval_``.

    An epoch's loss is the mean of those that were logged in it.

    Args:
        path: The file.

    Raises:
        ArgumentError: It is no such state.
    """
    try:
        logged = json.loads(path.read_text(encoding="utf-8"))["log_history"]
        entries = [(max(0, math.ceil(entry["epoch"] - 1e-9) - 1), entry) for entry in logged]
    except (ValueError, KeyError, TypeError) as exc:
        raise ArgumentError(f"replay: {path} is no state of a Trainer: it lacks {exc}. Choose a trainer_state.json.") from exc
    gathered, losses = Gathered(str(path)), defaultdict[int, list[float]](list)
    validations = defaultdict[int, int](int)
    for number, entry in entries:
        values = _meant(entry)
        validations[number] += any(name.startswith("val_") for name in values)
        if _LOSS in values:
            losses[number].append(values.pop(_LOSS))
        gathered.add(number, values)
    for number, values_of_epoch in losses.items():
        gathered.add(number, {_LOSS: sum(values_of_epoch) / len(values_of_epoch)})
    if max(validations.values(), default=0) > 1:
        gathered.notes.append("validated several times an epoch: the last validation of each epoch is taken")
    return gathered.record()


def _meant(entry: dict[str, Any]) -> dict[str, float]:
    numbers = numbers_of(entry)
    return {
        f"val_{name.removeprefix('eval_')}" if name.startswith("eval_") else name: value
        for name, value in numbers.items()
        if name not in ("epoch", "step") and not name.endswith(_TIMES) and not name.startswith(_SUMMARY)
    }
