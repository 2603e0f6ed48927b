"""A shard's lease: who schedules it, by the database's own clock and a fencing epoch that only grows.

The lease decides who may *become* the owner; the epoch, checked in every write, decides whose writes
count. So a scheduler that was frozen past its lease can do no harm when it wakes.
"""

from __future__ import annotations

from sqlalchemy import bindparam, or_, update

from engine.errors import Fenced
from engine.store.columns import SHARD
from engine.store.dialects import Door, change, insert_for
from engine.store.engines import Database

_IMPLAUSIBLE = 10
_HELD = (  # made once: it goes before every write
    update(SHARD)
    .where(SHARD.c.shard == bindparam("b_shard"), SHARD.c.epoch == bindparam("b_epoch"))
    .values(epoch=bindparam("b_epoch"))
)


def acquire(database: Database, shard: int, owner: str, ttl_s: float) -> int | None:
    """Take the lease if it is free or has run out; its new epoch, else ``None``.

    A lease that ends implausibly late was written before the clock jumped back: it counts as run out.
    """
    with database.writing(f"acquire shard {shard}") as connection:
        free = {"shard": shard, "owner": "", "epoch": 0, "lease_until": 0.0}
        connection.execute(insert_for(connection.dialect.name, SHARD).values(free).on_conflict_do_nothing())
        taken = connection.execute(
            update(SHARD)
            .where(
                SHARD.c.shard == shard,
                or_(SHARD.c.lease_until <= database.now, SHARD.c.lease_until > database.now + _IMPLAUSIBLE * ttl_s),
            )
            .values(owner=owner, epoch=SHARD.c.epoch + 1, lease_until=database.now + ttl_s)
            .returning(SHARD.c.epoch)
        )
        epoch = taken.scalar_one_or_none()
    return None if epoch is None else int(epoch)


def renew(database: Database, shard: int, epoch: int, ttl_s: float) -> None:
    """Hold the lease for ``ttl_s`` more seconds. Raises ``Fenced`` if it is another's by now."""
    with database.writing(f"renew shard {shard}") as connection:
        held = update(SHARD).where(SHARD.c.shard == shard, SHARD.c.epoch == epoch)
        if connection.execute(held.values(lease_until=database.now + ttl_s)).rowcount == 0:
            raise fenced(shard, epoch)


def release(database: Database, shard: int, epoch: int) -> None:
    """Give the lease up, if it is still held; the epoch stays, so that the next one is higher."""
    with database.writing(f"release shard {shard}") as connection:
        held = update(SHARD).where(SHARD.c.shard == shard, SHARD.c.epoch == epoch)
        connection.execute(held.values(lease_until=0.0))


def check_fence(door: Door, shard: int, epoch: int) -> None:
    """Raise ``Fenced`` unless ``epoch`` is the shard's; holds the row, so that nobody takes over meanwhile."""
    if change(door, _HELD, {"b_shard": shard, "b_epoch": epoch}) == 0:
        raise fenced(shard, epoch)


def fenced(shard: int, epoch: int) -> Fenced:
    return Fenced(f"shard {shard} is no longer held with epoch {epoch}: another scheduler took it over")
