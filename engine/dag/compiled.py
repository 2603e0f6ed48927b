"""A plan as the scheduler sees it: numbered steps, edges between steps, nothing of the source.

Edges join steps, never nodes: a fan-out of 100,000 items that feeds another has one edge.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from engine.plan.retry import RetryPolicy


class JoinKind(StrEnum):
    """When a step may start, seen from its parents."""

    ALL = "all"  # every parent succeeded
    ANY = "any"  # at least one parent succeeded
    ALL_DONE = "all_done"  # every parent ended, however it ended
    AT_LEAST = "at_least"  # ``count`` parents succeeded
    TOLERATE = "tolerate"  # every parent ended, each with at most ``share`` of its nodes failed
    UNTIL = "until"  # an expression over finished steps holds


@dataclass(frozen=True, slots=True)
class Join:
    """A step's join. ``count`` is set for ``at_least``, ``share`` in [0, 1] for ``tolerate``.

    ``until`` is the expression of that kind; with ``prune`` the parents that are open when the join
    holds are stopped.
    """

    kind: JoinKind = JoinKind.ALL
    count: int = 0
    share: float = 0.0
    until: str = ""
    prune: bool = False


@dataclass(frozen=True, slots=True)
class Voting:
    """How the nodes of a fan-out vote: an expression over ``output``, and when the vote is settled."""

    ballot: str
    confidence: float
    least: int


@dataclass(frozen=True, slots=True)
class Enough:
    """When a loop's rounds gain no more: ``rounds`` in a row below ``gain`` over the best ``score`` before."""

    score: str
    rounds: int
    gain: float


@dataclass(frozen=True, slots=True)
class Ending:
    """When a run ends before its steps have.

    Parameters
    ----------
    goal, impossible
        Expressions over steps: the run succeeds, or is given up, once they hold.
    same_error
        Attempts with one and the same error after which it is given up; ``None`` means never.
    when_out_of_reach
        Whether it is given up once it has failed for good and nothing left leads anywhere.
    goal_names, impossible_names
        What ``steps.NAME`` means in the two expressions: name to number.
    """

    goal: str | None = None
    impossible: str | None = None
    same_error: int | None = None
    when_out_of_reach: bool = False
    goal_names: Mapping[str, int] = field(default_factory=dict)
    impossible_names: Mapping[str, int] = field(default_factory=dict)


class OnFailure(StrEnum):
    """What becomes of a step one of whose nodes failed for good."""

    FAIL = "fail"  # the step failed; the run fails unless a consumer's join tolerates it
    CONTINUE = "continue"  # the step counts as succeeded with what it has; the run is marked partial
    FALL_BACK = "fall_back"  # another step runs and stands in for it


class ChildKind(StrEnum):
    """What the nodes of a step that starts runs of its own do."""

    MAP = "map"  # one run of the sub-plan
    LOOP = "loop"  # one run after the other, until a condition holds or a bound is reached
    EXPAND = "expand"  # one run of a plan that an earlier step made


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """What the engine must know of a task type to check and place steps of it without loading it."""

    effects: str = "external"
    queue: str = "io"
    timeout_s: float | None = None
    arguments: frozenset[str] = frozenset()
    required: frozenset[str] = frozenset()
    any_argument: bool = True
    prefetch: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Prefetch:
    """What has to be known before a part of a step's inputs can be read ahead of it.

    Parameters
    ----------
    arguments
        Names of the step's arguments that the reading takes.
    reads, inputs
        Numbers of the steps, and names of the inputs, that these refer to.
    """

    arguments: tuple[str, ...]
    reads: tuple[int, ...] = ()
    inputs: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ChildRuns:
    """How a step's nodes are runs of their own instead of messages to a worker.

    Parameters
    ----------
    given
        Number of the step whose output (one item of it, in a fan-out) holds the inputs.
    plan, source
        The sub-plan, compiled and as JSON data; ``None`` where an earlier step makes it.
    until, enough, rounds_max, time_max_s
        The conditions and the bounds of a loop.
    tasks, steps_max, items_max
        What a plan that an earlier step makes may use, how many steps it may have, and how many items
        each fan-out in it.
    """

    kind: ChildKind
    given: int
    plan: CompiledPlan | None = None
    source: Mapping[str, Any] | None = None
    until: str | None = None
    enough: Enough | None = None
    rounds_max: int = 1
    time_max_s: float | None = None
    tasks: Mapping[str, TaskFacts] = field(default_factory=dict)
    steps_max: int = 0
    items_max: int = 0


