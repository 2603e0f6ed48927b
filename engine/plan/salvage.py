"""What still holds of a plan that does not, so that compiling can tell its problems as well.

An author wants the unknown key and the unknown step in one answer. What is wrong is taken out or
stood in for by something harmless; where that would make up problems of its own, nothing is salvaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from engine.errors import PlanError, Problem
from engine.plan.document import Loc
from engine.plan.model import Plan
from engine.plan.problems import written
from engine.plan.source import Source

STAND_IN = "plan.inputs"
"""Task type that takes any arguments: stands in where a step's own cannot be told."""

_STEPS_LIMIT = 5_000
"""Steps up to which anything is salvaged: in a larger plan the first answer must not wait for the second."""
_ROUNDS = 3  # what is wrong inside a step shows only once its keys are right


class BrokenPlanError(PlanError):
    """A file's plan does not hold; ``rest`` is what does, if that makes sense alone."""

    def __init__(self, problems: Sequence[Problem], rest: Plan | None = None) -> None:
        super().__init__(problems)
        self.rest = rest


def salvaged(data: dict[str, Any], error: ValidationError, source: Source) -> Plan | None:
    """A plan of what holds in ``data``, which is changed; ``None`` where too little does."""
    steps = data.get("steps")
    if not isinstance(steps, dict) or len(steps) > _STEPS_LIMIT:
        return None
    for _ in range(_ROUNDS):
        for entry in error.errors(include_url=False, include_input=False, include_context=False):
            loc = tuple(entry["loc"])
            if "[key]" in loc or not _mended(data, written(loc), unknown=entry["type"] == "extra_forbidden"):
                return None
        try:
            return Plan.model_validate(data).read_from(source)
        except ValidationError as next_error:
            error = next_error
    return None


def _mended(data: dict[str, Any], loc: Loc, *, unknown: bool) -> bool:
    """Whether what is wrong at ``loc`` could be taken out."""
    if unknown:
        holder = _at(data, loc[:-1])
        if isinstance(holder, dict):
            holder.pop(loc[-1], None)
        return True
    if loc[:1] == ("name",):
        data["name"] = "plan"
    elif loc[:1] in (("steps",), ("inputs",)):
        return len(loc) > 1 and _mended_entry(data[str(loc[0])], loc)
    elif loc:
        data.pop(str(loc[0]), None)
    return bool(loc)


def _mended_entry(entries: dict[str, Any], loc: Loc) -> bool:
    kind, name, *clause = loc
    entry = entries.get(str(name))
    if kind == "inputs":
        entries[str(name)] = {"required": False}
    elif not clause or not isinstance(entry, dict) or clause[0] == "plan":
        arguments = entry.get("with") if isinstance(entry, dict) else None
        entries[str(name)] = {"task": STAND_IN, "with": arguments if isinstance(arguments, dict) else {}}
    elif clause[0] == "task":
        entry["task"] = STAND_IN
    elif clause[0] == "for_each":
        entry["for_each"] = []
    else:
        entry.pop(str(clause[0]), None)
    return True


def _at(data: Any, loc: Loc) -> Any:
    """What is at ``loc``; ``None`` where it was taken out already."""
    for part in loc:
        if isinstance(data, dict):
            data = data.get(part)
        elif isinstance(data, list) and isinstance(part, int):
            data = data[part]
    return data
