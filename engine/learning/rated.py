"""Ratings by operators as evidence of models: one row for each model, class of step and task type, beside what checks
told. Pure.

A person who looked is believed more than a judge that was drawn: a rating weighs as much as ``WEIGHT`` checked results.
A result that is rated again takes back what was said of it before, faded as it has by then.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.learning.kinds import HALF_LIFE_S, Kind
from engine.learning.rows import Key, LearnedRow

PREFIX = "rated:"
"""How the paths of ratings begin, among the rows of what was learned."""
WEIGHT = 3.0
PASSES_FROM = 0.7
"""Score from which a rated result passes, as a judged one does."""


@dataclass(frozen=True, slots=True)
class Rated:
    """What a rating says of a model: whether its answer passed, as a task of that type in a step of that class."""

    model: str
    step_class: str
    task: str
    passed: bool
    at: float


def keys_of(rated: Rated) -> tuple[Key, Key]:
    """Keys of the rows that it counts in: its class of step, and all classes together."""
    return ("", f"{PREFIX}{rated.model}|{rated.step_class}", rated.task), ("", f"{PREFIX}{rated.model}|*", rated.task)


def counted(row: LearnedRow, rated: Rated) -> LearnedRow:
    """``row`` with one rating more."""
    kind = Kind.of(row.facts, row.seen_at)
    kind.touch(rated.at)
    kind.ok, kind.failed = kind.ok + WEIGHT * rated.passed, kind.failed + WEIGHT * (not rated.passed)
    return LearnedRow(*row.key, kind.seen_at, kind.facts())


def taken_back(row: LearnedRow, rated: Rated, at: float) -> LearnedRow:
    """``row`` at the epoch second ``at`` without a rating that it has counted, unless it was reset since."""
    kind = Kind.of(row.facts, row.seen_at)
    kind.touch(at)
    left = WEIGHT * 0.5 ** (max(0.0, kind.faded_at - rated.at) / HALF_LIFE_S)
    if rated.passed:
        kind.ok = max(0.0, kind.ok - left)
    else:
        kind.failed = max(0.0, kind.failed - left)
    return LearnedRow(*row.key, kind.seen_at, kind.facts())
