"""The clauses that end work before its time: enough samples, a settled vote, a loop that gains no more.

They hold what was written, checked; ``engine.scheduling`` decides by them. What they stop is told in
the run's report.
"""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Discriminator, Field, StringConstraints, Tag, model_validator
from pydantic_core import PydanticCustomError

from engine.plan.clauses import Clause

Expression = Annotated[str, StringConstraints(min_length=1, max_length=64_000)]
"""A condition or a value, written bare."""


class Vote(Clause):
    """A fan-out whose nodes vote: it ends once the outcome is settled."""

    ballot: Expression
    """Expression over a node's ``output``: what it votes for."""
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """How sure the leading ballot must be, however often that is looked at."""
    min: Annotated[int, Field(strict=True, ge=1)] = 3
    """Votes that are counted before it may end."""


class Gains(Clause):
    """A loop ends once its rounds gain no more."""

    score: Expression
    """Expression over ``output``, ``round`` and ``inputs`` of a round: a number, higher is better."""
    rounds: Annotated[int, Field(strict=True, ge=1)] = 2
    """So many rounds in a row must have gained too little."""
    gain: Annotated[float, Field(ge=0)] = 0.0
    """Below this a round gained too little over the best one before it."""


class Impossible(Clause):
    """When a run is given up because it can come to nothing."""

    when: Expression | None = None
    """Expression over steps; the run is given up once it holds."""
    same_error: Annotated[int, Field(strict=True, ge=1)] | None = None
    """The run is given up once attempts failed so often with one and the same error."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.when is None and self.same_error is None:
            raise PydanticCustomError("impossible", "say when, or how often the same_error, or both")
        return self


def _impossible_form(value: Any) -> str:
    return "expression" if isinstance(value, str) else "Impossible"


ImpossibleClause = Annotated[
    Annotated[Expression, Tag("expression")] | Annotated[Impossible, Tag("Impossible")],
    Discriminator(_impossible_form),
]
"""An expression, or ``{when: …, same_error: n}``."""
