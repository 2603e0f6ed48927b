"""How much more of a step may go out: what its queue's window takes, less where the order of steps counts.

What is out is in the broker's order, and what becomes ready later waits behind it. So a step goes out
``ORDERED_S`` ahead only while something may become ready that lies on a longer way to the end: else
seconds of less urgent work would be done first. Where there is plenty out, a window that has room for
a part of a message only waits until it takes a whole one, so that short work keeps travelling together.
"""

from __future__ import annotations

from engine.scheduling.records import StepState
from engine.scheduling.state import LiveRun
from engine.scheduling.turn import Turn

ORDERED_S = 0.25
"""Seconds of work a slot that may be out while more urgent work may become ready at any moment."""
_LOOKED_AT = 2000
"""Attempts of a run that are looked at for what may become ready; with more out, its bodies are short."""


class Windows:
    """What one dispatch may add to the queues."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._to_come: dict[str, float] = {}

    def room(self, run: LiveRun, no: int, slots: int, estimate_s: float) -> int:
        """How many nodes of the step may go out; a run that has next to nothing out may send some in any case."""
        turn, queue, window_s = self._turn, run.queue(no), self._turn.policy.window_s
        out = turn.outstanding
        if run.step(no).child is not None:
            return max(0, turn.policy.children_max - out.count(queue))
        first = out.first(run, queue, slots, window_s, estimate_s)
        plenty = out.window(queue, slots, min(ORDERED_S, window_s), estimate_s) == 0
        if plenty and not run.step(no).fanned and self._highest_to_come(run) > run.ranks[no]:
            return first
        window = out.window(queue, slots, window_s, estimate_s)
        if plenty and window * estimate_s < turn.policy.chunk_s:
            return first
        return max(window, first)

    def _highest_to_come(self, run: LiveRun) -> float:
        """The longest way to the end from a step that waits for one that is out."""
        if run.id not in self._to_come:
            self._to_come[run.id] = _highest_behind(run) if len(run.active) <= _LOOKED_AT else 0.0
        return self._to_come[run.id]


def _highest_behind(run: LiveRun) -> float:
    ranks, steps = run.ranks, run.steps
    behind = (child for ahead, _ in run.active for child in run.step(ahead).children)
    return max((ranks[child] for child in behind if steps[child].state is StepState.WAITING), default=0.0)
