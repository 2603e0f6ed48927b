"""The clauses of a step: retry, join and what becomes of a failure.

They hold what was written, checked and in one normal form; ``engine.dag`` turns them into what the
scheduler reads. Their defaults are part of the stored form of a plan: changing one changes the
meaning of plans already stored.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from engine.plan.durations import Duration, PositiveDuration
from engine.plan.names import Identifier
from engine.plan.retry import RetryPolicy, Wait


class Clause(BaseModel):
    """Base of everything an author writes: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, ser_json_inf_nan="strings")


class Retry(Clause):
    """How often a failed node is tried again, and how long the engine waits in between."""

    attempts: Annotated[int, Field(strict=True, ge=1, le=1000)] = 1
    """Tries in all, the first included."""
    total: PositiveDuration | None = None
    """No try begins later than this after the first began."""
    wait: Wait = Wait.JITTERED
    """``fixed``, ``exponential`` or ``jittered``."""
    delay: Duration = 1.0
    """The first wait."""
    max_delay: Duration = 300.0
    """The longest wait."""
    on: tuple[str, ...] | None = None
    """Names of the exception classes worth another try; every failure but ``Permanent`` if left out."""

    def policy(self) -> RetryPolicy:
        """The same as the scheduler and the worker read it."""
        return RetryPolicy(self.attempts, self.total, self.wait, self.delay, self.max_delay, self.on)


class AtLeast(Clause):
    """The step starts once so many of its parents succeeded."""

    at_least: Annotated[int, Field(strict=True, ge=1)]
    prune: bool = False
    """Whether the other parents, and what is needed for them alone, are then stopped."""


class Until(Clause):
    """The step starts once an expression over finished steps holds; it is asked whenever a parent ended."""

    until: Annotated[str, Field(min_length=1, max_length=64_000)]
    prune: bool = True
    """Whether the other parents, and what is needed for them alone, are then stopped."""


class Tolerate(Clause):
    """The step starts once every parent ended with at most this share of its nodes failed."""

    tolerate: Annotated[float, Field(ge=0, le=1)]


class FallBack(Clause):
    """Another step runs in the failed one's place, and its output stands for it."""

    fall_back: Identifier


def _join_form(value: Any) -> str | None:
    if isinstance(value, AtLeast | Tolerate | Until):
        return type(value).__name__
    if isinstance(value, dict):
        return "Tolerate" if "tolerate" in value else "Until" if "until" in value else "AtLeast"
    return "word"


def _word_or(model: str, value: Any) -> str:
    return model if isinstance(value, dict | Clause) else "word"


JoinClause = Annotated[
    Annotated[Literal["all", "any", "first", "all_done"], Tag("word")]
    | Annotated[AtLeast, Tag("AtLeast")]
    | Annotated[Tolerate, Tag("Tolerate")]
    | Annotated[Until, Tag("Until")],
    Discriminator(_join_form),
]
"""``all``, ``any``, ``first``, ``all_done``, ``{at_least: n}``, ``{tolerate: share}`` or ``{until: expression}``."""

FailureClause = Annotated[
    Annotated[Literal["fail", "continue"], Tag("word")] | Annotated[FallBack, Tag("FallBack")],
    Discriminator(lambda value: _word_or("FallBack", value)),
]
"""``fail``, ``continue`` or ``{fall_back: step}``."""
