"""What a new run takes over from an earlier one: results that need not be made again.

Rows are copied inside the database and in the submission's own transaction, so that the scheduler
sees the new run either whole or not at all. A node that was taken over has no attempt of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, case, exists, insert, literal, null, or_, select, update

from engine.scheduling.records import PARTIAL_NODE, NodeState, StepState
from engine.store.columns import NODE, RUN, STEP

_STEPS_A_QUERY = 500
_COPIED = ("state", "reason", "tolerated", "count", "succeeded", "failed", "skipped", "code_hash")


@dataclass(frozen=True, slots=True)
class Reuse:
    """Which steps of ``run_id`` are taken over, each as the number of a step of the new run.

    Parameters
    ----------
    whole
        Steps taken over as they ended: number in ``run_id`` to number in the new run.
    succeeded_nodes
        Fan-outs of which only the nodes that succeeded are taken over; the others run.
    """

    run_id: str
    whole: Mapping[int, int] = field(default_factory=dict)
    succeeded_nodes: Mapping[int, int] = field(default_factory=dict)


def take_over(connection: Connection, run_id: str, reuse: Reuse, at: float) -> None:
    """Copy what ``reuse`` names into the run ``run_id``, whose steps have just been stored as waiting.

    The new run is marked partial if anything of what it takes over is.
    """
    partial = False
    for steps in _read(connection, reuse.run_id, reuse.whole):
        partial = partial or any(step["tolerated"] for step in steps)
        ended = [
            {"b_no": reuse.whole[step["step_no"]], "expanded_at": at, "finished_at": at}
            | {name: step[name] for name in _COPIED}
            for step in steps
        ]
        connection.execute(_update(run_id, _COPIED), ended)
    for steps in _read(connection, reuse.run_id, reuse.succeeded_nodes):
        begun = [
            {
                "b_no": reuse.succeeded_nodes[step["step_no"]], "expanded_at": at, "finished_at": None,
                "state": StepState.RUNNING.value, "count": step["count"], "code_hash": step["code_hash"],
            }
            for step in steps
        ]  # fmt: skip
        connection.execute(_update(run_id, ("state", "count", "code_hash")), begun)
    _copy_nodes(connection, run_id, reuse.run_id, reuse.whole, at)
    _copy_nodes(connection, run_id, reuse.run_id, reuse.succeeded_nodes, at, NODE.c.state == NodeState.SUCCEEDED.value)
    marked = exists().where(NODE.c.run_id == run_id, NODE.c.reason.startswith(PARTIAL_NODE))
    connection.execute(update(RUN).where(RUN.c.id == run_id, or_(literal(partial), marked)).values(partial=True))


def _copy_nodes(
    connection: Connection, run_id: str, earlier: str, steps: Mapping[int, int], at: float, *chosen: ColumnElement[bool]
) -> None:
    """Copy final states and results; of one that is partial, that too."""
    told = f"taken over from {earlier}"
    is_partial = NODE.c.state == NodeState.SUCCEEDED.value, NODE.c.reason.startswith(PARTIAL_NODE)
    reason = case((is_partial[0] & is_partial[1], f"{PARTIAL_NODE}, {told}"), else_=told)
    columns = ["run_id", "step_no", "item", "state", "attempt", "reason", "finished_at", "result"]
    for shift, numbers in _by_shift(steps):
        copied = select(
            literal(run_id), NODE.c.step_no + shift, NODE.c.item, NODE.c.state, null(), reason, literal(at),
            NODE.c.result,
        ).where(NODE.c.run_id == earlier, NODE.c.step_no.in_(numbers), *chosen)  # fmt: skip
        connection.execute(insert(NODE).from_select(columns, copied))


def _by_shift(steps: Mapping[int, int]) -> Iterator[tuple[int, list[int]]]:
    """Steps by how far their numbers move, a page at a time: mostly all by the same."""
    moved: dict[int, list[int]] = {}
    for old, new in steps.items():
        moved.setdefault(new - old, []).append(old)
    for shift, numbers in moved.items():
        for page in _pages(numbers):
            yield shift, page


def _read(connection: Connection, run_id: str, steps: Iterable[int]) -> Iterator[list[Mapping[Any, Any]]]:
    for page in _pages(list(steps)):
        chosen = select(STEP).where(STEP.c.run_id == run_id, STEP.c.step_no.in_(page))
        yield list(connection.execute(chosen).mappings())


def _pages(numbers: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(numbers), _STEPS_A_QUERY):
        yield numbers[start : start + _STEPS_A_QUERY]


def _update(run_id: str, names: Iterable[str]) -> Any:
    step = (STEP.c.run_id == run_id, STEP.c.step_no == bindparam("b_no"))
    return update(STEP).where(*step).values({name: bindparam(name) for name in (*names, "expanded_at", "finished_at")})
