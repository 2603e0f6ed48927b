"""Hedging: a body that runs past what its kind usually takes gets a second copy, where a slot is idle.

A worker says of its own accord when a body has run for ``threshold_s`` (``Delivery.mark_after_s``), so
that the many bodies that end in time cost nothing here. What is a straggler then waits until there is a slot
that no primary attempt wants: a copy displaces nothing. That is one of its queue, or, where those are
all taken, of a worker that serves the queue of bets. One that serves nothing else is there for copies
at full load too. The race itself, and what becomes of the loser, is in ``races``.

A body is a straggler past both ``hedge_multiple`` medians of its kind and its 90th percentile. The
median keeps copies away from kinds that all take about the same time; the percentile keeps them away
from kinds that are spread. It is the 90th, not the 95th: where one body in twenty straggles, as in
the paper's and our own measurements, the 95th percentile is itself a straggler's duration.

Copies are a token bucket: each attempt that goes out brings ``hedge_share`` of a token, a copy costs
one, ``FIRST`` are there from the start and ``MOST`` are kept.

References
----------
Dean, Barroso: The Tail at Scale. Communications of the ACM 56(2), 2013 (hedged requests).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engine.dag.compiled import CompiledStep
from engine.plan.tasktype import Effects
from engine.scheduling import extras
from engine.scheduling.bets import QUEUE
from engine.scheduling.events import Chunk
from engine.scheduling.odds import Odds
from engine.scheduling.outstanding import Room
from engine.scheduling.records import AttemptKind, Decision, RunState
from engine.scheduling.state import LiveRun, Policy
from engine.scheduling.turn import Turn
from engine.scheduling.wagers import served_with, spare_slots
from engine.wire import shadow

OBSERVATIONS = 20
"""Bodies of a kind that must have ended before a quantile of their durations is believed."""
LEAST_S = 0.05
"""A body is no straggler before it ran this long: a copy of a shorter one hardly comes first."""
FIRST, MOST = 4.0, 100.0
"""Copies that a scheduler may launch before it sent anything, and that it may save up."""
_QUANTILE = 0.9
_ESTIMATE_LEAST_S = 0.001

NodeKey = tuple[str, int, int]
"""A node: (run id, step_no, item)."""


@dataclass(frozen=True, slots=True)
class Usual:
    """What bodies of a kind usually take: median and 90th percentile in seconds, of so many bodies."""

    p50_s: float
    p90_s: float
    observations: int
    threshold_s: float


@dataclass(frozen=True, slots=True)
class Straggler:
    """An attempt that began at ``begun_at`` and has run past what is usual."""

    attempt: int
    begun_at: float
    usual: Usual


def usual(odds: Odds, policy: Policy, plan: str, step: CompiledStep) -> Usual | None:
    """When a body of the step is a straggler; ``None`` if a copy of it is never made, or too little is known."""
    if not policy.hedge or not may_be_copied(step):
        return None
    kind = plan, step.path, step.task
    if odds.bodies(*kind) < OBSERVATIONS:
        kind = "", "", step.task  # what all bodies of the task type take
    observations = odds.bodies(*kind)
    p50_s, p90_s = odds.quantile_s(*kind, 0.5), odds.quantile_s(*kind, _QUANTILE)
    if observations < OBSERVATIONS or p50_s is None or p90_s is None:
        return None
    return Usual(p50_s, p90_s, observations, max(LEAST_S, policy.hedge_multiple * p50_s, p90_s))


def may_be_copied(step: CompiledStep) -> bool:
    """Whether two bodies at once do no harm, and no limit on how many may run says otherwise."""
    limited = step.max_parallel is not None or bool(step.pools)
    return step.effects != Effects.EXTERNAL and step.child is None and not limited


class Hedges:
    """The stragglers of one scheduler, and what it may still spend on copies of them."""

    def __init__(self) -> None:
        self._stragglers: dict[NodeKey, Straggler] = {}
        self._tokens = FIRST
        self._sent = self._copies = 0

    def sent(self, policy: Policy, count: int) -> None:
        """So many attempts of nodes' own went out."""
        self._sent += count
        self._tokens = min(MOST, self._tokens + policy.hedge_share * count)

    def seen_running(self, turn: Turn, run: LiveRun, no: int, item: int, begun_at: float) -> None:
        """A body is said to run: it is a straggler, or will be at a time that is known."""
        if item < 0:
            return  # a copy gets no copy
        known = usual(turn.odds, turn.policy, run.plan.name, run.step(no))
        if known is None:
            return
        if turn.now >= begun_at + known.threshold_s:
            self._straggles(run, no, item, begun_at, known)
        else:
            turn.timers.add(begun_at + known.threshold_s, run.id, no, shadow(item))

    def due(self, turn: Turn, run: LiveRun, no: int, item: int) -> None:
        """The time has come at which a body that still runs is a straggler."""
        active = run.active.get((no, item))
        known = usual(turn.odds, turn.policy, run.plan.name, run.step(no))
        if active is not None and active.begun_at is not None and known is not None:
            self._straggles(run, no, item, active.begun_at, known)

    def launch(self, turn: Turn, runs: Mapping[str, LiveRun], room: Room, most: int) -> list[Chunk]:
        """Send copies of stragglers, up to ``most``, into slots that no primary attempt wants."""
        launched: list[Chunk] = []
        if not self._stragglers:
            return launched
        busy = set(turn.ready.queues())
        for (run_id, no, item), straggler in list(self._stragglers.items()):
            run = runs.get(run_id)
            if run is None or not _still_runs(run, no, item, straggler):
                del self._stragglers[run_id, no, item]
            elif _goes_on(run) and len(launched) < most and self._tokens >= 1.0:
                queue = _idle_queue(turn, run, no, room, busy)
                if queue is not None:
                    del self._stragglers[run_id, no, item]
                    launched.append(self._copy(turn, run, no, item, straggler, queue))
        return launched

    def _straggles(self, run: LiveRun, no: int, item: int, begun_at: float, known: Usual) -> None:
        active = run.active.get((no, item))
        if active is not None and extras.extra_of(run, no, item) is None and not _in_a_segment(run, no):
            self._stragglers[run.id, no, item] = Straggler(active.attempt, begun_at, known)

    def _copy(self, turn: Turn, run: LiveRun, no: int, item: int, straggler: Straggler, queue: str) -> Chunk:
        known, elapsed_s = straggler.usual, max(0.0, turn.now - straggler.begun_at)
        self._tokens -= 1.0
        self._copies += 1
        estimate_s = max(_ESTIMATE_LEAST_S, known.p50_s)
        placement = extras.launch(turn, run, no, item, AttemptKind.HEDGE, queue, estimate_s)
        reason = (
            f"it has run {elapsed_s:.3g} s, and of {known.observations} like it nine in ten ended within "
            f"{known.p90_s:.3g} s, half within {known.p50_s:.3g} s"
        )
        figures = {
            "elapsed_s": elapsed_s, "threshold_s": known.threshold_s, "p50_s": known.p50_s, "p90_s": known.p90_s,
            "observations": known.observations, "copies": self._copies, "attempts": self._sent,
            "share": self._copies / max(1, self._sent),
        }  # fmt: skip
        turn.record(Decision(run.id, "hedge", reason, turn.now, no, item, figures))
        return (placement,)


