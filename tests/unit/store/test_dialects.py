"""Statements that go to SQLite's driver itself: what they find, what they change, how their errors come out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import bindparam, insert, select, text, update

from engine.errors import Unavailable
from engine.store.columns import SHARD, STEP
from engine.store.dialects import change, change_each, find
from engine.store.engines import Database

_ALL = select(SHARD.c.shard, SHARD.c.owner).where(SHARD.c.epoch < bindparam("below")).order_by(SHARD.c.shard)
_FIRST = select(SHARD.c.owner).where(SHARD.c.epoch == 1, SHARD.c.shard >= bindparam("from")).limit(1)
_NEW = insert(SHARD)
_TAKEN = update(SHARD).where(SHARD.c.shard == bindparam("b_shard")).values(owner="me")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(f"sqlite:///{tmp_path}/flywheel.db")
    with opened.writing("make a table") as connection:
        connection.execute(text("CREATE TABLE shard (shard INTEGER PRIMARY KEY, owner, epoch, lease_until)"))
        change_each(
            connection, _NEW, [{"shard": no, "owner": f"o{no}", "epoch": 1, "lease_until": 0.0} for no in (0, 1, 2)]
        )
    yield opened
    opened.close()


def test_rows_have_names_and_a_statement_keeps_its_own_values(database: Database) -> None:
    with database.reading("read") as connection:
        assert [(row.shard, row.owner) for row in find(connection, _ALL, {"below": 2})] == [
            (0, "o0"), (1, "o1"), (2, "o2"),
        ]  # fmt: skip
        assert [row.owner for row in find(connection, _FIRST, {"from": 1})] == ["o1"]
        assert find(connection, _FIRST, {"from": 9}) == []


def test_a_change_says_how_many_rows_it_changed_and_goes_with_its_transaction(database: Database) -> None:
    with pytest.raises(ZeroDivisionError), database.writing("change and fail") as connection:
        assert change(connection, _TAKEN, {"b_shard": 1}) == 1
        raise ZeroDivisionError
    with database.writing("change") as connection:
        assert change(connection, _TAKEN, {"b_shard": 7}) == 0
        assert change(connection, _TAKEN, {"b_shard": 2}) == 1
    with database.reading("read") as connection:
        assert [row.owner for row in find(connection, _ALL, {"below": 2})] == ["o0", "o1", "me"]


def test_what_the_driver_says_of_a_database_that_cannot_serve_comes_out_as_unavailable(database: Database) -> None:
    refused = "change: the database cannot serve: attempt to write a readonly"
    with pytest.raises(Unavailable, match=refused), database.reading("change") as connection:
        change(connection, _TAKEN, {"b_shard": 1})


def test_a_file_that_is_no_database_is_named_with_what_to_do(database: Database) -> None:
    database.close()
    assert database.file is not None
    Path(database.file).write_bytes(b"no database" * 1000)
    with pytest.raises(Unavailable, match="is damaged"), database.reading("read") as connection:
        find(connection, _ALL, {"below": 2})


def test_what_goes_past_sqlalchemy_is_committed_whole_or_not_at_all(database: Database) -> None:
    with pytest.raises(ZeroDivisionError), database.changing("change and fail") as door:
        assert change(door, _TAKEN, {"b_shard": 1}) == 1
        raise ZeroDivisionError
    with database.changing("change") as door:
        assert change(door, _TAKEN, {"b_shard": 2}) == 1
    assert [row.owner for row in database.look_up("look", _ALL, {"below": 2})] == ["o0", "o1", "me"]


def test_a_look_that_fails_says_what_it_was_for(database: Database) -> None:
    with pytest.raises(Unavailable, match="look: the database cannot serve: no such table"):
        database.look_up("look", select(STEP.c.path).where(STEP.c.run_id == bindparam("run")), {"run": "r"})
