"""The ends of attempts that the scheduler itself says, because no report of them is waited for any more.

Begin marks of all but ``external`` bodies come late, or never where a body is short: that none is known does not
say that the body never began. ``not_begun`` is written only where that is certain, because others build on it:
``engine.store.caching`` believes that such a body wrote nothing.
"""

from __future__ import annotations

from engine.plan.tasktype import Effects
from engine.scheduling.records import AttemptEnded
from engine.scheduling.state import LiveRun
from engine.scheduling.turn import Turn
from engine.wire import ErrorInfo, Outcome


def outcome_unsaid(run: LiveRun, no: int, begun_at: float | None, begun: Outcome = Outcome.CANCELLED) -> Outcome:
    """How an attempt of step ``no`` ends without a report: as ``begun`` if its body is known to have begun."""
    if begun_at is not None:
        return begun
    step = run.step(no)
    # An ``external`` body begins only after its begin mark is stored; a run's own nodes may have done anything.
    certain = step.effects == Effects.EXTERNAL and step.child is None
    return Outcome.NOT_BEGUN if certain else Outcome.CANCELLED


def not_needed(turn: Turn, run: LiveRun, no: int, item: int, attempt: int, begun_at: float | None, why: str) -> None:
    """Journal that an attempt was stopped because nobody needs its result any more."""
    outcome, error = outcome_unsaid(run, no, begun_at), ErrorInfo("NotNeeded", why, retryable=False)
    turn.record(AttemptEnded(run.id, no, item, attempt, outcome, turn.now, error, begun_at=begun_at))
