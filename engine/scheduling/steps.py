"""How steps open, expand and end, and with the last of them the run.

A step's end may end others (a join that can no longer hold, a fall-back that is not needed), so
these walk a work list instead of calling each other: a chain of 100,000 skipped steps is no deeper
than one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from engine.dag.compiled import JoinKind, OnFailure
from engine.scheduling import extras, pruning
from engine.scheduling.events import NeedCondition, NeedItems, NeedOutputs, NeedPage, RevokeRun, RunOver
from engine.scheduling.joins import JoinVerdict, excused, judge, unmet_reason
from engine.scheduling.records import (
    NodesSkipped,
    NodeState,
    RunChanged,
    RunState,
    StepExpanded,
    StepFinished,
    StepState,
)
from engine.scheduling.state import NODE_CODES, LiveRun
from engine.scheduling.turn import Turn


def settle(turn: Turn, run: LiveRun, numbers: Iterable[int]) -> None:
    """Open or close each waiting step among ``numbers`` whose join has been decided, and on from there."""
    todo = deque(numbers)
    while todo and run.state in (RunState.RUNNING, RunState.PAUSED):
        no = todo.popleft()
        progress, step = run.steps[no], run.step(no)
        if progress.state is not StepState.WAITING or progress.asked:
            continue
        if step.fallback_of is not None and not run.steps[step.fallback_of].falling_back:
            if run.steps[step.fallback_of].state.final:
                todo.extend(close_step(turn, run, no, StepState.SKIPPED, "not needed"))
            continue
        verdict = judge(run, no)
        if verdict is JoinVerdict.NEVER:
            todo.extend(close_step(turn, run, no, StepState.SKIPPED, unmet_reason(run, no)))
            continue
        if verdict is JoinVerdict.HOLDS and step.join.prune and progress.open_parents:
            todo.extend(_prune(turn, run, no))
        if verdict is JoinVerdict.OPEN and step.join.kind is JoinKind.UNTIL and run.news is not None:
            run.news.parent_ended(no, any_ended=progress.open_parents < len(step.parents))
        elif verdict is JoinVerdict.HOLDS and step.when is not None and not step.when_per_item:
            progress.asked = True
            turn.request(NeedCondition(run.id, no))
        elif verdict is JoinVerdict.HOLDS:
            todo.extend(begin_expansion(turn, run, no))
    finish_if_over(turn, run)


def _prune(turn: Turn, run: LiveRun, no: int) -> list[int]:
    """The join of step ``no`` holds: stop what is needed for it alone; returns steps to settle."""
    why = pruning.reason(run, no)
    unneeded = pruning.unneeded(run, no)
    affected: list[int] = []
    stopped = left = 0
    for other in unneeded:
        ended = pruning.stop_nodes(turn, run, other, why)
        stopped, left = stopped + ended.running, left + ended.never_begun
        affected += close_step(turn, run, other, ended.state, why)
    if unneeded:
        paths = [run.step(other).path for other in unneeded]
        turn.record(pruning.decision(turn, run, no, f"the join of {run.step(no).path} holds", {
            "by": "join", "steps_stopped": len(paths), "steps": paths[:pruning.SHOWN], "nodes_running": stopped,
            "nodes_never_begun": left,
        }))  # fmt: skip
    return affected


def begin_expansion(turn: Turn, run: LiveRun, no: int) -> list[int]:
    """Count the step's nodes, or ask for the count; returns steps to settle."""
    step = run.step(no)
    if step.for_each is None:
        return expand(turn, run, no, 1)
    if isinstance(step.for_each, list):
        return expand(turn, run, no, len(step.for_each))
    run.steps[no].asked = True
    turn.request(NeedItems(run.id, no))
    return []


def expand(turn: Turn, run: LiveRun, no: int, count: int) -> list[int]:
    """The step has ``count`` nodes, ready from now on; returns steps to settle."""
    progress = run.steps[no]
    progress.state, progress.asked, progress.count = StepState.RUNNING, False, count
    progress.finals = bytearray(count)
    turn.record(StepExpanded(run.id, no, count, turn.now))
    if count == 0:
        return close_step(turn, run, no, StepState.SUCCEEDED, "no items")
    if run.step(no).when_per_item:
        ask_page(turn, run, no)
    else:
        progress.page_end = count
        turn.ready.add(run, no)
    return []


