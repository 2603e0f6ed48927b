"""Which messages go before the backlog of their queue: those of runs that have next to nothing out.

The broker holds some seconds of work, in order. A small run behind a big one would wait for all of
that, so its first messages go to the head of the queue. Only half of a queue's slots may be spent so:
a stream of small runs slows a big one down, and never stops it.
"""

from __future__ import annotations

FIRST_S = 0.1
"""Seconds of a slot's work that count as a run's first."""
AT_ONCE_S = 0.01
"""The same for a run that has more than next to nothing out."""
_SHARE = 0.5
_SAVED_S = 1.0


class Urgency:
    """What may still go first: a token bucket of seconds for each queue."""

    def __init__(self) -> None:
        self._left_s: dict[str, float] = {}
        self._at: dict[str, float] = {}

    def grant(self, queue: str, slots: int, seconds: float, now: float) -> bool:
        """Whether ``seconds`` of work may go before all else of the queue; they are spent if so."""
        most_s = slots * _SAVED_S
        elapsed_s = max(0.0, now - self._at.get(queue, now))
        left_s = min(most_s, self._left_s.get(queue, most_s) + elapsed_s * slots * _SHARE)
        self._at[queue] = now
        granted = seconds <= left_s
        self._left_s[queue] = left_s - seconds if granted else left_s
        return granted
