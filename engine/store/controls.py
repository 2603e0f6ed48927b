"""What operators ordered that concerns no run: which queues are paused.

Written by the API, read by every scheduler when it polls for commands; so it outlives all of them.
"""

from __future__ import annotations

from sqlalchemy import delete, select

from engine.store.columns import PAUSED_QUEUE
from engine.store.dialects import insert_for
from engine.store.engines import Database


def pause_queue(database: Database, queue: str, now: float) -> None:
    """Dispatch nothing more to ``queue``; nothing changes if it is paused already."""
    with database.writing(f"pause queue {queue}") as connection:
        paused = insert_for(connection.dialect.name, PAUSED_QUEUE).values(queue=queue, paused_at=now)
        connection.execute(paused.on_conflict_do_nothing())


def resume_queue(database: Database, queue: str) -> None:
    """Dispatch to ``queue`` again."""
    with database.writing(f"resume queue {queue}") as connection:
        connection.execute(delete(PAUSED_QUEUE).where(PAUSED_QUEUE.c.queue == queue))


def paused_queues(database: Database) -> frozenset[str]:
    """The queues that are paused."""
    with database.reading("read the paused queues") as connection:
        return frozenset(connection.scalars(select(PAUSED_QUEUE.c.queue)))
