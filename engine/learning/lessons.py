"""Texts that a model's checked answers were to, and whether they passed: what a router learns from.

Bounded: the newest ``LESSONS_MAX``, each text cut to ``TEXT_MAX`` characters; a model's second answer to the same text
takes the place of the first. Stored with all else that is learned, and reset with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from engine.learning.rows import Key, LearnedRow

LESSONS_MAX = 1000
TEXT_MAX = 500
PREFIX = "text:"
"""How the paths of lessons begin, among the rows of what was learned."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """Whether ``model`` passed ``text`` as a task of that type."""

    model: str
    task: str
    text: str
    passed: bool


class Lessons:
    """The newest lessons. Not to be shared by threads."""

    def __init__(self, most: int = LESSONS_MAX) -> None:
        self._rows: dict[Key, LearnedRow] = {}
        self._changed: dict[Key, None] = {}
        self._gone: dict[Key, None] = {}
        self._most = most

    def observe(self, lesson: Lesson, at: float) -> None:
        """Take in a lesson of the epoch second ``at``; the oldest go when there are too many."""
        text = lesson.text[:TEXT_MAX]
        digest = hashlib.blake2b(f"{lesson.model}\0{text}".encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
        key = ("", PREFIX + digest, lesson.task)
        self._rows.pop(key, None)
        facts = {"model": lesson.model, "text": text, "passed": lesson.passed}
        self._rows[key] = LearnedRow(*key, at, facts)
        self._changed[key] = None
        self._gone.pop(key, None)
        while len(self._rows) > self._most:
            oldest = next(iter(self._rows))
            del self._rows[oldest]
            self._changed.pop(oldest, None)
            self._gone[oldest] = None

    def __iter__(self) -> Iterator[Lesson]:
        """Oldest first."""
        for row in self._rows.values():
            yield Lesson(str(row.facts["model"]), row.task, str(row.facts["text"]), bool(row.facts["passed"]))

    def load(self, rows: Iterable[LearnedRow]) -> None:
        """Take in what is stored, where nothing newer is known; a row of another form is left out."""
        stored = {row.key: row for row in rows if {"model", "text", "passed"} <= row.facts.keys()}
        both = sorted((stored | self._rows).values(), key=lambda row: row.seen_at)
        for row in both[: -self._most]:
            self._gone[row.key] = None
            self._changed.pop(row.key, None)
        self._rows = {row.key: row for row in both[-self._most :]}

    def unstored(self, most: int) -> tuple[list[LearnedRow], list[Key]]:
        """Up to ``most`` rows that are not stored yet, and the keys of those to delete."""
        return [self._rows[key] for key in list(self._changed)[:most]], list(self._gone)

    def stored(self, rows: Iterable[LearnedRow], gone: Iterable[Key]) -> None:
        """What ``unstored`` gave is durable now."""
        for row in rows:
            self._changed.pop(row.key, None)
        for key in gone:
            self._gone.pop(key, None)

    def clear(self) -> None:
        """Forget everything."""
        for kept in (self._rows, self._changed, self._gone):
            kept.clear()
