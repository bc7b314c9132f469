"""The rules, a file for each family; the first digit of a code is the family's."""

from __future__ import annotations

import importlib

FAMILIES = {
    "JAL1": ("monitors", "what is compared"),
    "JAL2": ("schedules", "patience and the learning rate"),
    "JAL3": ("files", "what is written, and where"),
    "JAL4": ("validation", "how often: data, validation, batches"),
    "JAL5": ("classes", "classes and their hooks"),
    "JAL6": ("order", "the order in the list"),
    "JAL7": ("keeping", "what is left after an interruption"),
}
"""The families by the beginning of their codes: the file, and what they are about."""

_loaded: list[str] = []


def load() -> None:
    """Load every family, once."""
    if not _loaded:
        for module, _ in FAMILIES.values():
            importlib.import_module(f"{__name__}.{module}")
        _loaded.extend(FAMILIES)
