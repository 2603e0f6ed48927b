"""What happens to the scheduler's core, and what the core asks for in return.

An **event** goes in; **records** (for the journal), **requests** (values the core does not hold and
the loop looks up at once) and **effects** (what the loop does after the commit) come out. The core
holds no data of users: conditions are evaluated and lists are counted by whoever holds the values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from engine.scheduling.records import Record
from engine.wire import NodeReport

NodeId = tuple[int, int]
"""A node within its run: (step_no, item). A further attempt at it goes by the ``shadow`` of its item."""


# --- events -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reported:
    """A worker says how one node's attempt ended; ``token`` names the delivery it speaks of."""

    run_id: str
    step_no: int
    node: NodeReport
    worker: str = ""
    token: str = ""


@dataclass(frozen=True, slots=True)
class BeginAsked:
    """An ``external`` body asks to begin; it waits until its mark is stored and granted."""

    run_id: str
    step_no: int
    item: int
    attempt: int
    token: str
    worker: str = ""


@dataclass(frozen=True, slots=True)
class SeenRunning:
    """A body has been running for a moment: for people who watch, and to notice stragglers."""

    run_id: str
    step_no: int
    item: int
    attempt: int
    begun_at: float
    worker: str = ""


@dataclass(frozen=True, slots=True)
class AttemptLost:
    """A claimed attempt's lease ran out, or its worker's parent saw it die.

    ``token`` names the delivery that the parent speaks of; it is empty if the scheduler found out.
    """

    run_id: str
    step_no: int
    item: int
    attempt: int
    why: str
    worker: str = ""
    token: str = ""


@dataclass(frozen=True, slots=True)
class Unpackable:
    """An attempt's inputs cannot be made, now or later: its node fails without a body."""

    run_id: str
    step_no: int
    item: int
    attempt: int
    why: str


@dataclass(frozen=True, slots=True)
class Commanded:
    """An operator's command: cancel, pause or resume."""

    command_id: int
    run_id: str
    kind: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChildEnded:
    """The run that a node stands for ended, so the node's attempt does.

    ``partial`` says that not all it should have done was done, though it succeeded.
    """

    run_id: str
    step_no: int
    node: NodeReport
    partial: bool = False


@dataclass(frozen=True, slots=True)
class Cascaded:
    """What became of a run's parent becomes of the run: ``kind`` is cancel, pause or resume.

    The other way round, ``partial`` says that a run below did not do all it should have done.
    """

    run_id: str
    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class PermitsRevoked:
    """The permits of a run are gone. ``running`` are the nodes whose bodies had begun by then."""

    run_id: str
    running: frozenset[NodeId]


@dataclass(frozen=True, slots=True)
class ConditionKnown:
    """The answer to ``NeedCondition``; ``error`` says why it could not be evaluated."""

    run_id: str
    step_no: int
    holds: bool
    error: str | None = None


@dataclass(frozen=True, slots=True)
class GuessKnown:
    """The answer to ``NeedMatch``: whether the guess of the step's output was equal to it, as JSON text."""

    run_id: str
    step_no: int
    right: bool


@dataclass(frozen=True, slots=True)
class PrefetchEnded:
    """What was to be read ahead for a step is there: so many bytes, in so many seconds; ``why`` if it is not.

    ``token`` names the delivery that the worker speaks of.
    """

    run_id: str
    step_no: int
    bytes: int = 0
    seconds: float = 0.0
    why: str = ""
    token: str = ""


@dataclass(frozen=True, slots=True)
class ItemsKnown:
    """The answer to ``NeedItems``: how many items a fan-out has."""

    run_id: str
    step_no: int
    count: int
    error: str | None = None


@dataclass(frozen=True, slots=True)
class PageKnown:
    """The answer to ``NeedPage``: which of the items ``low`` to ``high`` (excluded) are skipped."""

    run_id: str
    step_no: int
    low: int
    high: int
    skipped: tuple[int, ...] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True)
class OutputsKnown:
    """The answer to ``NeedOutputs``.

    ``text`` is a value's JSON text. ``missing`` names the outputs whose step produced nothing.
    ``produced`` is false when the plan declares outputs and not one of them has a value; without ``text`` they
    could not be made then, and ``missing`` says why.
    """

    run_id: str
    text: str | None
    missing: tuple[str, ...] = ()
    produced: bool = True


