"""Runs as people read them: one run by its id, lists of runs, plans and commands.

Nodes and their attempts are in ``details``, counts in ``progress``. Nothing here writes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import fields
from typing import Any

import orjson
from sqlalchemy import Connection, Select, bindparam, select, text

from engine.errors import NotFound, UsageError
from engine.scheduling.records import RunState
from engine.store.columns import COMMAND, IS_TOP, PLAN_VERSION, RUN, RUN_TAG
from engine.store.dialects import find
from engine.store.engines import Database
from engine.store.views import CommandView, RunView
from engine.wire import Value

LAST = "@last"
"""Stands for the newest run where a run's id is asked for."""

PAGE_MAX = 10_000
_CANDIDATES_SHOWN = 5
_TAGS_A_QUERY = 500
RUN_COLUMNS = tuple(RUN.c[field.name] for field in fields(RunView) if field.name != "tags")


# Built once, for those who ask often: making a statement costs several times what running it does.
_IDS_FROM = (
    select(RUN.c.id)
    .where(RUN.c.id >= bindparam("name"), RUN.c.id < bindparam("beyond"))
    .order_by(RUN.c.id.desc())
    .limit(_CANDIDATES_SHOWN + 1)
)
_ONE_RUN = (  # a row for each of its tags
    select(*RUN_COLUMNS, RUN.c.outputs, RUN_TAG.c.tag)
    .select_from(RUN.outerjoin(RUN_TAG, RUN_TAG.c.run_id == RUN.c.id))
    .where(RUN.c.id == bindparam("run_id"))
    .order_by(RUN_TAG.c.tag)
)
_VALUES = select(RUN.c.inputs, RUN.c.outputs).where(RUN.c.id == bindparam("run_id"))


def find_run_id(connection: Connection, name: str) -> str:
    """The id that ``name`` stands for: an id, a unique beginning of one, or ``@last``.

    Raises
    ------
    NotFound
        No run is meant, or several are; the message names the nearest.
    """
    if name == LAST:
        newest = connection.scalar(select(RUN.c.id).where(text(IS_TOP)).order_by(RUN.c.id.desc()).limit(1))
        if newest is None:
            raise NotFound("there is no run yet")
        return str(newest)
    # A range, not LIKE: it takes no pattern from the caller and uses the primary key everywhere.
    found = list(connection.scalars(_IDS_FROM, {"name": name, "beyond": name + "\U0010ffff"})) if name else []
    if name in found or len(found) == 1:
        return name if name in found else str(found[0])
    if not found:
        raise NotFound(f"no run {name!r}; `flywheel runs list` shows the newest")
    more = ", …" if len(found) > _CANDIDATES_SHOWN else ""
    raise NotFound(f"several runs begin with {name!r}: {', '.join(found[:_CANDIDATES_SHOWN])}{more}")


def get(database: Database, name: str) -> RunView:
    """One run by id, unique beginning of an id, or ``@last``. Raises ``NotFound``."""
    return get_with_outputs(database, name)[0]


def get_with_outputs(database: Database, name: str) -> tuple[RunView, Value | None]:
    """One run, and its outputs, still packed, once it ended with some. Raises ``NotFound``."""
    rows = database.look_up(f"read run {name}", _ONE_RUN, {"run_id": name})
    if not rows:
        with database.reading(f"read run {name}") as connection:
            rows = find(connection, _ONE_RUN, {"run_id": find_run_id(connection, name)})
    outputs = rows[0].outputs
    return _one(rows), None if outputs is None else orjson.loads(outputs)


def run_view(connection: Connection, run_id: str) -> RunView:
    """One run by its whole id, which exists."""
    return _one(find(connection, _ONE_RUN, {"run_id": run_id}))


def _one(rows: Sequence[Any]) -> RunView:
    return _view(rows[0], (row.tag for row in rows if row.tag is not None))


