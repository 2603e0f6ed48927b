"""A fault of the engine that belongs to one run ends that run; the scheduler goes on with the others."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import update

from engine.runtime.bugs import BUG
from engine.scheduling.records import RunState
from engine.store.columns import RUN
from tests.integration.scale.installation import Installation

PAUSE = {"task": "scale.pause", "with": {"sleep_s": 0.0}}
READS = {"task": "scale.pause", "with": {"sleep_s": "{{ inputs.wait_s }}"}}


@pytest.mark.parametrize(
    "steps",
    [
        {"one": READS},
        {"one": PAUSE | {"when": "inputs.wait_s > 1"}},
        {"one": PAUSE | {"for_each": "{{ inputs.wait_s }}"}},
    ],
    ids=["delivery", "condition", "items"],
)
def test_what_cannot_be_made_for_a_run_ends_it_and_no_other(installation: Installation, steps: dict[str, Any]) -> None:
    odd = installation.submit(steps, name="odd", wait_s=0.0)
    with installation.client.store.database.writing("store what nobody can read") as connection:
        connection.execute(update(RUN).where(RUN.c.id == odd).values(inputs='{"token=abcdef": '))
    sound = installation.submit({"one": PAUSE}, name="sound")
    scheduler = installation.scheduler()
    installation.worker()
    ended = installation.client.wait(odd, 30)
    assert installation.client.wait(sound, 30).state is RunState.SUCCEEDED
    store = installation.client.store
    told = f"{ended.reason} {store.steps(odd)[0].reason} {store.nodes(odd, 0)}"
    assert (ended.state, BUG in told, "JSONDecodeError" in told) == (RunState.FAILED, True, True), (ended, told)
    assert (scheduler.popen.poll(), "Traceback" in scheduler.said()) == (None, True)


def test_a_run_that_cannot_be_taken_up_ends_a_scheduler_once_at_most(installation: Installation) -> None:
    odd = installation.submit({"one": PAUSE}, name="odd")
    with installation.client.store.database.writing("store what nobody can read") as connection:
        connection.execute(update(RUN).where(RUN.c.id == odd).values(budget="[1]"))
    sound = installation.submit({"one": PAUSE}, name="sound")
    first = installation.scheduler()
    installation.wait(lambda: first.popen.poll() is not None or installation.client.run(odd).state.final)
    second = installation.scheduler()
    installation.worker()
    assert installation.client.wait(sound, 30).state is RunState.SUCCEEDED
    ended = installation.client.wait(odd, 30)
    assert (ended.state, BUG in ended.reason) == (RunState.FAILED, True), ended
    assert second.popen.poll() is None
