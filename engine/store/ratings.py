"""What is known of how good results are: outcomes of checks, and ratings by operators.

A node's rating takes the place of the score of the answers that its result rests on, so that reports count it; an
answer that nodes of a batch share has the mean of their ratings, and counts once. It is an outcome of the model that
gave the result, from which later choices learn; rated again, the newest counts. What nobody rated or checked has no
score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
from sqlalchemy import Connection, and_, delete, func, insert, or_, select, update

from engine.errors import NotFound, UsageError
from engine.learning.rated import PASSES_FROM, Rated
from engine.store.columns import LEDGER, NODE, OUTCOME, RATING, STEP
from engine.store.dialects import storable
from engine.store.engines import Database
from engine.store.learned import count_rating
from engine.store.reading import find_run_id

if TYPE_CHECKING:
    from engine.scheduling.records import Noted

Node = tuple[str, int, int, int]
"""Run, step, item and attempt."""
NOT_ANSWERS = ("check", "judge", "embed", "class")
"""Purposes of calls whose results nobody rates."""

_NOTE_MAX = 4000
_TEXT_MAX = 1000


@dataclass(frozen=True, slots=True)
class RatingView:
    """A rating in [0, 1]; ``step_no`` and ``item`` are ``None`` where it is the run's."""

    number: int
    step_no: int | None
    item: int | None
    at: float
    score: float
    note: str


@dataclass(frozen=True, slots=True)
class _Answer:
    """An entry of the ledger, and the nodes whose call it was: ``[first item, last item, attempt]`` each."""

    id: str
    name: str
    facts: Mapping[str, Any]
    nodes: Sequence[Sequence[int]]


def outcome_row_of(record: Noted, data: Mapping[str, Any]) -> dict[str, Any]:
    """The row of a note of kind ``outcome``. Raises ``KeyError`` or ``ValueError`` if it is none."""
    texts = {name: storable(str(data[name])) for name in ("id", "model", "task", "by")}
    return {
        "run_id": record.run_id, "step_no": record.step_no, "item": record.item, "attempt": record.attempt,
        "at": float(data["at"]), "passed": bool(data["passed"]), "score": float(data["score"]),
        "text": storable(str(data["text"])[:_TEXT_MAX]), "step_class": storable(str(data["class"])), **texts,
    }  # fmt: skip


def outcomes(database: Database, run: str, limit: int = 1000) -> list[dict[str, Any]]:
    """What checks found of a run's answers, by name of their columns, in order. Raises ``NotFound``."""
    with database.reading(f"read the outcomes of run {run}") as connection:
        chosen = select(OUTCOME).where(OUTCOME.c.run_id == find_run_id(connection, run))
        rows = connection.execute(chosen.order_by(OUTCOME.c.step_no, OUTCOME.c.item, OUTCOME.c.at).limit(limit))
        return [{**row._mapping, "passed": bool(row.passed)} for row in rows]


def ratings(database: Database, run: str) -> list[RatingView]:
    """All ratings of a run and its nodes, oldest first. Raises ``NotFound``."""
    with database.reading(f"read the ratings of run {run}") as connection:
        chosen = select(RATING).where(RATING.c.run_id == find_run_id(connection, run)).order_by(RATING.c.number)
        return [
            RatingView(row.number, row.step_no, row.item, row.at, row.score, row.note)
            for row in connection.execute(chosen)
        ]


def rate(
    database: Database, run: str, score: float, at: float, *, step_no: int | None = None, item: int | None = None,
    note: str = "",
) -> RatingView:  # fmt: skip
    """Rate a run, or the result of one of its nodes.

    Parameters
    ----------
    score
        In [0, 1].
    at
        Epoch seconds.

    Raises
    ------
    NotFound
        There is no such run, or no such node yet.
    UsageError
        The score is outside of [0, 1].
    """
    if not 0.0 <= score <= 1.0:
        raise UsageError(f"a score is from 0 to 1, not {score:g}")
    with database.writing(f"rate run {run}") as connection:
        run_id = find_run_id(connection, run)
        if step_no is not None:
            place = (NODE.c.run_id == run_id, NODE.c.step_no == step_no, NODE.c.item == (item or 0))
            attempt = connection.scalar(select(NODE.c.attempt).where(*place))
            if attempt is None:
                raise NotFound(f"run {run_id} has no result of that node yet")
            node = (run_id, step_no, item or 0, int(attempt))
            answers = _answers(connection, node)
            _score(connection, node, answers, score)
            _learn(connection, node, answers, score, at)
        newest = connection.scalar(select(func.max(RATING.c.number)).where(RATING.c.run_id == run_id))
        view = RatingView(int(newest or 0) + 1, step_no, item, at, score, storable(note[:_NOTE_MAX]))
        connection.execute(
            insert(RATING).values(
                run_id=run_id, number=view.number, step_no=step_no, item=item, at=at, score=score, note=view.note
            )
        )
    return view


