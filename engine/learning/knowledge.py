"""Everything one scheduler has learned, by plan and step and by task type.

It answers the scheduling core's questions (``engine.scheduling.odds.Odds``) and says what of it is
to be stored. It does no input or output and reads no clock: times come in as ``at``, seconds since
the epoch.

Bounded: at most ``KINDS_MAX`` kinds, those not seen for longest going first, of which one plan's
steps are at most ``STEPS_MAX``; the steps of a larger plan are known by their task types alone. A
kind is at most about 2 KB.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from engine.learning import rated
from engine.learning.kinds import Kind
from engine.learning.lessons import PREFIX, Lesson, Lessons
from engine.learning.rows import Key, LearnedRow

KINDS_MAX, STEPS_MAX = 8000, 2000
FEW = 3
"""A step with fewer observations than this is answered for by its task type."""

MODEL, WHOLE = "model:", "*"
"""How the paths of models begin, and the class of step that stands for all of them together."""


def model_path(model: str, step_class: str) -> str:
    """The path under which a model's checked answers are known, for steps of a class."""
    return f"{MODEL}{model}|{step_class}"


class Knowledge:
    """What was learned. Not to be shared by threads."""

    def __init__(self, kinds_max: int = KINDS_MAX, steps_max: int = STEPS_MAX) -> None:
        self._kinds: dict[Key, Kind] = {}
        self._steps: Counter[str] = Counter()
        self._changed: dict[Key, None] = {}
        self._gone: dict[Key, None] = {}
        self._kinds_max, self._steps_max = kinds_max, steps_max
        self.lessons = Lessons()
        self.rated: dict[Key, Kind] = {}

    def __len__(self) -> int:
        return len(self._kinds)

    # --- what is observed -----------------------------------------------------------------------

    def observe_bodies(
        self, plan: str, path: str, task: str, seconds: Sequence[float], at: float, *, ok: bool = True
    ) -> None:
        """Bodies of a step ended after ``seconds`` each. Negative ones (a clock that jumped) do not count.

        With ``plan`` and ``path`` empty they are learned of by their task type alone.
        Bodies that failed say how long such bodies hold a slot, but not how long one that succeeds takes.
        """
        if seconds and min(seconds) < 0:
            seconds = [each for each in seconds if each >= 0]
        if seconds:
            for kind in self._observed(plan, path, task, at):
                kind.observe_bodies(seconds, ok=ok)

    def observe_ends(self, plan: str, path: str, task: str, ok: int, failed: int, at: float) -> None:
        """So many bodies of a step succeeded and failed."""
        for kind in self._observed(plan, path, task, at):
            kind.observe_ends(ok, failed)

    def observe_branch(self, plan: str, path: str, held: int, refused: int, at: float) -> None:
        """A step's condition was true and false so many times."""
        for kind in self._observed(plan, path, "", at):
            kind.observe_branch(held, refused)

    def observe_items(self, plan: str, path: str, count: int, at: float) -> None:
        """A fan-out had ``count`` items."""
        for kind in self._observed(plan, path, "", at):
            kind.observe_items(count)

    def observe_answer(self, lesson: Lesson, step_class: str, at: float) -> None:
        """A model's answer was checked. Counts for the class of its step, and for its task type as a whole."""
        for each in (step_class, WHOLE):
            for kind in self._observed("", model_path(lesson.model, each), lesson.task, at):
                kind.observe_ends(int(lesson.passed), int(not lesson.passed))
        if lesson.text:
            self.lessons.observe(lesson, at)

    # --- what may be asked (engine.scheduling.odds.Odds) ----------------------------------------

    def typical_s(self, plan: str, path: str, task: str) -> float | None:
        """Seconds that a body of the step usually takes, the newest counting most; ``None`` if unknown."""
        kind = self._kinds.get((plan, path, task))
        if kind is None or kind.bodies < FEW:
            kind = self._kinds.get(("", "", task), kind)
        return kind.typical_s if kind is not None and kind.bodies else None

    def quantile_s(self, plan: str, path: str, task: str, q: float) -> float | None:
        """Seconds within which the share ``q`` (0 to 1) of the step's successful bodies end."""
        kind = self._kinds.get((plan, path, task))
        if kind is None or kind.sketch.weight() < FEW:
            kind = self._kinds.get(("", "", task), kind)
        return None if kind is None else kind.sketch.quantile(q)

    def bodies(self, plan: str, path: str, task: str) -> int:
        """How many successful bodies ``quantile_s`` rests on, old ones counting less."""
        kind = self._kinds.get((plan, path, task))
        if kind is None or kind.sketch.weight() < FEW:
            kind = self._kinds.get(("", "", task), kind)
        return 0 if kind is None else round(kind.sketch.weight())

    def branch(self, plan: str, path: str) -> tuple[float, int] | None:
        """Odds that the step's condition holds, and how many evaluations they rest on."""
        kind = self._kinds.get((plan, path, ""))
        if kind is None or kind.held + kind.refused <= 0:
            return None
        return kind.branch_odds(), round(kind.held + kind.refused)

    def failure(self, plan: str, path: str, task: str) -> float:
        """Odds that a body of the step fails."""
        kind = self._kinds.get((plan, path, task))
        if kind is None or kind.ok + kind.failed < FEW:
            kind = self._kinds.get(("", "", task), kind)
        return (kind or Kind()).failure_odds()

    def items(self, plan: str, path: str) -> float | None:
        """Mean number of a fan-out's items, the newest counting most; ``None`` if unknown."""
        kind = self._kinds.get((plan, path, ""))
        return kind.items if kind is not None and kind.items else None

    # --- what is kept ---------------------------------------------------------------------------

    def clear(self) -> None:
        """Forget everything, as if nothing had ever been observed or loaded."""
        for kept in (self._kinds, self._steps, self._changed, self._gone):
            kept.clear()
        self.rated.clear()
        self.lessons.clear()

    def kinds(self) -> Iterator[tuple[Key, Kind]]:
        """All that is known, for people who look."""
        yield from self._kinds.items()

    def unstored(self, most: int) -> tuple[list[LearnedRow], list[Key]]:
        """Up to ``most`` rows that changed since they were stored, and the keys of those to delete."""
        rows = []
        for key in list(self._changed)[:most]:
            kind = self._kinds[key]
            rows.append(LearnedRow(*key, kind.seen_at, kind.facts()))
        lessons, gone = self.lessons.unstored(most - len(rows))
        return rows + lessons, [*self._gone, *gone]

    def stored(self, rows: Iterable[LearnedRow], gone: Iterable[Key]) -> None:
        """What ``unstored`` gave is durable now, and nothing was observed since."""
        rows, gone = list(rows), list(gone)
        self.lessons.stored(rows, gone)
        for row in rows:
            self._changed.pop(row.key, None)
        for key in gone:
            self._gone.pop(key, None)

    def load(self, rows: Iterable[LearnedRow]) -> None:
        """Take in what is stored, besides what has been observed; a row that cannot be read is left out."""
        rows = list(rows)
        self.lessons.load(row for row in rows if row.path.startswith(PREFIX))
        self.load_rated(rows)
        for row in rows:
            if not row.path.startswith((PREFIX, rated.PREFIX)) and (kind := _kind_of(row)) is not None:
                self._take(row.key, kind)

    def load_rated(self, rows: Iterable[LearnedRow]) -> bool:
        """Know those ratings by operators, and no others; whether they are new."""
        kinds = {row.key: kind for row in rows if row.path.startswith(rated.PREFIX) and (kind := _kind_of(row))}
        before = {key: (kind.ok, kind.failed) for key, kind in self.rated.items()}
        self.rated = kinds
        return before != {key: (kind.ok, kind.failed) for key, kind in kinds.items()}

    def merge(self, other: Knowledge) -> None:
        """Take in what another scheduler knows."""
        for key, kind in other.kinds():
            self._take(key, Kind.of(kind.facts(), kind.seen_at))

    def _take(self, key: Key, kind: Kind) -> None:
        known = self._kinds.get(key)
        if known is not None:
            known.merge(kind)
        elif self._room(key):
            self._kinds[key] = kind

    def _observed(self, plan: str, path: str, task: str, at: float) -> list[Kind]:
        """The kinds that an observation of a step concerns, touched."""
        keys: tuple[Key, ...] = ((plan, path, task),) if not (task and plan) else ((plan, path, task), ("", "", task))
        found = []
        for key in keys:
            kind = self._kinds.get(key)
            if kind is None:
                if not self._room(key):
                    continue
                kind = self._kinds[key] = Kind()
            kind.touch(at)
            self._changed[key] = None
            self._gone.pop(key, None)
            found.append(kind)
        return found

    def _room(self, key: Key) -> bool:
        """Make room for a new kind; whether there may be one."""
        if key[0] and self._steps[key[0]] >= self._steps_max:
            return False
        if len(self._kinds) >= self._kinds_max:
            self._drop_oldest()
        if key[0]:
            self._steps[key[0]] += 1
        return True

    def _drop_oldest(self) -> None:
        """Drop a tenth, so that it is rare."""
        count = max(1, self._kinds_max // 10)
        for key in heapq.nsmallest(count, self._kinds, key=lambda key: self._kinds[key].seen_at):
            del self._kinds[key]
            self._changed.pop(key, None)
            self._gone[key] = None
            if key[0]:
                self._steps[key[0]] -= 1


def _kind_of(row: LearnedRow) -> Kind | None:
    try:
        return Kind.of(row.facts, row.seen_at)
    except (ValueError, TypeError, AttributeError):
        return None  # of another engine's form: learned anew
