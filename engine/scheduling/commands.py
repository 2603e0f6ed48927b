"""What operators, deadlines and answers do to a run."""

from __future__ import annotations

from engine.errors import Conflict
from engine.scheduling import exhaustion
from engine.scheduling.events import (
    Cascaded,
    Commanded,
    ConditionKnown,
    ItemsKnown,
    NeedOutputs,
    PageKnown,
    PermitsRevoked,
)
from engine.scheduling.records import (
    AttemptEnded,
    NodeFinished,
    NodeState,
    PermitsGone,
    RunChanged,
    RunState,
    StepFinished,
    StepState,
)
from engine.scheduling.state import NODE_CODES, LiveRun
from engine.scheduling.steps import (
    DEADLINE_REASON,
    begin_expansion,
    cancel,
    close_step,
    ending_of,
    expand,
    over,
    settle,
)
from engine.scheduling.steps import page_known as take_page
from engine.scheduling.turn import Turn
from engine.scheduling.unsaid import outcome_unsaid
from engine.wire import Outcome, real_item, shadow


def carry_out(turn: Turn, run: LiveRun, command: Commanded) -> None:
    """Do what an operator asked. Raises ``Conflict`` if the run's state does not allow it."""
    match command.kind:
        case "cancel":
            if run.state is not RunState.CANCELLING:
                reason = str(command.arguments.get("reason") or "cancelled by an operator")
                if ending_of(reason) is not RunState.CANCELLED:
                    reason = f"cancelled by an operator: {reason}"  # another scheduler reads the ending from it
                cancel(turn, run, RunState.CANCELLED, reason)
        case "pause":
            _change(turn, run, RunState.RUNNING, RunState.PAUSED, "paused by an operator")
        case "resume":
            exhaustion.check_answered(run)
            _resume(turn, run, "resumed by an operator")
        case "approve":
            exhaustion.approve(turn, run, command.arguments)
            _go_on(turn, run, "approved by an operator")
        case "reject":
            exhaustion.reject(turn, run, command.arguments)
            _go_on(turn, run, "rejected by an operator: finishing what is paid")
        case _:
            raise Conflict(f"unknown command {command.kind!r}")


def unanswered(turn: Turn, run: LiveRun) -> None:
    """The time in which an operator may answer is over."""
    if exhaustion.unanswered(turn, run):
        _go_on(turn, run, "nobody answered in time")


def _go_on(turn: Turn, run: LiveRun, reason: str) -> None:
    if run.state is RunState.PAUSED:
        _resume(turn, run, reason)


def cascade(turn: Turn, run: LiveRun, event: Cascaded) -> None:
    """Do to a run what was done to the run that it was started for, as far as its own state allows."""
    match event.kind:
        case "cancel" if run.state is not RunState.CANCELLING:
            cancel(turn, run, RunState.CANCELLED, event.reason)
        case "pause" if run.state is RunState.RUNNING:
            _change(turn, run, RunState.RUNNING, RunState.PAUSED, event.reason)
        case "resume" if run.state is RunState.PAUSED and run.budget.asked is None:
            _resume(turn, run, event.reason)
        case "partial" if not run.partial:
            run.partial = True
            turn.record(RunChanged(run.id, run.state, run.reason, turn.now, partial=True))


def _resume(turn: Turn, run: LiveRun, reason: str) -> None:
    _change(turn, run, RunState.PAUSED, RunState.RUNNING, reason)
    for no, progress in enumerate(run.steps):
        if progress.state is StepState.RUNNING:
            turn.ready.add(run, no)


def _change(turn: Turn, run: LiveRun, wanted: RunState, state: RunState, reason: str) -> None:
    if run.state is state:
        return
    if run.state is not wanted:
        raise Conflict(f"run {run.id} is {run.state}, so it cannot become {state}")
    run.state, run.reason = state, reason
    turn.record(RunChanged(run.id, state, reason, turn.now, run.partial))


def deadline_passed(turn: Turn, run: LiveRun) -> None:
    """The run's deadline has come: it is stopped and ends as failed, with what it has."""
    if run.state is RunState.CANCELLING or run.deadline_at is None or turn.now < run.deadline_at:
        return
    cancel(turn, run, RunState.FAILED, DEADLINE_REASON)