def _idle_queue(turn: Turn, run: LiveRun, no: int, room: Room, busy: set[str]) -> str | None:
    """The queue with an idle slot for a copy, with nothing ready that could take it; ``None`` if there is none."""
    own = run.queue(no)
    if own in room.paused or run.step(no).task in room.tokens:
        return None
    if own not in busy and turn.outstanding.count(own) < room.slots.get(own, 0):
        return own
    wanted = not busy.isdisjoint(served_with(room, QUEUE))
    spare = 0 if wanted or QUEUE in room.paused else spare_slots(room, QUEUE, turn.outstanding)[1]
    return QUEUE if spare > 0 else None


def _in_a_segment(run: LiveRun, no: int) -> bool:
    """Whether the step's result is used in its own message, so that no other may take its place."""
    return run.steps[no].ahead or any(run.steps[child].ahead for child in run.step(no).children)


def _goes_on(run: LiveRun) -> bool:
    """Whether it spends as it likes: one that stops for money finishes what is paid, and a copy pays it twice."""
    return run.state is RunState.RUNNING and not run.budget.stopped


def _still_runs(run: LiveRun, no: int, item: int, straggler: Straggler) -> bool:
    active = run.active.get((no, item))
    current = active is not None and active.attempt == straggler.attempt
    return current and run.state in (RunState.RUNNING, RunState.PAUSED) and extras.extra_of(run, no, item) is None
