"""What was learned in brief, for workers: durations by step and task type, as one JSON text of bounded size."""

from __future__ import annotations

import heapq
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.learning.knowledge import Knowledge  # who only reads outlines needs no sketches

OUTLINED_MAX = 1000
"""Most kinds in an outline, those seen last: about 100 KB."""

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
        kinds = json.loads(text)["kinds"]
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
    return json.dumps({"form": 1, "kinds": kinds}, separators=(",", ":"))


def _short(seconds: float) -> float:
    return float(f"{seconds:.4g}")
