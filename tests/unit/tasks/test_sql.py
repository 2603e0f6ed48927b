"""The sql tasks before a database is asked: what is refused, and how it says so."""

from __future__ import annotations

from dataclasses import replace

import pytest

import settings
from engine.errors import Permanent
from engine.plan.tasktype import Effects
from tasks import sql


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"statement": ""}, "'statement'"),
        ({"statement": "SELECT 1", "connection": "locl"}, "did you mean 'local'.*FLYWHEEL_SQL_CONNECTIONS"),
        ({"statement": "SELECT 1", "connection": "memory"}, "name a file"),
        ({"statement": "SELECT 1", "connection": "odd"}, "not the address of a database"),
        ({"statement": "SELECT 1", "max_rows": 0}, "'max_rows'"),
        ({"statement": "SELECT 1", "timeout_s": 0}, "'timeout_s'"),
        ({"statement": "SELECT :a"}, "cannot be run: .*'a'"),
        ({"statement": "SELECT :a", "parameters": {"a": [1]}}, "list"),
        ({"statment": "x"}, "did you mean 'statement'"),
    ],
)
def test_bad_input_is_refused_and_says_why(run, context, arguments, message):
    named = {"memory": "sqlite:///:memory:", "odd": "postgresql://[::1"}
    given = replace(context, settings=settings.load(home=context.settings.home, sql_connections=named))
    run(sql.execute, given=given, statement="CREATE TABLE IF NOT EXISTS t (a)")
    with pytest.raises(Permanent, match=message):
        run(sql.query, given=given, **arguments)


def test_the_address_may_be_a_secret(run, context, tmp_path):
    given = replace(
        context,
        settings=settings.load(home=context.settings.home, sql_connections={"shop": "secret://shop-url"}),
        secret={"shop-url": f"sqlite:///{tmp_path}/shop.db"}.__getitem__,
    )
    run(sql.execute, given=given, statement="CREATE TABLE t (a)", connection="shop")
    assert (tmp_path / "shop.db").exists()


def test_effects_are_declared():
    assert (sql.query.task_type.effects, sql.execute.task_type.effects) == (Effects.NONE, Effects.EXTERNAL)
