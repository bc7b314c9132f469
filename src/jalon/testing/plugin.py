"""The plugin for pytest: ``@pytest.mark.callback(make=MyCallback)`` and the fixture ``contract_clause``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from jalon.testing.clock import ManualClock

MARKER = "callback(make=MyCallback, **options): what `contract_clause` checks, as jalon.testing.check_callback does"


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", MARKER)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test of each clause, for each callback that a test is marked with."""
    if "contract_clause" not in metafunc.fixturenames:
        return
    from jalon.testing.contract import CLAUSES

    marks = list(metafunc.definition.iter_markers("callback"))
    # pytest takes a class as the only argument of a mark for what is to be marked: it has to be named.
    if not marks or any("make" not in mark.kwargs for mark in marks):
        raise pytest.UsageError(f"{metafunc.definition.nodeid} needs @pytest.mark.callback(make=MyCallback).")
    cases = [
        pytest.param((mark, clause), id=f"{getattr(mark.kwargs['make'], '__name__', 'callback')}-{clause.replace(' ', '-')}")
        for mark in reversed(marks)
        for clause in CLAUSES
        if clause not in mark.kwargs.get("without", ())
    ]
    metafunc.parametrize("contract_clause", cases, indirect=True)


@pytest.fixture
def contract_clause(request: pytest.FixtureRequest) -> Callable[[], None]:
    """Return what checks one clause of the contract of the callback that the test is marked with."""
    mark, clause = request.param

    def check() -> None:
        from jalon.testing.contract import CLAUSES, check_callback

        options: dict[str, Any] = mark.kwargs | {"without": CLAUSES.keys() - {clause}}
        check_callback(options.pop("make"), **options)

    return check


@pytest.fixture
def manual_clock() -> ManualClock:
    """Return a clock that stands still until it is moved."""
    from jalon.testing.clock import ManualClock

    return ManualClock()
