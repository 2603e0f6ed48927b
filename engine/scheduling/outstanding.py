"""What is out: how much of each queue's window and of each pool the active attempts occupy.

The window is sized by time: about ``window_s`` seconds of work for each slot of a queue. So
priorities act within seconds, the broker never holds the backlog, and Flower's queue depth still
says something.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from engine.dag.compiled import CompiledStep
from engine.scheduling.state import Active

_MESSAGES_A_SLOT = 2
"""Attempts a slot that may be out however long they last, so that no slot waits for the scheduler."""


@dataclass(frozen=True, slots=True)
class Room:
    """What may be added now.

    Parameters
    ----------
    slots
        Slots of the workers of each queue; a queue with no known worker is taken to have one.
    pools
        Free slots of each pool, as granted to this shard.
    tokens
        Granted tokens of each rate-limited task type; a type that is absent has no limit.
    paused
        Queues that an operator paused.
    workers
        The queues and the slots of each known worker.
    """

    slots: Mapping[str, int]
    pools: Mapping[str, int] = field(default_factory=dict)
    tokens: Mapping[str, int] = field(default_factory=dict)
    paused: frozenset[str] = frozenset()
    workers: Sequence[tuple[frozenset[str], int]] = ()


class Outstanding:
    """Sums over the active attempts."""

    def __init__(self) -> None:
        self._count: Counter[str] = Counter()
        self._seconds: dict[str, float] = {}
        self.pools: Counter[str] = Counter()

    def add(self, step: CompiledStep, active: Active) -> None:
        """Count an attempt that is going out."""
        self._count[active.queue] += 1
        self._seconds[active.queue] = self._seconds.get(active.queue, 0.0) + active.estimate_s
        for pool in step.pools:
            self.pools[pool] += 1

    def remove(self, step: CompiledStep, active: Active) -> None:
        """An attempt ended."""
        self._count[active.queue] -= 1
        left_s = self._seconds[active.queue] - active.estimate_s
        self._seconds[active.queue] = left_s if self._count[active.queue] else 0.0  # no drift of sums
        for pool in step.pools:
            self.pools[pool] -= 1

    def count(self, queue: str) -> int:
        """Attempts of a queue that are out."""
        return self._count[queue]

    def total(self) -> int:
        """Attempts that are out."""
        return self._count.total()

    def window(self, queue: str, slots: int, window_s: float, estimate_s: float) -> int:
        """How many attempts of ``estimate_s`` seconds each still fit in the queue's window."""
        by_count = slots * _MESSAGES_A_SLOT - self._count[queue]
        by_time = int((slots * window_s - self._seconds.get(queue, 0.0)) / estimate_s)
        return max(0, by_count, by_time)
