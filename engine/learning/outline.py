"""What was learned in brief, for workers: durations, odds of models, and texts, as one JSON text of bounded size."""

from __future__ import annotations

import heapq
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.learning.lessons import Lesson

if TYPE_CHECKING:
    from engine.learning.knowledge import Knowledge  # who only reads outlines needs no sketches

OUTLINED_MAX = 1000
"""Most kinds, and most odds, in an outline, those seen last: about 200 KB, besides at most half a MB of lessons."""

_MODEL, _RATED = "model:", "rated:"  # as of ``knowledge`` and ``rated``, which whoever reads outlines does without
_QUANTILES = (0.5, 0.9, 0.99)


@dataclass(frozen=True, slots=True)
class Outlined:
    """One kind in brief. Seconds; ``quantiles_s`` are p50, p90 and p99, ``None`` if no body succeeded."""

    typical_s: float
    quantiles_s: tuple[float, float, float] | None
    bodies: int


class Outline:
    """An outline that was read. Knows nothing of what is not in it."""

    def __init__(self, text: str) -> None:
        said = json.loads(text)
        kinds = said["kinds"]
        self.odds: dict[tuple[str, str, str], tuple[float, float]] = {
            (model, step_class, task): (passed, failed) for model, step_class, task, passed, failed in said["odds"]
        }
        self.lessons = tuple(Lesson(model, task, text, passed) for model, task, text, passed in said["lessons"])
        self._kinds = {
            (plan, path, task): Outlined(typical_s, tuple(quantiles) if quantiles else None, bodies)
            for plan, path, task, typical_s, quantiles, bodies in kinds
        }

    def of(self, plan: str, path: str, task: str) -> Outlined | None:
        """What is known of a step's bodies, else of its task type's; ``None`` if neither is."""
        return self._kinds.get((plan, path, task)) or self._kinds.get(("", "", task))


def outline(knowledge: Knowledge) -> str:
    """The kinds of ``knowledge`` that were seen last, in brief."""
    known = [(key, kind) for key, kind in knowledge.kinds() if key[2] and kind.bodies]
    latest = heapq.nlargest(OUTLINED_MAX, known, key=lambda entry: entry[1].seen_at)
    kinds = []
    for key, kind in latest:
        found = [kind.sketch.quantile(q) for q in _QUANTILES]
        spread = [_short(seconds) for seconds in found if seconds is not None]
        kinds.append([*key, _short(kind.typical_s), spread or None, round(kind.bodies)])
    models = [(key, kind) for key, kind in knowledge.kinds() if not key[0] and key[1].startswith(_MODEL)]
    told: dict[tuple[str, str], tuple[float, float]] = {}
    for (_, path, task), kind in heapq.nlargest(OUTLINED_MAX, models, key=lambda entry: entry[1].seen_at):
        told[path.removeprefix(_MODEL), task] = (kind.ok, kind.failed)
    rated = heapq.nlargest(OUTLINED_MAX, knowledge.rated.items(), key=lambda entry: entry[1].seen_at)
    for (_, path, task), kind in rated:
        ok, failed = told.get((path.removeprefix(_RATED), task), (0.0, 0.0))
        told[path.removeprefix(_RATED), task] = (ok + kind.ok, failed + kind.failed)
    odds = []
    for (name, task), (ok, failed) in told.items():
        model, _, step_class = name.rpartition("|")
        odds.append([model, step_class, task, _short(ok), _short(failed)])
    lessons = [[each.model, each.task, each.text, each.passed] for each in knowledge.lessons]
    text = {"form": 2, "kinds": kinds, "odds": odds, "lessons": lessons}
    return json.dumps(text, separators=(",", ":"))


def _short(seconds: float) -> float:
    return float(f"{seconds:.4g}")
