"""What ``fit`` needs to go on where an earlier one was left, beside the model's weights and the optimizer's state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jalon.engines.torch.randomness import load_torch_state, torch_state
from jalon.engines.torch.structures import as_plain, describe, from_plain, map_leaves, rows_of

if TYPE_CHECKING:
    from jalon.engines.torch.fit import FitLoop


def fingerprint(loop: FitLoop) -> dict[str, Any]:
    """Return what two trainings must have in common for one to go on with the other."""
    model, first = loop.model, loop.train.first()
    weights = model.module.state_dict()
    told: dict[str, Any] = {"module": type(model.module).__name__}
    told |= {f"weight {name}": describe(value) for name, value in weights.items()}
    told |= {"optimizer": type(model.optimizer.torch).__name__, "batches in an epoch": loop.train.steps}
    told |= {"rows": loop.train.rows, "rows in a batch": rows_of(first[0])}
    parts = zip(("x", "y", "sample_weight"), first, strict=False)
    return told | {f"data {name}": describe(map_leaves(lambda leaf: leaf[0], part)) for name, part in parts}


def loop_state(loop: FitLoop) -> dict[str, Any]:
    """Return as plain data where a training stands: data, running metrics, gradients, torch's random numbers."""
    within = loop.trained or loop.train.done > 0
    trained = within and (loop.trained or loop.run.stop_requested)
    return {
        "train": loop.train.state_dict(abandoned=trained),
        "validation": None if loop.validation is None else loop.validation.state_dict(),
        "trained": trained,
        "logs": dict(loop.logs),
        "tracker": as_plain(loop.tracker.state()) if within else None,
        "step": as_plain(loop.model.step_state()),
        "random": torch_state(),
    }


def load_loop_state(loop: FitLoop, state: Mapping[str, Any]) -> None:
    """Take back what ``loop_state`` returned, the model being in place."""
    read_again = loop.train.load_state_dict(state["train"])
    if loop.validation is not None and state["validation"] is not None:
        read_again += loop.validation.load_state_dict(state["validation"])
    if read_again:
        loop.run.say(
            f"Batches read again and left aside to get back to where the data stood: {read_again:,}. "
            "A loader that keeps its place, as torchdata's StatefulDataLoader, goes there at once."
        )
    loop.trained, loop.logs = state["trained"], dict(state["logs"])
    if state["tracker"] is not None:
        loop.tracker.load_state(from_plain(state["tracker"]))
    loop.model.load_step_state(from_plain(state["step"]))
    load_torch_state(state["random"])
