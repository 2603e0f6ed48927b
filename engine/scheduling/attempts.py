"""How a node's own attempts end: the first report of a current one wins; the rest changes nothing.

What follows from an end is decided by its outcome and by the step's effects:

* a body that failed is tried again as its retry policy says;
* a body that certainly never began is sent again, and it costs the node no try;
* a body that may have run and whose result is lost is repeated if that does no harm (``none``,
  ``idempotent``); an ``external`` one only if its step's retry policy grants another try.
"""

from __future__ import annotations

import zlib
from dataclasses import replace

from engine.plan.tasktype import Effects
from engine.scheduling import exhaustion, extras
from engine.scheduling.ahead import comes_too_soon, put_back
from engine.scheduling.events import AttemptLost
from engine.scheduling.records import (
    PARTIAL_NODE,
    AttemptEnded,
    AttemptKind,
    Duplicate,
    NodeFinished,
    NodeState,
    RunChanged,
    RunState,
)
from engine.scheduling.state import Active, LiveRun, Trouble
from engine.scheduling.steps import node_ended
from engine.scheduling.turn import Turn
from engine.wire import ErrorInfo, NodeReport, Outcome, real_item

_REFUSAL_WAIT_S = 0.1
_REFUSAL_WAIT_MAX_S = 15.0


def reported(turn: Turn, run: LiveRun, no: int, report: NodeReport, worker: str, note: str = "") -> bool:
    """Take a worker's report of a node's attempt, ``note`` kept if it succeeded; whether it was current."""
    active = run.active.get((no, report.item))
    if active is None or active.attempt != report.attempt:
        turn.record(duplicate(run.id, no, report, worker, turn.now))
        return False
    external = run.step(no).effects == Effects.EXTERNAL
    if report.outcome is Outcome.NOT_BEGUN and active.begun_at is not None and not external:
        # An earlier delivery of the attempt began: what a later one says is not the whole truth. The mark of an
        # ``external`` body is stored before it may begin, which this very delivery then did not.
        report = replace(report, outcome=Outcome.CANCELLED, begun_at=active.begun_at)
    _release(turn, run, no, report.item, active)
    if comes_too_soon(run, no):
        put_back(turn, run, no, report, worker)
        return True
    trouble = run.trouble.get((no, report.item))
    if report.tries or report.outcome is not Outcome.OK:
        trouble = troubled(run, no, report.item)
    attempt = _record_repeated_tries(turn, run, no, report, trouble, worker)
    if report.outcome is Outcome.OK:
        succeed(turn, run, no, report, attempt, worker, note)
    elif trouble is not None:
        if trouble.first_begun_at is None:
            trouble.first_begun_at = report.begun_at or active.begun_at
        trouble.attempt = attempt
        if report.tries or report.outcome in (Outcome.FAILED, Outcome.TIMED_OUT):
            # A copy is there for time, not for another try: both of them would count as one, or as two.
            extras.drop(turn, run, no, report.item, "the node's own attempt failed")
        if extras.extra_of(run, no, report.item) is None:
            end_badly(turn, run, no, report, trouble, active, worker)
        else:
            _leave_to_the_extra(turn, run, no, replace(report, attempt=attempt), trouble, worker)
    return True


def child_ended(turn: Turn, run: LiveRun, no: int, report: NodeReport, *, partial: bool) -> None:
    """Take the end of the run that a node stands for; what it left undone is left undone here too."""
    active = run.active.get((no, report.item))
    if partial and active is not None and active.attempt == report.attempt:
        run.steps[no].tolerated = True
        if not run.partial:
            run.partial = True  # stored at once: a scheduler that takes over could not tell
            turn.record(RunChanged(run.id, run.state, run.reason, turn.now, partial=True))
    reported(turn, run, no, report, "", PARTIAL_NODE if partial else "")


def lost(run: LiveRun, event: AttemptLost, now: float) -> NodeReport | None:
    """The report that a lost worker would have sent; ``None`` if the attempt is not current."""
    active = run.active.get((event.step_no, event.item))
    if active is None or active.attempt != event.attempt:
        return None
    error = ErrorInfo("WorkerLost", event.why)
    return NodeReport(event.item, event.attempt, Outcome.LOST, error=error, begun_at=active.begun_at, ended_at=now)


