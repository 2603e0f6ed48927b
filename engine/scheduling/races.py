"""Two copies of one attempt at once: the first result wins.

A failure of the node's own body decides too, as if there were no copy; one of the copy counts only if the
other was lost.

References
----------
Dean, Barroso: The Tail at Scale. Communications of the ACM 56(2), 2013 (hedged requests).
"""

from __future__ import annotations

from engine.scheduling import attempts, extras
from engine.scheduling.state import LiveRun
from engine.scheduling.turn import Turn
from engine.wire import NodeReport, Outcome, real_item


def reported(turn: Turn, run: LiveRun, no: int, report: NodeReport, worker: str) -> None:
    """Take a worker's report of the second copy."""
    item = real_item(report.item)
    copy = run.active.get((no, report.item))
    if copy is None or copy.attempt != report.attempt:
        turn.record(attempts.duplicate(run.id, no, report, worker, turn.now))
        return
    extras.release(turn, run, no, item)
    own = run.active.get((no, item))
    if report.outcome is Outcome.OK:
        if own is not None:
            extras.overtaken(turn, run, no, item, "a second copy was faster")
        attempts.succeed(turn, run, no, extras.as_own(report), report.attempt, worker)
    elif own is not None:
        extras.ended(turn, run, no, report, worker)
    else:
        trouble = attempts.troubled(run, no, item)
        trouble.attempt = report.attempt
        attempts.end_badly(turn, run, no, extras.as_own(report), trouble, copy, worker)
