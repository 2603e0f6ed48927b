"""What the journal knows, in the shape that the core rebuilds its memory from."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.dag.compiled import CompiledPlan
from engine.scheduling.records import AttemptKind, NodeState, RunState, StepState
from engine.wire import Outcome


@dataclass(frozen=True, slots=True)
class ChildOf:
    """The attempt at a node that a run was started for; ``round`` counts the runs of one attempt from 1.

    ``depth`` is how many runs are above this one.
    """

    run_id: str
    step_no: int
    item: int
    attempt: int
    round: int = 1
    depth: int = 1


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run as the scheduler takes it up. ``inputs`` is a value's JSON text; times are epoch seconds.

    ``budget`` is what ``engine.scheduling.state.RunBudget`` reads.
    """

    id: str
    tenant: str
    session: str
    plan_name: str
    plan_version: str
    inputs: str
    priority: int
    state: RunState
    reason: str
    created_at: float
    deadline_at: float | None = None
    partial: bool = False
    permits_gone: bool = False
    parent: ChildOf | None = None
    budget: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class NewChild:
    """A run to be started for a node; ``row`` is how it will be taken up, ``source`` its plan as JSON data."""

    row: RunRow
    plan: CompiledPlan
    source: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ChildEnd:
    """A run that was started for a node, and what it handed back (a value's JSON text) if it has ended."""

    row: RunRow
    outputs: str | None = None


@dataclass(frozen=True, slots=True)
class CommandRow:
    """What an operator asked: ``kind`` is cancel, pause or resume."""

    id: int
    run_id: str
    kind: str
    arguments: Mapping[str, Any]
    created_at: float


@dataclass(frozen=True, slots=True)
class StepRow:
    """A step that was expanded or ended, as it was journaled."""

    step_no: int
    state: StepState
    count: int | None
    reason: str = ""
    tolerated: bool = False


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """The latest attempt of a node that has no final state, and the sums over all its attempts.

    ``losses`` counts attempts lost with their worker, ``tries`` those that count against the retry
    policy (failed or timed out, the ones a worker repeated on its own included). ``unknown`` counts
    those that had begun and whose result is not known (lost, stopped, storage away): tries too, where
    a body must not be repeated.
    """

    step_no: int
    item: int
    attempt: int
    kind: AttemptKind
    queue: str
    dispatched_at: float
    begun_at: float | None
    outcome: Outcome | None
    retry_at: float | None
    losses: int
    tries: int
    first_begun_at: float | None
    unknown: int = 0


@dataclass(frozen=True, slots=True)
class ExtraRow:
    """An extra attempt (hedge, speculative) at a node with no final state; ``open`` if no end of it is journaled."""

    step_no: int
    item: int
    attempt: int
    begun_at: float | None
    open: bool


@dataclass(frozen=True, slots=True)
class RunSnapshot:
    """All that is needed to rebuild a run in memory. ``nodes`` are (step_no, item, final state).

    ``errors`` counts the attempts that failed by type and message of their error, ``TYPE: MESSAGE``.
    ``lacking`` are steps with a node that succeeded and did not do all it should have done.
    """

    run: RunRow
    steps: Sequence[StepRow] = field(default=())
    nodes: Sequence[tuple[int, int, NodeState]] = field(default=())
    attempts: Sequence[AttemptRow] = field(default=())
    extras: Sequence[ExtraRow] = field(default=())
    errors: Mapping[str, int] = field(default_factory=dict)
    lacking: Collection[int] = field(default=())
