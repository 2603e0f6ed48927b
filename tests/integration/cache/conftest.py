"""Caches of several workers on one real Redis."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.artefacts.store import ArtefactStore
from engine.cache.cache import Cache
from engine.cache.key import Key
from engine.cache.leases import Leases
from engine.cache.shelf import Shelf
from engine.hotstate.caching import CacheIndex
from settings.economy.caching import CachesSection
from tests.services.redis import RedisServer, _shared_redis, fragile_redis, redis_server

__all__ = ["_shared_redis", "fragile_redis", "redis_server"]

RULES = CachesSection()


def shelf_at(url: str, artefacts: str, rules: CachesSection = RULES) -> Shelf:
    """One process's share of the cache."""
    index = CacheIndex(url, "t", rules.max_bytes)
    return Shelf(index, ArtefactStore(artefacts), rules, Leases(index, rules.lease_s))


def key(name: str = "read", **facts: Any) -> Key:
    """A key of tenant ``a``, unless said otherwise."""
    return Key("tool", name, **({"tenant": "a"} | facts))


class Rig:
    """A Redis, a folder of artefacts, and caches over them."""

    def __init__(self, server: RedisServer, folder: Path) -> None:
        self.server, self.artefacts = server, f"file://{folder}/artefacts"
        self.notes: list[tuple[str, dict[str, Any]]] = []
        self._open: list[Shelf] = []

    def shelf(self, rules: CachesSection = RULES) -> Shelf:
        self._open.append(shelf_at(self.server.url, self.artefacts, rules))
        return self._open[-1]

    def cache(self, tenant: str = "a", rules: CachesSection = RULES, stop: Callable[[], bool] = lambda: False) -> Cache:
        """The cache of an attempt in a worker of its own."""
        return Cache(self.shelf(rules), tenant, self._note, stop)

    def close(self) -> None:
        for shelf in self._open:
            shelf.close()

    def _note(self, kind: str, data: dict[str, Any]) -> None:
        self.notes.append((kind, data))


@pytest.fixture
def rig(redis_server: RedisServer, tmp_path: Path) -> Iterator[Rig]:
    made = Rig(redis_server, tmp_path)
    yield made
    made.close()


@pytest.fixture
def fragile(fragile_redis: RedisServer, tmp_path: Path) -> Iterator[Rig]:
    made = Rig(fragile_redis, tmp_path)
    yield made
    made.close()
