"""What an author writes, once read: a plan, its inputs and its steps.

One model behind two faces, YAML files (``engine.plan.files``) and Python (``engine.plan.decorators``).
It checks what can be seen in one place of a plan; what needs the whole graph or the known task types
is ``engine.dag.compile``'s. Nothing here reads files or imports tasks.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import (
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    PrivateAttr,
    StringConstraints,
    Tag,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from engine.errors import UsageError
from engine.plan.care import Batch, Budget, Caching, Checks, Importance, Limits, ModelName, Needs, Share
from engine.plan.care import Tag as CacheTag
from engine.plan.clauses import Clause, FailureClause, JoinClause, Retry
from engine.plan.durations import PositiveDuration
from engine.plan.guesser import GuessClause, with_guessers_as_steps
from engine.plan.names import Identifier, PlanName, QueueName, StepName, TaskName
from engine.plan.pauses import uncollected
from engine.plan.references import lone_reference
from engine.plan.source import Source
from engine.plan.stopping import Expression, Gains, ImpossibleClause, Vote
from engine.plan.tasktype import Effects

InputType = Literal["string", "integer", "number", "boolean", "list", "object", "any"]
Text = Annotated[str, StringConstraints(max_length=64_000)]
"""One text in a plan; longer ones belong in a file that a task reads."""
Limit = Annotated[int, Field(strict=True, ge=1)]

_CONFIG = ConfigDict(coerce_numbers_to_str=True, allow_inf_nan=False)
_ADAPTERS: dict[str, TypeAdapter[Any]] = {
    "string": TypeAdapter(str, config=_CONFIG),
    "integer": TypeAdapter(int),
    "number": TypeAdapter(int | float, config=_CONFIG),
    "boolean": TypeAdapter(bool),
    "list": TypeAdapter(list[JsonValue], config=_CONFIG),
    "object": TypeAdapter(dict[str, JsonValue], config=_CONFIG),
    "any": TypeAdapter(JsonValue, config=_CONFIG),
}


_EXAMPLE = {"example": "{{ steps.scan.output }}"}


class Input(Clause):
    """One input of a plan. It is required unless it has a default or says otherwise."""

    type: InputType = "any"
    default: JsonValue = None
    description: str = ""
    required: bool = True

    @model_validator(mode="before")
    @classmethod
    def _a_default_makes_it_optional(cls, data: Any) -> Any:
        if isinstance(data, dict) and "default" in data and "required" not in data:
            return {**data, "required": False}
        return data

    @model_validator(mode="after")
    def _default_fits(self) -> Self:
        if self.required and self.default is not None:
            raise PydanticCustomError("default", "an input with a default is never required: leave one of them out")
        if self.default is not None:
            try:
                self.parse(self.default)
            except ValidationError as error:
                message = error.errors(include_url=False, include_context=False)[0]["msg"]
                facts = {"type": self.type, "why": message}
                raise PydanticCustomError("default", "the default is no {type}: {why}", facts) from None
        return self

    def parse(self, value: Any) -> Any:
        """``value`` as this input's type; raises pydantic's ``ValidationError``. ``None`` stands for "not given"."""
        if value is None and not self.required:
            return self.default
        return _ADAPTERS[self.type].validate_python(value)


class Loop(Clause):
    """The step's plan runs again and again until something holds; bounded in any case."""

    plan: _PlanOrName | None = None
    """The plan of each round; may as well be written as the step's own ``plan``."""
    until: Text | None = None
    """Expression over ``output``, ``round`` and ``inputs`` of a round that ended."""
    enough: Gains | None = None
    """Ends the loop once rounds gain too little."""
    max_rounds: Annotated[int, Field(strict=True, ge=1, le=10_000)]
    max_time: PositiveDuration | None = None
    """No round begins later than this after the first began."""
    max_usd: Annotated[float, Field(gt=0)] | None = None
    """Reserved: what its rounds may cost."""

    @model_validator(mode="after")
    def _can_end(self) -> Self:
        if self.until is None and self.enough is None:
            raise PydanticCustomError("loop", "a loop needs until, or enough, or both")
        return self


class Expand(Clause):
    """A plan that an earlier step made is checked like any other, and run."""

    plan: Text
    """One lone reference to the plan: a mapping with steps and outputs, or a list of steps."""
    tasks: Annotated[tuple[TaskName, ...], Field(min_length=1)]
    """Task types that it may use."""
    max_steps: Annotated[int, Field(strict=True, ge=1, le=10_000)] = 50
    """Steps that it may have, those of its sub-plans counted."""
    max_items: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] = 1_000
    """Items that each ``for_each`` in it may have."""
    task_types: dict[str, JsonValue] = Field(default_factory=dict)
    """Written by the engine at submission: what it must know of ``tasks``."""

    @field_validator("plan")
    @classmethod
    def _is_a_lone_reference(cls, value: str) -> str:
        if lone_reference(value) is None:
            raise PydanticCustomError("expand", "give one lone reference to a plan: {example}", _EXAMPLE)
        return value


