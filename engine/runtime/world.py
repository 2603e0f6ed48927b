"""What a scheduler is given: its ports, its pace, its limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from engine.artefacts.store import ArtefactStore
from engine.clock import Clock
from engine.dag.compiled import CompiledPlan
from engine.runtime.budgets import Accounts
from engine.runtime.ports import HotState, Journal, Publisher
from settings.rates import Rate


@dataclass(frozen=True, slots=True)
class World:
    """The outside, as ports. ``compiled`` gives the plan of a stored version, ``budgets`` what is kept of spending."""

    journal: Journal
    hot: HotState
    publisher: Publisher
    artefacts: ArtefactStore
    clock: Clock
    compiled: Callable[[str], CompiledPlan]
    new_token: Callable[[], str]
    sleep: Callable[[float], None]
    budgets: Accounts | None = None


@dataclass(frozen=True, slots=True)
class Pace:
    """How often the loop does what, in seconds, and how much at a time.

    Parameters
    ----------
    lease_s
        Time to live of the shard's lease; a standby takes over after it.
    poll_s
        Floor for noticing new runs and commands; a wake-up report makes it sooner.
    inspect_s
        How often leases and queue lengths are looked at.
    settle_s
        Age that every begun body of a cancelled run must have reached before the cancel is
        reported as complete, so that none is between its begin mark and its first line.
    announce_s
        How long live workers are given to announce what they hold, after Redis was lost.
    worker_lease_s
        How long a worker that holds a delivery may say nothing before the attempt is taken as lost.
    chunk_longest_s
        How long a chunk may be held before its nodes that have not begun are sent singly.
    retry_in_worker_max_s
        Longest wait between tries that a worker sits out itself.
    batch, dispatch
        Reports taken in, and attempts sent, in one step at most.
    held_nodes
        Reports that tell of so many nodes or more wait for a step of its own of what is said of light runs.
    """

    lease_s: float = 1.5
    poll_s: float = 0.5
    inspect_s: float = 0.5
    settle_s: float = 0.1
    announce_s: float = 3.0
    worker_lease_s: float = 10.0
    chunk_longest_s: float = 1.0
    retry_in_worker_max_s: float = 1.0
    batch: int = 1000
    dispatch: int = 1000
    held_nodes: int = 32


@dataclass(frozen=True, slots=True)
class Limits:
    """Concurrency pools by name, and rates by task type, held across all workers.

    ``shards`` is how many there are; ``None`` if that is not known.
    """

    pools: Mapping[str, int] = field(default_factory=dict)
    rates: Mapping[str, Rate] = field(default_factory=dict)
    shards: int | None = None
