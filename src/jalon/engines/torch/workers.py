"""The worker processes of a ``DataLoader``: they outlast the signals that ask this process to leave, and no longer."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache, partial
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from typing import Any

from jalon.core.signals import free_signals, outlast_signals, signals_held_back


def opened(loader: Any) -> Iterator[Any]:
    """Return a pass over a loader whose workers leave it to this process what a signal means.

    Schedulers send a signal to every process of a job. A worker that ended by it would take along the batch that this
    process is waiting for. Workers end when the pass does, when this process ends, and within five seconds when it is
    killed. With the start method ``forkserver`` a worker is without this protection until it has started.

    Args:
        loader: A ``DataLoader``, or any other iterable, which is opened as it is.
    """
    batches: Iterator[Any]
    if not hasattr(signal, "pthread_sigmask") or not getattr(loader, "num_workers", 0) or not hasattr(loader, "worker_init_fn"):
        batches = iter(loader)
        return batches
    earlier = set(multiprocessing.active_children())
    workers = _workers_to_end(os.getpid())
    with _shielded(loader):
        batches = iter(loader)
    workers[:] = [*filter(BaseProcess.is_alive, workers), *set(multiprocessing.active_children()) - earlier]
    return batches


@contextmanager
def _shielded(loader: Any) -> Iterator[None]:
    """Let the workers that a loader starts begin by shielding themselves."""
    signals, own = free_signals(), loader.worker_init_fn
    loader.worker_init_fn = partial(_begin_worker, signals, own)
    try:
        with _held_back(loader.multiprocessing_context or multiprocessing.get_context(), signals):
            yield
    finally:
        loader.worker_init_fn = own


def _held_back(context: Any, signals: Iterable[signal.Signals]) -> AbstractContextManager[None]:
    method = context.get_start_method()
    if method == "forkserver":  # whatever it starts later, for whomever, would be without these signals for ever
        return nullcontext()
    if method == "spawn":
        with signals_held_back(signals):  # it ends by itself, and lets some of them through again here
            resource_tracker.ensure_running()
    return signals_held_back(signals)


def _begin_worker(signals: Iterable[signal.Signals], own: Callable[[int], None] | None, number: int) -> None:
    outlast_signals(signals)
    if own is not None:
        own(number)


@cache
def _workers_to_end(process: int) -> list[BaseProcess]:
    """Return the list of workers that are ended when a process ends.

    ``multiprocessing`` would ask them to with a ``SIGTERM``, which they outlast, and wait for them for ever.
    """
    workers: list[BaseProcess] = []
    atexit.register(_end, workers, process)
    return workers


def _end(workers: list[BaseProcess], process: int) -> None:
    if os.getpid() != process:  # a child that was forked has the list, but not the workers
        return
    alive = [worker for worker in workers if worker.is_alive()]
    if alive:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler takes their end for an accident
    for worker in alive:
        worker.kill()
