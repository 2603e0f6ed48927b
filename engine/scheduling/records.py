"""What the scheduler's core says: records for the journal, in the order they hold.

The journal is the only way the core's decisions reach SQL; ``engine.store`` writes one batch of
records in one transaction. Each record is complete in itself and names its run, so that a batch may
mix runs. Times (``at`` and the like) are seconds since the epoch, UTC.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from engine.wire import ErrorInfo, Note, Outcome


class RunState(StrEnum):
    """The states of a run; the last three are final."""

    PENDING = "pending"  # submitted; no scheduler has taken it up
    RUNNING = "running"  # nodes are, or may be, dispatched
    PAUSED = "paused"  # nothing new is dispatched; what runs ends
    CANCELLING = "cancelling"  # permits are going or gone; running bodies were told to stop
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        return self in (RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED)


WAITS_FOR_APPROVAL = "waits for approval: "
"""How the reason of a paused run begins whose budget is used up, until an operator has answered."""
CEILING = "ceiling"
"""Kind of the note with the most that an attempt can spend, ``nusd``: it goes to the attempt's own row."""


class StepState(StrEnum):
    """The states of a step; the last four are final."""

    WAITING = "waiting"  # its join does not hold yet
    RUNNING = "running"  # expanded; nodes are ready, out, or waiting for a retry
    SUCCEEDED = "succeeded"  # every node succeeded, was skipped by its own condition, or is tolerated
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        return self not in (StepState.WAITING, StepState.RUNNING)


class NodeState(StrEnum):
    """The final states of a node. A node without one is waiting, out, or between two attempts."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


class AttemptKind(StrEnum):
    """Why an attempt was made."""

    PRIMARY = "primary"
    RETRY = "retry"
    HEDGE = "hedge"
    SPECULATIVE = "speculative"
    PREFETCH = "prefetch"

    @property
    def extra(self) -> bool:
        """Whether it is made beside a node's own attempts, or before their time."""
        return self in (AttemptKind.HEDGE, AttemptKind.SPECULATIVE)


@dataclass(frozen=True, slots=True)
class RunChanged:
    """A run went into ``state``. ``outputs`` is a value's JSON text, only with a final state."""

    run_id: str
    state: RunState
    reason: str
    at: float
    partial: bool = False
    outputs: str | None = None


@dataclass(frozen=True, slots=True)
class PermitsGone:
    """After this, no body of that run begins: its permits are gone and its state is stored."""

    run_id: str
    at: float


@dataclass(frozen=True, slots=True)
class StepExpanded:
    """A step's join held and its node count is known (1 for a plain step, perhaps 0 for a fan-out)."""

    run_id: str
    step_no: int
    count: int
    at: float


@dataclass(frozen=True, slots=True)
class StepFinished:
    """A step ended. The counts are of its nodes by final state."""

    run_id: str
    step_no: int
    state: StepState
    reason: str
    at: float
    succeeded: int = 0
    failed: int = 0
    skipped: int = 0
    tolerated: bool = False


@dataclass(frozen=True, slots=True)
class Dispatched:
    """An attempt was decided; its message follows the commit. ``ceiling_nusd`` is the most it can spend, if it can."""

    run_id: str
    step_no: int
    item: int
    attempt: int
    kind: AttemptKind
    queue: str
    at: float
    ceiling_nusd: int | None = None


@dataclass(frozen=True, slots=True)
class Begun:
    """A body began, or (``external``) may begin once this is stored."""

    run_id: str
    step_no: int
    item: int
    attempt: int
    worker: str
    at: float


@dataclass(frozen=True, slots=True)
class AttemptEnded:
    """A current attempt ended. ``retry_at`` is set if the node will be tried again at that time.

    ``repeated`` marks a try that the worker repeated on its own: it was never dispatched as such.
    ``spared_s`` are the seconds that the body would have taken longer, had nothing been read ahead for it.
    """

    run_id: str
    step_no: int
    item: int
    attempt: int
    outcome: Outcome
    at: float
    error: ErrorInfo | None = None
    worker: str = ""
    begun_at: float | None = None
    ended_at: float | None = None
    retry_at: float | None = None
    repeated: bool = False
    spared_s: float = 0.0


PARTIAL_NODE = "partial"
"""How the reason of a node begins that succeeded though the run it stands for left something undone."""


@dataclass(frozen=True, slots=True)
class NodeFinished:
    """A node's final state, recorded once. ``result`` is a value's JSON text.

    ``reason`` says why it did not succeed, or begins with ``PARTIAL_NODE``.
    """

    run_id: str
    step_no: int
    item: int
    state: NodeState
    attempt: int
    at: float
    result: str | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class NodesSkipped:
    """Nodes ``items`` of a step ended without an attempt, in ``state`` (skipped or cancelled)."""

    run_id: str
    step_no: int
    items: tuple[int, ...]
    state: NodeState
    at: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A report of an attempt that is not current (any more): kept, and it changes nothing."""

    run_id: str
    step_no: int
    item: int
    attempt: int
    outcome: Outcome
    worker: str
    at: float
    begun_at: float | None = None
    ended_at: float | None = None


@dataclass(frozen=True, slots=True)
class LogLines:
    """Lines that a body logged, in order, and its progress if it told."""

    run_id: str
    step_no: int
    item: int
    attempt: int
    lines: tuple[str, ...]
    progress: float | None = None


@dataclass(frozen=True, slots=True)
class Noted:
    """What a body left behind besides its result. Each note has a key of its own: written again, it changes nothing."""

    run_id: str
    step_no: int
    item: int
    attempt: int
    notes: tuple[Note, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """A choice the engine made, with its reason and figures, so that people can ask why."""

    run_id: str
    kind: str
    reason: str
    at: float
    step_no: int | None = None
    item: int | None = None
    figures: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BudgetChanged:
    """What was decided of a run's budget, as ``engine.scheduling.state.RunBudget`` reads it."""

    run_id: str
    budget: dict[str, Any]


@dataclass(frozen=True, slots=True)
class CommandHandled:
    """A command of an operator was carried out, or refused with ``error``."""

    command_id: int
    at: float
    error: str | None = None


Record = (
    RunChanged | PermitsGone | StepExpanded | StepFinished | Dispatched | Begun | AttemptEnded | NodeFinished
    | NodesSkipped | Duplicate | LogLines | Noted | Decision | BudgetChanged | CommandHandled
)  # fmt: skip