class Step(Clause):
    """One step: a task with its arguments, or another plan with its inputs."""

    model_config = ConfigDict(populate_by_name=True)

    task: TaskName | None = None
    """Name of the task type this step runs."""
    plan: _PlanOrName | None = None
    """Name of the plan this step stands for, or that plan itself."""
    loop: Loop | None = None
    """Runs the step's plan again and again, until something holds."""
    expand: Expand | None = None
    """Runs a plan that an earlier step made."""
    with_: dict[str, JsonValue] = Field(default_factory=dict, alias="with")
    """Arguments; strings may hold templates."""
    after: tuple[Identifier, ...] = ()
    """Steps to wait for whose outputs are not used."""
    for_each: Annotated[
        Annotated[list[JsonValue], Tag("list")] | Annotated[Text, Tag("reference")],
        Discriminator(lambda value: "reference" if isinstance(value, str) else "list"),
    ] | None = None  # fmt: skip
    """A list, or one lone reference to a list: the step becomes one node an item."""
    max_items: Limit | None = None
    """Items that ``for_each`` may have: the step fails if there are more."""
    max_parallel: Limit | None = None
    """Nodes of this step that may run at once."""
    max_failures: Annotated[int, Field(ge=0)] | None = None
    """Give the run up once more than this many nodes of the step have failed."""
    enough: Expression | None = None
    """Expression over ``outputs``, ``count`` and ``failed`` so far; once it holds, the other nodes are stopped."""
    vote: Vote | None = None
    """The nodes vote; once the vote is settled, the other nodes are stopped."""
    when: Text | None = None
    """Expression; the step, or each item's node, is skipped unless it holds."""
    join: JoinClause = "all"
    """When the step may start, seen from its parents."""
    retry: Retry = Retry()
    timeout: PositiveDuration | None = None
    """How long one attempt may run; the task type's own if left out."""
    on_failure: FailureClause = "fail"
    queue: QueueName | None = None
    """The task type's own if left out."""
    guess: GuessClause | None = None
    """A cheaper step, or task, whose output is a guess of this one's: what comes after may start on it."""
    prefetch: Literal[False] | tuple[Text, ...] | None = None
    """``false``: nothing is read ahead for it. Else written by the engine at submission: by which arguments it is."""
    phase: Literal["planning", "execution", "checking", "consolidation"] = "execution"
    """What the step is for; cost and latency are broken down by it."""
    skill: str | None = Field(default=None, min_length=1, max_length=128)
    """What the step is an instance of for accounting; its task type if left out."""
    effects: Effects | None = None
    """What running it twice does to the world; the task type's own if left out."""
    model: ModelName | None = None
    """The model its calls go to, as provider/name; if left out, the cheapest that will do."""
    needs: Needs | None = None
    """What a model must be able to do for it."""
    check: Checks | None = None
    """What a result must pass, one check or a list; what fails goes to a better model."""
    quality: Share | None = None
    """The share of its results that should pass; the plan's own if left out."""
    importance: Importance | None = None
    """How much depends on it: decides models, checks and votes unless those are said."""
    budget: Limits | None = None
    """What its nodes may spend together."""
    batch: Batch | None = None
    """Nodes of a fan-out that share one invocation."""
    cache: Literal[False] | Caching | None = None
    """How its results may serve again; ``false``: never. The task type's own if left out."""
    invalidates: tuple[CacheTag, ...] = ()
    """Tags of kept results that are stale once a node of it succeeded; may hold templates."""
    pools: tuple[Identifier, ...] = ()
    """Concurrency pools of which each running node holds a slot."""
    description: str = ""

    @model_validator(mode="before")
    @classmethod
    def _plan_of_a_loop_is_the_steps(cls, data: Any) -> Any:
        loop = data.get("loop") if isinstance(data, dict) else None
        if not isinstance(loop, dict) or loop.get("plan") is None or data.get("plan") is not None:
            return data
        return {**data, "plan": loop["plan"], "loop": {key: value for key, value in loop.items() if key != "plan"}}

    @model_validator(mode="after")
    def _clauses_belong_together(self) -> Self:
        if self.loop is not None and (self.plan is None or self.loop.plan is not None):
            why = "a loop has one plan: loop: {plan: NAME, until: …, max_rounds: …}"
            raise PydanticCustomError("loop", "{why}", {"why": why})
        return self

    @model_validator(mode="after")
    def _samples_are_of_a_fan_out(self) -> Self:
        why = ""
        if self.enough is not None and self.vote is not None:
            why = "a step has enough or a vote, not both"
        elif (self.enough is not None or self.vote is not None) and self.for_each is None:
            why = "enough and vote are for steps with for_each; a loop has an enough of its own"
        elif self.batch is not None and self.for_each is None:
            why = "batch is for steps with for_each"
        elif self.batch is not None and self.effects is Effects.EXTERNAL:
            why = "a step with external effects has no batch: its nodes never share an invocation"
        if why:
            raise PydanticCustomError("sampling", "{why}", {"why": why})
        return self

    @model_validator(mode="after")
    def _one_of_task_and_plan(self) -> Self:
        if self.expand is not None:
            if self.task is not None or self.plan is not None:
                why = "a step with expand has no task or plan: the plan is what expand refers to"
                raise PydanticCustomError("task_or_plan", "{why}", {"why": why})
            return self
        if (self.task is None) == (self.plan is None):
            both = "a step has a task or a plan, not both" if self.task else "a step needs a task or a plan"
            raise PydanticCustomError("task_or_plan", "{why}", {"why": both})
        return self

    @field_validator("for_each")
    @classmethod
    def _is_a_lone_reference(cls, value: Any) -> Any:
        if isinstance(value, str) and lone_reference(value) is None:
            raise PydanticCustomError("for_each", "give a list, or one lone reference to one: {example}", _EXAMPLE)
        return value


