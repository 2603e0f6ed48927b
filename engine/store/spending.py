"""What runs used, cost and took, summed up for reports: from the ledger, the attempts and the decisions.

Runs below a run count as part of it. Nodes have no rows of their own in the ledger for the seconds that
they took: those are read off the attempts here, so that a node that does nothing costs nothing to write.
Nothing here knows a price; nothing here writes.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy import CTE, Boolean, ColumnElement, Connection, and_, case, func, literal, or_, select, text

from engine.costs.entry import BATCH
from engine.costs.usage import Usage
from engine.scheduling.records import AttemptKind, NodeState
from engine.store.columns import ATTEMPT, DECISION, DUPLICATE, IS_TOP, LEDGER, NODE, RUN, STEP
from engine.store.engines import Database
from engine.store.hedged import Hedged, hedged
from engine.store.reading import find_run_id

CHILD_RUNS = "plan.run"
"""Task type of nodes that runs stand for: what they took is told by those runs, and no worker was held."""

_PAGE = 2000
_USED = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output", "reasoning")
_CALL = ("kind", "name", "provider", "purpose", "cache", "settled", "outcome")
_OF_STEP = ("task", "skill", "phase")
_CALL_NAMES = (*_CALL, *_OF_STEP, "attempt_kind", "tenant", "session")
_BETS = ("hedge", "speculate", "prefetch")


@dataclass(frozen=True, slots=True)
class Scope:
    """Which runs a report is of: one, or those that went on after ``since`` (epoch seconds), perhaps only some."""

    run: str | None = None
    since: float | None = None
    plan: str | None = None
    tenant: str | None = None
    session: str | None = None


@dataclass(frozen=True, slots=True)
class Calls:
    """Entries of the ledger that are alike, summed up.

    ``cited_of`` are the context's tokens of those whose citations were looked for, ``looked`` their number;
    ``score_sum`` is over the ``scored`` ones.
    """

    kind: str
    name: str
    provider: str
    purpose: str
    cache: str
    settled: bool
    outcome: str
    task: str
    skill: str
    phase: str
    attempt_kind: str
    tenant: str
    session: str
    entries: int
    usage: Usage
    cost_nusd: int
    saved_nusd: int
    looked: int
    cited_of: int
    cited: int
    scored: int
    score_sum: float


@dataclass(frozen=True, slots=True)
class Tries:
    """Attempts that are alike: how many, how many began and brought their node's result, seconds of their bodies."""

    task: str
    skill: str
    phase: str
    kind: str
    attempts: int
    begun: int
    won: int
    body_s: float


@dataclass(frozen=True, slots=True)
class Coordination:
    """Seconds between the last end of what a worker reported together and its being recorded."""

    task: str
    skill: str
    phase: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Spread:
    """How long something took: how often it was seen, and seconds within which 50 and 95 of 100 ended."""

    count: int
    p50_s: float
    p95_s: float


@dataclass(frozen=True, slots=True)
class Spending:
    """Everything that a report is made of.

    ``latency`` is by phase and part: ``queue``, ``body``, ``coordination`` of attempts, ``admission``, ``call``
    and ``first_token`` of calls. ``bets`` are the sums of figures of decisions, by kind and name.
    """

    runs: int
    runs_below: int
    first_at: float | None
    last_at: float | None
    calls: list[Calls]
    tries: list[Tries]
    coordination: list[Coordination]
    latency: Mapping[tuple[str, str], Spread]
    bets: Mapping[str, Mapping[str, float]]
    duplicates: int
    duplicate_s: float
    hedged: Hedged = field(default_factory=Hedged)


@dataclass(frozen=True, slots=True)
class Paid:
    """What was paid in brief: calls that went out, hits of caches, entries that are estimates, off-peak batches."""

    cost_nusd: int
    saved_nusd: int
    calls: int
    hits: int
    not_settled: int
    off_peak: int = 0


