"""How much may be dispatched now: worker slots, pool slots and rate tokens, asked of Redis."""

from __future__ import annotations

from collections import Counter

from engine.runtime.world import Limits, World
from engine.scheduling.core import Core
from engine.scheduling.outstanding import Room

_WORKERS_S = 1.0
"""Seconds for which the list of workers is taken as known."""


class Rooms:
    """Asks for room on behalf of one shard. Tokens that were granted and not used are kept.

    ``paused`` holds the queues that an operator paused, as last read from the journal.
    """

    def __init__(self, shard: int, world: World, limits: Limits) -> None:
        self._shard, self._world, self._limits = shard, world, limits
        self._slots: Counter[str] = Counter()
        self._workers: list[tuple[frozenset[str], int]] = []
        self._slots_known_until = float("-inf")
        self._tokens: Counter[str] = Counter()
        self._idle_pools: set[str] = set()
        self._released = False
        self.next_token_s: float | None = None
        self.paused: frozenset[str] = frozenset()

    def room(self, core: Core) -> Room:
        """The room for the next dispatch. Raises ``Unavailable``: then nothing may be sent."""
        self.next_token_s = None  # what was said before Redis went away holds no more
        wanted_slots, wanted_tokens = core.demand(self._limits.rates)
        pools, tokens = self._pools(core, wanted_slots), self._rates(wanted_tokens)
        return Room(self._worker_slots(), pools, tokens, self.paused, self._workers)

    def used(self, task: str, count: int) -> None:
        """``count`` tokens of ``task`` were spent."""
        if task in self._limits.rates:
            self._tokens[task] -= count

    def _worker_slots(self) -> Counter[str]:
        now = self._world.clock.monotonic()
        if now >= self._slots_known_until:
            slots: Counter[str] = Counter()
            workers = self._world.hot.workers()
            self._workers = [(frozenset(worker.queues), worker.slots) for worker in workers]
            for worker in workers:
                for queue in worker.queues:
                    slots[queue] += worker.slots
            self._slots, self._slots_known_until = slots, now + _WORKERS_S
        return self._slots

    def _pools(self, core: Core, wanted: Counter[str]) -> dict[str, int]:
        in_use = core.pool_use()
        if not self._released:
            self._world.hot.release_pools(self._shard, self._limits.shards, {pool for pool in in_use if in_use[pool]})
            self._released = True
        free = {}
        busy = {pool for pool in {*wanted, *in_use} if wanted[pool] or in_use[pool]}
        # That nothing of a pool is used is told once: each turn would cost a round trip a pool otherwise, for ever.
        for pool in busy | (in_use.keys() - self._idle_pools):
            limit = self._limits.pools.get(pool, core.plan_pools.get(pool))
            if limit is None:
                free[pool] = wanted[pool]  # its limit was taken out of the settings since it was submitted
            else:
                free[pool] = self._world.hot.admit(pool, limit, self._shard, in_use[pool], wanted[pool])
        self._idle_pools = in_use.keys() - busy
        return free

    def _rates(self, wanted: Counter[str]) -> dict[str, int]:
        for task, rate in self._limits.rates.items():
            missing = min(wanted[task], rate.burst) - self._tokens[task]
            if missing > 0:
                granted, next_s = self._world.hot.take_tokens(task, rate.per_s, rate.burst, missing)
                self._tokens[task] += granted
                if granted < missing:
                    self.next_token_s = min(next_s, self.next_token_s or next_s)
        return {task: self._tokens[task] for task in self._limits.rates}