class Plan(Clause):
    """A whole plan. The order in which steps are written means nothing."""

    name: PlanName
    description: str = ""
    inputs: dict[Identifier, Input] = Field(default_factory=dict)
    steps: dict[StepName, Step] = Field(min_length=1)
    outputs: JsonValue = None
    """A tree whose leaves are literals or lone references: what the run hands back."""
    tags: tuple[str, ...] = ()
    priority: Annotated[int, Field(strict=True, ge=-1000, le=1000)] = 0
    """Higher goes first."""
    deadline: PositiveDuration | None = None
    """From submission on; the run fails when it passes."""
    value_of_time_usd_per_h: Annotated[float, Field(ge=0)] | None = None
    """What finishing an hour sooner is worth."""
    pools: dict[Identifier, Limit] = Field(default_factory=dict)
    """Concurrency limits of this plan's own."""
    goal: Text | None = None
    """Expression over finished steps; once it holds, the run ends as succeeded and the rest is stopped."""
    impossible: ImpossibleClause | None = None
    """Expression, or ``{when: …, same_error: n}``: once it holds, the run is given up."""
    stop_when_impossible: bool | None = None
    """Give the run up once it has failed for good and nothing left leads to its goal or outputs.
    If left out, only a plan with a goal is."""
    budget: Budget | None = None
    """What a run may spend, and what becomes of it then."""
    quality: Share | None = None
    """The share of results that should pass, for steps that say nothing else."""
    model: ModelName | None = None
    """The model of all steps that name none."""
    schedule: dict[str, JsonValue] | None = None
    """Reserved."""
    _source: Source = PrivateAttr(default_factory=Source)

    @model_validator(mode="before")
    @classmethod
    def _guessers_are_steps(cls, data: Any) -> Any:
        return with_guessers_as_steps(data)

    @property
    def ends_early(self) -> bool:
        """Whether a run of it may end before its steps have."""
        return self.goal is not None or self.impossible is not None or self.stop_when_impossible is True

    @property
    def source(self) -> Source:
        """Where it was read from; kept by copies, never stored."""
        return self._source

    def read_from(self, source: Source) -> Self:
        """The same plan, knowing where it was read from."""
        copy = self.model_copy()
        copy._source = source
        return copy


def _plan_form(value: Any) -> str:
    return "name" if isinstance(value, str) else "Plan"


_PlanOrName = Annotated[
    Annotated[PlanName, Tag("name")] | Annotated[Plan, Tag("Plan")],
    Discriminator(_plan_form),
]
Loop.model_rebuild()
Step.model_rebuild()
Plan.model_rebuild()


def plan_data(plan: Plan) -> dict[str, Any]:
    """A plan as JSON data, defaults left out; ``Plan.model_validate`` makes the same plan of it."""
    return plan.model_dump(mode="json", by_alias=True, exclude_defaults=True)


@uncollected
def plan_hash(plan: Plan) -> str:
    """The plan's version: SHA-256, in hex, of everything in it that changes what a run does or shows.

    Left out are descriptions and the order of keys, so that a YAML plan and a Python plan of the same
    content have one version. Task types' code is not part of it; their defaults are, once
    ``engine.dag.compile.freeze_task_defaults`` has written them in.
    """
    try:
        text = orjson.dumps(_without_descriptions(plan_data(plan)), option=orjson.OPT_SORT_KEYS)
    except TypeError as error:  # numbers of more than 64 bits, halves of characters: only Python plans can hold them
        raise UsageError(f"plan {plan.name!r} holds what is no JSON data: {error}") from error
    return hashlib.sha256(text).hexdigest()


def _without_descriptions(plan: dict[str, Any]) -> dict[str, Any]:
    bare = {key: value for key, value in plan.items() if key != "description"}
    for part in ("inputs", "steps"):
        if part in plan:
            bare[part] = {
                name: {key: value for key, value in entry.items() if key != "description"}
                for name, entry in plan[part].items()
            }
    for step in bare["steps"].values():
        if isinstance(step.get("plan"), dict):
            step["plan"] = _without_descriptions(step["plan"])
    return bare
