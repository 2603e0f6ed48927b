"""What was learned from runs, kept for the next ones: read and written by schedulers, reset by operators.

Each shard writes rows of its own, so that shards never wait for each other. A reset counts the
generation up in the same transaction; a scheduler that finds another generation than it read
stores nothing of what it had in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import orjson
from sqlalchemy import Connection, Row, and_, delete, func, select, true, tuple_, update

from engine.learning.rated import Rated, counted, keys_of, taken_back
from engine.learning.rows import Key, Learned, LearnedRow
from engine.store.columns import LEARNED, LEARNED_GENERATION
from engine.store.dialects import insert_for
from engine.store.engines import Database

OPERATORS = -1
"""The shard under which ratings by operators are kept: no scheduler's, read by all."""

_KEYS_AT_ONCE = 250
_KEY = tuple_(LEARNED.c.plan, LEARNED.c.path, LEARNED.c.task)


def learned(database: Database, shard: int, known: int | None) -> Learned | None:
    """What is stored for ``shard``; ``None`` if the generation is ``known``.

    A kind that the shard has no row of is that of the shard that saw it last.
    """
    with database.reading(f"read what shard {shard} learned") as connection:
        generation = int(connection.scalar(select(LEARNED_GENERATION.c.generation)) or 0)
        if generation == known:
            return None
        own = (LEARNED.c.shard == shard).label("own")
        rows = connection.execute(select(LEARNED, own).order_by(own, LEARNED.c.seen_at)).all()
    # Later rows replace earlier ones: others' before own, older before newer.
    return Learned(generation, list({(row.plan, row.path, row.task): _row(row) for row in rows}.values()))


def rated(database: Database) -> list[LearnedRow]:
    """What operators' ratings told of models."""
    with database.reading("read what ratings told") as connection:
        return [_row(row) for row in connection.execute(select(LEARNED).where(LEARNED.c.shard == OPERATORS))]


def count_rating(connection: Connection, new: Rated, old: Rated | None) -> None:
    """Count a rating in the rows of its model, in place of an ``old`` one of the same result."""
    changes = [(key, old) for key in keys_of(old)] if old is not None else []
    for key, said in [*changes, *((key, new) for key in keys_of(new))]:
        place = (LEARNED.c.shard == OPERATORS, LEARNED.c.plan == key[0], LEARNED.c.path == key[1],
                 LEARNED.c.task == key[2])  # fmt: skip
        found = connection.execute(select(LEARNED).where(*place).with_for_update()).first()
        row = _row(found) if found is not None else LearnedRow(*key, new.at, {})
        row = counted(row, new) if said is new else taken_back(row, said, new.at)
        _write(connection, OPERATORS, [row])


def every_row(database: Database) -> list[LearnedRow]:
    """All rows of all shards; a kind is there once for each shard that learned of it."""
    with database.reading("read what was learned") as connection:
        rows = connection.execute(select(LEARNED).order_by(LEARNED.c.plan, LEARNED.c.path, LEARNED.c.task)).all()
    return [_row(row) for row in rows]


def keep(connection: Connection, shard: int, generation: int, rows: Sequence[LearnedRow], gone: Iterable[Key]) -> bool:
    """Store ``rows`` and delete ``gone``, unless there was a reset since ``generation``; whether it was done."""
    # Held until the commit: a reset must not slip in between and find its rows written again.
    held = select(LEARNED_GENERATION.c.generation).with_for_update(read=True)
    if int(connection.scalar(held) or 0) != generation:
        return False
    if rows:
        _write(connection, shard, rows)
    keys = list(gone)
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        part = keys[start : start + _KEYS_AT_ONCE]
        connection.execute(delete(LEARNED).where(LEARNED.c.shard == shard, _KEY.in_(part)))
    return True


def reset(database: Database, plan: str | None, task: str | None) -> int:
    """Forget what was learned of a plan, of a task type, of both together, or (both ``None``) everything.

    Returns how many rows went. Running schedulers notice within a second.
    """
    chosen = and_(
        true(),
        *([LEARNED.c.plan == plan] if plan is not None else []),
        *([LEARNED.c.task == task] if task is not None else []),
    )
    with database.writing("reset what was learned") as connection:
        counted = update(LEARNED_GENERATION).values(generation=LEARNED_GENERATION.c.generation + 1)
        connection.execute(counted)
        count = int(connection.scalar(select(func.count()).select_from(LEARNED).where(chosen)) or 0)
        connection.execute(delete(LEARNED).where(chosen))
    return count


def _write(connection: Connection, shard: int, rows: Sequence[LearnedRow]) -> None:
    insert = insert_for(connection.dialect.name, LEARNED)
    newer = {name: insert.excluded[name] for name in ("seen_at", "facts")}
    connection.execute(
        insert.on_conflict_do_update(index_elements=["shard", "plan", "path", "task"], set_=newer),
        [
            {
                "shard": shard,
                "plan": row.plan,
                "path": row.path,
                "task": row.task,
                "seen_at": row.seen_at,
                "facts": orjson.dumps(row.facts).decode(),
            }
            for row in rows
        ],
    )


def _row(row: Row[tuple[object, ...]]) -> LearnedRow:
    return LearnedRow(row.plan, row.path, row.task, row.seen_at, orjson.loads(row.facts))
