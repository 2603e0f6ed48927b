"""Runs that come to a queue with next to nothing out: dispatched before more of those that were served already."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.dag.compiled import CompiledPlan
from engine.scheduling.core import Core
from engine.scheduling.events import Placement, Reported
from engine.scheduling.odds import NoOdds
from engine.scheduling.outstanding import Room
from engine.scheduling.records import RunState
from engine.scheduling.snapshot import RunRow
from engine.wire import NodeReport, Outcome
from tests.unit.scheduling.worlds import NOW, OneRun, plan_of, step

TWO_SLOTS = Room({"cpu": 2, "io": 2})


class Short(NoOdds):
    """Every body takes next to no time, so that a message of one run may hold all that a turn sends."""

    def typical_s(self, plan: str, path: str, task: str) -> float | None:
        return 0.0001


def fan(nodes: int, queue: str = "cpu") -> CompiledPlan:
    return plan_of(replace(step(0), for_each=list(range(nodes)), queue=queue))


class Runs(OneRun):
    """A core with any number of runs of no-ops."""

    def __init__(self, nodes: int) -> None:
        super().__init__(fan(nodes))
        self.core = Core(self.policy, Short())
        self._keep(self.core.take(self.journal.load("r"), self.plan, self.now))

    def join(self, name: str, plan: CompiledPlan, priority: int = 0) -> None:
        self.journal.submit(RunRow(name, "t", "s", "p", "v", '{"v":{}}', priority, RunState.PENDING, "", NOW))
        self._keep(self.core.take(self.journal.load(name), plan, self.now))

    def sent(self, most: int) -> list[Placement]:
        return self.send(TWO_SLOTS, most)

    def ended(self, placements: list[Placement]) -> None:
        self.tell(*(
            Reported(it.run_id, it.step_no, NodeReport(it.item, it.attempt, Outcome.OK, '{"v":1}'), "w")
            for it in placements
        ))  # fmt: skip


def test_a_woken_run_is_dispatched_before_more_of_one_that_was_served() -> None:
    runs = Runs(10_000)
    runs.sent(100)
    runs.join("small", fan(10))
    sent = [placement.run_id for placement in runs.sent(100)]
    assert sent == ["small"] * 10 + ["r"] * 90


def test_a_run_whose_next_step_becomes_ready_is_a_newcomer_again() -> None:
    runs = Runs(10_000)
    runs.sent(100)
    runs.join("two", plan_of(replace(step(0), for_each=list(range(10)), queue="cpu"), replace(step(1, 0), queue="cpu")))
    runs.ended(runs.sent(100)[:10])
    assert runs.sent(100)[0] == Placement("two", 1, 0, 1)


def test_a_stream_of_new_runs_leaves_half_of_each_dispatch_to_those_before() -> None:
    runs, of_big = Runs(10_000), 0
    runs.sent(20)
    for number in range(20):
        for each in range(3):
            runs.join(f"small-{number}-{each}", fan(10))
        sent = Counter(placement.run_id for placement in runs.sent(20))
        assert sum(count for name, count in sent.items() if name.startswith(f"small-{number}-")) == 10
        of_big += sent["r"]
    assert of_big, "and it has its turns among those that wait"


def test_a_newcomer_of_another_queue_does_not_wait_for_the_first_one_to_be_full() -> None:
    runs = Runs(10_000)
    runs.sent(100)
    runs.join("small", fan(10, "io"))
    assert Counter(placement.run_id for placement in runs.sent(100)) == {"small": 10, "r": 90}


def test_queues_take_turns_though_each_could_use_up_a_dispatch() -> None:
    runs = Runs(10_000)
    runs.join("other", fan(10_000, "io"))
    for _ in range(4):
        runs.sent(100)
    turns = [{placement.run_id for placement in runs.sent(100)} for _ in range(4)]
    assert turns in ([{"r"}, {"other"}] * 2, [{"other"}, {"r"}] * 2)


def test_a_newcomer_of_a_lower_priority_waits() -> None:
    runs = Runs(10)
    runs.join("high", fan(10_000), priority=5)
    runs.sent(100)
    runs.join("low", fan(10))
    assert {placement.run_id for placement in runs.sent(100)} == {"high"}


_ARRIVALS = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 60), st.sampled_from(("cpu", "io"))), max_size=12)


@settings(max_examples=60, deadline=None)
@given(arrivals=_ARRIVALS, most=st.integers(2, 200), big=st.integers(1, 2000))
def test_whoever_comes_is_served_soon_and_nobody_is_starved(
    arrivals: list[tuple[int, int, str]], most: int, big: int
) -> None:
    runs, seen = Runs(big), Counter[str]()
    due = sorted((turn, number, nodes, queue) for number, (turn, nodes, queue) in enumerate(arrivals))
    due_at = {f"n{number}": turn for turn, number, _, _ in due}
    sizes = {"r": big} | {f"n{number}": nodes for _, number, nodes, _ in due}
    for turn in range(10_000):
        while due and due[0][0] <= turn:
            _, number, nodes, queue = due.pop(0)
            runs.join(f"n{number}", fan(nodes, queue))
        waiting = {name for name in runs.core.runs if not seen[name] and name != "r"}
        fresh = {name for name in waiting if due_at[name] == turn}
        sent = runs.sent(most)
        here = Counter(placement.run_id for placement in sent)
        assert here.total() <= most
        if seen and waiting == fresh and sum(sizes[name] for name in fresh) <= most // 2:
            assert all(here[name] for name in fresh), "a newcomer waited for one that was served"
            assert len(fresh) != 1 or fresh <= {name for name in here if here[name] == sizes[name]}
        seen += here
        runs.ended(sent)
        if not due and not sent:
            break
    assert seen == sizes, "each node went out once"
