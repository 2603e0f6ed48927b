"""A run's memory from its journal: a new run is one whose journal is empty.

Only what the journal says is believed. An attempt that was dispatched and has no journaled end is
active; whether its message, its permit or its body still exist is for the loop to find out.
"""

from __future__ import annotations

from engine.dag.compiled import CompiledPlan, JoinKind, OnFailure
from engine.plan.tasktype import Effects
from engine.scheduling import exhaustion, pruning
from engine.scheduling.chunks import message_cost_s
from engine.scheduling.events import RevokeRun, StopAttempts
from engine.scheduling.joins import JoinVerdict, judge
from engine.scheduling.news import news_of
from engine.scheduling.ranks import ranks
from engine.scheduling.records import NodeState, RunChanged, RunState, StepState
from engine.scheduling.snapshot import AttemptRow, ExtraRow, RunSnapshot, StepRow
from engine.scheduling.state import NODE_CODES, Active, LiveRun, RunBudget, StepProgress, Trouble
from engine.scheduling.steps import ask_page, count_parent, end_step, ending_of, settle
from engine.scheduling.turn import RUN_DEADLINE, Turn
from engine.scheduling.unsaid import not_needed


def restore(turn: Turn, snapshot: RunSnapshot, plan: CompiledPlan) -> LiveRun:
    """The run as it was when the last batch was committed."""
    row = snapshot.run
    progress = [StepProgress() for _ in plan.steps]
    run = LiveRun(row.id, plan, row.priority, row.state, progress, row.deadline_at, row.reason, row.partial)
    run.depth = row.parent.depth if row.parent is not None else 0
    run.parent = row.parent.run_id if row.parent is not None else None
    run.ending = ending_of(row.reason)
    run.budget = RunBudget.from_json(row.budget)
    run.read_steps = _read_steps(plan)
    run.ranks = ranks(plan, turn.odds.typical_s)
    run.news = news_of(plan)
    for step in snapshot.steps:
        _restore_step(run, step)
    for no, item, state in snapshot.nodes:
        _restore_node(run.steps[no], item, state)
    for no in snapshot.lacking:
        run.steps[no].tolerated = run.steps[no].tolerated or not run.steps[no].state.final
    for attempt in snapshot.attempts:
        _restore_attempt(turn, run, attempt)
    for extra in snapshot.extras:
        _end_extra(turn, run, extra)
    for no in range(len(progress)):
        _find_gaps(run, no)
    _count_parents(run)
    if run.news is not None:
        most = run.plan.ending.same_error if run.plan.ending is not None else None
        if most is not None:
            for error, times in snapshot.errors.items():
                run.news.failed_with(error, most, times)
        _restore_joins(run)
    for no in range(len(progress)):
        _find_ahead(run, no)
    run.partial = run.partial or any(_is_partial(run, no) for no in range(len(progress)))
    return run


def _read_steps(plan: CompiledPlan) -> frozenset[int]:
    read = set(plan.names.values())
    for step in plan.steps:
        read.update(step.names.values())
        if step.inputs_step is not None:
            read.add(step.inputs_step)
        if step.guess is not None:
            read.update((step.no, step.guess))
        if step.sampled:
            read.add(step.no)
    if plan.ending is not None:
        read.update(plan.ending.goal_names.values(), plan.ending.impossible_names.values())
    stand_ins = {fallback for no in read if (fallback := plan.steps[no].fallback) is not None}
    return frozenset(read | stand_ins)


def set_going(turn: Turn, run: LiveRun) -> None:
    """Go on from where the journal stops."""
    if run.state is RunState.PENDING:
        run.state = RunState.RUNNING
        turn.record(RunChanged(run.id, RunState.RUNNING, "taken up", turn.now))
    exhaustion.restored(turn, run)
    if run.deadline_at is not None:
        turn.timers.add(run.deadline_at, run.id, *RUN_DEADLINE)
    if run.state is RunState.CANCELLING:
        turn.effect(RevokeRun(run.id))
        return
    if run.news is not None and any(step.child is not None for step in run.plan.steps):
        run.stopping += 1  # runs below may still be stopping; this one does not end before them
        turn.effect(StopAttempts(run.id, (), awaited=True))
    waiting: list[int] = []
    for no, progress in enumerate(run.steps):
        if progress.state is StepState.WAITING:
            waiting.append(no)
        elif progress.state is StepState.RUNNING:
            _resume_step(turn, run, no, waiting)
    settle(turn, run, waiting)
    if run.news is not None:
        run.news.all_is_new(
            [no for no, progress in enumerate(run.steps) if progress.state.final],
            [no for no, progress in enumerate(run.steps) if progress.state is StepState.RUNNING],
        )


def _restore_joins(run: LiveRun) -> None:
    """A join whose expression held and pruned goes on holding, whatever it would say of what is left."""
    for no, step in enumerate(run.plan.steps):
        if step.join.kind is JoinKind.UNTIL:
            why, started = pruning.reason(run, no), run.steps[no].state is not StepState.WAITING
            run.steps[no].held = started or any(run.steps[parent].reason == why for parent in step.parents)


