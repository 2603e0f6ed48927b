"""Time, chance and order of a simulated world: one queue of actions, one source of chance.

An action runs to its end before the next one; what may come between two lines of a real process is
two actions here, or a ``pause`` inside one, during which the others go on.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import Any

EPOCH = 1_700_000_000.0


class Violation(AssertionError):  # noqa: N818 - it is no error of the simulation
    """An invariant of the design does not hold."""


class Driver:
    """Turns the clock and runs what is due.

    Parameters
    ----------
    seed
        The same seed gives the same world, to the last message.
    trace
        Gets the lines of the trace; without it there is none, for it costs time.
    """

    def __init__(self, seed: int, trace: list[str] | None = None) -> None:
        self.chance = random.Random(seed)
        self.now = 0.0
        self.wall_offset = EPOCH
        self.pausing = False
        self._trace = trace
        self._actions: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._number = 0

    @property
    def wall(self) -> float:
        """What the machine's clock shows; it may jump."""
        return self.now + self.wall_offset

    def after(self, seconds: float, action: Callable[..., None], *arguments: Any) -> None:
        """Run ``action`` in ``seconds``."""
        self._number += 1
        heapq.heappush(self._actions, (self.now + seconds, self._number, action, arguments))

    def run(self, until: float, over: Callable[[], bool] = lambda: False) -> None:
        """Run what is due until then, or until it is over."""
        while self._actions and self._actions[0][0] <= until and not over():
            due, _, action, arguments = heapq.heappop(self._actions)
            self.now = max(self.now, due)
            action(*arguments)
        if not over():
            self.now = max(self.now, until)

    def pause(self, seconds: float) -> None:
        """Let everything else go on for a while, in the middle of an action. Never nested."""
        if self.pausing:
            return
        self.pausing = True
        try:
            self.run(self.now + seconds)
        finally:
            self.pausing = False

    def odds(self, probability: float) -> bool:
        """Whether something of that probability happens now."""
        return probability > 0 and self.chance.random() < probability

    def note(self, who: str, what: str) -> None:
        """Add a line to the trace."""
        if self._trace is not None:
            self._trace.append(f"{self.now:10.3f} {who:<10} {what}")

    @property
    def tracing(self) -> bool:
        return self._trace is not None


class SimClock:
    """``engine.clock.Clock`` of one process in the simulated world."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def now(self) -> float:
        return self._driver.wall

    def monotonic(self) -> float:
        return self._driver.now + 1000.0
