"""How many nodes of a step with ``batch`` go out together, and when a short batch waits for more.

Their number is what the step says, not what their seconds would be: one invocation does the work of
all. A short batch waits while pages of its fan-out are unread, or other nodes may yet have to be
tried again, for as long as the step lets it.
"""

from __future__ import annotations

from engine.scheduling.events import Chunk, Placement
from engine.scheduling.state import LiveRun
from engine.scheduling.turn import Turn


def batch_room(turn: Turn, run: LiveRun, no: int, allowed: int, window: int) -> int:
    """Nodes of a step with ``batch`` that may go out now, in whole batches if there are any; 0 to wait for more."""
    step, progress = run.step(no), run.steps[no]
    size = step.batch_items
    if allowed >= size:
        progress.short_since = None
        return max(size, min(allowed, window) // size * size)
    if not _may_grow(run, no):
        progress.short_since = None
        return allowed
    if progress.short_since is None:
        progress.short_since = turn.now
    if turn.now - progress.short_since < step.batch_wait_s:
        return 0
    progress.short_since = None
    return allowed


def cut_batches(run: LiveRun, placements: list[Placement], size: int) -> list[Chunk]:
    """Messages of up to ``size`` nodes: those tried before apart from those that were not.

    One that was lost with its worker travels alone, as it may be what took the worker down.
    """
    fresh: list[Placement] = []
    again: list[Placement] = []
    alone: list[Chunk] = []
    for placement in placements:
        trouble = run.trouble.get((placement.step_no, placement.item))
        if trouble is None:
            fresh.append(placement)
        elif trouble.losses:
            alone.append((placement,))
        else:
            again.append(placement)
    whole = [tuple(some[at : at + size]) for some in (again, fresh) for at in range(0, len(some), size)]
    return alone + whole


def _may_grow(run: LiveRun, no: int) -> bool:
    """Whether nodes may yet come that could go along."""
    progress = run.steps[no]
    count = progress.count or 0
    if progress.page_end < count:
        return True
    fresh_left = progress.cursor < progress.page_end
    return not fresh_left and progress.ended + progress.dispatchable < count
