"""What is ready, in the order it should go out: priority, then fair turns, then critical path.

The unit is a step that has dispatchable nodes (a *source*), never a node, so a fan-out of 100,000
costs one entry. Runs of one priority take turns, and one that comes to a queue with next to nothing
out is a *newcomer* there: its first turn comes before those of runs that had theirs. Within a run,
the step with the longest path behind it goes first.

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

NEXT_TO_NOTHING = 16
"""Attempts that a newcomer may have out."""


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
        """Queues that have a source, in the order of their turns."""
        return [name for name, sources in self._queues.items() if sources]

    def put_last(self, queue: str) -> None:
        """The other queues have their turns before this one."""
        self._queues[queue] = self._queues.pop(queue)

    def width(self, queue: str) -> int:
        """Sources of a queue."""
        sources = self._queues.get(queue)
        return sources.width if sources else 0

    def runs(self, queue: str) -> int:
        """Runs of the highest priority that take turns in a queue."""
        return self._queues[queue].turns

    def newcomers(self, queue: str) -> int:
        """Those of them that had no turn yet since they came to the queue."""
        return self._queues[queue].newcomers

    def no_newcomers(self, queue: str) -> None:
        """From now on those wait for their turn behind the others."""
        self._queues[queue].no_newcomers()

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
        self._rings: dict[int, _Ring] = {}
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
        return len(self._top) if self._rings else 0

    @property
    def newcomers(self) -> int:
        return len(self._top.newcomers) if self._rings else 0

    @property
    def _top(self) -> _Ring:
        return self._rings[max(self._rings)]

    def no_newcomers(self) -> None:
        for ring in self._rings.values():
            ring.no_newcomers()

    def add(self, run: LiveRun, no: int, rank: float) -> None:
        if run.id not in self._runs:
            self._runs[run.id] = (run, [])
            self._rings.setdefault(run.priority, _Ring()).add(run.id, new=len(run.active) <= NEXT_TO_NOTHING)
        heapq.heappush(self._runs[run.id][1], (-rank, no))
        self.width += 1

    def first(self) -> tuple[LiveRun, int]:
        run, heap = self._runs[self._top.first()]
        return run, heap[0][1]

    def rivals(self) -> tuple[int, int | None]:
        _, heap = self._runs[self._top.first()]
        return len(heap) - 1, min(heap[1:3])[1] if len(heap) > 1 else None  # a heap's second is one of these

    def drop_first(self) -> tuple[LiveRun, int]:
        ring = self._top
        run, heap = self._runs[ring.first()]
        _, no = heapq.heappop(heap)
        self.width -= 1
        if not heap:
            del self._runs[run.id]
            ring.take_first()
            if not len(ring):
                del self._rings[run.priority]
        return run, no

    def rotate(self) -> None:
        self._top.rotate()


class _Ring:
    """Runs of one priority in the order of their turns: newcomers, then those that had one, the longest ago first."""

    def __init__(self) -> None:
        self.newcomers: deque[str] = deque()
        self._others: deque[str] = deque()

    def __len__(self) -> int:
        return len(self.newcomers) + len(self._others)

    def add(self, run_id: str, *, new: bool) -> None:
        (self.newcomers if new else self._others).append(run_id)

    def first(self) -> str:
        return (self.newcomers or self._others)[0]

    def take_first(self) -> str:
        return (self.newcomers or self._others).popleft()

    def rotate(self) -> None:
        self._others.append(self.take_first())

    def no_newcomers(self) -> None:
        self._others.extend(self.newcomers)
        self.newcomers.clear()
