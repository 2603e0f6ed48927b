"""The auditor: whether what SQL says of a run can be true. Run after every chaos test, and by people.

Each check is one question to the database whose answer must be empty. It compares what was recorded
with what was recorded, never with what a worker remembers, so it can be run at any time, also years
later and on a run that has not ended; what only holds at the end is then left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, Row, Select, Subquery, and_, case, false, func, or_, select, text

from engine.dag.compiled import JoinKind
from engine.plan.tasktype import Effects
from engine.scheduling.records import AttemptKind, NodeState, RunState, StepState
from engine.store.columns import NOT_FINAL, PLAN_VERSION
from engine.store.engines import Database
from engine.store.reading import find_run_id
from engine.store.writing import ATTEMPT, COMMAND, NODE, RUN, STEP
from engine.wire import Outcome

ROWS_SHOWN = 20
_ENDED = (StepState.SUCCEEDED.value, StepState.FAILED.value)
_NO_BET = ATTEMPT.c.kind.is_distinct_from(AttemptKind.SPECULATIVE.value)
_TRIES = (Outcome.OK.value, Outcome.FAILED.value, Outcome.TIMED_OUT.value)


@dataclass(frozen=True, slots=True)
class Finding:
    """One invariant that does not hold. ``rows`` are the first few (step, item, …) that show it."""

    invariant: str
    message: str
    rows: tuple[tuple[Any, ...], ...] = field(default=())


@dataclass(frozen=True, slots=True)
class _Audit:
    """What the checks need of the run they look at."""

    connection: Connection
    run: Row[Any]
    steps: list[Row[Any]]
    losses_max: int | None

    @property
    def final(self) -> bool:
        return RunState(self.run.state).final

    def rows(self, question: Select[Any]) -> tuple[tuple[Any, ...], ...]:
        return tuple(tuple(row) for row in self.connection.execute(question.limit(ROWS_SHOWN)))

    def steps_where(self, holds: Callable[[Row[Any]], Any]) -> tuple[tuple[Any, ...], ...]:
        return tuple((step.step_no, step.path, step.state) for step in self.steps if holds(step))[:ROWS_SHOWN]


def audit(database: Database, run: str, losses_max: int | None = None) -> list[Finding]:
    """Everything about a run that cannot be true; an empty list is a clean bill.

    Parameters
    ----------
    losses_max
        How often a node may be lost with its worker; ``None`` leaves that unchecked.

    Raises
    ------
    NotFound
        There is no such run.
    """
    with database.reading(f"audit run {run}") as connection:
        if not database.sqlite:
            # A run that was written a moment ago has no statistics yet: Postgres then takes 20,000 nodes
            # for one, and joins them with their attempts by a nested loop, which is quadratic.
            connection.execute(text("SET LOCAL enable_nestloop = off"))
        return _audited(connection, find_run_id(connection, run), losses_max)


def _audited(connection: Connection, run_id: str, losses_max: int | None) -> list[Finding]:
    """What is wrong with a run, and with those below it, whose findings name them."""
    row = connection.execute(select(RUN).where(RUN.c.id == run_id)).one()
    steps = list(connection.execute(select(STEP).where(STEP.c.run_id == run_id).order_by(STEP.c.step_no)))
    looking = _Audit(connection, row, steps, losses_max)
    found = [finding for check in _CHECKS for finding in check(looking) if finding.rows]
    for child in list(connection.scalars(select(RUN.c.id).where(RUN.c.parent_run == run_id).order_by(RUN.c.id))):
        of_child = _audited(connection, child, losses_max)
        found += [replace(finding, message=f"run {child} below it: {finding.message}") for finding in of_child]
    return found


def _every_node_ended(looking: _Audit) -> Iterator[Finding]:
    """I1: one final state a node, and the run's state follows from its steps'."""
    run = looking.run
    counted = _counts(looking)
    if looking.final:
        open_steps = looking.steps_where(lambda step: not StepState(step.state).final)
        yield Finding("I1", "the run ended, and steps have not", open_steps)
    yield Finding(
        "I1",
        "a step ended, and not every node of it has a final state",
        looking.steps_where(
            lambda step: (
                step.state in _ENDED and sum(counted.get(step.step_no, {}).values()) < (step._mapping["count"] or 0)
            )
        ),
    )
    yield Finding(
        "I1",
        "a step has nodes past its count",
        looking.steps_where(lambda step: sum(counted.get(step.step_no, {}).values()) > (step._mapping["count"] or 0)),
    )
    if run.state == RunState.SUCCEEDED.value and not run.partial:
        failed = looking.steps_where(lambda step: step.state == StepState.FAILED.value or step.tolerated)
        yield Finding("I1", "the run succeeded in full, and a step failed or tolerated failures", failed)


def _counters_are_right(looking: _Audit) -> Iterator[Finding]:
    """I4: the counters of a step's end are those of its nodes' rows."""
    counted = _counts(looking)
    wrong = []
    for step in looking.steps:
        states = counted.get(step.step_no, {})
        succeeded, failed, skipped, cancelled = (states.get(state.value, 0) for state in NodeState)
        told, found = (step.succeeded, step.failed, step.skipped), (succeeded, failed, skipped, cancelled)
        right = told == found[:3]
        if StepState(step.state).final and not right:
            wrong.append((step.step_no, step.path, told, found))
    yield Finding("I4", "a step's counters (succeeded, failed, skipped) are not those of its nodes", tuple(wrong))


def _one_success_a_node(looking: _Audit) -> Iterator[Finding]:
    """I2: a node that succeeded has exactly one ``ok`` attempt, the one its final state names.

    A node that was taken over from an earlier run names none, and has none here.
    """
    run_id = looking.run.id
    ok = (
        select(
            ATTEMPT.c.step_no,
            ATTEMPT.c.item,
            func.count().label("number"),
            func.max(ATTEMPT.c.attempt).label("attempt"),
        )
        .where(ATTEMPT.c.run_id == run_id, ATTEMPT.c.outcome == Outcome.OK.value)
        .group_by(ATTEMPT.c.step_no, ATTEMPT.c.item)
        .subquery()
    )
    joined = NODE.outerjoin(ok, _same_node(ok))
    succeeded = NODE.c.state == NodeState.SUCCEEDED.value
    question = select(NODE.c.step_no, NODE.c.item, NODE.c.state, NODE.c.attempt, ok.c.number).select_from(joined)
    named = and_(NODE.c.attempt.is_not(None), ok.c.number == 1, ok.c.attempt == NODE.c.attempt)
    taken_over = and_(NODE.c.attempt.is_(None), ok.c.number.is_(None))
    wrong = and_(succeeded, ~func.coalesce(or_(named, taken_over), false()))
    yield Finding(
        "I2",
        "a node succeeded without exactly one successful attempt, or names another",
        looking.rows(question.where(NODE.c.run_id == run_id, wrong)),
    )
    yield Finding(
        "I2",
        "a node has a successful attempt and another final state",
        looking.rows(question.where(NODE.c.run_id == run_id, ~succeeded, ok.c.number.is_not(None))),
    )
    no_node = select(ok).where(~select(NODE.c.item).where(NODE.c.run_id == run_id, _same_node(ok)).exists())
    yield Finding("I2", "an attempt succeeded, and its node has no final state", looking.rows(no_node))


def _no_child_before_its_parents(looking: _Audit) -> Iterator[Finding]:
    """I3: nothing of a step was dispatched, and none of it began, before its join could hold."""
    firsts = _first_dispatches(looking)
    finished_at = {step.step_no: step.finished_at for step in looking.steps}
    early = []
    for step in looking.steps:
        parents = [finished_at.get(no) for no in orjson.loads(step.parents)]
        starts = [at for at in (step.expanded_at, *firsts.get(step.step_no, ())) if at is not None]
        if not parents or not starts:
            continue
        ends = [at if at is not None else float("inf") for at in parents]
        # ``any``, ``at_least`` and ``until`` need one parent at the very least; the others need all of them ended.
        one = step.join_kind in (JoinKind.ANY.value, JoinKind.AT_LEAST.value, JoinKind.UNTIL.value)
        holds_at = min(ends) if one else max(ends)
        if min(starts) < holds_at and not _followed(looking, step, min(starts)):
            early.append((step.step_no, step.path, min(starts), holds_at))
    yield Finding("I3", "a step started before its parents ended (step, path, started, parents ended)", tuple(early))


def _followed(looking: _Audit, step: Row[Any], started_at: float) -> bool:
    """Whether a step was sent behind its parents, in one message, and ran behind them too.

    It was dispatched in the same moment as one of them. What counts is when the bodies ran, by their
    worker's clock.
    """
    if step.fanned or step.join_kind != JoinKind.ALL.value:
        return False
    of_run = ATTEMPT.c.run_id == looking.run.id
    told = (of_run, _NO_BET, ATTEMPT.c.outcome.is_distinct_from(Outcome.LOST.value))  # those came back
    began = select(func.min(ATTEMPT.c.begun_at)).where(*told, ATTEMPT.c.step_no == step.step_no)
    parents = ATTEMPT.c.step_no.in_(orjson.loads(step.parents))
    with_a_parent = (of_run, parents, ATTEMPT.c.dispatched_at == started_at)
    if not looking.connection.scalar(select(func.count()).where(*with_a_parent)):
        return False
    ended = select(func.max(ATTEMPT.c.ended_at)).where(of_run, parents, ATTEMPT.c.outcome == Outcome.OK.value)
    begun_at, ended_at = looking.connection.scalar(began), looking.connection.scalar(ended)
    return begun_at is None or (ended_at is not None and ended_at <= begun_at)


def _bets_do_no_harm(looking: _Audit) -> Iterator[Finding]:
    """I8: nothing was started on odds whose body does something to the world."""
    bets = ATTEMPT.c.kind == AttemptKind.SPECULATIVE.value
    of_steps = and_(STEP.c.run_id == ATTEMPT.c.run_id, STEP.c.step_no == ATTEMPT.c.step_no)
    question = (
        select(ATTEMPT.c.step_no, ATTEMPT.c.item, ATTEMPT.c.attempt, STEP.c.effects)
        .join(STEP, of_steps)
        .where(ATTEMPT.c.run_id == looking.run.id, bets, STEP.c.effects != Effects.NONE.value)
    )
    yield Finding("I8", "a speculative attempt was made at a step with effects", looking.rows(question))


def _attempts_within_bounds(looking: _Audit) -> Iterator[Finding]:
    """I5: no more tries than the step allows; each ``retry`` command that was carried out allows as many again."""
    run_id = looking.run.id
    retried = (COMMAND.c.run_id == run_id, COMMAND.c.kind == "retry", COMMAND.c.handled_at.is_not(None))
    rounds = 1 + int(looking.connection.scalar(select(func.count()).where(*retried, COMMAND.c.error.is_(None))) or 0)
    tries = func.sum(case((ATTEMPT.c.outcome.in_(_TRIES), 1), else_=0))
    losses = func.sum(case((ATTEMPT.c.outcome == Outcome.LOST.value, 1), else_=0))
    by_node = (
        select(ATTEMPT.c.step_no, ATTEMPT.c.item, tries.label("tries"), losses.label("losses"))
        .where(ATTEMPT.c.run_id == run_id, _NO_BET)  # a bet that fails costs its node no try
        .group_by(ATTEMPT.c.step_no, ATTEMPT.c.item)
        .subquery()
    )
    allowed = select(by_node, STEP.c.attempts_max).join(STEP, STEP.c.step_no == by_node.c.step_no)
    over = and_(STEP.c.run_id == run_id, by_node.c.tries > STEP.c.attempts_max * rounds)
    yield Finding("I5", "a node was tried more often than its step allows", looking.rows(allowed.where(over)))
    if looking.losses_max is not None:
        lost = select(by_node).where(by_node.c.losses > looking.losses_max * rounds)
        yield Finding("I5", f"a node was lost more than {looking.losses_max} times", looking.rows(lost))


def _journaled_before_it_ran(looking: _Audit) -> Iterator[Finding]:
    """I6: whatever began or ended was dispatched first, or follows a try that its worker repeated."""
    before = ATTEMPT.alias("before")
    repeats = (
        before.c.run_id == ATTEMPT.c.run_id,
        before.c.step_no == ATTEMPT.c.step_no,
        before.c.item == ATTEMPT.c.item,
        before.c.attempt == ATTEMPT.c.attempt - 1,
        before.c.repeated.is_(True),
    )
    ran = or_(ATTEMPT.c.begun_at.is_not(None), ATTEMPT.c.outcome.is_not(None))
    question = select(ATTEMPT.c.step_no, ATTEMPT.c.item, ATTEMPT.c.attempt, ATTEMPT.c.outcome).where(
        ATTEMPT.c.run_id == looking.run.id,
        ATTEMPT.c.dispatched_at.is_(None),
        ran,
        ~select(before).where(*repeats).exists(),
    )
    yield Finding("I6", "an attempt was accepted that was never dispatched", looking.rows(question))


def _nothing_after_cancel(looking: _Audit) -> Iterator[Finding]:
    """I7: once the permits of a run are gone, nothing of it is dispatched and none of its bodies begins."""
    gone_at = looking.run.permits_gone_at
    if gone_at is None:
        return
    question = select(
        ATTEMPT.c.step_no, ATTEMPT.c.item, ATTEMPT.c.attempt, ATTEMPT.c.dispatched_at, ATTEMPT.c.begun_at
    ).where(ATTEMPT.c.run_id == looking.run.id)
    for what, column in (("dispatched", ATTEMPT.c.dispatched_at), ("begun", ATTEMPT.c.begun_at)):
        rows = looking.rows(question.where(column > gone_at))
        yield Finding("I7", f"an attempt was {what} after the run's permits were gone at {gone_at}", rows)


def _runs_below_end_first(looking: _Audit) -> Iterator[Finding]:
    """I4: a run is over, or without permits, only once the runs below it are."""
    run = looking.run
    below = select(RUN.c.id, RUN.c.parent_step_no, RUN.c.parent_item, RUN.c.state).where(RUN.c.parent_run == run.id)
    unfinished = below.where(text(NOT_FINAL))
    if looking.final:
        yield Finding("I4", "the run ended, and a run below it has not", looking.rows(unfinished))
    if run.permits_gone_at is not None:
        live = unfinished.where(RUN.c.permits_gone_at.is_(None))
        yield Finding("I4", "the run's permits are gone, and those of a run below it are not", looking.rows(live))


def _plan_source(looking: _Audit) -> dict[str, Any]:
    source = select(PLAN_VERSION.c.source).where(PLAN_VERSION.c.version == looking.run.plan_version)
    return dict(orjson.loads(looking.connection.scalar(source) or "{}"))


def _the_end_says_why(looking: _Audit) -> Iterator[Finding]:
    """I10: a run that ended says when, and why unless it succeeded; no promised output is never success."""
    run = looking.run
    shown = ((run.id, run.state, run.reason),)
    if looking.final and run.finished_at is None:
        yield Finding("I10", "the run ended and does not say when", shown)
    if run.state in (RunState.FAILED.value, RunState.CANCELLED.value) and not run.reason:
        yield Finding("I10", "the run ended without a reason", shown)
    bare = run.state == RunState.SUCCEEDED.value and run.outputs is None and not run.partial
    if bare and "outputs" in _plan_source(looking):
        yield Finding("I10", "the run succeeded without outputs and does not say that it is partial", shown)


_CHECKS: tuple[Callable[[_Audit], Iterator[Finding]], ...] = (
    _every_node_ended,
    _counters_are_right,
    _one_success_a_node,
    _no_child_before_its_parents,
    _bets_do_no_harm,
    _attempts_within_bounds,
    _journaled_before_it_ran,
    _nothing_after_cancel,
    _runs_below_end_first,
    _the_end_says_why,
)


def _counts(looking: _Audit) -> dict[int, dict[str, int]]:
    counted = select(NODE.c.step_no, NODE.c.state, func.count()).where(NODE.c.run_id == looking.run.id)
    counts: dict[int, dict[str, int]] = {}
    for step_no, state, number in looking.connection.execute(counted.group_by(NODE.c.step_no, NODE.c.state)):
        counts.setdefault(step_no, {})[state] = number
    return counts


def _first_dispatches(looking: _Audit) -> dict[int, tuple[float | None, float | None]]:
    firsts = select(ATTEMPT.c.step_no, func.min(ATTEMPT.c.dispatched_at), func.min(ATTEMPT.c.begun_at))
    certain = firsts.where(ATTEMPT.c.run_id == looking.run.id, _NO_BET)  # a bet is made before its step may start
    rows = looking.connection.execute(certain.group_by(ATTEMPT.c.step_no))
    return {step_no: (dispatched_at, begun_at) for step_no, dispatched_at, begun_at in rows}


def _same_node(other: Subquery) -> ColumnElement[bool]:
    return and_(NODE.c.step_no == other.c.step_no, NODE.c.item == other.c.item)
