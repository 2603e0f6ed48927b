"""What pydantic found wrong with a plan, in our words and at its place in the file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from engine.errors import Problem
from engine.plan.clauses import AtLeast, FallBack, Retry, Tolerate
from engine.plan.document import KEY, Loc, Positions
from engine.plan.model import Input, Plan, Step
from engine.plan.names import nearest

# Which model is found under which key; under "inputs" and "steps" a name comes in between.
_PARTS: dict[tuple[type[BaseModel], str], type[BaseModel]] = {
    (Plan, "inputs"): Input, (Plan, "steps"): Step, (Step, "retry"): Retry, (Step, "plan"): Plan,
}  # fmt: skip
_BY_NAME = {"inputs", "steps"}
_TAGGED: dict[str, type[BaseModel]] = {"AtLeast": AtLeast, "Tolerate": Tolerate, "FallBack": FallBack, "Plan": Plan}
_TAGS = {*_TAGGED, "word", "name", "list", "reference"}

_WORDS = {
    "missing": "this key is missing",
    "dict_type": "a mapping is needed here",
    "model_type": "a mapping is needed here",
    "model_attributes_type": "a mapping is needed here",
    "list_type": "a list is needed here",
    "tuple_type": "a list is needed here",
    "string_type": "a text is needed here; put it in quotes",
    "int_type": "a whole number is needed here",
    "too_short": "at least one is needed",
    "string_too_long": "this text is too long",
}


def problems_of(error: ValidationError, file: str | None = None, positions: Positions | None = None) -> list[Problem]:
    """One problem for each of pydantic's, in the order of the file."""
    found = []
    for entry in error.errors(include_url=False):
        loc = tuple(entry["loc"])
        line, column = _place(loc, entry["type"], positions) if positions is not None else (None, None)
        found.append(Problem(_message(entry, loc), _where(loc), file, line, column))
    return sorted(found, key=lambda problem: (problem.line or 0, problem.column or 0))


def _message(entry: Any, loc: Loc) -> str:
    kind = entry["type"]
    given = entry.get("input")
    if kind == "extra_forbidden":
        return f"unknown key {loc[-1]!r}{nearest(str(loc[-1]), _keys_at(loc[:-1]))}"
    if kind == "string_pattern_mismatch" and isinstance(given, str):
        name = given if loc[-1] != "[key]" else str(given)
        return f"{name[:80]!r} is no name here: it must match {entry['ctx']['pattern']}"
    if kind in ("literal_error", "enum"):
        expected = entry["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        return f"{given!r} is none of {', '.join(expected)}{_close(given, expected)}"
    if kind in _WORDS:
        return _WORDS[kind]
    message: str = entry["msg"].removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def _close(given: Any, expected: Sequence[str]) -> str:
    remark = nearest(given, expected) if isinstance(given, str) else ""
    return remark if "did you mean" in remark else ""


def _keys_at(loc: Loc) -> list[str]:
    """The keys that the model at ``loc`` has."""
    model: type[BaseModel] = Plan
    by_name = False
    for part in loc:
        if by_name:
            by_name = False
        elif part in _TAGGED and (model, part) not in _PARTS:
            model = _TAGGED[str(part)]
        elif isinstance(part, str) and (model, part) in _PARTS:
            by_name = model is Plan and part in _BY_NAME
            model = _PARTS[model, part]
    return [field.alias or name for name, field in model.model_fields.items()]


def _where(loc: Loc) -> str:
    """The path as it is written in the file: without pydantic's own marks."""
    written: list[str] = []
    for part in loc:
        if part == "[key]" or (part in _TAGS and written and written[-1] in ("plan", "join", "on_failure", "for_each")):
            continue
        written.append(str(part))
    return ".".join(written)


def _place(loc: Loc, kind: str, positions: Positions) -> tuple[int | None, int | None]:
    """Line and column: of the key for an unknown or misnamed one, else of the value."""
    path: Loc = ()
    for part in loc:
        if (*path, part) in positions:
            path = (*path, part)
    of_key = kind == "extra_forbidden" or (loc and loc[-1] == "[key]")
    if of_key and (*path, KEY) in positions:
        return positions[(*path, KEY)]
    return positions.get(path, (None, None))