def ask_page(turn: Turn, run: LiveRun, no: int) -> None:
    """Ask for the next page of the step's own conditions, unless one is asked for or none is left."""
    progress = run.steps[no]
    if progress.asked or progress.count is None or progress.page_end >= progress.count:
        return
    progress.asked = True
    low = progress.page_end
    turn.request(NeedPage(run.id, no, low, min(progress.count, low + turn.policy.page)))


def page_known(turn: Turn, run: LiveRun, no: int, high: int, skipped: tuple[int, ...]) -> None:
    """Items up to ``high`` are evaluated; those ``skipped`` end here."""
    progress = run.steps[no]
    progress.asked, progress.page_end = False, high
    if skipped:
        turn.record(NodesSkipped(run.id, no, skipped, NodeState.SKIPPED, turn.now, "its condition is false"))
        for item in skipped:
            progress.finals[item] = NODE_CODES[NodeState.SKIPPED]
        progress.skipped += len(skipped)
        while progress.cursor < high and progress.finals[progress.cursor]:
            progress.cursor += 1
    if progress.dispatchable:
        turn.ready.add(run, no)
    else:
        ask_page(turn, run, no)
    if progress.ended == progress.count:
        settle(turn, run, end_step(turn, run, no))


DEADLINE_REASON = "deadline passed"
GIVEN_UP = "given up: "
GOAL_REACHED = "goal reached: "


def ending_of(reason: str) -> RunState:
    """The final state that a run which is being stopped for ``reason`` is bound for."""
    if reason == DEADLINE_REASON or reason.startswith(GIVEN_UP):
        return RunState.FAILED
    return RunState.SUCCEEDED if reason.startswith(GOAL_REACHED) else RunState.CANCELLED


def cancel(turn: Turn, run: LiveRun, ending: RunState, reason: str) -> None:
    """Dispatch nothing more; once this is stored, delete the permits and stop what runs."""
    run.state, run.reason, run.ending = RunState.CANCELLING, reason, ending
    turn.record(RunChanged(run.id, RunState.CANCELLING, reason, turn.now, run.partial))
    turn.effect(RevokeRun(run.id))


def node_ended(turn: Turn, run: LiveRun, no: int, item: int, state: NodeState) -> None:
    """Count a node's final state, and end the step with its last node."""
    progress = run.steps[no]
    progress.finals[item] = NODE_CODES[state]
    if state is NodeState.SUCCEEDED:
        progress.succeeded += 1
    elif state is NodeState.FAILED:
        progress.failed += 1
    elif state is NodeState.CANCELLED:
        progress.cancelled += 1
    else:
        progress.skipped += 1
    most = run.step(no).max_failures
    if run.news is not None:
        run.news.node_ended(no, run.step(no).sampled, failed=state is NodeState.FAILED)
    if progress.ended == progress.count:
        settle(turn, run, end_step(turn, run, no))
    elif most is not None and progress.failed > most and run.state in (RunState.RUNNING, RunState.PAUSED):
        cancel(turn, run, RunState.FAILED, f"{GIVEN_UP}more than {most} nodes of {run.step(no).path} failed")
    else:
        turn.ready.add(run, no)


def end_step(turn: Turn, run: LiveRun, no: int) -> list[int]:
    """Every node of the step has ended; returns steps to settle."""
    step, progress = run.step(no), run.steps[no]
    if progress.cancelled:
        return close_step(turn, run, no, StepState.CANCELLED, run.reason)
    if run.budget.stopped and progress.skipped and not progress.succeeded + progress.failed:
        return close_step(turn, run, no, StepState.SKIPPED, f"over budget: {run.budget.stopped}")
    if not progress.failed:
        return close_step(turn, run, no, StepState.SUCCEEDED, "")
    reason = f"{progress.failed} of {progress.count} failed" if step.fanned else "failed"
    if step.on_failure is OnFailure.CONTINUE:
        progress.tolerated = True
        return close_step(turn, run, no, StepState.SUCCEEDED, f"{reason}, tolerated")
    if (
        step.on_failure is OnFailure.FALL_BACK
        and step.fallback is not None
        and not run.steps[step.fallback].state.final
    ):
        progress.falling_back = True
        progress.reason = reason
        return [step.fallback]
    return close_step(turn, run, no, StepState.FAILED, reason)


