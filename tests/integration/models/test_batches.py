"""Batches over the real library to the simulated server: made once, paid at half the price, each item by itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from engine.costs.entry import Entry
from engine.errors import Cancelled, Permanent, Retryable
from engine.models.batches import Batches
from engine.models.service import Models
from engine.plan.care import Care
from engine.plan.local import local_context
from engine.plan.tasktype import TaskContext
from tasks.llm_batch import batch_cancel, batch_collect, batch_submit
from tasks.llm_batch_end import batch_end
from tests.services.metered import Metered
from tests.services.models import Simulated, SimulatedModels

ITEMS = [f"Text {number}." for number in range(10)]
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
MODEL = "simulated/small"


@pytest.fixture
def server() -> Iterator[SimulatedModels]:
    with SimulatedModels({"small": Simulated()}) as started:
        yield started


@pytest.fixture
def metered(server: SimulatedModels) -> Iterator[Metered]:
    made = Metered(server.economy(batches=True))
    yield made
    made.parts.close()


@pytest.fixture
def context(metered: Metered) -> TaskContext:
    offered: dict[type[Any], Any] = {Models: metered.models(), Batches: metered.batches()}

    def service(kind: type[Any]) -> Any:
        return offered[kind]

    return replace(local_context("submit"), service=service, stop_requested=lambda: metered.stopped)


def submit(context: TaskContext, **more: Any) -> dict[str, Any]:
    made = batch_submit.task_type.function(context, items=ITEMS, model=MODEL, **more)
    return {name: getattr(made, name) for name in made.__slots__}


def collect(context: TaskContext, batch: dict[str, Any]) -> Any:
    return batch_collect.task_type.function(replace(context, node="collect"), batch=batch)


def last(metered: Metered) -> Entry:
    return metered.ledger[-1]


def test_a_batch_is_half_the_price_and_what_was_held_comes_back(
    server: SimulatedModels, metered: Metered, context: TaskContext
) -> None:
    server.answer = lambda asked: str(asked.messages[1]["content"])
    batch = submit(context)
    (held,) = metered.reservations
    estimate = last(metered)
    assert (estimate.settled, estimate.cost_nusd) == (False, held.ceiling_nusd) == (False, held.settled_nusd)
    with pytest.raises(Retryable, match="0 of 10 are done") as waits:
        collect(context, batch)
    assert waits.value.delay_s == 60
    done = collect(context, batch)
    entry = last(metered)
    assert [answer.error for answer in done.answers] == [""] * 10 and done.state == "completed"
    assert all(text in answer.text for text, answer in zip(ITEMS, done.answers, strict=True))
    assert (entry.id, entry.settled) == (estimate.id, True)
    assert entry.cost_nusd == server.billed_nusd() == entry.saved_nusd > 0
    assert metered.refunded == {entry.id: held.ceiling_nusd - entry.cost_nusd}


def test_each_item_is_checked_and_fails_by_itself(
    server: SimulatedModels, metered: Metered, context: TaskContext
) -> None:
    server.batches.polls, server.batches.failing = 0, {"3"}
    server.answer = lambda asked: "no data" if "Text 5." in asked.text else '{"n": 7}'
    done = collect(context, submit(context, schema=SCHEMA))
    wrong = {place: answer.error for place, answer in enumerate(done.answers) if answer.error}
    assert (set(wrong), done.failed, done.answers[0].data) == ({3, 5}, 2, {"n": 7})
    assert "simulated" in wrong[3] and "not JSON" in wrong[5]
    assert last(metered).cost_nusd == server.billed_nusd()


@pytest.mark.parametrize("ends", ["expired", "cancelled"])
def test_what_was_answered_before_a_batch_ended_early_is_there_and_paid(
    server: SimulatedModels, metered: Metered, context: TaskContext, ends: str
) -> None:
    server.batches.polls, server.batches.ends, server.batches.answered = 0, ends, 4
    done = collect(context, submit(context))
    assert (done.state, done.failed) == (ends, 6)
    assert [bool(answer.text) for answer in done.answers] == [True] * 4 + [False] * 6
    assert last(metered).cost_nusd == server.billed_nusd() > 0


def test_a_batch_that_is_refused_as_a_whole_costs_nothing(
    server: SimulatedModels, metered: Metered, context: TaskContext
) -> None:
    server.batches.polls, server.batches.ends = 0, "failed"
    with pytest.raises(Permanent, match="line 1 is no request"):
        collect(context, submit(context))
    assert (last(metered).cost_nusd, last(metered).settled) == (0, True)


def test_a_lost_attempt_leaves_one_batch(server: SimulatedModels, metered: Metered, context: TaskContext) -> None:
    first, again = submit(context), submit(replace(context, attempt=2))
    other = submit(replace(context, attempt=2, idempotency_key="another"))
    assert first["batch"] == again["batch"] != other["batch"]
    assert len(server.batches.made) == 2 == len(metered.reservations)


def test_a_batch_is_nobody_elses(server: SimulatedModels, context: TaskContext) -> None:
    batch = submit(context)
    theirs = replace(context, tenant="theirs")
    with pytest.raises(Permanent, match="made by somebody else"):
        collect(theirs, batch)
    with pytest.raises(Permanent, match="made by somebody else"):
        batch_cancel.task_type.function(theirs, batch=batch)


def test_a_stop_cancels_what_runs(server: SimulatedModels, metered: Metered, context: TaskContext) -> None:
    server.batches.answered = 4
    batch = submit(context)
    assert batch_cancel.task_type.function(context, batch=batch) == "cancelling"
    assert collect(context, batch).state == "cancelled"
    assert last(metered).cost_nusd == server.billed_nusd() > 0


@pytest.mark.parametrize(
    ("care", "economy", "why"),
    [(Care(deadline_s=7200), {"batches": True}, "the run has 2 h"), (Care(), {}, "has no batch interface")],
)
def test_where_no_batch_can_be_items_are_asked_about_at_once(
    server: SimulatedModels, care: Care, economy: dict[str, Any], why: str
) -> None:
    metered = Metered(server.economy(**economy))
    models = metered.models()
    context = replace(local_context("submit"), service=lambda kind: models, care=care)
    batch = submit(context)
    assert why in batch["why"] and not server.batches.made
    batch |= {"answers": [{"text": each.text, "data": each.data, "error": each.error} for each in batch["answers"]]}
    batch["call"] = {name: getattr(batch["call"], name) for name in batch["call"].__slots__}
    done = collect(context, batch)
    assert (done.state, done.failed, len(done.answers)) == ("direct", 0, 10)
    assert sum(entry.cost_nusd for entry in metered.ledger) == server.billed_nusd() > 0
    metered.parts.close()


def test_a_stop_is_heard_while_a_batch_is_handed_in(
    server: SimulatedModels, metered: Metered, context: TaskContext
) -> None:
    server.batches.hold.clear()
    ended: list[BaseException] = []

    def run(act: Callable[[], object]) -> None:
        try:
            act()
        except BaseException as error:
            ended.append(error)

    asking = threading.Thread(target=run, args=(lambda: submit(context),))
    asking.start()
    assert server.batches.holding.wait(20)
    metered.stopped = True
    asking.join(20)
    server.batches.hold.set()
    assert isinstance(ended[0], Cancelled)
    assert (last(metered).settled, last(metered).cost_nusd > 0) == (False, True), "it may have been made"


ENDS = {"run_id": "r", "step_no": 0, "item": 0, "attempt": 1}


def end(context: TaskContext, batch: str, made_at: float = 0.0) -> str:
    state: str = batch_end.task_type.function(
        context, model=MODEL, node=context.idempotency_key, items=10, made_at=made_at, ends=ENDS, batch=batch
    )
    return state


def test_an_ended_batch_is_paid_as_far_as_it_was_answered(
    server: SimulatedModels, metered: Metered, context: TaskContext
) -> None:
    server.batches.polls, server.batches.answered = 9, 4
    batch = submit(context)["batch"]
    (held,) = metered.reservations
    assert end(context, batch) == end(context, batch) == "cancelled"
    entry = last(metered)
    assert (entry.settled, entry.cost_nusd, entry.facts["ends"]) == (True, server.billed_nusd(), ENDS)
    assert metered.refunded == {entry.id: held.ceiling_nusd - entry.cost_nusd}


def test_a_batch_without_an_id_is_looked_for_until_it_was_certainly_never_made(
    server: SimulatedModels, metered: Metered, context: TaskContext
) -> None:
    with pytest.raises(Retryable, match="lists no such batch yet"):
        end(context, "", made_at=time.time())
    assert not metered.ledger
    assert end(context, "") == "never made"
    assert (last(metered).settled, last(metered).cost_nusd) == (True, 0)
    server.batches.polls = 9
    submit(context)
    assert end(context, "") == "cancelled"


def test_nobody_ends_the_batch_of_another_tenant(server: SimulatedModels, context: TaskContext) -> None:
    batch = submit(context)["batch"]
    with pytest.raises(Permanent, match="made by somebody else"):
        end(replace(context, tenant="theirs"), batch)
    assert server.batches.made[batch]["status"] != "cancelled"
