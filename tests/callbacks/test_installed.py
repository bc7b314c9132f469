"""Callbacks that other packages offer are found in ``jalon.callbacks``."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import jalon.callbacks
from jalon.callbacks import EarlyStopping
from jalon.check.config import _class_of
from jalon.errors import UnknownName
from jalon.replay.policies import class_named

PROGRAM = """
from jalon import Callback

class {name}(Callback):
    critical = False

    def __init__(self, height=1):
        self.height = height
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return what installs a package that offers callbacks, into a folder on the path of modules."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(package, *names, program=PROGRAM):
        (tmp_path / f"{package}.py").write_text("".join(program.format(name=name) for name in names))
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        offered = "".join(f"{name} = {package}:{name}\n" for name in names)
        (info / "entry_points.txt").write_text(f"[jalon.callbacks]\n{offered}")

    yield install
    for name in set(vars(jalon.callbacks)) - set(jalon.callbacks.__all__):
        if "jalon_" in getattr(vars(jalon.callbacks)[name], "__module__", ""):
            delattr(jalon.callbacks, name)
    for name in [name for name in sys.modules if name.startswith("jalon_")]:
        del sys.modules[name]


def test_it_is_found(install):
    """A callback of an installed package is an attribute, can be imported by name, is listed, and loaded when asked for."""
    install("jalon_beacon", "Beacon")
    listed, loaded_before = "Beacon" in dir(jalon.callbacks), "jalon_beacon" in sys.modules
    from jalon.callbacks import Beacon

    assert (True, False) == (listed, loaded_before)
    assert ("jalon_beacon", 3) == (Beacon.__module__, Beacon(height=3).height)
    assert jalon.callbacks.Beacon is Beacon


def test_the_command_line_finds_it(install):
    """What names callbacks in words, as jalon replay and the files of jalon check, finds it as well."""
    install("jalon_beacon", "Beacon")
    found = [class_named("Beacon"), _class_of("Beacon", "callbacks.toml")]

    assert ["jalon_beacon", "jalon_beacon"] == [kind.__module__ for kind in found]


def test_jalon_s_own_wins(install):
    """A name that is one of jalon's means jalon's."""
    install("jalon_other", "EarlyStopping", "Beacon")
    there = vars(jalon.callbacks).pop("EarlyStopping")

    assert there is EarlyStopping is jalon.callbacks.EarlyStopping


def test_two_of_a_name(install):
    """A name that two packages offer is refused, with both of them."""
    install("jalon_beacon", "Beacon")
    install("jalon_light", "Beacon")
    with pytest.raises(AttributeError, match="jalon_beacon:Beacon of jalon_beacon, jalon_light:Beacon of jalon_light"):
        _ = jalon.callbacks.Beacon


def test_one_that_cannot_be_loaded(install):
    """What a package raises as it is loaded is shown as it is, with whose it is."""
    install("jalon_broken", "Beacon", program="import no_such_module_{name}")
    with pytest.raises(ModuleNotFoundError, match="no_such_module_Beacon") as raised:
        _ = jalon.callbacks.Beacon

    assert [
        "raised while jalon.callbacks.Beacon was loaded, which is jalon_broken:Beacon of jalon_broken"
    ] == raised.value.__notes__


def test_without_one():
    """A name that nobody offers is no attribute, and no class for jalon check."""
    with pytest.raises(AttributeError, match=r"module 'jalon\.callbacks' has no attribute 'Beacon'"):
        _ = jalon.callbacks.Beacon
    with pytest.raises(UnknownName, match="Beacon"):
        _class_of("Beacon", "callbacks.toml")


def test_in_another_process(install, tmp_path):
    """It is there in any process that has the package on its path, without anything of it being imported before."""
    install("jalon_beacon", "Beacon")
    program = "import sys, jalon.callbacks as c; print('jalon_beacon' in sys.modules, c.Beacon.__module__)"
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    command = [sys.executable, "-c", program]
    shown = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path}).stdout

    assert "False jalon_beacon\n" == shown
