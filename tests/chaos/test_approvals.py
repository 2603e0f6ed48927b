"""A scheduler that is gone while a run waits for an operator, or while it takes the answer in: another one goes on."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from engine.plan.model import Plan
from engine.scheduling.records import WAITS_FOR_APPROVAL, RunState
from engine.store.approvals import decided, waiting
from engine.store.columns import DECISION, LEDGER
from tests.services.postgres import Postgres
from tests.services.stack import Stack, until

COST_NUSD, ITEMS = 2000, 4
PLAN = Plan.model_validate({
    "name": "asks",
    "budget": {"max_usd": 2.5 * COST_NUSD / 1e9, "on_exhausted": "ask"},
    "steps": {"pay": {"task": "spend.some", "for_each": list(range(ITEMS)), "with": {"nusd": COST_NUSD}}},
})  # fmt: skip
MODULES = ("tests.integration.worker.spending_bodies",)


def asked(stack: Stack) -> str:
    """A run that waits for an answer."""
    run_id = stack.client.submit(PLAN)

    def waits() -> bool:
        run = stack.client.run(run_id)
        return run.state is RunState.PAUSED and run.reason.startswith(WAITS_FOR_APPROVAL)

    until(waits, 30, "a run that asks")
    return run_id


def approved(stack: Stack, run_id: str) -> int:
    """How often it was decided that the run may go on."""
    chosen = select(func.count()).where(DECISION.c.run_id == run_id, DECISION.c.reason == "approved by an operator")
    with stack.client.store.database.reading("count approvals") as connection:
        return int(connection.scalar(chosen) or 0)


def spent_nusd(stack: Stack, run_id: str) -> int:
    with stack.client.store.database.reading("sum up the ledger") as connection:
        return int(connection.scalar(select(func.sum(LEDGER.c.cost_nusd)).where(LEDGER.c.run_id == run_id)) or 0)


@pytest.mark.parametrize(("point", "stored"), [("before_commit:1", 0), ("after_commit:1", 1)])
def test_an_approval_holds_once_though_the_scheduler_that_took_it_dies(
    postgres: Postgres, point: str, stored: int
) -> None:
    """That the second of the two dies with the approval stored says that the first died on that very commit."""
    with Stack(schedulers=2, database_url=postgres.new_database(), task_modules=MODULES) as stack:
        run_id = asked(stack)
        first, second = stack.schedulers
        for scheduler in stack.schedulers:
            scheduler.kill()
        stack.client.command(run_id, "approve", timeout_s=0.0, max_nusd=COST_NUSD * ITEMS)
        first.start(FLYWHEEL_FAULT=point)
        assert first.wait() == 86
        assert approved(stack, run_id) == stored
        assert bool(waiting(stack.client.store.database)) is not bool(stored)
        second.start()
        first.start()
        assert stack.ended(run_id, 45).state is RunState.SUCCEEDED
        assert (approved(stack, run_id), spent_nusd(stack, run_id)) == (1, COST_NUSD * ITEMS)
        assert decided(stack.client.store.database, run_id) == {"max_nusd": COST_NUSD * ITEMS}


def test_a_standby_takes_the_answer_that_the_leader_did_not_live_to_hear(postgres: Postgres) -> None:
    with Stack(schedulers=2, database_url=postgres.new_database(), task_modules=MODULES) as stack:
        run_id = asked(stack)
        leader = until(lambda: next((each for each in stack.schedulers if "shard.led" in each.said()), None), 5, "led")
        leader.kill()
        stack.client.command(run_id, "approve", timeout_s=0.0, max_nusd=COST_NUSD * ITEMS)
        assert stack.ended(run_id, 45).state is RunState.SUCCEEDED
        assert (approved(stack, run_id), spent_nusd(stack, run_id)) == (1, COST_NUSD * ITEMS)


def test_a_run_that_asked_goes_on_waiting_with_the_next_scheduler(postgres: Postgres) -> None:
    with Stack(schedulers=2, database_url=postgres.new_database(), task_modules=MODULES) as stack:
        run_id = asked(stack)
        [before] = waiting(stack.client.store.database)
        for scheduler in stack.schedulers:
            scheduler.kill()
            scheduler.start()
        stack.ready()
        assert stack.client.command(run_id, "reject", timeout_s=20.0)
        view = stack.ended(run_id, 45)
        assert before.run_id == run_id and view.partial
        assert spent_nusd(stack, run_id) == 2 * COST_NUSD
