"""Runs the tests of callbacks that Keras brings along, with jalon's classes in place of Keras's.

As a program: ``python keras_own_tests.py FOLDER`` prints the name of each test that failed, and ``passed N`` at the end.
FOLDER is one of its own for the configuration that those tests expect to find.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

NOT_REPLACED = {"CallbackList"}  # Keras's own loop is under test too, and it makes this one itself
CONFTEST = """
import os, pytest

def skip_if_backend(backend, reason):
    return pytest.mark.skipif(os.environ["KERAS_BACKEND"] == backend, reason=reason)
"""


class Report:
    """Collects the outcomes."""

    def __init__(self):
        self.failed = []
        self.passed = 0

    def pytest_runtest_logreport(self, report):
        """Take an outcome; a failure outside the test itself counts too."""
        if report.failed:
            self.failed.append(report.nodeid.rpartition("/")[2])
        elif report.when == "call" and report.passed:
            self.passed += 1

    def pytest_collectreport(self, report):
        """Take a file that cannot be read as a failure."""
        if report.failed:
            self.failed.append(report.nodeid.rpartition("/")[2])


def put_in_place():
    """Put jalon's classes where Keras's tests find Keras's."""
    import keras
    from keras.src import callbacks as home

    import jalon

    for name in dir(home):
        kind = getattr(home, name)
        if isinstance(kind, type) and name not in NOT_REPLACED:
            for place in (home, keras.callbacks, sys.modules[kind.__module__]):
                setattr(place, name, getattr(jalon.callbacks, name))
    return Path(home.__file__).parent


def main(folder):
    """Run them and print what became of them."""
    tests = put_in_place()
    Path(folder, "conftest.py").write_text(CONFTEST)
    Path(folder, "pytest.ini").write_text("[pytest]\nmarkers =\n    requires_trainable_backend: needs a backend that trains\n")
    sys.path.insert(0, str(folder))
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    report = Report()
    options = ["-q", "-W", "ignore", "-p", "no:cacheprovider", "-c", f"{folder}/pytest.ini", "--import-mode=importlib"]
    pytest.main([*options, *map(str, sorted(tests.glob("*_test.py")))], plugins=[report])
    print("\n".join(["", *(f"failed {name}" for name in report.failed), f"passed {report.passed}"]))


if __name__ == "__main__":
    main(sys.argv[1])
