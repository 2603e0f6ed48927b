"""Several shards in one scheduler process: none of them dies alone."""

from __future__ import annotations

from sqlalchemy import update

from engine.store.writing import RUN
from tests.integration.scale.conftest import Make
from tests.services.postgres import Postgres


def test_a_scheduler_that_cannot_go_on_with_one_of_its_shards_ends_and_says_so(make: Make, postgres: Postgres) -> None:
    installation = make(database_url=postgres.new_database(), shards=2)
    run_id = installation.submit({"one": {"task": "scale.pause", "with": {"sleep_s": 0.0}}})
    with installation.client.store.database.writing("break what a run keeps of its budget") as connection:
        connection.execute(update(RUN).where(RUN.c.id == run_id).values(shard=1, budget="{"))
    scheduler = installation.scheduler()
    assert scheduler.popen.wait(30.0) != 0, "a supervisor starts what failed anew"
    assert "JSONDecodeError" in scheduler.said()
