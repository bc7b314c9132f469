"""The profile of some batches of a training, by ``torch.profiler``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from torch.profiler import profile, record_function, tensorboard_trace_handler

from jalon.sinks.profile import Profile


@contextmanager
def profiler(folder: Path) -> Iterator[Profile]:
    """Profile what runs in the block, on every kind of device there is.

    It leaves a ``.pt.trace.json`` in a folder of its own, ``<folder>/plugins/profile/<time>/``, for TensorBoard's PyTorch
    profiler, for Perfetto and for ``chrome://tracing``.

    Args:
        folder: Where TensorBoard looks for the run.
    """
    place = folder / "plugins" / "profile" / time.strftime("%Y_%m_%d_%H_%M_%S")
    with profile(on_trace_ready=tensorboard_trace_handler(str(place))):
        yield Profile(_mark)


def _mark(number: int) -> AbstractContextManager[object]:
    return record_function(f"ProfilerStep#{number}")  # the name by which readers know a step
