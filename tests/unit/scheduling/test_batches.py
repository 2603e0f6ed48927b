"""How nodes of a step with ``batch`` go out: in whole batches, and short ones only once nothing can join them."""

from __future__ import annotations

from dataclasses import replace

from engine.scheduling.events import Chunk, Reported
from engine.scheduling.outstanding import Room
from engine.scheduling.state import Policy
from engine.wire import ErrorInfo, NodeReport, Outcome
from tests.unit.scheduling.worlds import NOW, OneRun, plan_of, retried

SLOTS = Room({"io": 8})


def batched(items: int, size: int = 20, wait_s: float = 2.0, policy: Policy | None = None) -> OneRun:
    step = replace(retried(0, 3), for_each=list(range(items)), batch_items=size, batch_wait_s=wait_s)
    return OneRun(plan_of(step), policy)


def end(run: OneRun, chunk: Chunk, failed: frozenset[int] = frozenset()) -> None:
    for placement in chunk:
        error = ErrorInfo("Missing", "no answer") if placement.item in failed else None
        outcome, result = (Outcome.FAILED, None) if error else (Outcome.OK, '{"v":1}')
        report = NodeReport(
            placement.item, placement.attempt, outcome, result, error, begun_at=run.now, ended_at=run.now
        )
        run.tell(Reported("r", 0, report))


def test_a_fan_out_goes_out_in_whole_batches_though_nothing_is_known_of_its_seconds() -> None:
    assert [len(chunk) for chunk in batched(60).send_chunks(SLOTS)] == [20, 20]  # the window takes 40


def test_a_window_that_is_smaller_than_a_batch_takes_one() -> None:
    assert [len(chunk) for chunk in batched(60).send_chunks(Room({"io": 1}))] == [20]


def test_the_rest_of_a_fan_out_goes_at_once() -> None:
    run = batched(25, policy=Policy(window_s=60))
    assert [len(chunk) for chunk in run.send_chunks(SLOTS)] == [20, 5]


def test_only_what_failed_goes_again_and_waits_for_others_that_may() -> None:
    run = batched(40, policy=Policy(window_s=60))
    first, second = run.send_chunks(SLOTS)
    end(run, first, frozenset({3, 7}))
    run.now += 10
    run.tell()
    assert run.send_chunks(SLOTS) == []  # the second batch may bring more of them
    end(run, second, frozenset({25}))
    run.now += 1
    run.tell()
    assert run.send_chunks(SLOTS) == []  # its wait is not over
    run.now += 10
    run.tell()
    again = run.send_chunks(SLOTS)
    assert [sorted(placement.item for placement in chunk) for chunk in again] == [[3, 7, 25]]
    assert {placement.attempt for placement in again[0]} == {2}


def test_a_short_batch_waits_no_longer_than_it_may() -> None:
    run = batched(40, wait_s=3.0, policy=Policy(window_s=60))
    first, _ = run.send_chunks(SLOTS)
    end(run, first, frozenset({3}))
    run.now += 10
    run.tell()
    assert run.send_chunks(SLOTS) == []
    run.now += 3.1
    run.tell()
    assert [[placement.item for placement in chunk] for chunk in run.send_chunks(SLOTS)] == [[3]]


def test_a_node_that_was_lost_with_its_worker_goes_alone() -> None:
    run = batched(20, policy=Policy(window_s=60))
    (chunk,) = run.send_chunks(SLOTS)
    for placement in chunk:
        error = ErrorInfo("WorkerLost", "died")
        run.tell(Reported("r", 0, NodeReport(placement.item, 1, Outcome.LOST, error=error, begun_at=NOW)))
    run.now += 600
    run.tell()
    assert {len(chunk) for chunk in run.send_chunks(SLOTS)} == {1}
