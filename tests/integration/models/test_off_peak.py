"""Where money ran short a question waits in a provider's batch: handed in once, at half the price, and used as any."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from engine.errors import BudgetExhausted, Retryable
from engine.models.batches import Batches, BatchNotMade
from engine.models.ports import OwnHanded
from engine.models.service import Models
from engine.plan.care import Batch, Budget, Care, Check
from engine.plan.local import local_context
from engine.plan.tasktype import TaskContext
from tasks.llm import complete, extract
from tasks.llm_batch_end import batch_end
from tasks.off_peak import ROOM_S
from tests.services.metered import Metered
from tests.services.models import Simulated, SimulatedModels

SHORT = Care(cheaper=1, run_budget=Budget(max_usd=1, on_exhausted="cheaper", off_peak=True))
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


@pytest.fixture
def server() -> Iterator[SimulatedModels]:
    models = {"small": Simulated(strength=0.3), "big": Simulated(strength=0.6)}
    with SimulatedModels(models, answer=lambda asked: f'{{"n": 7, "of": "{asked.model}"}}') as started:
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

    return replace(local_context("ask"), service=service, care=SHORT, stop_requested=lambda: metered.stopped)


def ask(context: TaskContext, model: str = "simulated/small", prompt: str = "What?") -> Any:
    return complete.task_type.function(context, prompt=prompt, model=model)


def waits(context: TaskContext, **more: Any) -> BudgetExhausted:
    with pytest.raises(BudgetExhausted, match="off-peak batch") as raised:
        ask(context, **more)
    assert raised.value.passing, "it comes back, and costs no try"
    return raised.value


def again(context: TaskContext, attempt: int = 2, **care: Any) -> TaskContext:
    return replace(context, attempt=attempt, care=replace(context.care, **care))


def test_the_answer_of_a_batch_is_used_as_any_and_costs_half(
    server: SimulatedModels, metered: Metered, context: TaskContext
) -> None:
    server.batches.polls = 2
    assert waits(context).facts["delay_s"] == 60
    (held,) = metered.reservations
    waits(again(context))
    waits(again(context, 3))
    done = ask(again(context, 4))
    assert "off-peak batch" in done.call.why and '"n": 7' in done.text
    entry = metered.ledger[-1]
    assert (entry.settled, entry.cost_nusd) == (True, server.billed_nusd()) and entry.cost_nusd == entry.saved_nusd > 0
    assert "off-peak batch" in entry.facts["why"] and len({each.id for each in metered.ledger}) == 1
    assert metered.refunded == {entry.id: held.ceiling_nusd - entry.cost_nusd}
    assert (len(server.batches.made), server.calls, len(metered.reservations)) == (1, 0, 1)


def test_a_further_tier_finds_what_the_first_handed_in(
    server: SimulatedModels, metered: Metered, context: TaskContext
) -> None:
    server.batches.polls = 0
    waits(context, model="simulated/big")
    done = ask(again(context, cheaper=2), model="simulated/small")
    assert (done.call.model, len(server.batches.made)) == ("simulated/big", 1)


def test_a_batch_is_found_though_nobody_here_knows_of_it(
    server: SimulatedModels, metered: Metered, context: TaskContext
) -> None:
    server.batches.polls = 0
    waits(context, model="simulated/big")
    context.service(Batches).handed = OwnHanded()  # as after a lost Redis
    done = ask(again(context, cheaper=2), model="simulated/small")
    assert (done.call.model, len(server.batches.made)) == ("simulated/big", 1)


def test_two_copies_of_a_node_hand_in_one_batch(
    server: SimulatedModels, metered: Metered, context: TaskContext
) -> None:
    class Between(OwnHanded):
        """Another copy claims the question just after this one looked."""

        def claim(self, key: str, handed: Mapping[str, Any]) -> bool:
            return super().claim(key, {"model": "simulated/small", "at": now}) and False

    service, now = context.service(Batches), context.service(Batches).now
    service.handed = Between()
    assert "being handed in" in str(waits(context))
    assert (server.batches.made, metered.reservations) == ({}, [])


def test_what_a_dead_worker_handed_in_is_found_by_its_key(
    server: SimulatedModels, metered: Metered, context: TaskContext
) -> None:
    server.batches.polls = 0
    waits(context)
    handed = context.service(Batches).handed
    (key,) = handed.known  # type: ignore[attr-defined] # of this process alone
    handed.put(key, {"model": "simulated/small", "at": context.service(Batches).now})  # it died before it said more
    assert "off-peak batch" in ask(again(context)).call.why
    assert (len(server.batches.made), len(metered.reservations)) == (1, 1)


def test_what_does_not_fit_the_budget_at_half_the_price_may_be_handed_in_later(
    server: SimulatedModels, metered: Metered, context: TaskContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Any:
        raise BudgetExhausted("the budget of the run is used up", {"scope": "run/r"})

    with monkeypatch.context() as poor:
        poor.setattr(metered, "reserve", refuse)
        with pytest.raises(BudgetExhausted, match="is used up") as raised:
            ask(context)
    assert not raised.value.passing, "what becomes of the run is the scheduler's to decide"
    waits(again(context, cheaper=2))
    assert len(server.batches.made) == 1


def test_what_was_claimed_and_never_handed_in_is_asked_the_usual_way(
    server: SimulatedModels, metered: Metered, context: TaskContext
) -> None:
    waits(context)
    handed = context.service(Batches).handed
    (key,) = handed.known  # type: ignore[attr-defined] # of this process alone
    server.batches.made.clear()
    handed.put(key, {"model": "simulated/small", "at": context.service(Batches).now})
    assert "being handed in" in str(waits(again(context)))
    handed.put(key, {"model": "simulated/small", "at": 0.0})
    done = ask(again(context, 3))
    assert done.text and server.calls == 1 and not server.batches.made
    (estimate,) = [each for each in metered.ledger if each.id.startswith("batch-") and each.settled]
    assert estimate.cost_nusd == 0


@pytest.mark.parametrize(
    ("stated", "left_s", "batches"),
    [
        (None, ROOM_S + 60, 1), (None, ROOM_S - 60, 0), (True, ROOM_S - 60, 0), (True, None, 1), (None, None, 0),
        (False, ROOM_S + 60, 0),
    ],
)  # fmt: skip
def test_there_is_a_batch_only_where_the_run_has_a_day(
    server: SimulatedModels, context: TaskContext, stated: bool | None, left_s: float | None, batches: int
) -> None:
    budget = Budget(max_usd=1, on_exhausted="cheaper", off_peak=stated)
    ends = None if left_s is None else context.service(Batches).now + left_s
    context = replace(context, care=Care(cheaper=1, run_budget=budget, deadline_at=ends))
    if batches:
        waits(context)
    else:
        assert ask(context).text
    assert (len(server.batches.made), server.calls) == (batches, 1 - batches)


def test_a_deadline_that_comes_nearer_leaves_a_batch_that_was_made(
    server: SimulatedModels, context: TaskContext
) -> None:
    now = context.service(Batches).now
    context = replace(context, care=replace(SHORT, deadline_at=now + ROOM_S + 60))
    server.batches.polls = 0
    waits(context)
    assert "off-peak batch" in ask(again(context, deadline_at=now + 60)).call.why


@pytest.mark.parametrize("care", [replace(SHORT, cheaper=0), replace(SHORT, batch=Batch())])
def test_with_money_left_or_in_a_step_with_batch_nothing_waits(
    server: SimulatedModels, context: TaskContext, care: Care
) -> None:
    assert ask(replace(context, care=care)).text and not server.batches.made


@pytest.mark.parametrize("ends", ["expired", "failed", "cancelled"])
def test_a_batch_without_an_answer_is_followed_by_a_call(
    server: SimulatedModels, metered: Metered, context: TaskContext, ends: str
) -> None:
    server.batches.polls, server.batches.ends, server.batches.answered = 0, ends, 0
    waits(context)
    done = ask(again(context))
    assert done.text and "off-peak" not in done.call.why
    assert ask(again(context, 3)).text, "and is not waited for again"
    assert (len(server.batches.made), server.calls) == (1, 2)
    assert all(each.settled for each in metered.ledger[1:])


def test_data_that_does_not_meet_the_schema_is_asked_for_the_usual_way(
    server: SimulatedModels, metered: Metered, context: TaskContext
) -> None:
    server.batches.polls, server.answer = 0, lambda asked: "no data"
    give = extract.task_type.function
    with pytest.raises(BudgetExhausted):
        give(context, text="Seven.", schema=SCHEMA, model="simulated/small")
    server.answer = lambda asked: '{"n": 7}' if server.calls else "no data"
    assert give(again(context), text="Seven.", schema=SCHEMA, model="simulated/small").data == {"n": 7}
    assert metered.cost_nusd - metered.ledger[0].cost_nusd == server.billed_nusd()


def test_an_answer_that_fails_its_check_is_judged_and_left_in_the_ledger(
    server: SimulatedModels, metered: Metered, context: TaskContext
) -> None:
    server.batches.polls = 0
    checked = replace(context, care=replace(SHORT, checks=(Check(regex='"n": 7'),)))
    waits(checked)
    done = ask(again(checked))
    assert (done.call.score, metered.ledger[-1].score, metered.ledger[-1].facts["class"]) == (1.0, 1.0, "standard")


def test_what_ends_an_abandoned_batch_finds_its_key_in_the_ledger(
    server: SimulatedModels, metered: Metered, context: TaskContext
) -> None:
    server.batches.polls = 9
    waits(context)
    (entry,) = metered.ledger
    ends = {"run_id": "r", "step_no": 0, "item": 0, "attempt": 1}
    given = {"model": entry.name, "node": entry.facts["node"], "items": 1, "made_at": 0.0, "ends": ends}
    assert batch_end.task_type.function(context, **given) == "cancelled"


def test_a_provider_without_batches_is_asked_the_usual_way(server: SimulatedModels, context: TaskContext) -> None:
    metered = Metered(server.economy())
    offered: dict[type[Any], Any] = {Models: metered.models(), Batches: metered.batches()}
    assert ask(replace(context, service=lambda kind: offered[kind])).text
    assert (server.calls, server.batches.made) == (1, {})
    metered.parts.close()


def test_a_model_whose_batches_cost_as_much_is_asked_the_usual_way(
    server: SimulatedModels, context: TaskContext
) -> None:
    economy = server.economy(batches=True)
    for price in economy["prices"].values():
        del price["batch_discount"]
    metered = Metered(economy)
    offered: dict[type[Any], Any] = {Models: metered.models(), Batches: metered.batches()}
    assert ask(replace(context, service=lambda kind: offered[kind])).text
    assert (server.calls, server.batches.made) == (1, {})
    metered.parts.close()


def test_a_provider_that_takes_no_batch_now_is_tried_again_for_half_an_hour(
    server: SimulatedModels, metered: Metered, context: TaskContext
) -> None:
    service = context.service(Batches)

    class Busy(Batches):
        def submit(self, *_: Any, **__: Any) -> str:
            raise BatchNotMade("too many batches", delay_s=90.0)

    busy = Busy(service._parts, metered, metered.secret, lambda: False, 60.0, metered, service.handed)
    offered: dict[type[Any], Any] = {Models: context.service(Models), Batches: busy}
    met = replace(context, service=lambda kind: offered[kind])
    assert waits(met).facts["delay_s"] == 90
    assert ask(again(met, 31)).text and server.calls == 1
    waits(again(context, 2), prompt="Another?")
    assert len(server.batches.made) == 1


def test_while_the_provider_is_away_the_node_comes_back(server: SimulatedModels, context: TaskContext) -> None:
    waits(context)
    service = context.service(Batches)
    (key,) = service.handed.known  # type: ignore[attr-defined] # of this process alone
    known = dict(service.handed.get(key) or {})

    class Away(Batches):
        def state(self, *_: Any) -> Any:
            raise Retryable("the provider is away")

    away = Away(service._parts, service._notes, service._secret, service._stop, 60.0, None, service.handed)
    offered: dict[type[Any], Any] = {Models: context.service(Models), Batches: away}
    lonely = replace(again(context), service=lambda kind: offered[kind])
    assert "is away" in str(waits(lonely))
    service.handed.put(key, known | {"at": 0.0})
    with pytest.raises(Retryable, match="is away"):
        ask(lonely)