def spending(database: Database, scope: Scope) -> Spending:
    """Read it, as one state of the database shows it on SQLite. Raises ``NotFound``."""
    with database.reading("read what was spent") as connection:
        tree = _tree(connection, scope)
        counted = select(
            func.count(), func.coalesce(func.sum(case((tree.c.top, 1), else_=0)), 0),
            func.min(tree.c.created_at), func.max(func.coalesce(tree.c.finished_at, tree.c.created_at)),
        )  # fmt: skip
        every, top, first_at, last_at = list(connection.execute(counted).one())
        duplicates, duplicate_s = list(connection.execute(_duplicates(tree, scope)).one())
        return Spending(
            runs=int(top), runs_below=int(every) - int(top), first_at=first_at, last_at=last_at,
            calls=_calls(connection, tree, scope), tries=_tries(connection, tree, scope),
            coordination=_coordination(connection, tree, scope), latency=_latency(connection, tree, scope),
            bets=_bets(connection, tree, scope), duplicates=int(duplicates), duplicate_s=float(duplicate_s or 0),
            hedged=hedged(connection, tree, scope.since),
        )  # fmt: skip


def paid(database: Database, run: str) -> Paid:
    """What the ledger holds of a run and those below it. Raises ``NotFound``."""
    sums = (
        func.sum(LEDGER.c.cost_nusd), func.sum(LEDGER.c.saved_nusd),
        func.sum(case((LEDGER.c.cache.in_(("none", "miss")), 1), else_=0)), func.count(),
        func.sum(case((LEDGER.c.settled.is_(False), 1), else_=0)),
        # Facts say so while it waits and once it is settled; other batches' do not.
        func.sum(case((and_(LEDGER.c.id.like(f"{BATCH}%"), LEDGER.c.facts.like("%off-peak%")), 1), else_=0)),
    )  # fmt: skip
    with database.reading(f"read what run {run} cost") as connection:
        tree = _tree(connection, Scope(run=run))
        chosen = select(*sums).select_from(LEDGER).join(tree, tree.c.id == LEDGER.c.run_id)
        cost, saved, calls, entries, *more = (int(each or 0) for each in connection.execute(chosen).one())
    return Paid(cost, saved, calls, entries - calls, *more)


def _tree(connection: Connection, scope: Scope) -> CTE:
    """The runs meant and all below them."""
    columns = (RUN.c.id, RUN.c.tenant, RUN.c.session, RUN.c.created_at, RUN.c.finished_at)
    first = select(*columns, _is_top(yes=True))
    if scope.run is not None:
        first = first.where(RUN.c.id == find_run_id(connection, scope.run))
    else:
        first = first.where(text(IS_TOP))
        for column, wanted in (
            (RUN.c.plan_name, scope.plan), (RUN.c.tenant, scope.tenant), (RUN.c.session, scope.session),
        ):  # fmt: skip
            if wanted is not None:
                first = first.where(column == wanted)
        if scope.since is not None:
            first = first.where(or_(RUN.c.finished_at.is_(None), RUN.c.finished_at >= scope.since))
    tree = first.cte("tree", recursive=True)
    return tree.union_all(select(*columns, _is_top(yes=False)).join(tree, RUN.c.parent_run == tree.c.id))


def _calls(connection: Connection, tree: CTE, scope: Scope) -> list[Calls]:
    kind = _attempt_kind().label("attempt_kind")
    groups: list[Any] = [*(LEDGER.c[name] for name in _CALL), *_of_step(), kind]
    groups += [tree.c.tenant, tree.c.session]
    looked = LEDGER.c.cited_tokens.is_not(None)
    sums = [
        func.count(), *(func.sum(LEDGER.c[name]) for name in _USED), func.sum(LEDGER.c.cost_nusd),
        func.sum(LEDGER.c.saved_nusd), func.count(LEDGER.c.cited_tokens),
        func.sum(case((looked, LEDGER.c.context_tokens), else_=0)), func.sum(LEDGER.c.cited_tokens),
        func.count(LEDGER.c.score), func.sum(LEDGER.c.score),
    ]  # fmt: skip
    chosen = (
        select(*groups, *sums)
        .select_from(LEDGER)
        .join(tree, tree.c.id == LEDGER.c.run_id)
        .join(STEP, _same(STEP, LEDGER, "run_id", "step_no"))
        .outerjoin(ATTEMPT, _same(ATTEMPT, LEDGER, "run_id", "step_no", "item", "attempt"))
        .where(*_since(LEDGER.c.at, scope))
        .group_by(*groups)
    )
    return [_summed(tuple(row)) for row in connection.execute(chosen)]


