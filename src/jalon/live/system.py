"""The load of the machine that the page runs on, and of a training on it."""

from __future__ import annotations

from typing import Any

import psutil

from jalon.store.process import identity, is_alive


def load(process: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return how busy processors and memory are, in percent, and what a process takes of them.

    Args:
        process: Which one, as ``jalon.store.process.identity`` returned it there; looked at only where it runs on this machine.
    """
    memory = psutil.virtual_memory()
    told: dict[str, Any] = {
        "processors": psutil.cpu_percent(),
        "memory": memory.percent,
        "memory_used": memory.used,
        "memory_total": memory.total,
        "host": identity()["host"],
    }
    if process and is_alive(process):
        try:
            one = psutil.Process(process["pid"])
            told["process"] = {"memory": one.memory_info().rss, "threads": one.num_threads()}
        except psutil.Error:
            pass
    return told
