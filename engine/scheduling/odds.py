"""What the core may ask about how long bodies take and how things usually turn out.

The core never learns by itself: whoever runs it hands it something that answers these questions,
so that the same answers give the same decisions. ``engine.learning`` answers from what earlier runs
showed; ``NoOdds`` knows nothing. An answer may change between two turns, never within one.
"""

# ruff: noqa: ARG002 - NoOdds gives the same answer whatever it is asked

from __future__ import annotations

from typing import Protocol


class Odds(Protocol):
    """Learned figures. A step that was seen too seldom is answered for by its task type.

    ``plan`` is a plan's name, ``path`` a step's path in it, ``task`` the step's task type. Where plan and
    path are empty, the task type is asked for.
    """

    def typical_s(self, plan: str, path: str, task: str) -> float | None:
        """Seconds that a body of the step usually takes, quick to follow a change.

        ``None`` if neither the step nor its task type was seen.
        """
        ...

    def quantile_s(self, plan: str, path: str, task: str, q: float) -> float | None:
        """Seconds within which the share ``q`` (0 to 1) of the step's bodies end; ``None`` if unknown."""
        ...

    def bodies(self, plan: str, path: str, task: str) -> int:
        """How many bodies the two figures above rest on, old ones counting less; 0 if unknown."""
        ...

    def branch(self, plan: str, path: str) -> tuple[float, int] | None:
        """Odds (0 to 1) that the step's condition holds, and how many evaluations they rest on.

        ``None`` if it was never evaluated.
        """
        ...

    def failure(self, plan: str, path: str, task: str) -> float:
        """Odds (0 to 1) that a body of the step fails; a small prior if nothing is known."""
        ...


class NoOdds:
    """Knows nothing: what the core has when nothing was learned."""

    def typical_s(self, plan: str, path: str, task: str) -> float | None:
        """Unknown."""
        return None

    def quantile_s(self, plan: str, path: str, task: str, q: float) -> float | None:
        """Unknown."""
        return None

    def bodies(self, plan: str, path: str, task: str) -> int:
        """None seen."""
        return 0

    def branch(self, plan: str, path: str) -> tuple[float, int] | None:
        """Unknown."""
        return None

    def failure(self, plan: str, path: str, task: str) -> float:
        """No evidence that bodies fail."""
        return 0.0
