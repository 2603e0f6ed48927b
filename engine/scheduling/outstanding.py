"""What is out: how much of each queue's window and of each pool the active attempts occupy.

The window is sized by time: about ``window_s`` seconds of work for each slot of a queue. So
priorities act within seconds, the broker never holds the backlog, and Flower's queue depth still
says something.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from engine.scheduling.state import Active, LiveRun
from engine.scheduling.urgency import FIRST_S

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
        self._of_runs: dict[tuple[str, str], tuple[int, float]] = {}
        self.pools: Counter[str] = Counter()

    def add(self, run: LiveRun, no: int, active: Active) -> None:
        """Count an attempt at a node of step ``no`` that is going out."""
        count, seconds = self._of_runs.get((run.id, active.queue), (0, 0.0))
        self._of_runs[run.id, active.queue] = count + 1, seconds + active.estimate_s
        self._count[active.queue] += 1
        self._seconds[active.queue] = self._seconds.get(active.queue, 0.0) + active.estimate_s
        for pool in run.step(no).pools:
            self.pools[pool] += 1

    def remove(self, run: LiveRun, no: int, active: Active) -> None:
        """An attempt ended."""
        count, seconds = self._of_runs.pop((run.id, active.queue))
        if count > 1:
            self._of_runs[run.id, active.queue] = count - 1, seconds - active.estimate_s
        self._count[active.queue] -= 1
        left_s = self._seconds[active.queue] - active.estimate_s
        self._seconds[active.queue] = left_s if self._count[active.queue] else 0.0  # no drift of sums
        for pool in run.step(no).pools:
            self.pools[pool] -= 1

    def of_run_s(self, run: LiveRun, queue: str) -> float:
        """Seconds of work of a run that are out in a queue."""
        return self._of_runs.get((run.id, queue), (0, 0.0))[1]

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

    def first(self, run: LiveRun, queue: str, slots: int, window_s: float, estimate_s: float) -> int:
        """How many a run may send though the window is full, because it has next to nothing out."""
        if self._seconds.get(queue, 0.0) > 2 * slots * window_s:
            return 0  # too many such runs
        return max(0, int((slots * FIRST_S - self.of_run_s(run, queue)) / estimate_s))
