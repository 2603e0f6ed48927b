"""What second copies of stragglers won and lost, read off the attempts.

Where a copy came first, the other body was told to stop. Until when it would have run nobody saw, unless it heeded
nothing and ran to its end: so what was won is a lower bound, the seconds for which it was still seen to run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import CTE, Connection, and_, select

from engine.scheduling.records import AttemptKind, NodeState
from engine.store.columns import ATTEMPT, DUPLICATE, NODE
from engine.wire import Outcome

_PAGE = 2000


@dataclass(frozen=True, slots=True)
class Hedged:
    """Seconds that copies won, and seconds of bodies that ran beside the one that counted.

    ``stopped`` is how many of the ``won`` races ended with the other body stopped, so that ``saved_s`` is that much or
    more; the others ran to their end.
    """

    won: int = 0
    stopped: int = 0
    saved_s: float = 0.0
    wasted_s: float = 0.0


def hedged(connection: Connection, tree: CTE, since: float | None = None) -> Hedged:
    """Of the runs in ``tree``, for copies that were sent from ``since`` (epoch seconds) on."""
    copy, own, said = ATTEMPT.alias("copy"), ATTEMPT.alias("own"), DUPLICATE.alias("said")
    node = and_(*(NODE.c[name] == copy.c[name] for name in ("run_id", "step_no", "item")))
    same = [own.c[name] == copy.c[name] for name in ("run_id", "step_no", "item")]
    told = [said.c[name] == own.c[name] for name in ("run_id", "step_no", "item", "attempt")]
    beside = (AttemptKind.PRIMARY.value, AttemptKind.RETRY.value)
    chosen = (
        select(
            copy.c.run_id, copy.c.step_no, copy.c.item, copy.c.attempt, copy.c.begun_at, copy.c.ended_at,
            NODE.c.attempt, NODE.c.state, own.c.begun_at, own.c.ended_at, said.c.ended_at, said.c.outcome,
        )
        .select_from(copy)
        .join(tree, tree.c.id == copy.c.run_id)
        .outerjoin(NODE, node)
        .outerjoin(own, and_(*same, own.c.kind.in_(beside), own.c.begun_at.is_not(None)))
        .outerjoin(said, and_(*told))
        .where(copy.c.kind == AttemptKind.HEDGE.value, *(() if since is None else (copy.c.dispatched_at >= since,)))
    )  # fmt: skip
    copies: dict[tuple[Any, ...], tuple[bool, float, float, bool]] = {}
    for row in connection.execute(chosen.execution_options(yield_per=_PAGE)):
        key, found = tuple(row[:4]), _one(row)
        # Of a node tried more than once, the attempt that the copy raced is the one that ran longest beside it.
        copies[key] = max(copies.get(key, found), found, key=lambda each: each[1])
    won = [each for each in copies.values() if each[0]]
    return Hedged(
        len(won), sum(not each[3] for each in won), sum(each[1] for each in won),
        sum(each[2] for each in copies.values()),
    )  # fmt: skip


def _one(row: Any) -> tuple[bool, float, float, bool]:
    """Whether the copy won, the seconds that saved at least, those in vain, and whether the other ran to its end."""
    attempt, begun_at, ended_at, winner, state, own_begun_at, own_ended_at, said_at, outcome = row[3:]
    won = state == NodeState.SUCCEEDED.value and winner == attempt
    if not won:
        return False, 0.0, _between(begun_at, ended_at), True
    last = max((at for at in (own_ended_at, said_at) if at is not None), default=None)
    return True, _between(ended_at, last), _between(own_begun_at, last), outcome == Outcome.OK.value


def _between(start: float | None, end: float | None) -> float:
    # Clocks of two machines may differ by more than a body took.
    return 0.0 if start is None or end is None else max(0.0, end - start)
