"""Time as an argument: the one place that reads the machine's clock."""

from __future__ import annotations

import time
from typing import Protocol

JUMP_S = 1.0
"""Seconds by which the wall clock may drift from the monotonic one between two looks without a jump."""


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


class JumpWatch:
    """Notices when the wall clock was set, by what it gains on the monotonic one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead_s = clock.now() - clock.monotonic()

    def jumped_s(self) -> float:
        """Seconds by which the clock was set since the last call, negative for back; 0 if it was not."""
        before_s, self._ahead_s = self._ahead_s, self._clock.now() - self._clock.monotonic()
        gained_s = self._ahead_s - before_s
        return gained_s if abs(gained_s) > JUMP_S else 0.0
