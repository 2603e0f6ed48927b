"""How long bodies take, as far as is known: what sizes the window."""

from __future__ import annotations

MESSAGE_S = 0.001
"""What a message of its own costs, however short its body: the broker's time."""
NODE_S = 0.0002
"""What a node costs inside a chunk, however short its body: claim, begin, report."""
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

    def known_s(self, task: str) -> float | None:
        """Mean seconds of a body of this task type; ``None`` if none has ended yet."""
        return self._mean_s.get(task)

    def estimate_s(self, task: str) -> float:
        """Expected seconds that one node of this task type occupies a slot, in a message of its own."""
        return max(MESSAGE_S, self._mean_s.get(task, UNKNOWN_S))