def _summed(row: tuple[Any, ...]) -> Calls:
    names = dict(zip(_CALL_NAMES, row, strict=False))
    *counts, score_sum = (each or 0 for each in row[len(names) :])
    entries, *used = map(int, counts[:7])
    cost, saved, looked, cited_of, cited, scored = map(int, counts[7:])
    return Calls(
        **names | {"settled": bool(names["settled"])}, entries=entries, usage=Usage(*used), cost_nusd=cost,
        saved_nusd=saved, looked=looked, cited_of=cited_of, cited=cited, scored=scored, score_sum=float(score_sum),
    )  # fmt: skip


def _tries(connection: Connection, tree: CTE, scope: Scope) -> list[Tries]:
    kind = _attempt_kind().label("kind")
    groups = [*_of_step(), kind]
    begun = ATTEMPT.c.begun_at.is_not(None)
    won = and_(NODE.c.attempt == ATTEMPT.c.attempt, NODE.c.state == NodeState.SUCCEEDED.value)
    sums = [
        func.count(), func.sum(case((begun, 1), else_=0)), func.sum(case((won, 1), else_=0)),
        func.sum(_at_least_none(ATTEMPT.c.ended_at - ATTEMPT.c.begun_at)),
    ]  # fmt: skip
    chosen = (
        select(*groups, *sums)
        .select_from(ATTEMPT)
        .join(tree, tree.c.id == ATTEMPT.c.run_id)
        .join(STEP, _same(STEP, ATTEMPT, "run_id", "step_no"))
        .outerjoin(NODE, _same(NODE, ATTEMPT, "run_id", "step_no", "item"))
        .where(STEP.c.task != CHILD_RUNS, *_since(_last(ATTEMPT), scope))
        .group_by(*groups)
    )
    return [
        Tries(task, skill, phase, kind, int(count), int(begun or 0), int(won or 0), float(body_s or 0))
        for task, skill, phase, kind, count, begun, won, body_s in connection.execute(chosen)
    ]


def _coordination(connection: Connection, tree: CTE, scope: Scope) -> list[Coordination]:
    # One report tells of many nodes, and a worker waits for none of them: counted once a report, not a node.
    report = (ATTEMPT.c.run_id, ATTEMPT.c.step_no, ATTEMPT.c.worker, ATTEMPT.c.recorded_at)
    reports = (
        select(*report, func.max(ATTEMPT.c.ended_at).label("last_at"))
        .join(tree, tree.c.id == ATTEMPT.c.run_id)
        .where(ATTEMPT.c.recorded_at.is_not(None), ATTEMPT.c.begun_at.is_not(None), *_since(_last(ATTEMPT), scope))
        .group_by(*report)
        .subquery()
    )
    of_step = _of_step()
    chosen = (
        select(*of_step, func.sum(_at_least_none(reports.c.recorded_at - reports.c.last_at)))
        .select_from(reports)
        .join(STEP, and_(STEP.c.run_id == reports.c.run_id, STEP.c.step_no == reports.c.step_no))
        .where(STEP.c.task != CHILD_RUNS)
        .group_by(*of_step)
    )
    return [Coordination(*row[:3], float(row[3] or 0)) for row in connection.execute(chosen)]