def _resume_step(turn: Turn, run: LiveRun, no: int, waiting: list[int]) -> None:
    progress = run.steps[no]
    if progress.ended == progress.count:
        waiting.extend(end_step(turn, run, no))
        return
    turn.ready.add(run, no)
    if run.step(no).when_per_item and not progress.dispatchable:
        ask_page(turn, run, no)


def _restore_step(run: LiveRun, row: StepRow) -> None:
    progress = run.steps[row.step_no]
    progress.state, progress.count, progress.reason, progress.tolerated = (
        row.state,
        row.count,
        row.reason,
        row.tolerated,
    )
    if row.count is not None:
        progress.finals = bytearray(row.count)


def _restore_node(progress: StepProgress, item: int, state: NodeState) -> None:
    progress.finals[item] = NODE_CODES[state]
    progress.cursor = max(progress.cursor, item + 1)
    if state is NodeState.SUCCEEDED:
        progress.succeeded += 1
    elif state is NodeState.FAILED:
        progress.failed += 1
    elif state is NodeState.CANCELLED:
        progress.cancelled += 1
    else:
        progress.skipped += 1


def _restore_attempt(turn: Turn, run: LiveRun, row: AttemptRow) -> None:
    node, progress = (row.step_no, row.item), run.steps[row.step_no]
    progress.cursor = max(progress.cursor, row.item + 1)
    if row.outcome is None:
        estimate_s = message_cost_s(run.plan.name, run.step(row.step_no), turn.odds)
        active = Active(row.attempt, row.kind, row.queue, estimate_s, row.dispatched_at, row.begun_at)
        run.active[node] = active
        progress.out += 1
        turn.outstanding.add(run, row.step_no, active)
    if row.outcome is not None or row.attempt > 1:
        earlier = row.attempt if row.outcome is not None else row.attempt - 1
        external = run.step(row.step_no).effects == Effects.EXTERNAL
        tries = row.tries + row.unknown if external else row.tries
        run.trouble[node] = Trouble(earlier, tries, row.losses, 0, row.first_begun_at)
    if row.outcome is not None:
        retry_at = _still_to_wait_until(row, turn.now)
        run.trouble[node].retry_at = retry_at
        turn.timers.add(retry_at, run.id, row.step_no, row.item)


def _end_extra(turn: Turn, run: LiveRun, row: ExtraRow) -> None:
    """Extra attempts end with the scheduler that made them; their numbers are not given again."""
    node = (row.step_no, row.item)
    run.extra_numbers[node] = max(row.attempt, run.extra_numbers.get(node, 0))
    if row.open:
        not_needed(turn, run, *node, row.attempt, row.begun_at, "another scheduler took the run over")


def _still_to_wait_until(row: AttemptRow, now: float) -> float:
    """When a node's next attempt is due.

    An attempt that was dispatched in the future was journaled before the clock was set back: its
    wait is not made longer by that.
    """
    if row.retry_at is None:
        return now
    dispatched_at = row.dispatched_at or 0.0
    return row.retry_at if dispatched_at <= now else now + max(0.0, row.retry_at - dispatched_at)


def _find_gaps(run: LiveRun, no: int) -> None:
    """Items before the cursor that are neither ended, nor out, nor waiting: they are ready."""
    progress = run.steps[no]
    if progress.state is not StepState.RUNNING or progress.count is None:
        return
    progress.page_end = progress.cursor if run.step(no).when_per_item else progress.count
    for item in range(progress.cursor):
        node = (no, item)
        if not progress.finals[item] and node not in run.active and node not in run.trouble:
            progress.again.append(item)


def _find_ahead(run: LiveRun, no: int) -> None:
    """A step that was sent ahead of its parents waits again, unless its attempt is still out."""
    progress = run.steps[no]
    if progress.state is not StepState.RUNNING or judge(run, no) is JoinVerdict.HOLDS:
        return
    if (no, 0) in run.active:
        progress.ahead = True
        return
    progress.state, progress.cursor, progress.page_end = StepState.WAITING, 0, 0
    progress.again.clear()
    if (no, 0) in run.trouble:
        run.trouble[no, 0].retry_at = None


def _is_partial(run: LiveRun, no: int) -> bool:
    """Whether the step succeeded with less than it was meant to give."""
    progress = run.steps[no]
    return progress.state is StepState.SUCCEEDED and (progress.tolerated or run.stand_in(no) != no)


def _count_parents(run: LiveRun) -> None:
    for no, step in enumerate(run.plan.steps):
        run.steps[no].open_parents = len(step.parents) - (1 if step.fallback_of in step.parents else 0)
    for no, progress in enumerate(run.steps):
        if progress.state.final:
            count_parent(run, no)
        else:
            run.steps_left += 1
        if progress.state is StepState.RUNNING and progress.ended == progress.count and progress.failed:
            progress.falling_back = run.step(no).on_failure is OnFailure.FALL_BACK
