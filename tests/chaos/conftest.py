"""A stack for the whole module, made whole again before each test; and the figures at the end."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.bodies import LEDGER
from tests.chaos.runs import FIGURES, Ledger
from tests.services.postgres import postgres
from tests.services.stack import Stack

__all__ = ["postgres"]


@pytest.fixture(scope="package")
def ledger() -> Iterator[Ledger]:
    """Where all bodies of the session say that they begin and end."""
    handle, name = tempfile.mkstemp(prefix="fwl-", dir="/tmp")
    os.close(handle)
    yield Ledger(Path(name))
    Path(name).unlink()


@pytest.fixture(scope="module")
def _shared_stack(ledger: Ledger) -> Iterator[Stack]:
    with Stack(environment={LEDGER: str(ledger.path)}) as stack:
        yield stack


@pytest.fixture
def stack(_shared_stack: Stack) -> Stack:
    """The module's stack with everything running."""
    _shared_stack.heal()
    return _shared_stack


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How often bodies were executed twice, case by case."""
    if FIGURES:
        terminalreporter.section("chaos")
        for line in FIGURES:
            terminalreporter.write_line(line)
