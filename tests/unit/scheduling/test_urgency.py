"""A small run behind a big one: let in though the window is full, and first in its queue, within bounds."""

from __future__ import annotations

from dataclasses import replace

from engine.scheduling.core import Core
from engine.scheduling.odds import NoOdds
from engine.scheduling.outstanding import Room
from engine.scheduling.records import RunState
from engine.scheduling.snapshot import RunRow
from engine.scheduling.urgency import Urgency
from tests.unit.scheduling.worlds import NOW, OneRun, plan_of, step

ONE_SLOT = Room({"io": 1})


class Known(NoOdds):
    """Every body takes ten milliseconds."""

    def typical_s(self, plan: str, path: str, task: str) -> float | None:
        return 0.01


class NoOps(NoOdds):
    """Every body takes next to no time."""

    def typical_s(self, plan: str, path: str, task: str) -> float | None:
        return 0.0001


def full() -> OneRun:
    """A run of 10,000 nodes that fills the window."""
    run = OneRun(plan_of(replace(step(0), for_each=list(range(10_000)))))
    run.core = Core(run.policy, Known())
    run._keep(run.core.take(run.journal.load("r"), run.plan, run.now))
    while run.send_chunks(ONE_SLOT):
        pass
    return run


def joined_by(run: OneRun, name: str, nodes: int) -> None:
    run.journal.submit(RunRow(name, "t", "s", "p", "v", '{"v":{}}', 0, RunState.PENDING, "", NOW))
    plan = plan_of(replace(step(0), for_each=list(range(nodes))))
    run._keep(run.core.take(run.journal.load(name), plan, run.now))


def test_a_small_run_is_let_in_and_goes_first_though_the_window_is_full() -> None:
    run = full()
    joined_by(run, "small", 5)
    sent = run.send(ONE_SLOT)
    assert [placement.run_id for placement in sent] == ["small"] * 5
    assert all(run.core.runs["small"].active[0, placement.item].urgent for placement in sent)


def test_another_big_run_gets_no_more_than_a_moment_of_it() -> None:
    run = full()
    joined_by(run, "big", 10_000)
    assert len(run.send(ONE_SLOT)) == 10, "a tenth of a second"
    assert not run.send(ONE_SLOT)


def test_a_small_run_is_sent_in_the_turn_that_a_big_one_could_use_up_alone() -> None:
    run = OneRun(plan_of(replace(step(0), for_each=list(range(10_000)))))
    run.core = Core(run.policy, Known())
    run._keep(run.core.take(run.journal.load("r"), run.plan, run.now))
    joined_by(run, "small", 5)
    chunks, _ = run.core.dispatch(Room({"io": 10}), run.now, 100)
    sent = [placement.run_id for chunk in chunks for placement in chunk]
    assert sent.count("small") == 5 and sent.count("r") == 95


def test_a_stream_of_small_runs_may_spend_half_of_the_slots_first() -> None:
    urgency, granted = Urgency(), 0.0
    for tick in range(1000):
        granted += 0.1 * urgency.grant("io", 1, 0.1, tick * 0.1)
    assert 50.0 <= granted <= 51.5, "half of a hundred seconds, and what was saved up"


def test_hundreds_of_no_ops_of_a_big_run_do_not_go_before_a_small_one() -> None:
    run = OneRun(plan_of(replace(step(0), for_each=list(range(10_000)))))
    run.core = Core(run.policy, NoOps())
    run._keep(run.core.take(run.journal.load("r"), run.plan, run.now))
    for _ in range(3):
        run.send(Room({"io": 2}), 50)
    joined_by(run, "small", 10)
    run.send(Room({"io": 2}), 50)
    urgent = [(one, item) for one in ("r", "small") for (_, item), it in run.core.runs[one].active.items() if it.urgent]
    assert urgent == [("r", item) for item in range(100)] + [("small", item) for item in range(10)]
