"""Waiting for a run's end: told by Redis, found in SQL where nobody told it."""

from __future__ import annotations

import pytest

from engine.api import client as clients
from engine.plan.model import Plan
from tests.integration.scale.conftest import Make

PLAN = Plan.model_validate({"name": "one", "steps": {"only": {"task": "scale.nothing", "with": {"value": 1}}}})


def test_whoever_waits_is_told_of_the_end(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "_POLL_LONGEST_S", 3600.0)
    installation = make()
    installation.scheduler()
    installation.worker(queues="io,cpu", slots=1)
    installation.ready("io", "cpu")
    run_id = installation.client.submit(PLAN)
    assert installation.client.wait(run_id, 60.0).state.value == "succeeded"


def test_without_a_redis_the_end_is_found_in_sql(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    installation = make()
    installation.scheduler()
    installation.worker(queues="io,cpu", slots=1)
    installation.ready("io", "cpu")
    monkeypatch.setattr(type(installation.client), "redis_url", property(lambda client: "unix:///nowhere/redis.sock"))
    run_id = installation.client.submit(PLAN)
    assert installation.client.wait(run_id, 60.0).state.value == "succeeded"
    with pytest.raises(TimeoutError):
        installation.client.wait(installation.client.submit(PLAN.model_copy(update={"pools": {}})), 0.0)
