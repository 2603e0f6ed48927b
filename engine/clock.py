"""Time as an argument: the one place that reads the machine's clock."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the engine asks of a clock; tests hand in one that they turn by hand."""

    def now(self) -> float:
        """Seconds since the epoch, UTC. May jump: never subtract two of these for a duration."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never jumps."""


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()