@dataclass(frozen=True, slots=True)
class CompiledStep:
    """One step, numbered in topological order.

    Parameters
    ----------
    no
        Position in ``CompiledPlan.steps``; parents have lower numbers.
    path
        Name with the sub-plans it is inside: ``audit/inspect``.
    with_
        The arguments as written, with templates.
    names
        What ``steps.NAME`` means in this step's templates and expressions: local name to number.
    reads
        Numbers of the steps whose values ``with_`` refers to.
    reads_inputs
        Names of the inputs ``with_`` refers to.
    inputs_step
        Number of the step whose output is ``inputs`` here; ``None`` means the run's own inputs.
    parents, children
        Numbers of the steps on the other end of each edge, ascending.
    condition_parents
        Those of the parents that only ``when`` asks about.
    guess, guesses
        Number of the step whose output is a guess of this one's, and the reverse.
    prefetch
        How a part of its inputs is read ahead; ``None`` if nothing is.
    when
        Expression; the step (or, where ``when_per_item``, the node) is skipped if it is false.
    for_each
        ``None`` for a plain step, else a list, or one lone reference to a list.
    fallback, fallback_of
        Number of the step that stands in for this one, and the reverse.
    timeout_s
        Seconds one attempt may run; ``None`` means no limit.
    max_items
        Items a fan-out may have, or the step fails; ``None`` means no limit.
    max_parallel
        Nodes of this step that may be out at once; ``None`` means no limit.
    max_failures
        Failed nodes after which the run is given up; ``None`` goes on to the end.
    enough, voting
        When the nodes that ended are enough of a sample: an expression, or a vote.
    pools
        Names of the concurrency pools of which each running node holds one slot.
    child
        How its nodes are runs of their own; ``None`` for nodes that a worker runs.
    batch_items, batch_wait_s
        Nodes that share one invocation, and how long the first of them waits for others; 1 if none do.
    care
        How its model calls are to be made, as ``engine.plan.care.Care`` reads it; ``None`` if nothing is said.
    """

    no: int
    path: str
    task: str
    with_: Any
    names: dict[str, int] = field(default_factory=dict)
    reads: tuple[int, ...] = ()
    reads_inputs: frozenset[str] = frozenset()
    inputs_step: int | None = None
    parents: tuple[int, ...] = ()
    children: tuple[int, ...] = ()
    condition_parents: tuple[int, ...] = ()
    guess: int | None = None
    guesses: tuple[int, ...] = ()
    join: Join = field(default_factory=Join)
    when: str | None = None
    when_per_item: bool = False
    for_each: Any = None
    max_items: int | None = None
    max_parallel: int | None = None
    max_failures: int | None = None
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    timeout_s: float | None = None
    on_failure: OnFailure = OnFailure.FAIL
    fallback: int | None = None
    fallback_of: int | None = None
    queue: str = "io"
    phase: str = "execution"
    skill: str = ""
    effects: str = "external"
    pools: tuple[str, ...] = ()
    child: ChildRuns | None = None
    prefetch: Prefetch | None = None
    enough: str | None = None
    voting: Voting | None = None
    batch_items: int = 1
    batch_wait_s: float = 0.0
    care: Mapping[str, Any] | None = None

    @property
    def sampled(self) -> bool:
        """Whether it may end before all its nodes have."""
        return self.enough is not None or self.voting is not None

    @property
    def fanned(self) -> bool:
        """Whether this step becomes one node an item."""
        return self.for_each is not None


@dataclass(frozen=True, slots=True)
class CompiledPlan:
    """A whole plan, sub-plans inlined. ``version`` is the content hash a run keeps.

    ``outputs`` is the tree as written, whose leaves are literals and lone references, resolved with
    ``names`` at the end of the run. ``pools`` are concurrency limits of the plan's own.
    ``value_of_time_usd_per_h`` is what finishing an hour sooner is worth; ``None`` means nothing.
    ``ending`` is ``None`` where the run ends with its last step only. ``budget`` is what a run may spend,
    as ``engine.plan.care.Budget`` reads it.
    """

    name: str
    version: str
    steps: tuple[CompiledStep, ...]
    outputs: Any = None
    names: dict[str, int] = field(default_factory=dict)
    pools: dict[str, int] = field(default_factory=dict)
    value_of_time_usd_per_h: float | None = None
    ending: Ending | None = None
    budget: Mapping[str, Any] | None = None

    def plans(self) -> Iterator[CompiledPlan]:
        """This plan and those that its steps run."""
        yield self
        for step in self.steps:
            if step.child is not None and step.child.plan is not None:
                yield from step.child.plan.plans()

    def queues(self) -> set[str]:
        """The queues of the broker that its nodes may need, those of the runs below included."""
        needed: set[str] = set()
        for step in (step for plan in self.plans() for step in plan.steps):
            needed |= {step.queue} if step.child is None else {facts.queue for facts in step.child.tasks.values()}
        return needed
