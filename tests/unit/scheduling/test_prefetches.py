"""Reading ahead: for which steps, into which slots, and what becomes of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from engine.dag.compiled import CompiledPlan, CompiledStep, Prefetch
from engine.scheduling.core import Core
from engine.scheduling.events import (
    Commanded,
    DropPrefetches,
    PrefetchEnded,
    Reported,
    StartPrefetch,
    Verdict,
)
from engine.scheduling.outstanding import Room
from engine.scheduling.records import AttemptEnded, Decision, Record, RunState
from engine.scheduling.state import Policy
from engine.wire import NodeReport, Outcome, Prefetched
from tests.unit.scheduling.worlds import OneRun, plan_of, step

ALL_QUEUES = frozenset({"io", "prefetch"})


def room_of(slots: int = 8, queues: frozenset[str] = ALL_QUEUES) -> Room:
    return Room(dict.fromkeys(queues, slots), workers=[(queues, slots)])


def reading(no: int, *parents: int, reads: tuple[int, ...] = (), **changes: object) -> CompiledStep:
    """A step that can be read ahead for once the steps ``reads`` have ended."""
    return replace(step(no, *parents), prefetch=Prefetch(("url",), reads), **changes)  # type: ignore[arg-type]


@dataclass
class Known:
    """Odds as a test says."""

    seconds: float | None = 1.0
    branches: dict[str, tuple[float, int]] = field(default_factory=dict)

    def typical_s(self, plan: str, path: str, task: str) -> float | None:
        return self.seconds

    def quantile_s(self, plan: str, path: str, task: str, q: float) -> float | None:
        return self.seconds

    def bodies(self, plan: str, path: str, task: str) -> int:
        return 0

    def branch(self, plan: str, path: str) -> tuple[float, int] | None:
        return self.branches.get(path)

    def failure(self, plan: str, path: str, task: str) -> float:
        return 0.0


class Reading(OneRun):
    """A run whose odds are known; what is to be read and dropped is noted."""

    def __init__(self, plan: CompiledPlan, odds: Known | None = None, policy: Policy | None = None) -> None:
        self.known = odds or Known()
        self.started: list[StartPrefetch] = []
        self.dropped: list[int] = []
        self.decisions: list[Decision] = []
        super().__init__(plan, policy)
        self.restart()

    def restart(self) -> None:
        self.core = Core(self.policy, self.known)
        self._keep(self.core.take(self.journal.load("r"), self.plan, self.now))

    def turn(self, room: Room | None = None) -> list[int]:
        """The steps for which reading ahead begins now."""
        before = len(self.started)
        self.sent = self.send(room or room_of())
        return [each.step_no for each in self.started[before:]]

    def brought(self, no: int, size: int = 10, why: str = "") -> None:
        self.tell(PrefetchEnded("r", no, size, 0.5, why))

    def left_s(self, no: int) -> float | None:
        return self.core.prefetch_left_s(self.core.runs["r"], no, self.now)

    def out(self) -> int:
        return self.core.attempts_out()

    def told(self) -> list[str]:
        return [each.reason for each in self.decisions]

    def _keep(self, verdict: Verdict) -> list[Record]:
        told = [each for each in verdict.records if isinstance(each, Decision)]
        self.decisions += [each for each in told if each.kind == "prefetch"]
        self.started += [each for each in verdict.effects if isinstance(each, StartPrefetch)]
        self.dropped += [no for each in verdict.effects if isinstance(each, DropPrefetches) for no in each.steps]
        return super()._keep(verdict)


def test_what_a_waiting_step_reads_is_brought_in_while_its_parent_runs() -> None:
    run = Reading(plan_of(step(0), reading(1, 0), step(2, 1)))
    assert run.turn() == [1]
    assert run.turn() == [], "once a node"
    assert run.started == [StartPrefetch("r", 1, 8 * 1024 * 1024, 60.0)]
    assert run.states() == ["running", "waiting", "waiting"], "it decides nothing"


@pytest.mark.parametrize("effects", ["idempotent", "external"])
def test_nothing_is_read_before_a_step_above_that_changes_something_has_ended(effects: str) -> None:
    run = Reading(plan_of(replace(step(0), effects=effects), step(1, 0), reading(2, 1)))
    assert run.turn() == []
    run.end(run.sent[0])
    assert run.turn() == [2], "what is left above it only reads"


def test_nothing_is_read_while_a_fall_back_with_effects_might_still_run() -> None:
    first = replace(step(0), fallback=1)
    standing_in = replace(step(1, 0), fallback_of=0, effects="external")
    assert Reading(plan_of(first, standing_in, reading(2, 0))).turn() == []


def test_what_it_refers_to_has_to_be_known() -> None:
    run = Reading(plan_of(step(0), step(1), reading(2, 0, 1, reads=(0,))))
    assert run.turn() == []
    run.end(run.sent[0])
    assert run.turn() == [2]


def test_it_looks_further_than_to_children() -> None:
    run = Reading(plan_of(step(0), reading(1, 0), step(2, 1), reading(3, 2), step(4, 3), reading(5, 4)))
    assert run.turn() == [1, 3, 5]


def test_nearer_steps_come_first_where_there_is_not_room_for_all() -> None:
    steps = [step(0), reading(1, 0), step(2, 1), reading(3, 2)]
    run = Reading(plan_of(*steps), policy=Policy(prefetch_max=1))
    assert run.turn() == [1]
    run.brought(1)
    assert run.turn() == [], "what is kept counts as well"


def test_an_unlikely_step_is_not_read_for() -> None:
    plan = plan_of(step(0), reading(1, 0, when="x"), reading(2, 0, when="y"), reading(3, 0, when="z"))
    odds = Known(branches={"s1": (0.2, 5), "s2": (0.8, 5)})
    assert Reading(plan, odds).turn() == [2, 3], "the third was never evaluated"


def test_steps_that_share_something_scarce_or_are_short_are_not_read_for() -> None:
    assert Reading(plan_of(step(0), reading(1, 0, pools=("db",)))).turn() == []
    limited = replace(room_of(), tokens={"t": 5})
    assert Reading(plan_of(step(0), reading(1, 0))).turn(limited) == []
    assert Reading(plan_of(step(0), reading(1, 0)), Known(seconds=0.005)).turn() == []


def test_what_would_be_stale_by_the_time_it_is_wanted_is_not_read_yet() -> None:
    run = Reading(plan_of(step(0), step(1, 0), reading(2, 1)), Known(seconds=40.0))
    assert run.turn() == []
    run.end(run.sent[0])
    assert run.turn() == [2]


def test_a_worker_that_could_not_run_the_step_does_not_read_for_it() -> None:
    workers = [(frozenset({"io"}), 4), (frozenset({"prefetch"}), 4)]
    apart = Room({"io": 4, "prefetch": 4}, workers=workers)
    assert Reading(plan_of(step(0), reading(1, 0))).turn(apart) == []


def test_one_slot_stays_idle_and_half_of_them_read_at_most() -> None:
    plan = plan_of(step(0), *(reading(no, 0) for no in range(1, 9)))
    assert Reading(plan).turn(room_of(2)) == []
    assert len(Reading(plan).turn(room_of(3))) == 1
    run = Reading(plan)
    assert len(run.turn(room_of(6))) == 3
    assert run.out() == 4
    assert Reading(plan, policy=Policy(prefetch=False)).turn() == []


def test_a_paused_queue_brings_nothing_and_gives_back_what_is_out() -> None:
    run = Reading(plan_of(step(0), reading(1, 0)))
    assert run.turn() == [1]
    assert run.turn(replace(room_of(), paused=frozenset({"prefetch"}))) == []
    assert run.dropped == [1] and run.out() == 1


def test_the_latest_give_way_once_their_slots_are_wanted() -> None:
    run = Reading(plan_of(step(0), *(reading(no, 0) for no in range(1, 4))))
    assert len(run.turn(room_of(8))) == 3
    run.turn(room_of(3))
    assert len(run.dropped) == 1 and run.out() == 3
    assert any("its slot is wanted" in reason for reason in run.told())


def test_what_was_brought_is_used_once_and_counted() -> None:
    run = Reading(plan_of(step(0), reading(1, 0)))
    run.turn()
    run.brought(1, 10)
    assert run.out() == 1, "its slot is free again"
    run.end(run.sent[0])
    run.turn()
    assert run.left_s(1) == 0.0
    body = run.sent[0]
    node = NodeReport(0, body.attempt, Outcome.OK, '{"v":1}', begun_at=run.now, ended_at=run.now,
                      prefetched=Prefetched(10, 0.4))  # fmt: skip
    records = run.tell(Reported("r", 1, node, "w"))
    ended = [each for each in records if isinstance(each, AttemptEnded)]
    assert [each.spared_s for each in ended] == [0.4], "durations are learned as if nothing had been read ahead"
    last = [each for each in records if isinstance(each, Decision)][-1]
    assert last.figures == {
        "started": 1, "fetched": 1, "used": 1, "fetched_bytes": 10, "used_bytes": 10, "saved_s": 0.4
    }  # fmt: skip
    assert run.state is RunState.SUCCEEDED and run.dropped == []


def test_a_body_that_did_not_want_it_leaves_nothing_behind() -> None:
    run = Reading(plan_of(step(0), reading(1, 0), step(2, 1)))
    run.turn()
    run.brought(1)
    run.end(run.sent[0])
    run.turn()
    run.end(run.sent[0])
    assert run.dropped == [1] and run.left_s(1) is None


def test_what_failed_is_forgotten_and_not_tried_again() -> None:
    run = Reading(plan_of(step(0), reading(1, 0)))
    run.turn()
    run.brought(1, why="OSError")
    assert run.left_s(1) is None and run.out() == 1 and run.turn() == []


def test_what_is_lost_frees_its_slot_after_a_while() -> None:
    run = Reading(plan_of(step(0), reading(1, 0)))
    run.turn()
    run.now += 121
    assert run.turn() == [] and run.out() == 1 and run.dropped == [1]


def test_a_body_waits_as_long_as_reading_can_be_expected_to_last() -> None:
    run = Reading(plan_of(step(0), reading(1, 0)), Known(seconds=2.0))
    run.turn()
    run.now += 1.0
    assert run.left_s(1) == pytest.approx(1.5)
    run.now += 5.0
    assert run.left_s(1) == pytest.approx(0.5)
    unknown = Reading(plan_of(step(0), reading(1, 0)), Known(seconds=None))
    unknown.turn()
    unknown.now += 3.0
    assert unknown.left_s(1) == pytest.approx(3.0)


def test_a_step_that_is_skipped_and_a_run_that_is_cancelled_drop_theirs() -> None:
    run = Reading(plan_of(step(0), reading(1, 0)))
    run.turn()
    run.fail(run.sent[0])
    assert run.dropped == [1] and run.state is RunState.FAILED
    run = Reading(plan_of(step(0), reading(1, 0), reading(2, 0)))
    run.turn()
    run.tell(Commanded(1, "r", "cancel"))
    assert sorted(run.dropped) == [1, 2] and run.turn() == []


def test_a_scheduler_that_takes_over_forgets_what_was_read_and_reads_itself() -> None:
    run = Reading(plan_of(step(0), reading(1, 0)))
    assert run.turn() == [1]
    run.restart()
    assert run.left_s(1) is None
    assert run.turn() == [1]
