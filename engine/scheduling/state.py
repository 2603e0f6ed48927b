"""What the core holds in memory of a live run: control state only, never a value.

A fan-out's nodes are one byte each until they are out; only attempts that are out, waiting for a
retry, or have a history of trouble cost an object. Everything here can be rebuilt from the journal
(``engine.scheduling.restoring``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.dag.compiled import CompiledPlan, CompiledStep
from engine.scheduling.events import NodeId
from engine.scheduling.news import News
from engine.scheduling.records import AttemptKind, NodeState, RunState, StepState

NODE_CODES: dict[NodeState, int] = {
    NodeState.SUCCEEDED: 1,
    NodeState.FAILED: 2,
    NodeState.SKIPPED: 3,
    NodeState.CANCELLED: 4,
}
"""How a final state is kept in ``StepProgress.finals``; 0 means none yet."""


CHILD_RUNS = "plan.run"
"""What the lines of runs to be started for nodes are called, where a queue's name is asked for."""


@dataclass(slots=True)
class Active:
    """An attempt that is out: journaled as dispatched, and no end of it journaled.

    An ``urgent`` one goes before the backlog of its queue.
    """

    attempt: int
    kind: AttemptKind
    queue: str
    estimate_s: float
    dispatched_at: float
    begun_at: float | None = None
    urgent: bool = False


@dataclass(slots=True)
class Trouble:
    """A node's history, kept from its first attempt that did not succeed.

    ``tries`` count against the retry policy; ``losses`` (a dead worker) and ``refusals`` (never
    begun, or storage away) have bounds of their own.
    """

    attempt: int = 0
    tries: int = 0
    losses: int = 0
    refusals: int = 0
    first_begun_at: float | None = None
    retry_at: float | None = None


@dataclass(slots=True)
class StepProgress:
    """How far one step is.

    Parameters
    ----------
    finals
        One byte a node, see ``NODE_CODES``.
    cursor
        The next item that was never dispatched.
    page_end
        Items below this may be dispatched: their own conditions, if any, are evaluated.
    again
        Items to dispatch once more, before any new one.
    open_parents, good_parents
        Parents with no final state; parents that succeeded.
    out
        Nodes with an active attempt.
    ahead
        Its node is out before the step's join holds: in one message behind those it waits for.
    parked
        Ready, but kept from dispatch by ``max_parallel``, a pool, or a rate.
    held
        Whether the expression of its join was found to hold.
    short_since
        Since when a batch that is not full waits for more nodes.
    """

    state: StepState = StepState.WAITING
    count: int | None = None
    finals: bytearray = field(default_factory=bytearray)
    succeeded: int = 0
    failed: int = 0
    skipped: int = 0
    cancelled: int = 0
    cursor: int = 0
    page_end: int = 0
    again: deque[int] = field(default_factory=deque)
    open_parents: int = 0
    good_parents: int = 0
    out: int = 0
    asked: bool = False
    falling_back: bool = False
    tolerated: bool = False
    listed: bool = False
    ahead: bool = False
    held: bool = False
    short_since: float | None = None
    reason: str = ""

    @property
    def ended(self) -> int:
        """Nodes with a final state."""
        return self.succeeded + self.failed + self.skipped + self.cancelled

    @property
    def dispatchable(self) -> int:
        """Nodes that could be dispatched now, limits aside."""
        return len(self.again) + max(0, self.page_end - self.cursor)


@dataclass(frozen=True, slots=True)
class RunBudget:
    """What was decided of a run's budget beside its plan; stored, so that it outlives schedulers.

    Parameters
    ----------
    max_nusd
        Nano-dollars the run may spend, in place of what its plan says; ``None`` leaves it to that.
    limits
        Its other limits in place of what its plan says: ``max_tokens``, ``max_calls``, ``max_time`` (seconds of calls).
    choice
        What becomes of it from now on when the budget is used up; empty leaves it to the plan.
    cheaper, cheaper_since
        How many tiers below the usual what goes out from that time (epoch seconds) is to be.
    asked
        What an operator was asked, and until when; ``None`` if nobody is.
    stopped
        Why nothing more that costs is done; empty while that is not so.
    """

    max_nusd: int | None = None
    choice: str = ""
    cheaper: int = 0
    cheaper_since: float = 0.0
    asked: Mapping[str, Any] | None = None
    stopped: str = ""
    limits: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """JSON data, without what is as usual."""
        return {name: getattr(self, name) for name in self.__slots__ if getattr(self, name)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | None) -> RunBudget:
        """What ``to_json`` gave."""
        return cls(**{name: value for name, value in (data or {}).items() if name in cls.__slots__})


