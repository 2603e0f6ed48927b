"""Plans that were stored by an engine of another version."""

from __future__ import annotations

import orjson
from sqlalchemy import update

from engine.scheduling.records import RunState
from engine.store.columns import PLAN_VERSION
from tests.integration.scale.installation import Installation


def test_a_stored_plan_that_holds_no_more_fails_its_run_and_no_other(installation: Installation) -> None:
    pause = {"task": "scale.pause", "with": {"sleep_s": 0.0}}
    odd = installation.submit({"one": pause}, name="odd")
    source = {"name": "odd", "steps": {"one": pause | {"until_moon": "full"}}}
    with installation.client.store.database.writing("store what another engine knew") as connection:
        of_run = PLAN_VERSION.c.name == "odd"
        connection.execute(update(PLAN_VERSION).where(of_run).values(source=orjson.dumps(source).decode()))
    sound = installation.submit({"one": pause}, name="sound")
    installation.scheduler()
    installation.worker()
    ended = installation.client.wait(odd, 30)
    assert (ended.state, "until_moon" in ended.reason) == (RunState.FAILED, True), ended.reason
    assert installation.client.wait(sound, 30).state is RunState.SUCCEEDED
