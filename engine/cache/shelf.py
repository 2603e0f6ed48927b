"""What all caches of one process share: the index in Redis, the values, who is making what."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.artefacts.store import ArtefactStore
from engine.cache.leases import Leases
from engine.clock import Clock, SystemClock
from engine.hotstate.caching import CacheIndex
from settings.economy.caching import CachesSection


@dataclass(frozen=True, slots=True)
class Shelf:
    """One process's share of the cache. Made after a fork.

    Parameters
    ----------
    rules
        The installation's section ``caches``.
    """

    index: CacheIndex
    artefacts: ArtefactStore
    rules: CachesSection
    leases: Leases
    clock: Clock = field(default_factory=SystemClock)

    def close(self) -> None:
        """Close the connections, and renew no lease any more."""
        self.leases.close()
        self.index.close()


def open_shelf(url: str, namespace: str, artefacts: ArtefactStore, rules: CachesSection) -> Shelf:
    """The shelf of the installation that has its Redis at ``url``. Connects when it is first asked."""
    index = CacheIndex(url, namespace, rules.max_bytes)
    return Shelf(index, artefacts, rules, Leases(index, rules.lease_s))
