"""When a straggler gets a second copy, and when it does not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from engine.dag.compiled import CompiledStep
from engine.scheduling.core import Core
from engine.scheduling.events import Commanded, Placement, SeenRunning
from engine.scheduling.hedges import FIRST, LEAST_S, OBSERVATIONS
from engine.scheduling.outstanding import Room
from engine.scheduling.records import AttemptKind, Decision, Dispatched
from engine.scheduling.state import Policy
from engine.wire import real_item
from tests.unit.scheduling.worlds import NOW, ROOM, OneRun, plan_of, step

USUAL_S = 0.1


class World(OneRun):
    """A run whose steps' bodies usually take ``USUAL_S``."""

    def __init__(
        self, *steps: CompiledStep, known: int = 100, policy: Policy | None = None, seconds: float = USUAL_S
    ) -> None:
        super().__init__(plan_of(*steps), policy)
        for each in steps if known else ():
            self.odds.observe_bodies("p", each.path, each.task, [seconds] * known, NOW)

    def runs_for(self, placement: Placement, seconds: float) -> None:
        """A worker says that the body of an attempt that went out just now has run so long."""
        begun_at, self.now = self.now, self.now + seconds
        told = SeenRunning("r", placement.step_no, placement.item, placement.attempt, begun_at, "w")
        self.tell(told)

    def copies(self, room: Room = ROOM) -> list[Placement]:
        """What goes out now besides nodes' own attempts."""
        return [placement for placement in self.send(room) if placement.item < 0]


def fan(items: int, **changes: Any) -> CompiledStep:
    return replace(step(0), for_each=list(range(items)), **changes)


def test_a_body_that_runs_past_what_is_usual_gets_a_copy() -> None:
    world = World(step(0))
    (own,) = world.send()
    world.runs_for(own, 2 * USUAL_S)
    (copy,) = world.copies()
    assert (real_item(copy.item), copy.step_no) == (own.item, own.step_no)
    assert world.copies() == []


def test_why_is_stored_with_its_figures() -> None:
    world = World(step(0))
    (own,) = world.send()
    world.runs_for(own, 2 * USUAL_S)
    chunks, verdict = world.core.dispatch(ROOM, world.now, 10)
    assert [record.kind for record in verdict.records if isinstance(record, Dispatched)] == [AttemptKind.HEDGE]
    (decision,) = (record for record in verdict.records if isinstance(record, Decision))
    assert (decision.kind, decision.step_no, decision.item) == ("hedge", 0, 0)
    assert decision.figures["elapsed_s"] == pytest.approx(2 * USUAL_S, rel=0.01)
    assert decision.figures["threshold_s"] == pytest.approx(1.25 * USUAL_S)
    assert decision.figures["observations"] == 100
    assert len(chunks) == 1


def test_a_body_is_told_apart_only_once_enough_of_its_kind_are_known() -> None:
    for known, copies in ((OBSERVATIONS - 1, 0), (OBSERVATIONS, 1)):
        world = World(step(0), known=known)
        (own,) = world.send()
        world.runs_for(own, 50 * USUAL_S)
        assert len(world.copies()) == copies, known


def test_a_step_seen_too_seldom_is_judged_by_its_task_type() -> None:
    world = World(step(0), known=0)
    world.odds.observe_bodies("another", "s", "t", [USUAL_S] * OBSERVATIONS, NOW)
    assert world.core.mark_after_s(world.core.runs["r"], 0) == pytest.approx(1.25 * USUAL_S)


def test_the_worker_is_told_when_a_body_is_a_straggler() -> None:
    world = World(step(0))
    run = world.core.runs["r"]
    assert world.core.mark_after_s(run, 0) == pytest.approx(1.25 * USUAL_S)
    world.odds.observe_bodies("p", "s0", "t", [10 * USUAL_S] * 50, NOW)  # spread now: one in three is slow
    assert world.core.mark_after_s(run, 0) == pytest.approx(10 * USUAL_S, rel=0.05)
    assert World(step(0), known=0).core.mark_after_s(run, 0) is None


def test_a_history_with_one_straggler_in_twenty_still_tells_stragglers() -> None:
    world = World(step(0))
    world.odds.observe_bodies("p", "s0", "t", [USUAL_S] * 90 + [10 * USUAL_S] * 10, NOW)
    assert world.core.mark_after_s(world.core.runs["r"], 0) == pytest.approx(1.25 * USUAL_S, rel=0.1)


def test_short_bodies_are_given_a_while() -> None:
    world = World(step(0), seconds=0.001)
    assert world.core.mark_after_s(world.core.runs["r"], 0) == LEAST_S


def test_a_body_reported_before_it_is_a_straggler_gets_its_copy_when_it_is() -> None:
    world = World(step(0), seconds=10.0)
    (own,) = world.send()
    world.runs_for(own, 0.3)
    assert world.copies() == []
    assert world.core.next_due() == pytest.approx(NOW + 12.5)
    world.now = NOW + 12.5
    world.tell()
    assert len(world.copies()) == 1


@pytest.mark.parametrize(
    "changes",
    [{"effects": "external"}, {"max_parallel": 5}, {"pools": ("db",)}],
    ids=["external", "max_parallel", "pool"],
)
def test_a_body_that_must_not_run_twice_at_once_never_gets_a_copy(changes: dict[str, Any]) -> None:
    world = World(replace(step(0), **changes))
    room = Room(slots={"io": 10}, pools={"db": 5})
    (own,) = world.send(room)
    assert world.core.mark_after_s(world.core.runs["r"], 0) is None
    world.runs_for(own, 50 * USUAL_S)
    assert world.copies(room) == []