@dataclass(slots=True)
class LiveRun:
    """A run that has not ended.

    ``ending`` is the final state that a run in ``cancelling`` is bound for; ``depth`` is how many runs
    are above this one, ``parent`` the id of the nearest; ``read_steps`` are the steps whose results something in
    the plan may ask for;
    ``extra_numbers`` are the highest numbers given to extra attempts (``engine.scheduling.extras``);
    ``bet_at`` are the steps at which a bet was made (``engine.scheduling.bets``), ``guessing`` says of each
    bet that is out on a guess the number of the step whose output is guessed.
    ``news`` is kept where something may end before its time, ``stopping`` counts the ``StopAttempts`` that
    are awaited.
    """

    id: str
    plan: CompiledPlan
    priority: int
    state: RunState
    steps: list[StepProgress]
    deadline_at: float | None = None
    reason: str = ""
    partial: bool = False
    permits_gone: bool = False
    ending: RunState = RunState.CANCELLED
    depth: int = 0
    steps_left: int = 0
    read_steps: frozenset[int] = frozenset()
    ranks: Sequence[float] = ()
    active: dict[NodeId, Active] = field(default_factory=dict)
    extra_numbers: dict[NodeId, int] = field(default_factory=dict)
    bet_at: set[int] = field(default_factory=set)
    guessing: dict[int, int] = field(default_factory=dict)
    trouble: dict[NodeId, Trouble] = field(default_factory=dict)
    told: dict[tuple[int, str], int] = field(default_factory=dict)  # see scheduling.decisions
    news: News | None = None
    stopping: int = 0
    outputs_asked: bool = False
    budget: RunBudget = RunBudget()
    parent: str | None = None

    def step(self, no: int) -> CompiledStep:
        """The compiled step of that number."""
        return self.plan.steps[no]

    def queue(self, no: int) -> str:
        """Where the nodes of step ``no`` wait: a queue of the broker, or the line of runs to be started.

        That line is one for each depth: runs that wait for runs below them must not keep those back.
        """
        step = self.plan.steps[no]
        return step.queue if step.child is None else f"{CHILD_RUNS}/{self.depth}"

    def stand_in(self, no: int) -> int:
        """The step whose output counts as step ``no``'s: itself, or the fall-back that succeeded."""
        fallback = self.plan.steps[no].fallback
        if fallback is not None and self.steps[fallback].state is StepState.SUCCEEDED:
            return fallback
        return no


@dataclass(frozen=True, slots=True)
class Policy:
    """The core's few numbers, from the settings.

    Parameters
    ----------
    losses_max
        Times a node may be lost with its worker before it is failed as ``worker_lost``.
    refusals_max
        Times storage may be away, or a body not begin, before the node fails.
    window_s
        Seconds of work, a slot, that may be out at once.
    chunk_s, chunk_max
        Seconds of work, and nodes, that travel in one message at most.
    chunks_a_slot
        Chunks that the nodes at hand are cut into for each slot at least, so that no slot stays idle.
    page
        Items whose own conditions are evaluated at a time.
    children_max
        Runs started for nodes that may live at once, for each depth of nesting.
    speculate
        Whether bets are made.
    prefetch, prefetch_max, prefetch_max_bytes, prefetch_fresh_s
        Whether inputs are read ahead, for how many nodes at once, how many bytes are kept at once, and how many
        seconds they may be used for.
    worker_usd_per_h, call_usd
        What an hour of a worker's slot costs, and a call of a task type.
    run_budget
        What becomes of a run that states no budget and meets a limit: ``on_exhausted``, ``ask_timeout`` and
        ``on_timeout``; ``plan_ask_timeout`` is for plans that ask and do not say how long.
    hedge, hedge_multiple, hedge_share
        Whether stragglers get a second copy, past how many medians of their kind, and for what share of all
        attempts at most.
    """

    losses_max: int = 3
    refusals_max: int = 50
    window_s: float = 5.0
    chunk_s: float = 0.05
    chunk_max: int = 500
    chunks_a_slot: int = 2
    page: int = 1000
    children_max: int = 200
    hedge: bool = True
    hedge_multiple: float = 1.25
    hedge_share: float = 0.05
    speculate: bool = True
    prefetch: bool = True
    prefetch_max: int = 8
    prefetch_max_bytes: int = 64 * 1024 * 1024
    prefetch_fresh_s: float = 60.0
    worker_usd_per_h: float = 0.05
    call_usd: Mapping[str, float] = field(default_factory=dict)
    run_budget: Mapping[str, Any] = field(default_factory=dict)
