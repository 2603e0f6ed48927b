"""sql.query and sql.execute on real SQLite and real Postgres."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import Any

import psycopg
import pytest

import settings
from engine.errors import Cancelled, Permanent, Retryable
from tasks import sql
from tests.services.postgres import postgres

__all__ = ["postgres"]

SLOW = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) AS c FROM n",
    "postgres": "SELECT pg_sleep(60) AS c",
}


@pytest.fixture(params=["sqlite", "postgres"])
def kind(request) -> str:
    return request.param


@pytest.fixture
def url(kind: str, request, tmp_path) -> str:
    return (
        f"sqlite:///{tmp_path}/new/shop.db" if kind == "sqlite" else request.getfixturevalue("postgres").new_database()
    )


@pytest.fixture
def context(context, url):
    chosen = settings.load(home=context.settings.home, sql_connections={"shop": url})
    return replace(context, settings=chosen)


@pytest.fixture
def execute(run) -> Callable[..., Any]:
    return lambda statement, **arguments: run(sql.execute, statement=statement, connection="shop", **arguments)


@pytest.fixture
def query(run) -> Callable[..., Any]:
    return lambda statement, **arguments: run(sql.query, statement=statement, connection="shop", **arguments)


@pytest.fixture
def table(execute) -> None:
    execute("CREATE TABLE goods (id INTEGER PRIMARY KEY, name TEXT NOT NULL, price NUMERIC(10, 2), added DATE)")
    goods = [{"id": number, "name": f"good {number}", "price": number / 4} for number in range(1, 11)]
    changed = execute(
        "INSERT INTO goods VALUES (:id, :name, :price, CAST(:added AS DATE))",
        rows=goods, parameters={"added": None},
    )  # fmt: skip
    assert changed["changed"] == 10


def test_rows_come_in_order_with_values_bound(query, table):
    rows = query("SELECT id, name FROM goods WHERE id > :low AND name <> :name ORDER BY id",
                 parameters={"low": 8, "name": "'; DROP TABLE goods --"})  # fmt: skip
    assert rows == {
        "columns": ["id", "name"],
        "rows": [{"id": 9, "name": "good 9"}, {"id": 10, "name": "good 10"}],
        "count": 2,
        "truncated": False,
    }
    assert query("SELECT count(*) AS n FROM goods")["rows"] == [{"n": 10}]


def test_more_than_is_taken_is_refused_or_cut(query, table):
    for limit in ({"max_rows": 3}, {"max_bytes": 60}):
        with pytest.raises(Permanent, match="narrow the statement"):
            query("SELECT id, name FROM goods", **limit)
        cut = query("SELECT id, name FROM goods", truncate=True, **limit)
        assert cut["truncated"] and 1 <= cut["count"] <= 3
    assert query("SELECT id FROM goods", max_rows=10)["count"] == 10


def test_all_of_a_statement_is_stored_or_nothing(execute, query, table):
    with pytest.raises(Permanent, match=r"(?i)unique|duplicate"):
        execute("INSERT INTO goods (id, name) VALUES (:id, 'x')", rows=[{"id": 11}, {"id": 1}])
    assert query("SELECT count(*) AS n FROM goods")["rows"] == [{"n": 10}]
    assert execute("INSERT INTO goods (id, name) VALUES (:id, 'x')", rows=[])["changed"] == 0


def test_returning_gives_rows(execute, table):
    returned = execute("UPDATE goods SET name = 'x' WHERE id < 3 RETURNING id, name")
    assert sorted(row["id"] for row in returned["rows"]) == [1, 2]


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM goods",
        "WITH gone AS (SELECT 1) DELETE FROM goods",
        "DELETE FROM goods RETURNING id",
        "SELECT 1; COMMIT; DELETE FROM goods",
        "SELECT 1; DELETE FROM goods",
        "COMMIT; DELETE FROM goods",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
        "DROP TABLE goods",
    ],
)
def test_a_query_cannot_write(query, table, statement):
    with pytest.raises(Permanent):
        query(statement)
    assert query("SELECT count(*) AS n FROM goods")["rows"] == [{"n": 10}]


def test_one_call_is_one_statement(execute, query, table):
    with pytest.raises(Permanent):
        execute("DELETE FROM goods; DELETE FROM goods")
    assert query("SELECT count(*) AS n FROM goods")["rows"] == [{"n": 10}]


def test_two_columns_of_one_name_are_refused(query, table):
    with pytest.raises(Permanent, match="two columns are called 'id'"):
        query("SELECT id, id FROM goods")


def test_a_bad_statement_says_what_the_database_says_and_no_values(query, table):
    with pytest.raises(Permanent, match=r"the database says: .*nonsense") as raised:
        query("SELECT nonsense FROM goods WHERE name = :name", parameters={"name": "hidden"})
    assert "hidden" not in str(raised.value)


def test_a_statement_that_runs_too_long_is_interrupted(query, execute, kind):
    execute("CREATE TABLE t (a INTEGER)")
    begun = time.monotonic()
    with pytest.raises(Retryable, match=r"timeout_s=0\.3"):
        query(SLOW[kind], timeout_s=0.3)
    assert time.monotonic() - begun < 10


def test_an_attempt_that_is_told_to_stop_interrupts_its_statement(run, context, kind, execute):
    execute("CREATE TABLE t (a INTEGER)")
    told = threading.Event()
    timer = threading.Timer(0.3, told.set)
    timer.start()
    asked = iter([False])
    given = replace(context, stop_requested=lambda: next(asked, None) is None and told.is_set())
    with pytest.raises(Cancelled):
        run(sql.query, given=given, statement=SLOW[kind], connection="shop")
    timer.join()


def test_a_locked_row_or_file_is_worth_another_try(execute, table, kind, url):
    if kind == "sqlite":
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(Retryable):
                execute("UPDATE goods SET name = 'x'", timeout_s=0.3)
        return
    with psycopg.connect(url) as other:
        other.execute("UPDATE goods SET name = 'y'")
        with pytest.raises(Retryable, match="timeout_s"):
            execute("UPDATE goods SET name = 'x'", timeout_s=0.3)


def test_values_become_json(query, execute, kind):
    if kind == "sqlite":
        rows = query("SELECT 1.5 AS f, x'ff00' AS b, NULL AS n, 'ü' AS t") if execute("CREATE TABLE t (a)") else None
        assert rows["rows"] == [{"f": 1.5, "b": "/wA=", "n": None, "t": "ü"}]
        return
    statement = """SELECT 1.50::numeric AS d, 'NaN'::float8 AS f, '2026-01-02'::date AS day, '{"a": [1]}'::jsonb AS j,
        '2026-01-02T03:04:05+00'::timestamptz AT TIME ZONE 'UTC' AS at, ARRAY[1, 2] AS l, '\\xff00'::bytea AS b,
        '90 s'::interval AS i, true AS yes"""
    assert query(statement)["rows"] == [
        {
            "d": "1.50", "f": "nan", "day": "2026-01-02", "j": {"a": [1]}, "at": "2026-01-02T03:04:05",
            "l": [1, 2], "b": "/wA=", "i": 90.0, "yes": True,
        }
    ]  # fmt: skip
    assert query("SELECT 2 = ANY(:ids) AS yes", parameters={"ids": [1, 2]})["rows"] == [{"yes": True}]


def test_a_sqlite_statement_reaches_no_other_file(run, tmp_path):
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as made:
        made.execute("CREATE TABLE secret (x)")
    run(sql.execute, statement="CREATE TABLE t (a)")
    for statement in (
        f"ATTACH DATABASE '{other}' AS o",
        f"VACUUM INTO '{tmp_path}/copy.db'",
        "PRAGMA writable_schema = 1",
        "PRAGMA journal_mode = DELETE",
        "SELECT load_extension('/tmp/x.so')",
    ):
        for task in (sql.execute, sql.query):
            with pytest.raises(Permanent):
                run(task, statement=statement)
    assert not (tmp_path / "copy.db").exists()
    assert run(sql.query, statement="PRAGMA table_info(t)")["rows"][0]["name"] == "a"


def test_a_database_that_is_not_there_says_so_without_its_password(run, context):
    named = {"away": "postgresql://me:hidden@localhost:1/x", "none": "sqlite:////nowhere/x.db"}
    given = replace(context, settings=settings.load(home=context.settings.home, sql_connections=named))
    with pytest.raises(Retryable) as raised:
        run(sql.query, given=given, statement="SELECT 1 AS a", connection="away")
    assert "hidden" not in str(raised.value)
    with pytest.raises(Permanent, match="unable to open"):
        run(sql.query, given=given, statement="SELECT 1 AS a", connection="none")


def test_two_writers_of_one_file_wait_for_each_other(run):
    run(sql.execute, statement="CREATE TABLE t (a)")
    threads = [
        threading.Thread(target=lambda: [run(sql.execute, statement="INSERT INTO t VALUES (1)") for _ in range(10)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert run(sql.query, statement="SELECT count(*) AS n FROM t")["rows"] == [{"n": 40}]