def duplicate(run_id: str, no: int, report: NodeReport, worker: str, now: float) -> Duplicate:
    """The record of a report that changes nothing."""
    return Duplicate(
        run_id, no, real_item(report.item), report.attempt, report.outcome, worker, now,
        report.begun_at, report.ended_at,
    )  # fmt: skip


def succeed(turn: Turn, run: LiveRun, no: int, report: NodeReport, attempt: int, worker: str, note: str = "") -> None:
    """The node has its result; what else is out for it is stopped."""
    extras.drop(turn, run, no, report.item, "another copy was faster")
    run.trouble.pop((no, report.item), None)
    turn.record(
        AttemptEnded(
            run.id, no, report.item, attempt, Outcome.OK, turn.now,
            worker=worker, begun_at=report.begun_at, ended_at=report.ended_at,
            spared_s=report.prefetched.seconds if report.prefetched is not None else 0.0,
        )
    )  # fmt: skip
    turn.record(NodeFinished(run.id, no, report.item, NodeState.SUCCEEDED, attempt, turn.now, report.result, note))
    node_ended(turn, run, no, report.item, NodeState.SUCCEEDED)


def _leave_to_the_extra(turn: Turn, run: LiveRun, no: int, report: NodeReport, trouble: Trouble, worker: str) -> None:
    """The node's own attempt ended without a verdict of its body while an extra one is out: that one decides."""
    trouble.losses += report.outcome is Outcome.LOST
    extras.ended(turn, run, no, report, worker)


def end_badly(
    turn: Turn, run: LiveRun, no: int, report: NodeReport, trouble: Trouble, active: Active, worker: str
) -> None:
    """The last attempt that was out at the node ended without a result: another follows, or it is over."""
    retry_in_s, reason = _next_try(turn, run, no, report, trouble, active)
    retry_at = turn.now + retry_in_s if retry_in_s is not None and run.state is not RunState.CANCELLING else None
    turn.record(
        AttemptEnded(
            run.id, no, report.item, trouble.attempt, report.outcome, turn.now, report.error, worker,
            report.begun_at, report.ended_at, retry_at,
        )
    )  # fmt: skip
    if retry_at is None:
        cancelled = run.state is RunState.CANCELLING
        state = NodeState.CANCELLED if cancelled else _undone(reason)
        run.trouble.pop((no, report.item), None)
        turn.record(NodeFinished(run.id, no, report.item, state, trouble.attempt, turn.now, reason=reason))
        if state is NodeState.SKIPPED:
            exhaustion.leave_rest(turn, run, no, reason)
        node_ended(turn, run, no, report.item, state)
        return
    trouble.retry_at = retry_at
    if retry_at <= turn.now:
        ready_again(turn, run, no, report.item)
    else:
        turn.timers.add(retry_at, run.id, no, report.item)
        turn.ready.add(run, no)  # its place under ``max_parallel`` is free while it waits


def _undone(reason: str) -> NodeState:
    """The final state of a node without a result: one that there was no money for was not tried in vain."""
    return NodeState.SKIPPED if reason.startswith(exhaustion.OVER_BUDGET) else NodeState.FAILED


def ready_again(turn: Turn, run: LiveRun, no: int, item: int) -> None:
    """The wait before a node's next attempt is over."""
    trouble = run.trouble.get((no, item))
    if trouble is None or trouble.retry_at is None or (no, item) in run.active or run.steps[no].finals[item]:
        return
    trouble.retry_at = None
    run.steps[no].again.append(item)
    turn.ready.add(run, no)


