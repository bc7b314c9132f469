"""The one place that names an extra."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from jalon.errors import MissingPackage


def require(package: str, *, extra: str, who: str) -> ModuleType:
    """Import an optional package, or say which command installs it.

    Args:
        package: The module to import, as in ``"h5py"``.
        extra: The extra of jalon that brings it, as in ``"torch"``.
        who: What needs it, for the message.

    Raises:
        MissingPackage: The package is not installed.
    """
    top = package.partition(".")[0]
    if importlib.util.find_spec(top) is None:
        raise MissingPackage(
            f"{who} needs {top!r}, which is not installed. Install it with: pip install 'jalon[{extra}]'", name=top
        )
    return importlib.import_module(package)
