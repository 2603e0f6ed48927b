"""One turn of the core: what it may read besides the runs, and what it says."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.scheduling.events import Effect, Request, Verdict
from engine.scheduling.odds import Odds
from engine.scheduling.outstanding import Outstanding
from engine.scheduling.ready import Ready
from engine.scheduling.records import Record
from engine.scheduling.state import LiveRun, Policy
from engine.scheduling.urgency import Urgency

RUN_DEADLINE = (-1, -1)
"""Stands for a node in a timer that is a run's deadline."""
BUDGET_ANSWER = (-1, -2)
"""Stands for a node in a timer that is the end of the time in which an operator may answer."""
_DATES = (RUN_DEADLINE, BUDGET_ANSWER)


class Timers:
    """Due times of retries and deadlines, soonest first. An entry may be stale: check on firing."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, str, int, int]] = []

    def add(self, due: float, run_id: str, step_no: int, item: int) -> None:
        """Fire at ``due`` (epoch seconds) for a node, ``RUN_DEADLINE`` or ``BUDGET_ANSWER``."""
        heapq.heappush(self._heap, (due, run_id, step_no, item))

    def due(self, now: float) -> list[tuple[str, int, int]]:
        """Take what is due: (run id, step_no, item) each."""
        fired = []
        while self._heap and self._heap[0][0] <= now:
            _, run_id, step_no, item = heapq.heappop(self._heap)
            fired.append((run_id, step_no, item))
        return fired

    def shift(self, seconds: float) -> None:
        """The clock jumped by ``seconds``: waits keep their length, what was told as a date keeps it."""
        self._heap = [
            (due if (step_no, item) in _DATES else due + seconds, run_id, step_no, item)
            for due, run_id, step_no, item in self._heap
        ]
        heapq.heapify(self._heap)

    def next_at(self) -> float | None:
        """When the next entry is due; ``None`` if there is none."""
        return self._heap[0][0] if self._heap else None


@dataclass(slots=True)
class Turn:
    """The time, the core's shared parts, and what is said in this turn."""

    now: float
    policy: Policy
    ready: Ready
    outstanding: Outstanding
    odds: Odds
    timers: Timers
    urgency: Urgency = field(default_factory=Urgency)
    verdict: Verdict = field(default_factory=Verdict)
    moved: dict[str, LiveRun] = field(default_factory=dict)
    """Runs with news in this turn."""
    runs: Mapping[str, LiveRun] = field(default_factory=dict)
    """All that are in memory."""

    def record(self, record: Record) -> None:
        """Journal this."""
        self.verdict.records.append(record)

    def request(self, request: Request) -> None:
        """Look this up at once."""
        self.verdict.requests.append(request)

    def effect(self, effect: Effect) -> None:
        """Do this after the commit."""
        self.verdict.effects.append(effect)
