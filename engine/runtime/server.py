"""Which Redis this scheduler publishes to, and whether it is still the same one."""

from __future__ import annotations

import structlog

from engine.errors import Unavailable
from engine.runtime.world import Pace, World

log = structlog.get_logger(__name__)


class Server:
    """The Redis of one shard's scheduler. Its methods may raise ``Unavailable``.

    Attributes
    ----------
    changes
        How often it was found restarted, replaced or flushed.
    """

    def __init__(self, shard: int, leader: int, world: World, pace: Pace) -> None:
        self._shard, self._leader, self._world, self._pace = shard, leader, world, pace
        self._known: tuple[str, str] | None = None
        self._led: tuple[str, str] | None = None
        self.changes = 0

    @property
    def led(self) -> bool:
        """Whether permits of an earlier scheduler are refused by now."""
        return self._led is not None

    def epoch(self) -> str:
        """The server's own run id, as it was last seen."""
        if self._known is None:
            self._known = self._world.hot.epoch()
        return self._known[0]

    def notice(self) -> bool:
        """Look whether it is another, or an emptied one, and lead it; whether it has changed."""
        current = self._world.hot.epoch()
        if current != self._led:
            # In this order: only who holds the lease after the marker was read may take this Redis.
            self._world.journal.renew(self._shard, self._leader, self._pace.lease_s)
            if not self._world.hot.lead(self._shard, self._leader, current[1]):
                raise Unavailable("Redis was emptied meanwhile, or a later scheduler leads")
            self._led = current
        changed = self._known is not None and current != self._known
        if changed and self._known is not None:
            log.warning("redis.changed", shard=self._shard, restarted=current[0] != self._known[0])
            self.changes += 1
        self._known = current
        return changed
