"""Nodes that went out before their step's join held, in one message behind the steps they wait for.

The worker begins such a node only once those before it succeeded there. Where that did not happen, or
is not known to have, the node comes back here and its step waits again, as if it had never been sent.
"""

from __future__ import annotations

from collections.abc import Collection

from engine.scheduling.events import Placement, StopAttempts
from engine.scheduling.joins import JoinVerdict, judge
from engine.scheduling.records import AttemptEnded, AttemptKind, StepState
from engine.scheduling.state import LiveRun, Trouble
from engine.scheduling.steps import settle
from engine.scheduling.turn import Turn
from engine.wire import NodeReport, Outcome


def comes_too_soon(run: LiveRun, no: int) -> bool:
    """Whether step ``no`` was sent ahead and what it was to follow has not succeeded."""
    return run.steps[no].ahead and judge(run, no) is not JoinVerdict.HOLDS


def put_back(turn: Turn, run: LiveRun, no: int, report: NodeReport, worker: str) -> None:
    """The node's attempt is over and does not count: its step waits for its parents again."""
    progress = run.steps[no]
    trouble = run.trouble.setdefault((no, 0), Trouble())
    trouble.attempt, trouble.retry_at = report.attempt, None
    outcome = Outcome.LOST if report.begun_at is not None else Outcome.NOT_BEGUN
    if report.outcome in (Outcome.LOST, Outcome.INFRASTRUCTURE):
        outcome = report.outcome  # of one that may have run: whether it did, nobody says
    turn.record(
        AttemptEnded(
            run.id, no, 0, report.attempt, outcome, turn.now, report.error, worker, report.begun_at, report.ended_at
        )
    )
    turn.effect(StopAttempts(run.id, ((no, 0),)))
    progress.state, progress.ahead = StepState.WAITING, False
    progress.cursor = progress.page_end = 0
    progress.again.clear()
    settle(turn, run, [no])


def may_be_sent(run: LiveRun, placement: Placement, placed: Collection[int]) -> bool:
    """Whether an attempt may go out in a message behind those of the steps ``placed``."""
    no = placement.step_no
    active = run.active.get((no, placement.item))
    if not run.steps[no].ahead or (active is not None and active.kind is AttemptKind.SPECULATIVE):
        return True
    return judge(run, no) is JoinVerdict.HOLDS or all(
        parent in placed or run.steps[parent].state is StepState.SUCCEEDED for parent in run.step(no).parents
    )