def list_runs(
    database: Database,
    *,
    states: Collection[RunState] = (),
    plan: str | None = None,
    tenant: str | None = None,
    session: str | None = None,
    tag: str | None = None,
    since: float | None = None,
    limit: int = 50,
    cursor: str | None = None,
    children: bool = False,
) -> list[RunView]:
    """Runs, newest first; ``cursor`` is the id of the last run of the page before.

    Runs that stand for nodes of others are left out unless ``children``.
    """
    if not 1 <= limit <= PAGE_MAX:
        raise UsageError(f"limit: {limit} is not between 1 and {PAGE_MAX}")
    chosen = select(*RUN_COLUMNS)
    if not children:
        chosen = chosen.where(text(IS_TOP))
    if states:
        chosen = chosen.where(RUN.c.state.in_([state.value for state in states]))
    for column, wanted in ((RUN.c.plan_name, plan), (RUN.c.tenant, tenant), (RUN.c.session, session)):
        if wanted is not None:
            chosen = chosen.where(column == wanted)
    if tag is not None:
        chosen = chosen.where(RUN.c.id.in_(select(RUN_TAG.c.run_id).where(RUN_TAG.c.tag == tag)))
    if since is not None:
        chosen = chosen.where(RUN.c.created_at >= since)
    if cursor is not None:
        chosen = chosen.where(RUN.c.id < cursor)
    with database.reading("list runs") as connection:
        return _views(connection, chosen.order_by(RUN.c.id.desc()).limit(limit))


def runs_below(database: Database, run_id: str, step_no: int, items: Collection[int]) -> list[RunView]:
    """The runs that stand for nodes of a step, in the order of items, attempts and rounds."""
    ordered = (RUN.c.parent_item, RUN.c.parent_attempt, RUN.c.round)
    chosen = select(*RUN_COLUMNS).where(RUN.c.parent_run == run_id, RUN.c.parent_step_no == step_no)
    with database.reading(f"read the runs below run {run_id}") as connection:
        return _views(connection, chosen.where(RUN.c.parent_item.in_(items)).order_by(*ordered).limit(PAGE_MAX))


def inputs_and_outputs(database: Database, name: str) -> tuple[Value, Value | None]:
    """A run's inputs, and its outputs once it ended with some; both still packed."""
    with database.reading(f"read outputs of run {name}") as connection:
        found = find(connection, _VALUES, {"run_id": name})
        if not found:
            found = find(connection, _VALUES, {"run_id": find_run_id(connection, name)})
    inputs, outputs = found[0]
    return orjson.loads(inputs), None if outputs is None else orjson.loads(outputs)


def plan_of(database: Database, name: str) -> dict[str, Any]:
    """The source of the plan that a run keeps, as JSON data."""
    with database.reading(f"read plan of run {name}") as connection:
        version = select(RUN.c.plan_version).where(RUN.c.id == find_run_id(connection, name)).scalar_subquery()
        source = connection.scalar(select(PLAN_VERSION.c.source).where(PLAN_VERSION.c.version == version))
    return dict(orjson.loads(source or "{}"))


def command_state(database: Database, command_id: int) -> CommandView:
    """A command and its answer, if it has one. Raises ``NotFound``."""
    columns = (COMMAND.c[field.name] for field in fields(CommandView))
    with database.reading(f"read command {command_id}") as connection:
        row = connection.execute(select(*columns).where(COMMAND.c.id == command_id)).one_or_none()
    if row is None:
        raise NotFound(f"no command {command_id}")
    return CommandView(**row._mapping)


def _views(connection: Connection, chosen: Select[Any]) -> list[RunView]:
    rows = connection.execute(chosen).all()
    tags = _tags(connection, [row.id for row in rows])
    return [_view(row, tags.get(row.id, ())) for row in rows]


def _view(row: Any, tags: Iterable[str]) -> RunView:
    values = row._asdict()
    for more in ("tag", "outputs"):
        values.pop(more, None)
    return RunView(**values | {"state": RunState(row.state), "partial": bool(row.partial), "tags": tuple(tags)})


def _tags(connection: Connection, run_ids: list[str]) -> dict[str, list[str]]:
    tags: dict[str, list[str]] = {}
    for start in range(0, len(run_ids), _TAGS_A_QUERY):
        page = run_ids[start : start + _TAGS_A_QUERY]
        chosen = select(RUN_TAG.c.run_id, RUN_TAG.c.tag).where(RUN_TAG.c.run_id.in_(page)).order_by(RUN_TAG.c.tag)
        for run_id, tag in connection.execute(chosen):
            tags.setdefault(run_id, []).append(tag)
    return tags
