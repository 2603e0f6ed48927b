"""A guesser that is written in its step's place: short for a step of its own.

``guess: {task: …, with: …}`` of a step ``s`` becomes ``guess: s_guess``, and a step ``s_guess`` beside it. So
every reader of a plan knows one form only.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Discriminator, Field, JsonValue, Tag, ValidationError
from pydantic_core import PydanticCustomError

from engine.plan.clauses import Clause, Retry
from engine.plan.document import Loc
from engine.plan.durations import PositiveDuration
from engine.plan.names import Identifier, QueueName, TaskName

SUFFIX = "_guess"
"""What follows a step's name in that of its guesser."""


class Guesser(Clause):
    """A cheap task whose output is a guess of its step's."""

    task: TaskName
    """Name of the task type that guesses."""
    with_: dict[str, JsonValue] = Field(default_factory=dict, alias="with")
    """Its arguments; strings may hold templates."""
    retry: Retry = Retry()
    timeout: PositiveDuration | None = None
    """How long one attempt may run; the task type's own if left out."""
    queue: QueueName | None = None
    """The task type's own if left out."""


GuessClause = Annotated[
    Annotated[Identifier, Tag("name")] | Annotated[Guesser, Tag("Guesser")],
    Discriminator(lambda value: "Guesser" if isinstance(value, dict | Guesser) else "name"),
]
"""The name of a step, or a guesser in its place, which is a step of its own once the plan is read."""


def with_guessers_as_steps(data: Any) -> Any:
    """A plan's data whose guessers are steps; what is no good guesser stays, to be refused in its place.

    Raises
    ------
    PydanticCustomError
        A step has the name that a guesser would get.
    """
    steps = data.get("steps") if isinstance(data, dict) else None
    if not isinstance(steps, dict):
        return data
    found = {
        name: step
        for name, step in steps.items()
        if isinstance(step, dict) and isinstance(name, str) and _is_guesser(step.get("guess"))
    }
    if not found:
        return data
    written: dict[str, Any] = {}
    for name, step in steps.items():
        if name not in found:
            written[name] = step
            continue
        guesser = f"{name}{SUFFIX}"
        if guesser in steps:
            why = f"the guesser of {name} would be a step {guesser}, which there is: give that name as guess instead"
            raise PydanticCustomError("guess", "{why}", {"why": why})
        written[name] = {**step, "guess": guesser}
        written[guesser] = step["guess"]
    return {**data, "steps": written}


def as_written(loc: Loc) -> Loc:
    """Where the guesser that became the step at ``loc`` stood, if that is one; else ``loc``."""
    name = loc[1] if len(loc) > 1 and loc[0] == "steps" else None
    if not isinstance(name, str) or not name.endswith(SUFFIX):
        return loc
    return ("steps", name.removesuffix(SUFFIX), "guess", *loc[2:])


def _is_guesser(data: Any) -> bool:
    if not isinstance(data, dict):
        return False
    try:
        Guesser.model_validate(data)
    except ValidationError:
        return False
    return True