def permits_revoked(turn: Turn, run: LiveRun, event: PermitsRevoked) -> None:
    """No body of the run begins from now on: what had not begun ends here, the rest is waited for."""
    if run.state is not RunState.CANCELLING:
        return
    run.permits_gone = True
    turn.record(PermitsGone(run.id, turn.now))
    gone = {node: active for node, active in run.active.items() if node not in event.running}
    for (no, item), active in gone.items():
        del run.active[no, item]
        run.steps[no].out -= item >= 0
        turn.outstanding.remove(run, no, active)
        outcome = outcome_unsaid(run, no, active.begun_at, begun=Outcome.LOST)
        own, number = real_item(item), active.attempt
        turn.record(AttemptEnded(run.id, no, own, number, outcome, turn.now, begun_at=active.begun_at))
    for (no, item), active in gone.items():
        _cancel_node(turn, run, no, real_item(item), active.attempt)


def _cancel_node(turn: Turn, run: LiveRun, no: int, item: int, attempt: int) -> None:
    """End a node of a cancelled run, unless it has ended or something is still running for it."""
    progress = run.steps[no]
    if progress.state is not StepState.RUNNING or progress.finals[item]:
        return
    if (no, item) in run.active or (no, shadow(item)) in run.active:
        return
    turn.record(NodeFinished(run.id, no, item, NodeState.CANCELLED, attempt, turn.now, reason=run.reason))
    progress.finals[item] = NODE_CODES[NodeState.CANCELLED]
    progress.cancelled += 1


def end_cancelled(turn: Turn, run: LiveRun) -> None:
    """Nothing of a cancelled run is running any more; one that reached its goal makes its outputs now."""
    reached = run.ending is RunState.SUCCEEDED
    for no, progress in enumerate(run.steps):
        if not progress.state.final:
            never_begun = progress.state is StepState.WAITING and reached
            progress.state = StepState.SKIPPED if never_begun else StepState.CANCELLED
            progress.reason = run.reason
            run.steps_left -= 1
            turn.record(
                StepFinished(
                    run.id, no, progress.state, run.reason, turn.now,
                    progress.succeeded, progress.failed, progress.skipped,
                )
            )  # fmt: skip
    if reached:
        if not run.outputs_asked:
            run.outputs_asked = True
            turn.request(NeedOutputs(run.id))
        return
    run.partial = run.partial or any(progress.succeeded for progress in run.steps)
    over(turn, run, run.ending, run.reason)


def condition_known(turn: Turn, run: LiveRun, event: ConditionKnown) -> None:
    """A step's ``when`` was evaluated."""
    no = event.step_no
    if not _awaited(run, no, StepState.WAITING):
        return
    run.steps[no].asked = False
    if event.error is not None:
        settle(turn, run, close_step(turn, run, no, StepState.FAILED, event.error))
    elif not event.holds:
        reason = f"condition is false: {run.step(no).when}"
        settle(turn, run, close_step(turn, run, no, StepState.SKIPPED, reason))
    else:
        settle(turn, run, begin_expansion(turn, run, no))


def items_known(turn: Turn, run: LiveRun, event: ItemsKnown) -> None:
    """A fan-out's items were counted."""
    if not _awaited(run, event.step_no, StepState.WAITING):
        return
    run.steps[event.step_no].asked = False
    if event.error is not None:
        settle(turn, run, close_step(turn, run, event.step_no, StepState.FAILED, event.error))
    else:
        settle(turn, run, expand(turn, run, event.step_no, event.count))


def page_known(turn: Turn, run: LiveRun, event: PageKnown) -> None:
    """A page of a fan-out's own conditions was evaluated."""
    if not _awaited(run, event.step_no, StepState.RUNNING):
        return
    if event.error is None:
        take_page(turn, run, event.step_no, event.high, event.skipped)
        return
    # The condition itself is broken: the items of this page fail, as their own outcome would.
    progress = run.steps[event.step_no]
    progress.asked, progress.page_end = False, event.high
    for item in range(event.low, event.high):
        turn.record(NodeFinished(run.id, event.step_no, item, NodeState.FAILED, 0, turn.now, reason=event.error))
    fail_items(turn, run, event.step_no, event.low, event.high)


def fail_items(turn: Turn, run: LiveRun, no: int, low: int, high: int) -> None:
    """Count items ``low`` to ``high`` (excluded), never dispatched, as failed."""
    progress = run.steps[no]
    for item in range(low, high):
        progress.finals[item] = NODE_CODES[NodeState.FAILED]
    progress.failed += high - low
    progress.cursor = max(progress.cursor, high)
    take_page(turn, run, no, high, ())


def _awaited(run: LiveRun, no: int, state: StepState) -> bool:
    """Whether an answer is still wanted: the run may have been cancelled since it was asked for."""
    going = run.state in (RunState.RUNNING, RunState.PAUSED)
    return going and run.steps[no].state is state and run.steps[no].asked
