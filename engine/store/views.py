"""What readers of the store are given: frozen rows in the words of the engine. No SQL here.

Times are seconds since the epoch, UTC.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.ids import node_key
from engine.scheduling.records import NodeState, RunState, StepState
from engine.wire import ErrorInfo, Outcome, Value

FINAL_STATES = tuple(state for state in RunState if state.final)


@dataclass(frozen=True, slots=True)
class RunView:
    """A run as people see it. ``partial`` means that not all it should have done was done."""

    id: str
    tenant: str
    session: str
    plan_name: str
    plan_version: str
    shard: int
    priority: int
    state: RunState
    reason: str
    partial: bool
    idempotency_key: str | None
    created_at: float
    started_at: float | None
    finished_at: float | None
    deadline_at: float | None
    permits_gone_at: float | None
    parent_run: str | None = None
    parent_step_no: int | None = None
    parent_item: int | None = None
    parent_attempt: int | None = None
    round: int | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StepView:
    """A step; the counts are of nodes by final state, as the scheduler recorded them at its end.

    ``code_hash`` is that of the code which made its results; ``None`` where none is known.
    """

    step_no: int
    path: str
    task: str
    queue: str
    phase: str
    skill: str
    effects: str
    fanned: bool
    parents: tuple[int, ...]
    join_kind: str
    attempts_max: int
    state: StepState
    reason: str
    tolerated: bool
    count: int | None
    succeeded: int
    failed: int
    skipped: int
    expanded_at: float | None
    finished_at: float | None
    code_hash: str | None = None


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node. ``state`` is a final state, or ``ready``, ``out`` (dispatched), ``running`` or ``retrying``.

    ``attempt`` is its latest, ``None`` if it never had one; ``error`` is the latest attempt's.
    """

    step_no: int
    item: int
    path: str
    fanned: bool
    state: str
    reason: str
    attempt: int | None
    outcome: Outcome | None
    worker: str
    dispatched_at: float | None
    begun_at: float | None
    finished_at: float | None
    retry_at: float | None
    progress: float | None
    error: ErrorInfo | None

    @property
    def key(self) -> str:
        """The name people see, such as ``inspect[17]``."""
        return node_key(self.path, self.item, self.fanned)


@dataclass(frozen=True, slots=True)
class AttemptView:
    """One try at a node; without an outcome it is out."""

    step_no: int
    item: int
    attempt: int
    kind: str
    queue: str
    outcome: Outcome | None
    worker: str
    dispatched_at: float | None
    begun_at: float | None
    ended_at: float | None
    retry_at: float | None
    repeated: bool
    progress: float | None
    error: ErrorInfo | None


@dataclass(frozen=True, slots=True)
class LogView:
    """A line that a body logged; ``number`` is the cursor for the lines after it."""

    number: int
    step_no: int
    item: int
    attempt: int
    text: str


@dataclass(frozen=True, slots=True)
class DecisionView:
    """A choice the engine made, and why."""

    kind: str
    reason: str
    at: float
    step_no: int | None
    item: int | None
    figures: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CommandView:
    """A command and its answer: handled if ``handled_at`` is set, refused if ``error`` is too."""

    id: int
    run_id: str
    kind: str
    created_at: float
    handled_at: float | None
    error: str | None


@dataclass(frozen=True, slots=True)
class StepProgress:
    """A step's nodes by where they are now. ``count`` is ``None`` until the step is expanded.

    ``out`` were dispatched and have not ended; of them, ``running`` are known to have begun.
    """

    step_no: int
    path: str
    state: StepState
    count: int | None
    succeeded: int
    failed: int
    skipped: int
    cancelled: int
    out: int
    running: int
    retrying: int

    @property
    def done(self) -> int:
        """Nodes with a final state."""
        return self.succeeded + self.failed + self.skipped + self.cancelled


@dataclass(frozen=True, slots=True)
class RunProgress:
    """A run and all its steps at one moment, for a live view."""

    run: RunView
    steps: Sequence[StepProgress] = field(default=())


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast nodes of a running step have ended of late; those taken over from another run do not count.

    Parameters
    ----------
    since
        When its nodes came to be.
    ended
        For each window, shortest first: its length in seconds before the time of asking, and how many
        nodes ended in it.
    last_ended_at
        ``None`` if none has in the longest window.
    """

    since: float
    ended: Sequence[tuple[float, int]]
    last_ended_at: float | None


@dataclass(frozen=True, slots=True)
class Below:
    """The runs that stand for nodes of a step, and those below them, with their nodes.

    ``nodes`` are all that are known: steps that are not expanded yet have none.
    """

    runs: int = 0
    runs_ended: int = 0
    nodes: int = 0
    succeeded: int = 0
    failed: int = 0
    skipped: int = 0
    cancelled: int = 0

    @property
    def done(self) -> int:
        """Nodes with a final state."""
        return self.succeeded + self.failed + self.skipped + self.cancelled


@dataclass(frozen=True, slots=True)
class QueueBacklog:
    """What waits for a queue, as far as SQL knows, over all unfinished runs.

    ``ready`` may be sent at once, ``out`` was sent and has not ended, ``retrying`` waits for its time.
    Nodes of steps that are not expanded yet are not counted.
    """

    queue: str
    ready: int
    out: int
    retrying: int


@dataclass(frozen=True, slots=True)
class NodeResult:
    """What a node returned, still packed: ``engine.artefacts.values.unpack`` gives the data.

    ``reason`` says why it did not succeed.
    """

    state: NodeState
    value: Value | None
    reason: str = ""