def _answers(connection: Connection, node: Node) -> list[_Answer]:
    """The calls that the node's result rests on, the last first."""
    run_id, step_no, item, attempt = node
    own = and_(LEDGER.c.item == item, LEDGER.c.attempt == attempt)
    chosen = (
        select(LEDGER.c.id, LEDGER.c.name, LEDGER.c.facts, own.label("own"))
        .where(
            LEDGER.c.run_id == run_id, LEDGER.c.step_no == step_no, LEDGER.c.kind == "model",
            LEDGER.c.purpose.not_in(NOT_ANSWERS), or_(own, LEDGER.c.facts.like('%"nodes":%')),
        )
        .order_by(LEDGER.c.at.desc(), LEDGER.c.id)
    )  # fmt: skip
    found = []
    for row in connection.execute(chosen):
        facts = orjson.loads(row.facts)
        spans = facts.get("nodes")
        if row.own if spans is None else any(low <= item <= high and attempt == of for low, high, of in spans):
            found.append(_Answer(row.id, row.name, facts, spans or [[item, item, attempt]]))
    return found


def _score(connection: Connection, node: Node, answers: Sequence[_Answer], score: float) -> None:
    """Score the answers: one that several nodes share by all that is said of them."""
    run_id, step_no, item, _ = node
    of_step = select(RATING.c.item, RATING.c.score).where(RATING.c.run_id == run_id, RATING.c.step_no == step_no)
    rated = {row.item: row.score for row in connection.execute(of_step.order_by(RATING.c.number))} | {item: score}
    for answer in answers:
        said = [each for of, each in rated.items() if any(low <= of <= high for low, high, _ in answer.nodes)]
        own = (LEDGER.c.run_id == run_id, LEDGER.c.id == answer.id)
        connection.execute(update(LEDGER).values(score=sum(said) / len(said)).where(*own))


def _learn(connection: Connection, node: Node, answers: Sequence[_Answer], score: float, at: float) -> None:
    """Keep the rating as an outcome of who gave the result, and count it; nothing where no model did."""
    if not answers:
        return
    answer, (run_id, step_no, item, attempt) = answers[0], node
    row_id = f"rating.{step_no}.{item}"
    own = (OUTCOME.c.run_id == run_id, OUTCOME.c.id == row_id)
    before = connection.execute(select(OUTCOME).where(*own)).first()
    old = None
    if before is not None:
        old = Rated(before.model, before.step_class, before.task, bool(before.passed), before.at)
    checked = connection.execute(
        select(OUTCOME.c.text, OUTCOME.c.step_class, OUTCOME.c.task).where(
            OUTCOME.c.run_id == run_id, OUTCOME.c.id == answer.id
        )
    ).first()
    task = connection.scalar(select(STEP.c.task).where(STEP.c.run_id == run_id, STEP.c.step_no == step_no))
    step_class = checked.step_class if checked is not None else answer.facts.get("class", "standard")
    new = Rated(answer.name, str(step_class), str(task), score >= PASSES_FROM, at)
    count_rating(connection, new, old)
    connection.execute(delete(OUTCOME).where(*own))
    connection.execute(
        insert(OUTCOME).values(
            run_id=run_id,
            id=row_id,
            step_no=step_no,
            item=item,
            attempt=attempt,
            at=at,
            model=new.model,
            task=new.task,
            step_class=new.step_class,
            passed=new.passed,
            score=score,
            by="operator",
            text=checked.text if checked is not None else "",
        )
    )