def _next_try(
    turn: Turn, run: LiveRun, no: int, report: NodeReport, trouble: Trouble, active: Active
) -> tuple[float | None, str]:
    """Seconds until the node's next attempt, or ``None`` and the reason why there is none."""
    step = run.step(no)
    external = step.effects == Effects.EXTERNAL
    may_have_run = report.begun_at is not None or active.begun_at is not None
    message = report.error.message if report.error else str(report.outcome)
    if report.outcome is Outcome.OVER_BUDGET and not external:
        return exhaustion.met(turn, run, no, report, active)
    if report.outcome is Outcome.NOT_BEGUN or (external and not may_have_run and _is_not_its_fault(report.outcome)):
        return _refused(turn, trouble, message)
    if report.outcome is Outcome.LOST and not external:
        trouble.losses += 1
        if trouble.losses >= turn.policy.losses_max:
            return None, f"worker_lost: its worker died {trouble.losses} times while it ran; {message}"
        return 0.0, ""
    if report.outcome in (Outcome.INFRASTRUCTURE, Outcome.CANCELLED) and not external:
        return _refused(turn, trouble, message)
    if external and _is_not_its_fault(report.outcome) and step.retry.attempts <= 1:
        return None, f"outcome unknown: the body began and its result is lost, so it is not repeated; {message}"
    return _after_failure(turn, run, no, report, trouble, message)


def _is_not_its_fault(outcome: Outcome) -> bool:
    return outcome in (Outcome.LOST, Outcome.INFRASTRUCTURE, Outcome.CANCELLED)


def _refused(turn: Turn, trouble: Trouble, message: str) -> tuple[float | None, str]:
    trouble.refusals += 1
    if trouble.refusals > turn.policy.refusals_max:
        return None, f"given up after {trouble.refusals} deliveries that came to nothing; {message}"
    wait_s = min(_REFUSAL_WAIT_MAX_S, _REFUSAL_WAIT_S * 2.0 ** (trouble.refusals - 2))
    return (0.0 if trouble.refusals == 1 else wait_s), ""


def _after_failure(
    turn: Turn, run: LiveRun, no: int, report: NodeReport, trouble: Trouble, message: str
) -> tuple[float | None, str]:
    policy, error = run.step(no).retry, report.error
    trouble.tries += 1
    if error is not None and error.retryable is False:
        return None, message
    if error is not None and error.retryable is None and not policy.covers(error.type):
        return None, message
    elapsed_s = turn.now - (trouble.first_begun_at or turn.now)
    if policy.stops(trouble.tries, elapsed_s):
        return None, message
    asked_s = error.delay_s if error is not None else None
    wait_s = (
        asked_s if asked_s is not None else policy.wait_s(trouble.tries, chance(run.id, no, report.item, trouble.tries))
    )
    if policy.total_s is not None and elapsed_s + wait_s > policy.total_s:
        return None, f"{message} (the next try would begin after {policy.total_s:g} s in all)"
    return wait_s, ""


def chance(run_id: str, no: int, item: int, tries: int) -> float:
    """A number in [0, 1) that is the same whenever it is asked for: jitter without a random source."""
    return zlib.crc32(f"{run_id}/{no}/{item}/{tries}".encode()) / 2**32


def _record_repeated_tries(
    turn: Turn, run: LiveRun, no: int, report: NodeReport, trouble: Trouble | None, worker: str
) -> int:
    """Journal the tries a worker repeated on its own; the number of the attempt that ended it."""
    attempt = report.attempt
    for failed in report.tries:
        turn.record(
            AttemptEnded(
                run.id, no, report.item, attempt, Outcome.FAILED, turn.now, failed.error, worker,
                failed.begun_at, failed.ended_at, failed.ended_at, repeated=True,
            )
        )  # fmt: skip
        attempt += 1
        if trouble is not None:
            trouble.tries += 1
            trouble.first_begun_at = trouble.first_begun_at or failed.begun_at
    return attempt


def troubled(run: LiveRun, no: int, item: int) -> Trouble:
    return run.trouble.setdefault((no, item), Trouble())


def _release(turn: Turn, run: LiveRun, no: int, item: int, active: Active) -> None:
    del run.active[(no, item)]
    run.steps[no].out -= 1
    turn.outstanding.remove(run, no, active)


def next_attempt(run: LiveRun, no: int, item: int) -> tuple[int, AttemptKind]:
    """Number and kind of the attempt that a node would get now."""
    trouble, extra = run.trouble.get((no, item)), run.extra_numbers.get((no, item), 0)
    if trouble is None or trouble.attempt == 0:
        return extra + 1, AttemptKind.PRIMARY
    kind = AttemptKind.RETRY if trouble.tries or trouble.losses else AttemptKind.PRIMARY
    return max(trouble.attempt, extra) + 1, kind
