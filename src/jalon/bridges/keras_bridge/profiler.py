"""The profile of some batches of a training, by the profiler of Keras's backend."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import keras

from jalon.errors import NotReady
from jalon.sinks.profile import Profile


def profiler(folder: Path) -> AbstractContextManager[Profile]:
    """Return a context in which the backend profiles; it leaves its records in ``<folder>/plugins/profile/``.

    Raises:
        NotReady: The backend has no profiler.
    """
    backend = keras.config.backend()
    if backend not in _PROFILERS:
        raise NotReady(f"Keras's {backend} backend has no profiler.")
    return _PROFILERS[backend](folder)


@contextmanager
def _tensorflow(folder: Path) -> Iterator[Profile]:
    import tensorflow as tf
    from tensorflow.python.eager import context  # what tf.summary.trace_export uses; that one wants a writer of TensorFlow's

    profile = Profile(lambda number: tf.profiler.experimental.Trace("train", step_num=number, _r=1))
    context.context().enable_graph_collection()
    try:
        tf.profiler.experimental.start(str(folder))
        try:
            yield profile
        finally:
            tf.profiler.experimental.stop()
            profile.run_metadata = context.context().export_run_metadata().SerializeToString()
    finally:
        context.context().disable_graph_collection()


@contextmanager
def _jax(folder: Path) -> Iterator[Profile]:
    import jax

    options = jax.profiler.ProfileOptions()
    if sys.version_info < (3, 12):
        options.python_tracer_level = 0  # following Python's own calls can crash the older interpreters
    jax.profiler.start_trace(str(folder), profiler_options=options)
    try:
        yield Profile(lambda number: jax.profiler.StepTraceAnnotation("train", step_num=number))
    finally:
        jax.profiler.stop_trace()  # type: ignore[no-untyped-call]


@contextmanager
def _torch(folder: Path) -> Iterator[Profile]:
    import torch.profiler

    place = folder / "plugins" / "profile" / time.strftime("%Y_%m_%d_%H_%M_%S")
    with torch.profiler.profile(on_trace_ready=torch.profiler.tensorboard_trace_handler(str(place))):
        yield Profile(lambda number: torch.profiler.record_function(f"ProfilerStep#{number}"))


_PROFILERS: dict[str, Callable[[Path], AbstractContextManager[Profile]]] = {
    "tensorflow": _tensorflow,
    "jax": _jax,
    "torch": _torch,
}
