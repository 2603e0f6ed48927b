"""The clauses that say how a step's model calls are made: which model, how well, for how much.

They hold what was written, checked. ``Care`` is the same as a body reads it, of its step and of the
plan around it; it travels with a delivery as JSON data, and only where something was said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, JsonValue, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from engine.plan.clauses import Clause
from engine.plan.durations import PositiveDuration

Count = Annotated[int, Field(strict=True, ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Usd = Annotated[float, Field(gt=0, le=1e9)]
ModelName = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.:/@-]*$", max_length=200)
]
"""A model of the catalogue: ``provider/name``."""
Tag = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Importance = Literal["critical", "standard", "routine", "exploratory"]
Exhausted = Literal["stop", "ask", "cheaper"]


class Needs(Clause):
    """What a model must be able to do for this step."""

    reasoning: Literal["none", "low", "medium", "high"] = "none"
    """How hard it must be able to think."""
    output_tokens: Count | None = None
    """How long its answers may get."""
    context_tokens: Count | None = None
    """How much it must be able to read."""
    speed: Literal["any", "fast"] = "any"
    """Whether it must answer fast."""
    tools: bool = False
    """Whether it must call tools."""


class Check(Clause):
    """One way to tell whether a result passes; exactly one of the keys from ``schema`` to ``command``."""

    model_config = ConfigDict(populate_by_name=True)

    schema_: dict[str, JsonValue] | None = Field(default=None, alias="schema")
    """A JSON Schema that the result fits."""
    expression: Annotated[str, StringConstraints(min_length=1, max_length=64_000)] | None = None
    """Expression over ``output`` and ``inputs``; the result passes if it holds."""
    regex: Annotated[str, StringConstraints(min_length=1, max_length=10_000)] | None = None
    """Found somewhere in the result's text."""
    judge: Annotated[str, StringConstraints(min_length=1, max_length=64_000)] | None = None
    """What another model is asked about the result; it answers with a score."""
    command: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """A program that gets the result as JSON on its input and says by its exit code whether it passes."""
    at_least: Share = 0.7
    """The score from which a judged result passes."""
    sample: Share = 1.0
    """How many of the results are judged; the others' scores stay unknown."""
    model: ModelName | None = None
    """The judge, if it is to be a certain one."""

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        said = [name for name in ("schema", "expression", "regex", "judge", "command") if self._said(name)]
        if len(said) != 1:
            raise PydanticCustomError("check", "a check has one of schema, expression, regex, judge and command")
        return self

    def _said(self, name: str) -> bool:
        return getattr(self, "schema_" if name == "schema" else name) is not None


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, Mapping | Check) else value


Checks = Annotated[tuple[Check, ...], BeforeValidator(_listed)]
"""One check, or a list of which all must pass, cheap ones first."""


class Limits(Clause):
    """What may be spent; whatever is left out has no limit."""

    max_usd: Usd | None = None
    max_tokens: Count | None = None
    max_calls: Count | None = None
    max_time: PositiveDuration | None = None
    """Seconds of model calls, summed; a body's own are not in them."""

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if all(limit is None for limit in (self.max_usd, self.max_tokens, self.max_calls, self.max_time)):
            raise PydanticCustomError("budget", "a budget needs max_usd, max_tokens, max_calls or max_time")
        return self


class Budget(Limits):
    """What a whole run may spend, and what becomes of it then."""

    on_exhausted: Exhausted = "stop"
    """``stop`` with what is there, ``ask`` an operator, or go on ``cheaper``."""
    ask_timeout: PositiveDuration | None = None
    """How long an operator has to answer."""
    on_timeout: Literal["stop", "cheaper"] = "stop"
    """What becomes of the run if nobody answers in that time."""
    off_peak: Annotated[bool, Field(strict=True)] | None = None
    """Whether what goes on cheaper may wait for a provider's batch, at half the price within a day. Left out: where the
    run's deadline is more than a day off."""


class Batch(Clause):
    """Nodes of a fan-out that share one invocation of their task."""

    max_items: Annotated[int, Field(strict=True, ge=2, le=10_000)] = 20
    max_tokens: Count | None = None
    """Tokens that the inputs of one invocation may have."""
    max_wait: PositiveDuration = 1.0
    """How long the first of them waits for others."""


class Caching(Clause):
    """How long a result may serve again, to whom, and what makes it stale."""

    ttl: PositiveDuration = 86_400.0
    tags: tuple[Tag, ...] = ()
    """What it depends on; may hold templates."""
    shared: Literal["run", "session", "tenant"] = "tenant"
    """Who may be served with it."""
    sensitive: bool = False
    """Never kept."""


@dataclass(frozen=True, slots=True)
class Care:
    """How a body's model calls are to be made, as its step and its plan say.

    Parameters
    ----------
    model
        The model to use, ``provider/name``; ``None`` leaves it to the router.
    quality
        The share of results that should pass, in [0, 1]; ``None`` says nothing.
    importance
        What the step was declared to be; ``None`` leaves it to the classifier.
    budget, run_budget
        Limits of the step and of the run, as ``Limits`` and ``Budget`` have them.
    caching
        ``False`` forbids it, ``None`` leaves it to the task type.
    above
        The runs above its own, the nearest first, each with its limits; ``None`` leaves them to the installation.
    cheaper
        How many tiers below the usual this attempt is to go, because money ran short.
    deadline_s
        Seconds from its submission in which the run has to end; ``None`` if its plan says nothing.
    deadline_at
        Epoch second by which it and those above it have to end, told where money ran short; ``None`` if none has to.
    """

    model: str | None = None
    needs: Needs = field(default_factory=Needs)
    checks: tuple[Check, ...] = ()
    quality: float | None = None
    importance: Importance | None = None
    budget: Limits | None = None
    run_budget: Budget | None = None
    caching: Caching | Literal[False] | None = None
    invalidates: tuple[str, ...] = ()
    batch: Batch | None = None
    cheaper: int = 0
    deadline_s: float | None = None
    deadline_at: float | None = None
    above: tuple[tuple[str, Budget | None], ...] = ()

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | None) -> Care:
        """What a delivery says; ``None`` stands for nothing said."""
        if not data:
            return NO_CARE
        cache = data.get("cache")
        return cls(
            model=data.get("model"),
            needs=Needs.model_validate(data.get("needs") or {}),
            checks=tuple(Check.model_validate(check) for check in data.get("check") or ()),
            quality=data.get("quality"),
            importance=data.get("importance"),
            budget=_maybe(Limits, data.get("budget")),
            run_budget=_maybe(Budget, data.get("run_budget")),
            caching=cache if cache is None or cache is False else Caching.model_validate(cache),
            invalidates=tuple(data.get("invalidates") or ()),
            batch=_maybe(Batch, data.get("batch")),
            cheaper=data.get("cheaper", 0),
            deadline_s=data.get("deadline_s"),
            deadline_at=data.get("deadline_at"),
            above=tuple((run_id, _maybe(Budget, clause)) for run_id, clause in data.get("above") or ()),
        )

    @property
    def may_wait(self) -> bool | None:
        """What the run's budget, else the nearest one above it that says so, has as ``off_peak``."""
        budgets = (self.run_budget, *(clause for _, clause in self.above))
        return next((each.off_peak for each in budgets if each is not None and each.off_peak is not None), None)


def _maybe(clause: Any, data: Any) -> Any:
    return None if data is None else clause.model_validate(data)


NO_CARE = Care()

STEP_CLAUSES = ("model", "needs", "check", "quality", "importance", "budget", "cache", "invalidates", "batch")
"""What of a step travels to its bodies."""
