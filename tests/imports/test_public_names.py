"""What is public is listed, sorted and there."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import jalon
import jalon.callbacks
from jalon import Callback

LAZY = [jalon, jalon.callbacks]


def id_of(module: ModuleType) -> str:
    """Name a module in a test's identifier."""
    return module.__name__


@pytest.mark.parametrize("package", LAZY, ids=id_of)
def test_public_names_are_sorted(package: ModuleType) -> None:
    """``__all__`` is sorted and names nothing twice."""
    assert sorted(set(package.__all__)) == package.__all__


@pytest.mark.parametrize("package", LAZY, ids=id_of)
def test_every_public_name_loads(package: ModuleType) -> None:
    """Each name in ``__all__`` is there when asked for, and ``dir`` shows it."""
    missing = [name for name in package.__all__ if not hasattr(package, name)]

    assert [] == missing
    assert set(package.__all__) <= set(dir(package))


@pytest.mark.parametrize("package", LAZY, ids=id_of)
def test_type_checkers_see_what_runs(package: ModuleType) -> None:
    """The imports written for type checkers name the homes from which the names are loaded."""
    tree = ast.parse(Path(str(package.__file__)).read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    seen = {alias.name: node.module for node in imports for alias in node.names}

    assert package._HOMES == {name: home for name, home in seen.items() if name in package._HOMES}


def test_every_callback_is_public() -> None:
    """Each callback class in ``jalon/callbacks`` is exported, under the name of its file."""
    folder = Path(jalon.callbacks.__file__).parent
    modules = [importlib.import_module(f"jalon.callbacks.{path.stem}") for path in folder.glob("[!_]*.py")]
    defined = {
        name
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Callback) and value.__module__ == module.__name__ and name[0] != "_"
    }

    assert set() == defined - set(jalon.callbacks.__all__)
    assert len(defined) >= 8


@pytest.mark.parametrize("package", LAZY, ids=id_of)
def test_star_import_works(package: ModuleType) -> None:
    """``from … import *`` gives every public name."""
    program = f"from {package.__name__} import *\nassert set({package.__all__!r}) <= set(globals())"

    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("package", LAZY, ids=id_of)
def test_an_unknown_name_is_an_attribute_error(package: ModuleType) -> None:
    """A name that does not exist is an ``AttributeError`` that says where it was looked for."""
    with pytest.raises(AttributeError, match=rf"module '{package.__name__}' has no attribute 'EarlyStoping'"):
        _ = package.EarlyStoping
