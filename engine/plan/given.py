"""The inputs that a step gives its sub-plan, checked once they are known.

What is written out is checked when the plan is read. What templates make is known only when the step
runs, and is checked by the same rules then: in the worker that makes the inputs, and for what a loop
hands from round to round in the scheduler.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from engine.errors import UsageError
from engine.plan.model import Input, Plan

_SHOWN = 60  # characters of a value in a message
_KINDS = {str: "string", bool: "boolean", int: "integer", float: "number", list: "list", dict: "object"}


def declared_inputs(plan: Plan | str | None) -> dict[str, dict[str, Any]]:
    """What ``plan`` says of those inputs that not every value fits, as JSON data for ``fitting``."""
    if not isinstance(plan, Plan):
        return {}
    return {
        name: {"type": declared.type, "required": declared.required}
        for name, declared in plan.inputs.items()
        if declared.type != "any"
    }


def fitting(values: Mapping[str, Any], declared: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """``values`` as the types that were declared for them, as a run's own inputs are taken.

    Parameters
    ----------
    declared
        By name of the input, ``type`` and ``required`` at least. One that is not required may be ``None``.

    Raises
    ------
    UsageError
        Naming every input that does not fit, what was expected and what was given.
    """
    found, wrong = dict(values), []
    for name, facts in declared.items():
        if name not in found:
            continue
        expected = Input(type=facts.get("type", "any"), required=facts.get("required", "default" not in facts))
        try:
            found[name] = expected.parse(found[name])
        except ValidationError:
            wrong.append(f"input {name!r}: expected {expected.type}, given {_told(found[name])}")
    if wrong:
        raise UsageError("; ".join(wrong))
    return found


def _told(value: Any) -> str:
    """A value by its type and, if it is short, itself."""
    if value is None:
        return "null"
    kind = _KINDS.get(type(value), type(value).__name__)
    if isinstance(value, list | dict):
        return f"{kind} of {len(value)}"
    if isinstance(value, str) and len(value) > _SHOWN:
        return f"{kind} of {len(value)} characters"
    return f"{kind} {json.dumps(value, ensure_ascii=False)}"
