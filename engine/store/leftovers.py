"""Batches of calls that a provider holds and nobody has paid yet, with what is known of the runs that made them.

Reads only. A batch is a line of the ledger that is not settled; whether anybody still wants it is not decided here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import select, text

from engine.costs.entry import BATCH
from engine.ids import ending_run_id
from engine.scheduling.records import RunState, StepState
from engine.store.columns import LEDGER, RUN, STEP
from engine.store.engines import Database

_PAGE = 400
_MOST = 1000
_DEEPEST = 32


@dataclass(frozen=True, slots=True)
class Held:
    """One batch, the attempt that made it, and its run.

    Parameters
    ----------
    model
        Its model, ``provider/name``.
    items
        Requests in it; 0 if that was never told.
    batch
        The provider's id; empty if whoever made it could not say.
    node
        What its key was made of; empty for the key of the node that made it.
    at
        When it was made, in epoch seconds.
    states
        Of all steps of the run, by number.
    above
        States of the runs above the run, the nearest first.
    """

    id: str
    run_id: str
    step_no: int
    item: int
    attempt: int
    model: str
    items: int
    batch: str
    node: str
    at: float
    path: str
    fanned: bool
    queue: str
    state: RunState
    plan_version: str
    tenant: str
    session: str
    shard: int
    priority: int
    states: tuple[StepState, ...]
    above: tuple[RunState, ...]


def held(database: Database) -> list[Held]:
    """Those for which no run was started yet to end them, the oldest runs first. Raises ``Unavailable``."""
    chosen = (
        select(LEDGER, RUN.c.state, RUN.c.plan_version, RUN.c.tenant, RUN.c.session, RUN.c.shard, RUN.c.priority,
               RUN.c.parent_run, STEP.c.path, STEP.c.fanned, STEP.c.queue)
        .select_from(
            LEDGER.join(RUN, RUN.c.id == LEDGER.c.run_id)
            .join(STEP, (STEP.c.run_id == LEDGER.c.run_id) & (STEP.c.step_no == LEDGER.c.step_no))
        )
        .where(text("NOT settled"), LEDGER.c.id.like(f"{BATCH}%"))
        .order_by(LEDGER.c.run_id, LEDGER.c.id).limit(_MOST)
    )  # fmt: skip
    with database.reading("look for batches that wait at providers") as connection:
        rows = [dict(row._mapping) for row in connection.execute(chosen)]
        endings = {ending_run_id(row["run_id"], row["id"]): row for row in rows}
        begun = _ids(connection, endings)
        open_rows = [row for run_id, row in endings.items() if run_id not in begun]
        states = _states(connection, {row["run_id"] for row in open_rows})
        return [_held(row, states[row["run_id"]], _above(connection, row["parent_run"])) for row in open_rows]


def _held(row: Mapping[str, Any], states: tuple[StepState, ...], above: tuple[RunState, ...]) -> Held:
    facts = orjson.loads(row["facts"])
    return Held(
        row["id"], row["run_id"], row["step_no"], row["item"], row["attempt"], row["name"], int(facts.get("items", 0)),
        str(facts.get("batch", "")), str(facts.get("node", "")), row["at"], row["path"], bool(row["fanned"]),
        row["queue"], RunState(row["state"]), row["plan_version"], row["tenant"], row["session"], row["shard"],
        row["priority"], states, above,
    )  # fmt: skip


def _ids(connection: Any, wanted: Collection[str]) -> set[str]:
    found: set[str] = set()
    for page in _pages(sorted(wanted)):
        found.update(connection.scalars(select(RUN.c.id).where(RUN.c.id.in_(page))))
    return found


def _states(connection: Any, runs: Collection[str]) -> dict[str, tuple[StepState, ...]]:
    found: dict[str, list[StepState]] = {run: [] for run in runs}
    for page in _pages(sorted(runs)):
        chosen = select(STEP.c.run_id, STEP.c.state).where(STEP.c.run_id.in_(page))
        for run_id, state in connection.execute(chosen.order_by(STEP.c.run_id, STEP.c.step_no)):
            found[run_id].append(StepState(state))
    return {run: tuple(states) for run, states in found.items()}


def _above(connection: Any, parent: str | None) -> tuple[RunState, ...]:
    states: list[RunState] = []
    while parent is not None and len(states) < _DEEPEST:
        row = connection.execute(select(RUN.c.state, RUN.c.parent_run).where(RUN.c.id == parent)).one_or_none()
        if row is None:
            break
        states.append(RunState(row.state))
        parent = row.parent_run
    return tuple(states)


def _pages(ids: Sequence[str]) -> list[list[str]]:
    return [list(ids[start : start + _PAGE]) for start in range(0, len(ids), _PAGE)]