def test_a_task_type_with_a_rate_limit_gets_no_copies() -> None:
    world = World(step(0))
    room = Room(slots={"io": 10}, tokens={"t": 5})
    (own,) = world.send(room)
    world.runs_for(own, 50 * USUAL_S)
    assert world.copies(room) == []


def test_hedging_can_be_switched_off() -> None:
    world = World(step(0), policy=Policy(hedge=False))
    (own,) = world.send()
    assert world.core.mark_after_s(world.core.runs["r"], 0) is None
    world.runs_for(own, 50 * USUAL_S)
    assert world.copies() == []


def test_a_copy_waits_until_a_slot_is_idle() -> None:
    world = World(step(0), step(1))
    own, other = world.send()
    full = Room(slots={"io": 2})
    world.runs_for(own, 2 * USUAL_S)
    assert world.copies(full) == []
    world.end(other)
    assert len(world.copies(full)) == 1


def queues_of_copies(world: World, room: Room) -> list[str]:
    """Where copies that go out now are sent to."""
    _, verdict = world.core.dispatch(room, world.now, 10)
    records = [record for record in verdict.records if isinstance(record, Dispatched)]
    return [record.queue for record in records if record.kind is AttemptKind.HEDGE]


IO, APART = (frozenset({"io"}), 2), (frozenset({"speculative"}), 1)
BOTH = (frozenset({"io", "speculative"}), 2)
TAKEN = {"io": 2, "speculative": 1}


def test_at_full_load_a_copy_goes_to_a_worker_that_serves_the_queue_of_bets_alone() -> None:
    world = World(fan(200))
    room = Room(slots=TAKEN, workers=(IO, APART))
    own, other, *_ = world.send(room)
    world.runs_for(own, 2 * USUAL_S)
    world.tell(SeenRunning("r", 0, other.item, other.attempt, NOW, "w"))
    assert queues_of_copies(world, room) == ["speculative"]
    assert queues_of_copies(world, room) == [], "its only slot is taken"


def test_a_copy_prefers_an_idle_slot_of_its_own_queue() -> None:
    world = World(step(0))
    (own,) = world.send()
    world.runs_for(own, 2 * USUAL_S)
    assert queues_of_copies(world, Room(slots=TAKEN, workers=(IO, APART))) == ["io"]


@pytest.mark.parametrize(
    "room",
    [
        Room(slots=TAKEN, workers=(BOTH,)),
        Room(slots=TAKEN, workers=(IO, APART), paused=frozenset({"speculative"})),
        Room(slots=TAKEN, workers=(IO, APART), paused=frozenset({"io"})),
        Room(slots=TAKEN, workers=(IO, APART), tokens={"t": 9}),
        Room(slots=TAKEN, workers=(IO,)),
    ],
    ids=["shared with primaries", "paused", "its own queue is paused", "rated", "nobody serves it"],
)
def test_at_full_load_no_copy_goes_where_it_could_be_in_the_way(room: Room) -> None:
    world = World(fan(200))
    own, *_ = world.send(replace(room, paused=frozenset()))
    world.runs_for(own, 2 * USUAL_S)
    assert queues_of_copies(world, room) == []


def test_a_copy_never_goes_out_while_a_primary_attempt_waits() -> None:
    world = World(step(0), step(1), step(2))
    own, *_ = world.send(most=1)
    world.runs_for(own, 2 * USUAL_S)
    sent = world.send(most=1)
    assert [placement.item >= 0 for placement in sent] == [True]
    sent = world.send(most=2)
    assert [placement.item >= 0 for placement in sent] == [True, False]


def test_no_copy_goes_to_a_paused_queue_or_of_a_paused_run() -> None:
    world = World(step(0))
    (own,) = world.send()
    world.runs_for(own, 2 * USUAL_S)
    assert world.copies(Room(slots={"io": 10}, paused=frozenset({"io"}))) == []
    world.tell(Commanded(1, "r", "pause"))
    assert world.copies() == []
    world.tell(Commanded(2, "r", "resume"))
    assert len(world.copies()) == 1


def test_a_body_that_ends_meanwhile_gets_no_copy() -> None:
    world = World(step(0), step(1, 0))
    (own,) = world.send()
    world.runs_for(own, 2 * USUAL_S)
    world.end(own)
    assert world.copies() == []


def test_copies_are_capped_at_a_share_of_all_attempts() -> None:
    wide = Room(slots={"io": 1000})
    world = World(fan(100))
    sent = world.send(wide)
    assert len(sent) == 100
    for placement in sent:
        world.tell(SeenRunning("r", 0, placement.item, placement.attempt, NOW, "w"))
    world.now += 5 * USUAL_S
    world.tell()
    assert len(world.copies(wide)) == FIRST + 5
    assert world.copies(wide) == []


def test_a_copy_gets_no_copy() -> None:
    world = World(step(0))
    (own,) = world.send()
    world.runs_for(own, 2 * USUAL_S)
    (copy,) = world.copies()
    world.runs_for(copy, 5 * USUAL_S)
    assert world.copies() == []


def test_another_scheduler_copies_a_straggler_anew() -> None:
    world = World(step(0))
    (own,) = world.send()
    world.runs_for(own, 2 * USUAL_S)
    (first,) = world.copies()
    world.restart()
    assert isinstance(world.core, Core)
    (second,) = world.copies()
    assert second.item == first.item
    assert second.attempt > first.attempt


def test_a_run_that_stops_for_money_sends_no_copies() -> None:
    world = World(step(0))
    (own,) = world.send()
    world.runs_for(own, 2 * USUAL_S)
    run = world.core.runs["r"]
    run.budget = replace(run.budget, stopped="the budget of this run is used up")
    assert world.copies() == []
    run.budget = replace(run.budget, stopped="")
    assert len(world.copies()) == 1
