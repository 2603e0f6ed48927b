"""What goes out next: from each queue's ready sources, in turn, as much as the window takes."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.scheduling import decisions
from engine.scheduling.attempts import next_attempt
from engine.scheduling.batches import batch_room, cut_batches
from engine.scheduling.chunks import chunk_size, node_cost_s
from engine.scheduling.events import Chunk, Placement
from engine.scheduling.mixtures import Mixtures
from engine.scheduling.outstanding import Room
from engine.scheduling.ready import NEXT_TO_NOTHING
from engine.scheduling.records import Dispatched, RunState
from engine.scheduling.state import Active, LiveRun
from engine.scheduling.steps import ask_page
from engine.scheduling.turn import Turn
from engine.scheduling.urgency import AT_ONCE_S, FIRST_S
from engine.scheduling.windows import Windows

_TURN_S = 0.25
"""Seconds of a slot's work that one run may send before the next run of its priority has its turn."""


@dataclass(slots=True)
class Parked:
    """Ready steps that a pool or a rate keeps back; looked at again on every dispatch."""

    sources: list[tuple[LiveRun, int]] = field(default_factory=list)


def dispatch(turn: Turn, room: Room, parked: Parked, most: int, *, newcomers_only: bool = False) -> list[Chunk]:
    """Choose up to ``most`` attempts to send now, and journal them; each chunk is to be one message.

    Newcomers of every queue have their first turn before anybody has another one. They may take half of
    ``most``: a stream of new runs slows the others down, and never stops them. With ``newcomers_only``
    the others have theirs at the next dispatch.
    """
    again, parked.sources = parked.sources, []
    for run, no in again:
        turn.ready.add(run, no)
    sending = _Sending(turn, room, parked, most)
    queues = [queue for queue in turn.ready.queues() if queue not in room.paused]
    if (
        newcomers_only
        or len(queues) > 1
        or any(turn.ready.newcomers(queue) < turn.ready.runs(queue) for queue in queues)
    ):
        for queue in queues:
            sending.newcomers(queue, most if newcomers_only else max(1, most // 2))
    if newcomers_only:
        return sending.chunks
    for queue in turn.ready.queues():
        if queue in room.paused:
            decisions.queue_paused(turn, queue)
        else:
            sending.everybody(queue)
    return sending.chunks


class _Sending:
    """One dispatch: what is left of the room, and what goes out."""

    def __init__(self, turn: Turn, room: Room, parked: Parked, most: int) -> None:
        self.chunks: list[Chunk] = []
        self._turn, self._room, self._parked, self._most, self._left = turn, room, parked, most, most
        self._pools, self._tokens = dict(room.pools), dict(room.tokens)
        self._windows = Windows(turn)

    def newcomers(self, queue: str, most: int) -> None:
        """Let the newcomers of a queue have their turns, as far as ``most`` of the dispatch goes."""
        if self._turn.ready.newcomers(queue):
            self._send_of(queue, self._most - most, newcomers=True)
            self._turn.ready.no_newcomers(queue)

    def everybody(self, queue: str) -> None:
        """Let all have their turns, until nothing more may be sent; the other queues go first the next time."""
        if self._left > 0:
            self._send_of(queue, 0, newcomers=False)
            if self._left == 0:
                self._turn.ready.put_last(queue)

    def _send_of(self, queue: str, until_left: int, *, newcomers: bool) -> None:
        turn, ready = self._turn, self._turn.ready
        slots = max(1, self._room.slots.get(queue, 1))
        mixtures = Mixtures(turn, slots, ready.width(queue), self._tokens)
        passed = 0
        while self._left > until_left and (ready.newcomers(queue) or not newcomers):
            source = ready.first(queue)
            if source is None:
                break
            run, no = source
            if run.state is not RunState.RUNNING or not run.steps[no].dispatchable:
                ready.drop_first(queue)
                continue
            estimate_s = node_cost_s(run.plan.name, run.step(no), turn.odds)
            window = self._windows.room(run, no, slots, estimate_s)
            if window == 0:
                decisions.window_full(turn, run, no, self._room)
                passed += 1
                if passed >= ready.runs(queue):
                    break
                ready.rotate(queue)
                continue
            passed = 0
            left = self._left - until_left
            sharers = ready.newcomers(queue) if newcomers else ready.runs(queue)
            fair = max(1, min(int(_TURN_S * slots / estimate_s), left // sharers))
            allowed = _allowed(run, no, self._pools, self._tokens)
            if allowed == 0:
                decisions.limited(turn, run, no, self._pools, self._tokens)
                self._park(queue, run, no)
                continue
            batched = run.step(no).batch_items > 1
            if batched and (allowed := batch_room(turn, run, no, allowed, window)) == 0:
                self._park(queue, run, no, limited=False)
                continue
            size = chunk_size(run.plan.name, run.step(no), turn.odds, turn.policy, allowed, slots)
            count = allowed if batched else min(window, max(fair, size), allowed, left)
            decisions.ordered(turn, run, no, queue)
            decisions.sized(turn, run, no, size)
            sent = _send(turn, run, no, count, estimate_s, slots, self._pools, self._tokens)
            self.chunks += _cut(run, sent, size) if run.step(no).fanned or not sent else mixtures.add(run, sent[0])
            self._left -= len(sent)
            if not run.steps[no].dispatchable:
                ready.drop_first(queue)
                ask_page(turn, run, no)
            else:
                ready.rotate(queue)
        self.chunks += mixtures.rest()

    def _park(self, queue: str, run: LiveRun, no: int, *, limited: bool = True) -> None:
        """Unlist a source that may send nothing now; one that others can let go is looked at again."""
        self._turn.ready.drop_first(queue)
        if not limited or _limited_elsewhere(run, no):
            self._parked.sources.append((run, no))


def _is_urgent(turn: Turn, run: LiveRun, queue: str, slots: int, seconds: float) -> bool:
    seconds_out = turn.outstanding.of_run_s(run, queue) + seconds
    # A big run of no-ops has hundreds out that take less than FIRST_S: those are not to go before all else.
    most_s = slots * (FIRST_S if len(run.active) <= NEXT_TO_NOTHING else AT_ONCE_S)
    return seconds_out <= most_s and turn.urgency.grant(queue, slots, seconds, turn.now)


def _cut(run: LiveRun, placements: list[Placement], size: int) -> list[Chunk]:
    """Messages of ``size`` nodes; a node with trouble behind it travels alone, but for those of a batch."""
    if placements and run.step(placements[0].step_no).batch_items > 1:
        return cut_batches(run, placements, size)
    fresh = [placement for placement in placements if (placement.step_no, placement.item) not in run.trouble]
    alone = [(placement,) for placement in placements if (placement.step_no, placement.item) in run.trouble]
    return alone + [tuple(fresh[start : start + size]) for start in range(0, len(fresh), size)]


def _allowed(run: LiveRun, no: int, pools: dict[str, int], tokens: dict[str, int]) -> int:
    """How many nodes of the step its own limit, its pools and its rate allow now."""
    step, progress = run.step(no), run.steps[no]
    allowed = progress.dispatchable
    if step.max_parallel is not None:
        allowed = min(allowed, step.max_parallel - progress.out)
    for pool in step.pools:
        allowed = min(allowed, pools.get(pool, 0))
    if step.task in tokens:
        allowed = min(allowed, tokens[step.task])
    return max(0, allowed)


def _limited_elsewhere(run: LiveRun, no: int) -> bool:
    """Whether something other than the step's own nodes can lift the limit that holds it."""
    step, progress = run.step(no), run.steps[no]
    return step.max_parallel is None or progress.out < step.max_parallel


def _send(
    turn: Turn, run: LiveRun, no: int, count: int, estimate_s: float, slots: int,
    pools: dict[str, int], tokens: dict[str, int],
) -> list[Placement]:  # fmt: skip
    step = run.step(no)
    placements = []
    queue, items = run.queue(no), _take(run, no, count)
    urgent = _is_urgent(turn, run, queue, slots, len(items) * estimate_s)
    for item in items:
        attempt, kind = next_attempt(run, no, item)
        active = Active(attempt, kind, queue, estimate_s, turn.now, urgent=urgent)
        run.active[(no, item)] = active
        run.steps[no].out += 1
        turn.outstanding.add(run, no, active)
        turn.record(Dispatched(run.id, no, item, attempt, kind, active.queue, turn.now))
        placements.append(Placement(run.id, no, item, attempt))
    for pool in step.pools:
        pools[pool] -= len(placements)
    if step.task in tokens:
        tokens[step.task] -= len(placements)
    return placements


def _take(run: LiveRun, no: int, count: int) -> list[int]:
    """Up to ``count`` items to send: those to repeat first, then the next new ones."""
    progress = run.steps[no]
    items: list[int] = []
    while progress.again and len(items) < count:
        item = progress.again.popleft()
        if not progress.finals[item]:  # an extra attempt may have brought its result meanwhile
            items.append(item)
    while progress.cursor < progress.page_end and len(items) < count:
        if not progress.finals[progress.cursor]:
            items.append(progress.cursor)
        progress.cursor += 1
    return items