def close_step(turn: Turn, run: LiveRun, no: int, state: StepState, reason: str) -> list[int]:
    """Give the step its final state; returns steps to settle."""
    step, progress = run.step(no), run.steps[no]
    extras.drop(turn, run, no, 0, f"its step ended: {state}")
    progress.state, progress.reason, progress.asked, progress.falling_back = state, reason, False, False
    run.steps_left -= 1
    if run.news is not None:
        run.news.ended.append(no)
    if progress.tolerated:
        run.partial = True
        progress.tolerated = state is StepState.SUCCEEDED  # a step that failed tolerated nothing
    turn.record(
        StepFinished(
            run.id,
            no,
            state,
            reason,
            turn.now,
            progress.succeeded,
            progress.failed,
            progress.skipped,
            progress.tolerated,
        )
    )
    count_parent(run, no)
    affected = list(step.children)
    if step.fallback_of is not None and run.steps[step.fallback_of].falling_back:
        affected += _fallback_ended(turn, run, step.fallback_of, state, step.path)
    return affected


def count_parent(run: LiveRun, no: int) -> None:
    """Tell the children of step ``no`` that it has a final state."""
    good = run.steps[no].state is StepState.SUCCEEDED
    for child in run.step(no).children:
        if run.step(child).fallback_of != no:
            run.steps[child].open_parents -= 1
            run.steps[child].good_parents += good


def _fallback_ended(turn: Turn, run: LiveRun, no: int, state: StepState, path: str) -> list[int]:
    if state is StepState.SUCCEEDED:
        run.partial = True
        return close_step(turn, run, no, StepState.SUCCEEDED, f"{path} stood in")
    if state is StepState.CANCELLED:
        return []
    return close_step(turn, run, no, StepState.FAILED, f"{run.steps[no].reason}, and so did its fall-back {path}")


def finish_if_over(turn: Turn, run: LiveRun) -> None:
    """Ask for the run's outputs if nothing of it is left, neither to do, to stop nor to judge."""
    # What is not wanted any more is stopped first: once the run is over, nobody would.
    if run.steps_left or run.stopping or run.state not in (RunState.RUNNING, RunState.PAUSED):
        return
    if run.news is not None and run.plan.ending is not None and run.news.goal_is_open:
        return
    if not run.outputs_asked:
        run.outputs_asked = True
        turn.request(NeedOutputs(run.id))


def attempts_stopped(turn: Turn, run: LiveRun) -> None:
    """What was not wanted any more is stopped; the run may have waited for it to end."""
    run.stopping = max(0, run.stopping - 1)
    finish_if_over(turn, run)


def finish(turn: Turn, run: LiveRun, outputs: str | None, missing: tuple[str, ...], produced: bool) -> None:
    """Every step has ended: give the run its final state and its reason."""
    failed = [no for no, progress in enumerate(run.steps) if progress.state is StepState.FAILED]
    blamed = [run.step(no).path for no in failed if not excused(run, no)]
    run.partial = run.partial or bool(failed) or bool(missing)
    reached = run.ending is RunState.SUCCEEDED
    if reached:
        run.partial = run.partial or any(
            run.steps[run.stand_in(no)].state is not StepState.SUCCEEDED for no in run.plan.names.values()
        )
    if blamed and not reached:
        state, reason = RunState.FAILED, "failed: " + ", ".join(blamed[:5]) + (", …" if len(blamed) > 5 else "")
    elif not any(progress.state is StepState.SUCCEEDED for progress in run.steps):
        why = f"over budget: {run.budget.stopped}" if run.budget.stopped else "no step ran: nothing was done"
        state, reason = RunState.FAILED, why
    elif not produced:
        why = "no output: every step that the outputs refer to was skipped"
        if outputs is None:
            why = "no output: " + "; ".join(missing)
        state, reason = RunState.FAILED, f"over budget: {run.budget.stopped}; {why}" if run.budget.stopped else why
    elif reached:
        lacking = f"; partial: no value for {', '.join(missing)}" if missing else ""
        state, reason = RunState.SUCCEEDED, run.reason + lacking
    elif run.budget.stopped:
        lacking = f"; no value for {', '.join(missing)}" if missing else ""
        state, reason = RunState.SUCCEEDED, f"partial: {run.budget.stopped}{lacking}"
    elif missing:
        state, reason = RunState.SUCCEEDED, "partial: no value for " + ", ".join(missing)
    else:
        state, reason = RunState.SUCCEEDED, "partial: some failures were tolerated" if run.partial else "complete"
    over(turn, run, state, reason, outputs)


def over(turn: Turn, run: LiveRun, state: RunState, reason: str, outputs: str | None = None) -> None:
    """The run ends here."""
    run.state, run.reason = state, reason
    turn.record(RunChanged(run.id, state, reason, turn.now, run.partial, outputs))
    turn.effect(RunOver(run.id))
