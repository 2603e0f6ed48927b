"""Bringing kept results back to a Redis that lost them; beside the scheduler's loop, which never waits for it.

Whoever finds that the index has begun anew reads what SQL kept and what of it may still be served. Several
schedulers may do so at once: an entry that is there already stays. Writes that are heard of meanwhile are
newer than anything that comes back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from engine.clock import SystemClock
from engine.errors import FlywheelError
from engine.hotstate.caching import CacheIndex, Restored
from engine.store.caching import live
from engine.store.engines import Database
from engine.store.schema import HEAD, revision
from settings import Settings
from settings.economy import load_economy

log = structlog.get_logger(__name__)

LOOK_S = 1.0


def restore(database: Database, index: CacheIndex, incarnation: str, limit_bytes: int, now: float) -> int | None:
    """Bring back what SQL kept; how many entries, ``None`` if Redis was lost again meanwhile.

    ``incarnation`` was read before: so that what is written from then on is known to the index itself.
    """
    found = live(database, now, limit_bytes)
    entries = [Restored(each.digest, each.expires_at - now, now - each.made_at, each.body, each.tags) for each in found]
    return index.restore(incarnation, entries)


class Reloading:
    """Looks once a second whether the index has begun anew."""

    def __init__(self, database: Database, index: CacheIndex, limit_bytes: int, now: Callable[[], float]) -> None:
        self._database, self._index, self._limit, self._now = database, index, limit_bytes, now
        self._known: str | None = None

    def look(self) -> int | None:
        """How many entries were brought back; ``None`` if there was no need. Raises ``Unavailable``."""
        current = self._index.incarnation()
        if current == self._known:
            return None
        kept = restore(self._database, self._index, current, self._limit, self._now())
        if kept is not None:
            self._known = current
        return kept


def keep_reloading(settings: Settings, stop: threading.Event) -> None:
    """Bring back what a lost Redis had, whenever it is lost, until ``stop`` is set."""
    rules = load_economy(settings.economy).caches
    if not rules.enabled or settings.redis_url is None:
        return
    database = Database(settings.database_url)
    index = CacheIndex(settings.redis_url, settings.namespace, rules.max_bytes)
    reloading = Reloading(database, index, rules.max_bytes, SystemClock().now)
    try:
        while not stop.wait(LOOK_S):
            try:
                # Whoever leads a shard brings the schema up to date, once in a process.
                kept = reloading.look() if revision(database) == HEAD else None
            except FlywheelError as error:
                log.debug("cache.not_reloaded", why=str(error))
            except Exception:
                log.exception("cache.look")  # a bug: the next loss is to be noticed all the same
            else:
                if kept:
                    log.info("cache.reloaded", entries=kept)
    finally:
        index.close()
        database.close()
