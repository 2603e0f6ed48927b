"""Attempts beside the one that a node has anyway: copies that race it, and bets made before its time.

An extra attempt goes by the ``shadow`` of its node's item in permits, messages and reports, and by a
number of its own in the journal. It is active like any other, but holds no place under its step's
limits. Whoever reports a result first wins; the others are told to stop, and what they still report
is kept as a duplicate. A scheduler that takes over ends the extras of the one before.
"""

from __future__ import annotations

from dataclasses import replace

from engine.scheduling.events import Placement, StopAttempts
from engine.scheduling.records import AttemptEnded, AttemptKind, Dispatched
from engine.scheduling.state import Active, LiveRun
from engine.scheduling.turn import Turn
from engine.scheduling.unsaid import not_needed
from engine.wire import NodeReport, real_item, shadow


def launch(turn: Turn, run: LiveRun, no: int, item: int, kind: AttemptKind, queue: str, estimate_s: float) -> Placement:
    """Journal an extra attempt at a node, to be sent to ``queue``; at most one a node."""
    active = Active(_number(run, no, item), kind, queue, estimate_s, turn.now)
    run.active[no, shadow(item)] = active
    turn.outstanding.add(run, no, active)
    turn.record(Dispatched(run.id, no, item, active.attempt, kind, queue, turn.now))
    return Placement(run.id, no, shadow(item), active.attempt)


def extra_of(run: LiveRun, no: int, item: int) -> Active | None:
    """The extra attempt that is out at a node; ``None`` if there is none."""
    return run.active.get((no, shadow(item)))


def release(turn: Turn, run: LiveRun, no: int, item: int) -> Active:
    """Take the extra attempt of a node off the books; the caller says what became of it."""
    active = run.active.pop((no, shadow(item)))
    turn.outstanding.remove(run, no, active)
    return active


def drop(turn: Turn, run: LiveRun, no: int, item: int, why: str) -> None:
    """The node needs its extra attempt no more: stop it."""
    if extra_of(run, no, item) is None:
        return
    active = release(turn, run, no, item)
    not_needed(turn, run, no, item, active.attempt, active.begun_at, why)
    turn.effect(StopAttempts(run.id, ((no, shadow(item)),)))


def overtaken(turn: Turn, run: LiveRun, no: int, item: int, why: str) -> None:
    """The node's own attempt was overtaken by the extra one: stop it."""
    active = run.active.pop((no, item))
    run.steps[no].out -= 1
    turn.outstanding.remove(run, no, active)
    not_needed(turn, run, no, item, active.attempt, active.begun_at, why)
    turn.effect(StopAttempts(run.id, ((no, item),)))


def ended(turn: Turn, run: LiveRun, no: int, report: NodeReport, worker: str) -> None:
    """Journal the end of an extra attempt that does not decide its node."""
    turn.record(
        AttemptEnded(
            run.id, no, real_item(report.item), report.attempt, report.outcome, turn.now, report.error, worker,
            report.begun_at, report.ended_at,
        )
    )  # fmt: skip


def as_own(report: NodeReport) -> NodeReport:
    """What an extra attempt reported, as said of the node itself."""
    return replace(report, item=real_item(report.item))


def _number(run: LiveRun, no: int, item: int) -> int:
    """A number that no other attempt at the node has, or will get from tries that a worker repeats."""
    trouble, own = run.trouble.get((no, item)), run.active.get((no, item))
    latest = max(trouble.attempt if trouble else 0, own.attempt if own else 0)
    number = latest + max(1, run.step(no).retry.attempts)
    run.extra_numbers[no, item] = number = max(number, run.extra_numbers.get((no, item), 0) + 1)
    return number
