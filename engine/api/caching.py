"""What operators do to caches: look, make tags stale, clear. Redis first, which counts; then SQL, which remembers."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

from engine.cache.entry import Kept
from engine.cache.tags import scoped
from engine.clock import SystemClock
from engine.hotstate.caching import CacheIndex, Stamp
from engine.store import caching as stored
from engine.store.engines import Database
from settings import Settings
from settings.economy import load_economy


@contextmanager
def open_index(settings: Settings, url: str | None) -> Generator[CacheIndex | None]:
    """The index of an installation whose Redis is at ``url``; ``None`` while none runs, as there is no index then."""
    rules = load_economy(settings.economy).caches
    index = None if url is None else CacheIndex(url, settings.namespace, rules.max_bytes)
    try:
        yield index
    finally:
        if index is not None:
            index.close()


def state(settings: Settings, index: CacheIndex) -> dict[str, Any]:
    """What the index in Redis holds now, and may hold."""
    return index.state() | {"max_bytes": load_economy(settings.economy).caches.max_bytes}


def invalidate(database: Database, index: CacheIndex | None, tenant: str, tags: Sequence[str]) -> int:
    """Make stale whatever of a tenant has one of these tags; how many tags. None does nothing.

    Raises
    ------
    Unavailable
        Redis or SQL is away; say it again: it may have been done in part, and does no harm twice.
    """
    named = scoped(tenant, tags)
    if named:
        # Without a Redis there is none to tell: the next one believes SQL, which has this as later than all it kept.
        stamp = index.invalidate(named) if index is not None else Stamp("", 0)
        stored.add_write(database, tenant, named, stamp.incarnation, stamp.number, SystemClock().now())
    return len(named)


def clear(database: Database, index: CacheIndex | None, tenant: str | None) -> int:
    """Drop every entry of a tenant, or (``None``) of all; how many of them Redis had, or SQL where no Redis runs.

    SQL first: what is dropped in Redis alone would come back.
    """
    count = stored.forget(database, tenant)
    if index is None:
        return count
    if tenant is None:
        return index.clear()
    mine = [digest for digest, body in index.scan() if _is_of(body, tenant)]
    return index.drop(mine)


def _is_of(body: bytes, tenant: str) -> bool:
    try:
        return Kept.from_bytes(body).tenant == tenant
    except (ValueError, KeyError, TypeError):
        return True  # nobody can read it
