"""How long bodies take, as far as is known: what sizes the window."""

from __future__ import annotations

FLOOR_S = 0.001
"""No message costs less than this, however short its body: the broker's own time."""
UNKNOWN_S = 1.0
"""What a body is taken to last before one of its kind has ended."""
_WEIGHT = 0.2


class Durations:
    """Exponentially weighted mean seconds of a body, by task type."""

    def __init__(self) -> None:
        self._mean_s: dict[str, float] = {}

    def observe(self, task: str, seconds: float) -> None:
        """Take in one body's seconds; negative ones (a clock that jumped) are ignored."""
        if seconds < 0:
            return
        known = self._mean_s.get(task)
        self._mean_s[task] = seconds if known is None else known + _WEIGHT * (seconds - known)

    def estimate_s(self, task: str) -> float:
        """Expected seconds that one node of this task type occupies a slot."""
        return max(FLOOR_S, self._mean_s.get(task, UNKNOWN_S))
