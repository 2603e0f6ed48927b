"""What a step says of its model calls, joined with what its plan says, as JSON data for its bodies."""

from __future__ import annotations

from typing import Any

from engine.plan.care import STEP_CLAUSES
from engine.plan.clauses import Clause
from engine.plan.model import Plan, Step


def care_of(step: Step, own: Plan, whole: Plan) -> dict[str, Any] | None:
    """What ``engine.plan.care.Care`` reads; ``None`` if neither the step nor a plan around it says anything.

    ``own`` is the plan that the step is written in, ``whole`` the one that runs, whose budget holds.
    """
    care: dict[str, Any] = {}
    for name in STEP_CLAUSES:
        said = getattr(step, name)
        if said is not None and said != ():
            care[name] = _data(said)
    for name in ("model", "quality"):
        inherited = getattr(own, name) if getattr(own, name) is not None else getattr(whole, name)
        if name not in care and inherited is not None:
            care[name] = inherited
    if whole.budget is not None:
        care["run_budget"] = clause_data(whole.budget)
    if whole.deadline is not None:
        care["deadline_s"] = whole.deadline
    return care or None


def clause_data(clause: Clause) -> dict[str, Any]:
    """A clause as JSON data, defaults left out."""
    return clause.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def _data(said: Any) -> Any:
    if isinstance(said, Clause):
        return clause_data(said)
    return [_data(part) for part in said] if isinstance(said, tuple) else said
