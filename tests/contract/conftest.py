"""Every test of this folder runs on SQLite and on Postgres: one promise, two databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.store.journal import SqlJournal
from engine.store.runs import RunStore
from tests.contract.samples import new_run
from tests.services.postgres import postgres

__all__ = ["postgres"]


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a fresh, empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/flywheel.db"
    return str(request.getfixturevalue("postgres").new_database())


@pytest.fixture
def runs(url: str) -> Iterator[RunStore]:
    store = RunStore(url)
    yield store
    store.close()


@pytest.fixture
def journal(url: str) -> Iterator[SqlJournal]:
    opened = SqlJournal(url)
    yield opened
    opened.close()


@pytest.fixture
def epoch(journal: SqlJournal) -> int:
    """The epoch with which the test holds shard 0."""
    taken = journal.acquire(0, "test", 60.0)
    assert taken is not None
    return taken


@pytest.fixture
def run_id(runs: RunStore) -> str:
    """A submitted run: ``find`` (one node), ``inspect`` (a fan-out of it), ``report``."""
    return runs.submit(new_run())[0]
