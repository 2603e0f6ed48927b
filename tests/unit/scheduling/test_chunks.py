"""How many nodes travel together."""

from __future__ import annotations

from dataclasses import replace

from engine.scheduling.events import Reported
from engine.scheduling.outstanding import Room
from engine.scheduling.state import Policy
from engine.wire import ErrorInfo, NodeReport, Outcome
from tests.unit.scheduling.worlds import NOW, OneRun, plan_of, retried, step

TWO_SLOTS = Room({"io": 2})


def wide(effects: str = "none", policy: Policy | None = None, body_s: float = 0.001) -> OneRun:
    """A fan-out of 1,000 of which two nodes have ended after ``body_s`` each."""
    run = OneRun(plan_of(replace(retried(0, 2, effects=effects), for_each=list(range(1000)))), policy)
    for placement in run.send(TWO_SLOTS, 2):
        report = NodeReport(placement.item, 1, Outcome.OK, '{"v":1}', begun_at=NOW, ended_at=NOW + body_s)
        run.tell(Reported("r", 0, report))
    return run


def test_nodes_of_unknown_duration_travel_alone() -> None:
    run = OneRun(plan_of(replace(step(0), for_each=list(range(100)))))
    assert {len(chunk) for chunk in run.send_chunks()} == {1}


def test_short_nodes_travel_in_chunks_of_a_twentieth_of_a_second() -> None:
    sizes = [len(chunk) for chunk in wide().send_chunks(TWO_SLOTS)]
    assert max(sizes) == 50
    assert sum(sizes) == 998


def test_a_chunk_never_leaves_a_slot_without_work() -> None:
    run = OneRun(plan_of(replace(step(0), for_each=list(range(42)))))
    for placement in run.send(TWO_SLOTS, 2):
        run.tell(Reported("r", 0, NodeReport(placement.item, 1, Outcome.OK, '{"v":1}', begun_at=NOW, ended_at=NOW)))
    assert [len(chunk) for chunk in run.send_chunks(TWO_SLOTS)] == [10, 10, 10, 10]


def test_a_few_short_nodes_share_one_message_though_another_slot_is_idle() -> None:
    run = OneRun(plan_of(replace(step(0), for_each=list(range(12)))))
    for placement in run.send(TWO_SLOTS, 2):
        run.tell(Reported("r", 0, NodeReport(placement.item, 1, Outcome.OK, '{"v":1}', begun_at=NOW, ended_at=NOW)))
    assert [len(chunk) for chunk in run.send_chunks(TWO_SLOTS)] == [10]


def test_long_nodes_and_external_ones_travel_alone() -> None:
    assert {len(chunk) for chunk in wide(body_s=1.0).send_chunks(TWO_SLOTS)} == {1}
    assert {len(chunk) for chunk in wide("external").send_chunks(TWO_SLOTS)} == {1}
    assert {len(chunk) for chunk in wide(policy=Policy(chunk_s=0.0)).send_chunks(TWO_SLOTS)} == {1}


def test_a_node_that_failed_before_travels_alone() -> None:
    run = wide()
    first = run.send_chunks(TWO_SLOTS, 100)[0][0]
    failed = NodeReport(first.item, 1, Outcome.FAILED, error=ErrorInfo("Flaky", "no luck"), begun_at=NOW, ended_at=NOW)
    run.tell(Reported("r", 0, failed))
    run.now += 60
    run.tell()
    again = [chunk for chunk in run.send_chunks(TWO_SLOTS) if first.item in [placement.item for placement in chunk]]
    assert [len(chunk) for chunk in again] == [1]
    assert again[0][0].attempt == 2
