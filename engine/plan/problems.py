"""What is wrong with a plan, in our words and at its place in the file.

Two kinds come here: what pydantic found while reading, and what compiling found, which knows only
the path in the plan. Sub-plans name their own file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, ValidationError

from engine.errors import Problem
from engine.plan.clauses import AtLeast, FallBack, Retry, Tolerate, Until
from engine.plan.document import PROBLEMS_LIMIT, Loc
from engine.plan.guesser import Guesser, as_written
from engine.plan.model import Input, Loop, Plan, Step
from engine.plan.names import nearest
from engine.plan.source import Source, Spot
from engine.plan.stopping import Gains, Impossible, Vote

# Which model is found under which key; under "inputs" and "steps" a name comes in between.
_PARTS: dict[tuple[type[BaseModel], str], type[BaseModel]] = {
    (Plan, "inputs"): Input, (Plan, "steps"): Step, (Step, "retry"): Retry, (Step, "plan"): Plan,
    (Step, "vote"): Vote, (Step, "loop"): Loop, (Loop, "enough"): Gains,
}  # fmt: skip
_BY_NAME = {"inputs", "steps"}
_TAGGED: dict[str, type[BaseModel]] = {
    "AtLeast": AtLeast, "Tolerate": Tolerate, "Until": Until, "FallBack": FallBack, "Plan": Plan,
    "Impossible": Impossible, "Guesser": Guesser,
}  # fmt: skip
_TAGS = {*_TAGGED, "word", "name", "list", "reference", "expression"}

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


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong at a path in a plan; ``of_key`` if it is the key there, not its value."""

    message: str
    loc: Loc
    of_key: bool = False


def problems_of(error: ValidationError, source: Source) -> list[Problem]:
    """One problem for each of pydantic's, in the order of the file."""
    entries = error.errors(include_url=False)
    findings = []
    for entry in entries[:PROBLEMS_LIMIT]:
        loc = tuple(entry["loc"])
        of_key = entry["type"] == "extra_forbidden" or loc[-1:] == ("[key]",)
        findings.append(Finding(_message(entry, loc), written(loc), of_key))
    found = _in(source, findings, ())
    if len(entries) > PROBLEMS_LIMIT:
        found.append(Problem(f"and {len(entries) - PROBLEMS_LIMIT:,} more problems", file=source.file))
    return found


def placed(plan: Plan, findings: Sequence[Finding]) -> list[Problem]:
    """What was found in a plan and in the plans inside it, each at its place, file by file."""
    by_source: dict[int, tuple[Source, Loc, list[Finding]]] = {}
    for finding in findings:
        source, above = _home(plan, finding.loc)
        by_source.setdefault(id(source), (source, above, []))[2].append(finding)
    return [problem for source, above, found in by_source.values() for problem in _in(source, found, above)]


def news(found: Iterable[Problem], told: Sequence[Problem]) -> list[Problem]:
    """What was not told before, at its place or at the same path: one mistake is one problem."""
    places = {(problem.file, problem.line, problem.column) for problem in told if problem.line is not None}
    paths = {(problem.file, problem.where) for problem in told if problem.where}
    return [
        problem
        for problem in found
        if (problem.file, problem.line, problem.column) not in places and (problem.file, problem.where) not in paths
    ]


def _home(plan: Plan, loc: Loc) -> tuple[Source, Loc]:
    """The source of what is at ``loc``, and the path from the whole plan to where that source begins."""
    source, here = plan.source, plan
    above: Loc = ()
    rest = loc
    while len(rest) > 3 and rest[0] == "steps" and rest[2] == "plan":
        step = here.steps.get(str(rest[1]))
        if step is None or not isinstance(step.plan, Plan):
            break
        here, rest = step.plan, rest[3:]
        if here.source.file is not None:
            source, above = here.source, loc[: len(loc) - len(rest)]
    return source, above


_NAMED = 2
"""Parts of a path down to a step's name."""


def _in(source: Source, findings: Sequence[Finding], above: Loc) -> list[Problem]:
    """The findings of one source; ``above`` is left out of their paths for looking them up."""
    locs = {finding.loc[len(above) :] for finding in findings}
    spots = source.places(locs | {as_written(loc) for loc in locs})
    found = []
    for finding in findings:
        loc = finding.loc[len(above) :]
        if spots[loc].depth < _NAMED <= spots[as_written(loc)].depth:  # a guesser that was written in its place
            finding = replace(finding, loc=(*above, *as_written(loc)))
        line, column = _place(spots[finding.loc[len(above) :]], finding, len(above))
        found.append(Problem(finding.message, ".".join(map(str, finding.loc)), source.file, line, column))
    return sorted(found, key=lambda problem: (problem.line or 0, problem.column or 0))


def _place(spot: Spot, finding: Finding, above: int) -> tuple[int | None, int | None]:
    """Of the key for a key, and for what is missing; else of the value."""
    there = spot.depth == len(finding.loc) - above
    place = spot.key if spot.key is not None and (finding.of_key or not there) else spot.value
    return place if place is not None else (None, None)


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


def written(loc: Loc) -> Loc:
    """A path of pydantic's as it is in the file: without the marks that it puts in between."""
    path: list[str | int] = []
    for part in loc:
        tagged = (
            len(path) > 2 and path[-3] == "steps" and path[-1] in ("plan", "join", "on_failure", "for_each", "guess")
        )
        tagged = tagged or path[-1:] == ["impossible"]
        if part != "[key]" and not (tagged and part in _TAGS):
            path.append(part)
    return tuple(path)
