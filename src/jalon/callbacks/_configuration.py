"""How a run is set up: what a journal begins with, and what a service is told of it."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from typing import Any

from jalon.callbacks._steerable import numbers
from jalon.core.run import Run

_PACKAGES = ("jalon", "numpy", "torch", "keras", "jax", "tensorflow", "lightning", "transformers", "xgboost", "lightgbm")
_TOLD_TEXTS = ("monitor", "mode")
_PARTS_OF_DATA = ("weight ", "data ")


def configuration(run: Run, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return how a run is set up, as JSON values: epochs, steps, callbacks, what can be set, and versions.

    Args:
        run: The run.
        params: ``{"verbose", "epochs", "steps"}`` of the loop.
    """
    return {
        "epochs": run.epochs,
        "steps": params.get("steps"),
        "callbacks": _settings({} if run.callbacks is None else run.callbacks.labelled()),
        "steerable": numbers(run),
        "versions": _versions(),
    }


def flat_configuration(run: Run, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return how a run is set up in single values by name, as ``EarlyStopping.patience``; what is trained among it.

    Args:
        run: The run.
        params: ``{"verbose", "epochs", "steps"}`` of the loop.
    """
    said = configuration(run, params)
    trained = {name: one for name, one in run.trainer.fingerprint().items() if not name.startswith(_PARTS_OF_DATA)}
    settings = {f"{who}.{name}": one for who, own in said["callbacks"].items() for name, one in own.items()}
    steerable = {name: one["value"] for name, one in said["steerable"].items()}
    versions = {f"versions.{name}": one for name, one in said["versions"].items()}
    told = {"epochs": said["epochs"], "steps": said["steps"]} | trained | settings | steerable | versions
    return {name: value for name, value in told.items() if isinstance(value, (bool, int, float, str))}


def _settings(callbacks: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return how each callback is set up: its numbers and switches. Texts may be secrets, as addresses with a token are."""
    return {
        label: {
            name: value
            for name, value in getattr(callback, "__dict__", {}).items()
            if name[0] != "_" and (isinstance(value, (bool, int, float)) or (name in _TOLD_TEXTS and isinstance(value, str)))
        }
        for label, callback in callbacks.items()
    }


def _versions() -> dict[str, str]:
    loaded = {name: sys.modules[name] for name in _PACKAGES if name in sys.modules}
    return {"python": platform.python_version()} | {name: str(getattr(it, "__version__", "")) for name, it in loaded.items()}
