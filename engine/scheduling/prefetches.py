"""Prefetch: idle slots bring in the known parts of the inputs of steps that will probably follow.

A task type that reads something slow may declare a function that only reads (``@task(prefetch=…)``).
While the steps above such a step run, and what that function needs is known, the function runs in an
idle slot; the step's own body then gets what it brought. It decides nothing: what failed, was lost, or
is no longer fresh is simply not there, and the body does it itself. So a prefetch is no attempt, is not
restored, and is made once a node by one scheduler.

What is read must be what the body would have read. So nothing is read before every step above that
changes anything has ended: whatever is still open above has no effects.

A prefetch never takes a slot that work which is certain could want: one slot of those that serve the
queue ``prefetch`` stays idle, half of them at most read ahead, nothing is begun while something is ready
for them, and the latest give way once they are all wanted.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from engine.scheduling.events import DropPrefetches, PrefetchEnded, StartPrefetch
from engine.scheduling.nearness import ABOVE_MOST, Nearness, may_read_ahead, nearness
from engine.scheduling.outstanding import Room
from engine.scheduling.records import (
    AttemptKind,
    Decision,
    RunChanged,
    RunState,
    StepExpanded,
    StepFinished,
    StepState,
)
from engine.scheduling.state import Active, LiveRun
from engine.scheduling.turn import Turn
from engine.scheduling.wagers import spare_slots
from engine.wire import NodeReport

QUEUE = "prefetch"
"""The queue of the broker that prefetches wait in."""
_LOOKED_AT = 16
_LATE = 1.25
_UNKNOWN_S = 0.1

StepKey = tuple[str, int]
"""A step: (run id, step_no)."""


@dataclass(slots=True)
class Fetch:
    """A prefetch that was started and not used yet. ``active`` while it is out, ``bytes`` once it is there.

    ``usual_s`` is what the step's bodies usually take; ``None`` if nobody knows. After ``until`` it is stale.
    """

    run: LiveRun
    no: int
    active: Active | None
    usual_s: float | None
    until: float
    bytes: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class Watched:
    """A run with steps that may be read ahead for.

    ``near`` are those among them that wait below a step that runs, the nearest first; ``seen`` are all that ever
    were. The rest says what its prefetches came to.
    """

    run: LiveRun
    near: dict[int, None] = field(default_factory=dict)
    seen: set[int] = field(default_factory=set)
    figures: Counter[str] = field(default_factory=Counter)
    saved_s: float = 0.0


class Prefetches:
    """The prefetches of one scheduler, and the steps for which one may be made soon."""

    def __init__(self) -> None:
        self._open: dict[StepKey, Fetch] = {}
        self._watched: dict[str, Watched] = {}

    # --- what happens ---------------------------------------------------------------------------

    def taken(self, turn: Turn, run: LiveRun) -> None:
        """A run was taken up, new or half done."""
        if not turn.policy.prefetch or all(step.prefetch is None for step in run.plan.steps):
            return
        self._watched[run.id] = Watched(run)
        for no, progress in enumerate(run.steps):
            if progress.state is StepState.RUNNING:
                self._look_below(run, no)

    def follow(self, turn: Turn, runs: Mapping[str, LiveRun]) -> None:
        """Draw the consequences of what was decided in this turn."""
        if not self._watched:
            return
        for record in list(turn.verdict.records):
            if not isinstance(record, StepExpanded | StepFinished | RunChanged) or record.run_id not in self._watched:
                continue
            if isinstance(record, StepExpanded):
                self._look_below(runs[record.run_id], record.step_no)
            elif isinstance(record, RunChanged):
                if record.state.final or record.state is RunState.CANCELLING:
                    self._close_run(turn, runs[record.run_id])
            elif (fetch := self._open.get((record.run_id, record.step_no))) is not None:
                self._vain(turn, fetch, f"its step is {record.state}")

    def ended(self, turn: Turn, run: LiveRun, event: PrefetchEnded) -> None:
        """The function came to an end."""
        fetch = self._open.get((run.id, event.step_no))
        if fetch is None or fetch.active is None:
            return
        self._release(turn, fetch)
        if event.why:
            self._vain(turn, fetch, f"nothing was brought: {event.why}")
            return
        fetch.bytes, fetch.seconds = event.bytes, event.seconds
        watched = self._watched[run.id]
        watched.figures["fetched"] += 1
        watched.figures["fetched_bytes"] += event.bytes

    def reported(self, turn: Turn, run: LiveRun, no: int, report: NodeReport) -> None:
        """A body of the step has ended: it had what was brought, or will not have it any more."""
        fetch = self._open.get((run.id, no))
        if fetch is None or report.item < 0:
            return
        used = report.prefetched
        if used is None:
            self._vain(turn, fetch, "the body did not use it")
            return
        figures = {"bytes": used.bytes, "saved_s": used.seconds}
        turn.record(Decision(run.id, "prefetch", "used", turn.now, no, 0, figures))
        watched = self._watched[run.id]
        watched.figures["used"] += 1
        watched.figures["used_bytes"] += used.bytes
        watched.saved_s += used.seconds
        self._close(turn, fetch)

    def left_s(self, run: LiveRun, no: int, now: float) -> float | None:
        """Seconds that the step's body may wait for what is being brought; ``None`` if nothing is.

        A quarter more than bodies of the step usually take, less what has passed, and at least a quarter;
        where that is not known, as long as it has been out already. Zero if it is there.
        """
        fetch = self._open.get((run.id, no))
        if fetch is None or now > fetch.until:
            return None
        if fetch.active is None:
            return 0.0
        elapsed_s = max(0.0, now - fetch.active.dispatched_at)
        if fetch.usual_s is None:
            return elapsed_s
        return max(_LATE * fetch.usual_s - elapsed_s, (_LATE - 1) * fetch.usual_s)

    # --- what is done ---------------------------------------------------------------------------

    def place(self, turn: Turn, room: Room, most: int) -> None:
        """Begin prefetches where slots are idle, up to ``most``; where there are too few, the latest give way."""
        if not self._watched:
            return
        for fetch in [fetch for fetch in self._open.values() if turn.now > fetch.until]:
            self._vain(
                turn, fetch, "it is no longer fresh" if fetch.active is None else "it was lost, or takes too long"
            )
        slots, spare = spare_slots(room, QUEUE, turn.outstanding)
        out = [fetch for fetch in self._open.values() if fetch.active is not None]
        if slots == 0 or QUEUE in room.paused or spare < 0:
            self._give_way(turn, out, -spare if slots and QUEUE not in room.paused else len(out))
            return
        wanted = min(spare - 1, slots // 2 - len(out), turn.policy.prefetch_max - len(self._open), most)
        if wanted > 0 and not _ready_for(turn, room):
            for run, no, near in self._best(turn, room, wanted):
                self._start(turn, run, no, near)

    def forget(self, run_id: str) -> None:
        """A run is over."""
        for key in [key for key in self._open if key[0] == run_id]:
            del self._open[key]
        self._watched.pop(run_id, None)

    # --- inside ---------------------------------------------------------------------------------

    def _look_below(self, run: LiveRun, no: int) -> None:
        """A step runs: list those not far below it that may be read ahead for."""
        watched, todo, reached = self._watched[run.id], deque([no]), {no}
        while todo and len(reached) <= ABOVE_MOST:
            for child in run.step(todo.popleft()).children:
                if child not in reached:
                    reached.add(child)
                    todo.append(child)
                    if child not in watched.seen and may_read_ahead(run, child):
                        watched.seen.add(child)
                        watched.near[child] = None

    def _best(self, turn: Turn, room: Room, wanted: int) -> list[tuple[LiveRun, int, Nearness]]:
        """The nearest of some of the steps listed; those that wait no more go, and runs take turns."""
        found: list[tuple[LiveRun, int, Nearness]] = []
        looked_at = 0
        for run_id in list(islice(self._watched, _LOOKED_AT)):
            watched = self._watched.pop(run_id)
            self._watched[run_id] = watched
            for no in list(islice(watched.near, max(0, _LOOKED_AT - looked_at))):
                looked_at += 1
                if watched.run.steps[no].state is not StepState.WAITING:
                    del watched.near[no]
                elif (near := nearness(turn, room, watched.run, no)) is not None:
                    found.append((watched.run, no, near))
                else:
                    del watched.near[no]
                    watched.near[no] = None  # others have their turn
        return sorted(found, key=lambda each: (not each[2].parents_out, -each[0].ranks[each[1]]))[:wanted]

    def _start(self, turn: Turn, run: LiveRun, no: int, near: Nearness) -> None:
        policy, estimate_s = turn.policy, near.usual_s or _UNKNOWN_S
        active = Active(0, AttemptKind.PREFETCH, QUEUE, estimate_s, turn.now)
        turn.outstanding.add(run, no, active)
        self._open[run.id, no] = Fetch(run, no, active, near.usual_s, turn.now + 2 * policy.prefetch_fresh_s)
        watched = self._watched[run.id]
        del watched.near[no]
        watched.figures["started"] += 1
        figures = {"starts_in_s": near.starts_in_s, "usual_s": near.usual_s, "odds": near.odds}
        reason = f"started: what it reads is known, and {near.open_above} steps above it have not ended"
        turn.record(Decision(run.id, "prefetch", reason, turn.now, no, 0, figures))
        limit_bytes = policy.prefetch_max_bytes // policy.prefetch_max
        turn.effect(StartPrefetch(run.id, no, limit_bytes, policy.prefetch_fresh_s))

    def _give_way(self, turn: Turn, out: list[Fetch], count: int) -> None:
        latest = sorted(out, key=lambda fetch: -fetch.active.dispatched_at if fetch.active is not None else 0.0)
        for fetch in latest[:count]:
            self._vain(turn, fetch, "its slot is wanted for work that is certain")

    def _vain(self, turn: Turn, fetch: Fetch, why: str) -> None:
        figures = {"bytes": fetch.bytes, "seconds": fetch.seconds}
        turn.record(Decision(fetch.run.id, "prefetch", f"in vain: {why}", turn.now, fetch.no, 0, figures))
        turn.effect(DropPrefetches(fetch.run.id, (fetch.no,)))
        self._close(turn, fetch)

    def _close_run(self, turn: Turn, run: LiveRun) -> None:
        for fetch in list(self._of(run)):
            self._vain(turn, fetch, f"its run is {run.state}")
        watched = self._watched.pop(run.id)
        if watched.figures["started"]:
            names = ("started", "fetched", "used", "fetched_bytes", "used_bytes")
            figures = {name: watched.figures[name] for name in names} | {"saved_s": watched.saved_s}
            reason = f"{figures['used']} of {figures['started']} prefetches were used"
            turn.record(Decision(run.id, "prefetch", reason, turn.now, figures=figures))

    def _close(self, turn: Turn, fetch: Fetch) -> None:
        self._release(turn, fetch)
        del self._open[fetch.run.id, fetch.no]

    def _release(self, turn: Turn, fetch: Fetch) -> None:
        if fetch.active is not None:
            turn.outstanding.remove(fetch.run, fetch.no, fetch.active)
            fetch.active = None

    def _of(self, run: LiveRun) -> Iterator[Fetch]:
        return (fetch for fetch in self._open.values() if fetch.run is run)


def _ready_for(turn: Turn, room: Room) -> bool:
    """Whether something is ready that the slots which read ahead could run."""
    serving = frozenset[str]().union(*(queues for queues, _ in room.workers if QUEUE in queues))
    return not serving.isdisjoint(turn.ready.queues())