class Question(StrEnum):
    """What may end a run, a step or a wait before its time."""

    GOAL = "goal"  # whether the run's goal holds
    IMPOSSIBLE = "impossible"  # whether the run can come to nothing
    UNTIL = "until"  # whether a step's join holds
    ENOUGH = "enough"  # whether a fan-out's nodes that ended are enough
    VOTE = "vote"  # whether a fan-out's vote is settled


@dataclass(frozen=True, slots=True)
class VerdictKnown:
    """The answer to ``NeedVerdict``. ``reason`` says in words what holds; ``figures`` are for people.

    ``error`` says why it could not be judged, though everything that it refers to is there.
    """

    run_id: str
    question: Question
    step_no: int
    holds: bool
    error: str | None = None
    reason: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AttemptsStopped:
    """A ``StopAttempts`` that was awaited is carried out."""

    run_id: str


@dataclass(frozen=True, slots=True)
class TimePassed:
    """Nothing happened but time: due retries and deadlines are looked at."""


Event = (
    Reported | BeginAsked | SeenRunning | AttemptLost | Unpackable | ChildEnded | Cascaded | Commanded
    | PermitsRevoked | ConditionKnown | GuessKnown | PrefetchEnded | ItemsKnown | PageKnown | OutputsKnown
    | VerdictKnown | AttemptsStopped | TimePassed
)  # fmt: skip


# --- requests -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NeedCondition:
    """Evaluate the step's ``when``."""

    run_id: str
    step_no: int


@dataclass(frozen=True, slots=True)
class NeedMatch:
    """Compare the step's output with its guess; both are there."""

    run_id: str
    step_no: int


@dataclass(frozen=True, slots=True)
class NeedItems:
    """Count the items of the step's ``for_each``."""

    run_id: str
    step_no: int


@dataclass(frozen=True, slots=True)
class NeedPage:
    """Evaluate the step's ``when`` for each of the items ``low`` to ``high`` (excluded)."""

    run_id: str
    step_no: int
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class NeedOutputs:
    """Make the run's outputs."""

    run_id: str


@dataclass(frozen=True, slots=True)
class NeedVerdict:
    """Judge ``question``: of the run, or of the step ``step_no``."""

    run_id: str
    question: Question
    step_no: int = -1


Request = NeedCondition | NeedMatch | NeedItems | NeedPage | NeedOutputs | NeedVerdict


# --- effects ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Grant:
    """Answer a body that asked to begin."""

    token: str
    allowed: bool


@dataclass(frozen=True, slots=True)
class RevokeRun:
    """Delete a run's permits, tell its running bodies to stop, and report ``PermitsRevoked``."""

    run_id: str


@dataclass(frozen=True, slots=True)
class StopAttempts:
    """These attempts are not wanted any more: those that have not begun never do, the others are told to stop.

    Where it is ``awaited``, ``AttemptsStopped`` is to be told once that is done.
    """

    run_id: str
    nodes: tuple[NodeId, ...]
    awaited: bool = False


@dataclass(frozen=True, slots=True)
class StartPrefetch:
    """Read ahead for a step, once, at most ``limit_bytes``; what is brought is fresh for ``fresh_s`` seconds."""

    run_id: str
    step_no: int
    limit_bytes: int
    fresh_s: float


@dataclass(frozen=True, slots=True)
class DropPrefetches:
    """What was, or is being, read ahead for these steps is not wanted any more: nothing of it is to be left."""

    run_id: str
    steps: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RunOver:
    """A run reached a final state: caches of it can go."""

    run_id: str


Effect = Grant | RevokeRun | StopAttempts | StartPrefetch | DropPrefetches | RunOver


@dataclass(slots=True)
class Verdict:
    """What came of a batch of events, each list in order."""

    records: list[Record] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Placement:
    """One attempt to send: which node, which attempt."""

    run_id: str
    step_no: int
    item: int
    attempt: int


Chunk = tuple[Placement, ...]
"""Attempts that travel in one message: at nodes of one step, or at a node and the steps that follow it."""
