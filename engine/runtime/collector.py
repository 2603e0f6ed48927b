"""When a scheduler's process looks for garbage in cycles: seldom at work, and when it has nothing to do.

A scheduler holds the state of every node in memory, and Python's collector goes through all of it again
and again while it grows: with 20,000 nodes that took a third of the processor time, in pauses of a tenth
of a second. What the engine makes and drops has few cycles, so that a seldom look is enough.
"""

from __future__ import annotations

import gc

_YOUNG, _MIDDLE, _OLD = 50_000, 20, 100
"""Objects made and not yet dropped before the young ones are looked at, and how many such looks make the next."""
_IDLE_EVERY_S = 60.0


class Collector:
    """Sets this process's collector up for a scheduler. One for each thread that leads a shard."""

    def __init__(self) -> None:
        gc.collect()
        gc.freeze()  # modules and their like are never garbage
        gc.set_threshold(_YOUNG, _MIDDLE, _OLD)
        self._worked = False
        self._looked_at = float("-inf")

    def step(self, now: float, *, idle: bool) -> None:
        """Look through everything if there is no run in memory, and was one since; ``now`` in seconds."""
        if not idle:
            self._worked = True
        elif self._worked and now - self._looked_at >= _IDLE_EVERY_S:
            self._worked, self._looked_at = False, now
            gc.collect()
