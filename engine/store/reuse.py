"""What a new run takes over from an earlier one of the same plan: results that need not be made again.

Rows are copied inside the database and in the submission's own transaction, so that the scheduler
sees the new run either whole or not at all. A node that was taken over has no attempt of its own.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, insert, literal, null, or_, select, update

from engine.scheduling.records import NodeState, StepState
from engine.store.columns import NODE, STEP


@dataclass(frozen=True, slots=True)
class Reuse:
    """Which steps of ``run_id`` are taken over.

    Parameters
    ----------
    whole
        Numbers of steps taken over as they ended.
    succeeded_nodes
        Numbers of fan-outs of which only the nodes that succeeded are taken over; the others run.
    """

    run_id: str
    whole: Collection[int] = ()
    succeeded_nodes: Collection[int] = ()


def take_over(connection: Connection, run_id: str, reuse: Reuse, at: float) -> None:
    """Copy what ``reuse`` names into the run ``run_id``, whose steps have just been stored as waiting."""
    ended = select(STEP).where(STEP.c.run_id == reuse.run_id)
    for step in connection.execute(ended.where(STEP.c.step_no.in_(reuse.whole))).mappings():
        _update(
            connection, run_id, step["step_no"],
            state=step["state"], reason=step["reason"], tolerated=step["tolerated"],
            count=step["count"], succeeded=step["succeeded"], failed=step["failed"], skipped=step["skipped"],
            expanded_at=at, finished_at=at,
        )  # fmt: skip
    for step in connection.execute(ended.where(STEP.c.step_no.in_(reuse.succeeded_nodes))).mappings():
        _update(connection, run_id, step["step_no"], state=StepState.RUNNING.value, count=step["count"], expanded_at=at)
    succeeded = NODE.c.state == NodeState.SUCCEEDED.value
    wanted = or_(NODE.c.step_no.in_(reuse.whole), and_(NODE.c.step_no.in_(reuse.succeeded_nodes), succeeded))
    columns = ["run_id", "step_no", "item", "state", "attempt", "reason", "finished_at", "result"]
    copied = select(
        literal(run_id), NODE.c.step_no, NODE.c.item, NODE.c.state, null(), literal(f"taken over from {reuse.run_id}"),
        literal(at), NODE.c.result,
    )  # fmt: skip
    connection.execute(insert(NODE).from_select(columns, copied.where(NODE.c.run_id == reuse.run_id, wanted)))


def _update(connection: Connection, run_id: str, step_no: int, **values: Any) -> None:
    connection.execute(update(STEP).where(STEP.c.run_id == run_id, STEP.c.step_no == step_no).values(values))
