"""What was learned, as people and programs look at it: one row a step of a plan or a task type."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from engine.learning.kinds import Kind
from engine.learning.knowledge import MODEL, Knowledge
from engine.learning.rated import PREFIX
from engine.learning.rows import Key, LearnedRow

_NO_BOUND = 1 << 62


@dataclass(frozen=True, slots=True)
class LearnedView:
    """What is known of one step, or (``plan`` and ``step`` empty) of a task type.

    Without a plan, a ``step`` such as ``openai/gpt-5.4-mini, routine`` is a model and a class of steps: its ``bodies``
    are answers that were checked, its ``failure_odds`` the share that failed, before the catalogue's prior. One that
    ends in ``(rated)`` is what operators said of that model: ``bodies`` are three for each rating.

    Parameters
    ----------
    bodies
        Successful bodies that the durations rest on, old ones counting less.
    typical_s
        Mean seconds of a body, the newest counting most; what sizes chunks.
    p50_s, p90_s, p99_s
        Seconds within which that share of successful bodies ends.
    failure_odds
        Odds that a body fails; ``None`` if none has ended.
    condition_odds, evaluations
        Odds that the step's condition is true, and what they rest on.
    items
        Mean number of a fan-out's items.
    seen_at
        Seconds since the epoch.
    """

    plan: str
    step: str
    task: str
    bodies: int
    typical_s: float | None
    p50_s: float | None
    p90_s: float | None
    p99_s: float | None
    failure_odds: float | None
    condition_odds: float | None
    evaluations: int
    items: float | None
    seen_at: float

    def data(self) -> dict[str, Any]:
        """As plain data, by name."""
        return asdict(self)


def knowledge_of(rows: Iterable[LearnedRow]) -> Knowledge:
    """All that is stored, of all shards together. With several shards, what one took over counts twice."""
    knowledge = Knowledge(_NO_BOUND, _NO_BOUND)
    knowledge.load(rows)
    return knowledge


def views(rows: Iterable[LearnedRow], plan: str | None = None, task: str | None = None) -> list[LearnedView]:
    """What is known, task types first; only of a plan, or of a task type, if they are given."""
    knowledge = knowledge_of(rows)
    kinds = dict(knowledge.kinds()) | knowledge.rated
    with_bodies = {key[:2] for key in kinds if key[2]}
    shown = [key for key in kinds if key[2] or key[:2] not in with_bodies]
    return [
        _view(key, kinds[key], kinds.get((key[0], key[1], "")) if key[0] else None)
        for key in sorted(shown)
        if (plan is None or key[0] == plan) and (task is None or key[2] == task)
    ]


def _view(key: Key, kind: Kind, condition: Kind | None) -> LearnedView:
    ends = kind.ok + kind.failed
    evaluations = round(condition.held + condition.refused) if condition is not None else 0
    return LearnedView(
        plan=key[0],
        step=_name(key),
        task=key[2],
        bodies=round(ends if _is_model(key) else kind.sketch.weight()),
        typical_s=_short(kind.typical_s) if kind.bodies else None,
        p50_s=_short(kind.sketch.quantile(0.5)),
        p90_s=_short(kind.sketch.quantile(0.9)),
        p99_s=_short(kind.sketch.quantile(0.99)),
        failure_odds=_short(kind.failed / ends if _is_model(key) else kind.failure_odds()) if ends else None,
        condition_odds=_short(condition.branch_odds()) if condition is not None and evaluations else None,
        evaluations=evaluations,
        items=_short(condition.items) if condition is not None and condition.items else None,
        seen_at=max(kind.seen_at, condition.seen_at if condition is not None else 0.0),
    )


def _is_model(key: Key) -> bool:
    return not key[0] and key[1].startswith((MODEL, PREFIX))


def _name(key: Key) -> str:
    if not _is_model(key):
        return key[1]
    rated = " (rated)" if key[1].startswith(PREFIX) else ""
    return key[1].removeprefix(MODEL).removeprefix(PREFIX).replace("|", ", ") + rated


def _short(figure: float | None) -> float | None:
    return None if figure is None else float(f"{figure:.4g}")
