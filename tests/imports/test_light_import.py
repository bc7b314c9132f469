"""Importing jalon brings in nothing that the user did not ask for."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import jalon.callbacks

FRAMEWORKS = frozenset(
    [
        "flax",
        "jax",
        "keras",
        "lightgbm",
        "lightning",
        "pytorch_lightning",
        "tensorflow",
        "torch",
        "torchmetrics",
        "transformers",
        "xgboost",
    ]
)


def packages_after(statement: str) -> set[str]:
    """Return the top-level packages that a fresh interpreter has loaded after a statement."""
    report = f"import sys, json\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True).stdout
    return {module.partition(".")[0] for module in json.loads(shown)}


def beyond_the_standard_library(packages: set[str]) -> set[str]:
    """Return those of the packages that Python does not bring, nor the interpreter's start."""
    return packages - packages_after("pass") - set(sys.stdlib_module_names)


@pytest.mark.parametrize("statement", ["import jalon", "import jalon.callbacks", "from jalon import Callback, CallbackList, Run"])
def test_importing_jalon_imports_the_standard_library_alone(statement: str) -> None:
    """Importing jalon, its callbacks or the contract loads no other package, numpy included."""
    loaded = beyond_the_standard_library(packages_after(statement))

    assert {"jalon"} == loaded


@pytest.mark.parametrize("name", jalon.callbacks.__all__)
def test_a_callback_needs_no_framework(name: str) -> None:
    """Importing any callback loads no training framework."""
    loaded = packages_after(f"from jalon.callbacks import {name}")

    assert set() == loaded & FRAMEWORKS


def test_an_import_would_be_seen() -> None:
    """Asking for the PyTorch engine does load torch, so the tests above can fail."""
    loaded = packages_after("from jalon import Model")

    assert {"torch"} <= loaded & FRAMEWORKS
