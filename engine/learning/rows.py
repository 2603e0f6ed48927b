"""What was learned, in the form in which it is stored: data only, for who stores or shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Key = tuple[str, str, str]
"""(plan, path, task) of a step's bodies; ("", "", task) of a task type's; (plan, path, "") of a condition."""


@dataclass(frozen=True, slots=True)
class LearnedRow:
    """One kind as it is stored. ``facts`` is JSON data."""

    plan: str
    path: str
    task: str
    seen_at: float
    facts: dict[str, Any]

    @property
    def key(self) -> Key:
        return self.plan, self.path, self.task


@dataclass(frozen=True, slots=True)
class Learned:
    """What is stored of one shard's. ``generation`` counts the resets before it."""

    generation: int
    rows: Sequence[LearnedRow]
