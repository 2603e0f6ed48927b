"""Nodes of different steps in one message."""

from __future__ import annotations

from dataclasses import replace

from engine.scheduling.core import Core
from engine.scheduling.odds import NoOdds
from engine.scheduling.outstanding import Room
from tests.unit.scheduling.worlds import OneRun, plan_of, step

TWO_SLOTS = Room({"io": 2})


class Quick(NoOdds):
    """Every body takes as long; a millisecond if nothing is said."""

    def __init__(self, seconds: float = 0.001) -> None:
        self._seconds = seconds

    def typical_s(self, plan: str, path: str, task: str) -> float | None:
        return self._seconds


def run_of(*steps: object, seconds: float = 0.001) -> OneRun:
    run = OneRun(plan_of(*steps))  # type: ignore[arg-type]  # compiled steps
    run.core = Core(run.policy, Quick(seconds))
    run._keep(run.core.take(run.journal.load("r"), run.plan, run.now))
    return run


def test_short_steps_that_are_ready_together_travel_together() -> None:
    run = run_of(*(step(no) for no in range(40)))
    sizes = [len(chunk) for chunk in run.send_chunks(TWO_SLOTS)]
    assert sizes == [10, 10, 10, 10], "two messages a slot"


def test_a_run_that_is_alone_sends_more_in_a_message() -> None:
    alone, beside = (run_of(*(step(no) for no in range(40)), seconds=0.01) for _ in range(2))
    beside.core.runs["another"] = beside.core.runs["r"]
    one_slot = Room({"io": 1})
    assert len(alone.send_chunks(one_slot)[0]) == 15, "three chunks' time"
    assert len(beside.send_chunks(one_slot)[0]) == 7, "one chunk's, and what is begun"


def test_steps_of_another_task_or_that_must_not_be_repeated_travel_apart() -> None:
    others = [replace(step(no), task="other") for no in (2, 3)]
    external = [replace(step(no), effects="external") for no in (4, 5)]
    run = run_of(step(0), step(1), *others, *external)
    chunks = [sorted(placement.step_no for placement in chunk) for chunk in run.send_chunks(Room({"io": 1}))]
    assert sorted(chunks) == [[0, 1], [2, 3], [4], [5]]


def test_a_step_alone_takes_the_chain_behind_it_along() -> None:
    run = run_of(step(0), step(1, 0), step(2, 1))
    assert [[placement.step_no for placement in chunk] for chunk in run.send_chunks(TWO_SLOTS)] == [[0, 1, 2]]


def test_the_steps_of_a_message_end_one_by_one() -> None:
    run = run_of(*(step(no) for no in range(4)))
    (chunk,) = run.send_chunks(Room({"io": 1}))[:1]
    run.end(chunk[0])
    assert run.states()[chunk[0].step_no] == "succeeded"
    assert run.states()[chunk[1].step_no] == "running"
