"""How far ahead a step goes out."""

from __future__ import annotations

from dataclasses import replace

from engine.dag.compiled import CompiledStep
from engine.scheduling.core import Core
from engine.scheduling.odds import NoOdds
from engine.scheduling.outstanding import Room
from engine.scheduling.windows import ORDERED_S
from tests.unit.scheduling.worlds import OneRun, plan_of, step

TWO_SLOTS = Room({"io": 2})
BODY_S = 1 / 16
WINDOW = 2 * 5 * 16
"""Bodies of ``BODY_S`` in five seconds of two slots."""


class Steady(NoOdds):
    """Every body takes as long."""

    def __init__(self, body_s: float) -> None:
        self._body_s = body_s

    def typical_s(self, plan: str, path: str, task: str) -> float | None:
        return self._body_s


def run_of(*steps: CompiledStep, body_s: float = BODY_S) -> OneRun:
    run = OneRun(plan_of(*steps))
    run.core = Core(run.policy, Steady(body_s))
    run._keep(run.core.take(run.journal.load("r"), run.plan, run.now))
    return run


def test_a_step_goes_out_a_little_ahead_while_a_longer_way_may_open() -> None:
    long_way = [step(0), *(step(no, no - 1) for no in range(1, 5))]
    run = run_of(*long_way, *(step(no) for no in range(5, 105)))
    sent = run.send(TWO_SLOTS)
    assert sent[0].step_no == 0
    assert len(sent) == 2 * ORDERED_S / BODY_S
    assert run.send(TWO_SLOTS) == []
    run.end(sent[0])
    assert run.send(TWO_SLOTS)[0].step_no == 1, "what became ready on the longest way goes next"


def test_a_step_fills_the_window_where_no_longer_way_can_open() -> None:
    run = run_of(*(step(no) for no in range(300)))
    assert len(run.send(TWO_SLOTS)) in (WINDOW - 1, WINDOW)


def test_a_fan_out_fills_the_window_in_any_case() -> None:
    run = run_of(step(0), *(step(no, no - 1) for no in range(1, 5)), replace(step(5), for_each=list(range(300))))
    assert len(run.send(TWO_SLOTS)) in (WINDOW - 1, WINDOW)


def test_short_nodes_wait_until_a_full_window_takes_a_whole_message_of_them() -> None:
    run = run_of(replace(step(0), for_each=list(range(5000))), body_s=1 / 138)
    sent = run.send(TWO_SLOTS, most=10_000)
    ended = 0
    while not (chunks := run.send_chunks(TWO_SLOTS)):
        run.end(sent[ended])
        ended += 1
    assert [len(chunk) for chunk in chunks] == [7]
