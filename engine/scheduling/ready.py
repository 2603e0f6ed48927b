"""What is ready, in the order it should go out: priority, then fair turns, then critical path.

The unit is a step that has dispatchable nodes (a *source*), never a node, so a fan-out of 100,000
costs one entry. Runs of one priority take turns; within a run, the step with the longest path
behind it goes first.

References
----------
Topcuoglu, Hariri, Wu: Performance-effective and low-complexity task scheduling for heterogeneous
computing (HEFT), IEEE TPDS 13(3), 2002: the upward rank that orders sources.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator

from engine.scheduling.state import LiveRun


class Ready:
    """Sources by queue. A source is listed at most once (``StepProgress.listed``)."""

    def __init__(self) -> None:
        self._queues: dict[str, _QueueSources] = {}

    def add(self, run: LiveRun, no: int) -> None:
        """List the step if it has something to dispatch and is not listed."""
        progress = run.steps[no]
        if progress.listed or not progress.dispatchable:
            return
        progress.listed = True
        self._queues.setdefault(run.queue(no), _QueueSources()).add(run, no, run.ranks[no])

    def queues(self) -> list[str]:
        """Queues that have a source."""
        return [name for name, sources in self._queues.items() if sources]

    def width(self, queue: str) -> int:
        """Sources of a queue."""
        sources = self._queues.get(queue)
        return sources.width if sources else 0

    def runs(self, queue: str) -> int:
        """Runs of the highest priority that take turns in a queue."""
        return self._queues[queue].turns

    def first(self, queue: str) -> tuple[LiveRun, int] | None:
        """The source whose turn it is, or ``None``."""
        sources = self._queues.get(queue)
        return sources.first() if sources else None

    def rivals(self, queue: str) -> tuple[int, int | None]:
        """Other sources of the run whose turn it is: how many, and the step that comes next."""
        return self._queues[queue].rivals()

    def drop_first(self, queue: str) -> None:
        """Unlist the source whose turn it is: it is empty, limited, or its run is not running."""
        run, no = self._queues[queue].drop_first()
        run.steps[no].listed = False

    def rotate(self, queue: str) -> None:
        """The next run of the same priority has its turn."""
        self._queues[queue].rotate()

    def __iter__(self) -> Iterator[tuple[LiveRun, int]]:
        """Every listed source, in no order."""
        for sources in self._queues.values():
            yield from sources


class _QueueSources:
    """The sources of one queue: a ring of runs for each priority, a heap of steps for each run."""

    def __init__(self) -> None:
        self._rings: dict[int, deque[str]] = {}
        self._runs: dict[str, tuple[LiveRun, list[tuple[float, int]]]] = {}
        self.width = 0

    def __bool__(self) -> bool:
        return bool(self._runs)

    def __iter__(self) -> Iterator[tuple[LiveRun, int]]:
        for run, heap in self._runs.values():
            for _, no in heap:
                yield run, no

    @property
    def turns(self) -> int:
        return len(self._rings[max(self._rings)]) if self._rings else 0

    def add(self, run: LiveRun, no: int, rank: float) -> None:
        if run.id not in self._runs:
            self._runs[run.id] = (run, [])
            self._rings.setdefault(run.priority, deque()).append(run.id)
        heapq.heappush(self._runs[run.id][1], (-rank, no))
        self.width += 1

    def first(self) -> tuple[LiveRun, int]:
        run, heap = self._runs[self._rings[max(self._rings)][0]]
        return run, heap[0][1]

    def rivals(self) -> tuple[int, int | None]:
        _, heap = self._runs[self._rings[max(self._rings)][0]]
        return len(heap) - 1, min(heap[1:3])[1] if len(heap) > 1 else None  # a heap's second is one of these

    def drop_first(self) -> tuple[LiveRun, int]:
        priority = max(self._rings)
        ring = self._rings[priority]
        run, heap = self._runs[ring[0]]
        _, no = heapq.heappop(heap)
        self.width -= 1
        if not heap:
            del self._runs[run.id]
            ring.popleft()
            if not ring:
                del self._rings[priority]
        return run, no

    def rotate(self) -> None:
        self._rings[max(self._rings)].rotate(-1)