def _latency(connection: Connection, tree: CTE, scope: Scope) -> dict[tuple[str, str], Spread]:
    attempts = (
        select(
            STEP.c.phase, ATTEMPT.c.begun_at - ATTEMPT.c.dispatched_at, ATTEMPT.c.ended_at - ATTEMPT.c.begun_at,
            ATTEMPT.c.recorded_at - ATTEMPT.c.ended_at,
        )
        .select_from(ATTEMPT)
        .join(tree, tree.c.id == ATTEMPT.c.run_id)
        .join(STEP, _same(STEP, ATTEMPT, "run_id", "step_no"))
        .where(STEP.c.task != CHILD_RUNS, ATTEMPT.c.begun_at.is_not(None), *_since(_last(ATTEMPT), scope))
    )  # fmt: skip
    calls = (
        select(STEP.c.phase, LEDGER.c.queue_s, LEDGER.c.call_s, LEDGER.c.first_token_s)
        .select_from(LEDGER)
        .join(tree, tree.c.id == LEDGER.c.run_id)
        .join(STEP, _same(STEP, LEDGER, "run_id", "step_no"))
        .where(LEDGER.c.kind == "model", LEDGER.c.cache.in_(("none", "miss")), *_since(LEDGER.c.at, scope))
    )
    seen: dict[tuple[str, str], array[float]] = defaultdict(lambda: array("d"))
    for chosen, parts in (
        (attempts, ("queue", "body", "coordination")), (calls, ("admission", "call", "first_token")),
    ):  # fmt: skip
        for phase, *seconds in connection.execute(chosen.execution_options(yield_per=_PAGE)):
            for part, each in zip(parts, seconds, strict=True):
                if each is not None:
                    seen[phase, part].append(max(0.0, each))
    return {key: _spread(values) for key, values in seen.items()}


def _bets(connection: Connection, tree: CTE, scope: Scope) -> dict[str, dict[str, float]]:
    chosen = (
        select(DECISION.c.kind, DECISION.c.step_no, DECISION.c.figures)
        .join(tree, tree.c.id == DECISION.c.run_id)
        .where(DECISION.c.kind.in_(_BETS), *_since(DECISION.c.at, scope))
    )
    sums: dict[str, dict[str, float]] = {}
    for kind, step_no, figures in connection.execute(chosen.execution_options(yield_per=_PAGE)):
        if step_no is None:
            continue  # a run's sum of what its steps told already
        into = sums.setdefault(kind, defaultdict(float))
        told = orjson.loads(figures)
        for name in ("saved_s", "wasted_s", "wasted_usd"):
            if isinstance(told.get(name), int | float):
                into[name] += told[name]
    return sums


def _duplicates(tree: CTE, scope: Scope) -> Any:
    seconds = _at_least_none(DUPLICATE.c.ended_at - DUPLICATE.c.begun_at)
    counted = select(func.count(), func.sum(seconds)).select_from(DUPLICATE)
    return counted.join(tree, tree.c.id == DUPLICATE.c.run_id).where(*_since(DUPLICATE.c.at, scope))


def _of_step() -> list[Any]:
    """Task type, skill and phase of a row's step; a step without a skill of its own has its task's."""
    return [STEP.c.task, func.coalesce(func.nullif(STEP.c.skill, ""), STEP.c.task).label("skill"), STEP.c.phase]


def _attempt_kind() -> ColumnElement[str]:
    # A try that a worker repeated on its own was never dispatched as one; an entry may come before its attempt.
    untold = case((ATTEMPT.c.attempt.is_(None), AttemptKind.PRIMARY.value), else_=AttemptKind.RETRY.value)
    return func.coalesce(ATTEMPT.c.kind, untold)


def _same(one: Any, other: Any, *names: str) -> ColumnElement[bool]:
    return and_(*(one.c[name] == other.c[name] for name in names))


def _since(at: ColumnElement[Any], scope: Scope) -> Iterable[ColumnElement[bool]]:
    return () if scope.since is None else (at >= scope.since,)


def _last(attempt: Any) -> ColumnElement[Any]:
    return func.coalesce(attempt.c.ended_at, attempt.c.begun_at, attempt.c.dispatched_at)


def _at_least_none(seconds: ColumnElement[Any]) -> ColumnElement[Any]:
    # Clocks of two machines may differ by more than a body took.
    return case((seconds < 0, 0.0), else_=seconds)


def _is_top(*, yes: bool) -> ColumnElement[bool]:
    return literal(yes, Boolean).label("top")


def _spread(values: array[float]) -> Spread:
    ordered = sorted(values)
    last = len(ordered) - 1
    return Spread(len(ordered), ordered[round(0.5 * last)], ordered[round(0.95 * last)])
