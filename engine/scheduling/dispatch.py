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
from engine.scheduling.records import Dispatched, RunState
from engine.scheduling.state import Active, LiveRun
from engine.scheduling.steps import ask_page
from engine.scheduling.turn import Turn
from engine.scheduling.urgency import FIRST_S
from engine.scheduling.windows import Windows

_TURN_S = 0.25
"""Seconds of a slot's work that one run may send before the next run of its priority has its turn."""


@dataclass(slots=True)
class Parked:
    """Ready steps that a pool or a rate keeps back; looked at again on every dispatch."""

    sources: list[tuple[LiveRun, int]] = field(default_factory=list)


def dispatch(turn: Turn, room: Room, parked: Parked, most: int) -> list[Chunk]:
    """Choose up to ``most`` attempts to send now, and journal them; each chunk is to be one message."""
    again, parked.sources = parked.sources, []
    for run, no in again:
        turn.ready.add(run, no)
    pools, tokens = dict(room.pools), dict(room.tokens)
    chunks: list[Chunk] = []
    left = most
    windows = Windows(turn)
    for queue in turn.ready.queues():
        slots = max(1, room.slots.get(queue, 1))
        if queue in room.paused:
            decisions.queue_paused(turn, queue)
        mixtures = Mixtures(turn, slots, turn.ready.width(queue), tokens)
        passed = 0
        while queue not in room.paused and left > 0:
            source = turn.ready.first(queue)
            if source is None:
                break
            run, no = source
            if run.state is not RunState.RUNNING or not run.steps[no].dispatchable:
                turn.ready.drop_first(queue)
                continue
            estimate_s = node_cost_s(run.plan.name, run.step(no), turn.odds)
            window = windows.room(run, no, slots, estimate_s)
            if window == 0:
                decisions.window_full(turn, run, no, room)
                passed += 1
                if passed >= turn.ready.runs(queue):
                    break
                turn.ready.rotate(queue)
                continue
            passed = 0
            fair = max(1, min(int(_TURN_S * slots / estimate_s), left // turn.ready.runs(queue)))
            allowed = _allowed(run, no, pools, tokens)
            if allowed == 0:
                decisions.limited(turn, run, no, pools, tokens)
                turn.ready.drop_first(queue)
                if _limited_elsewhere(run, no):
                    parked.sources.append((run, no))
                continue
            batched = run.step(no).batch_items > 1
            if batched and (allowed := batch_room(turn, run, no, allowed, window)) == 0:
                turn.ready.drop_first(queue)
                parked.sources.append((run, no))
                continue
            size = chunk_size(run.plan.name, run.step(no), turn.odds, turn.policy, allowed, slots)
            count = allowed if batched else min(window, max(fair, size), allowed, left)
            decisions.ordered(turn, run, no, queue)
            decisions.sized(turn, run, no, size)
            sent = _send(turn, run, no, count, estimate_s, slots, pools, tokens)
            chunks += _cut(run, sent, size) if run.step(no).fanned or not sent else mixtures.add(run, sent[0])
            left -= len(sent)
            if not run.steps[no].dispatchable:
                turn.ready.drop_first(queue)
                ask_page(turn, run, no)
            else:
                turn.ready.rotate(queue)
        chunks += mixtures.rest()
    return chunks


def _is_urgent(turn: Turn, run: LiveRun, queue: str, slots: int, seconds: float) -> bool:
    little = turn.outstanding.of_run_s(run, queue) + seconds <= slots * FIRST_S
    return little and turn.urgency.grant(queue, slots, seconds, turn.now)


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
