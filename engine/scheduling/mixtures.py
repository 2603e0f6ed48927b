"""Nodes of different steps that travel in one message: short ones of one task type, ready at once.

A fan-out's nodes travel in chunks of their step. Where a plan spells its nodes out as steps, as plans
that programs write do, chunks are made of the nodes of several steps.
"""

from __future__ import annotations

import math
from collections.abc import Collection

from engine.plan.tasktype import Effects
from engine.scheduling.chunks import CHUNK_MOST, NODE_S
from engine.scheduling.events import Chunk, Placement
from engine.scheduling.segments import follow
from engine.scheduling.state import LiveRun
from engine.scheduling.turn import Turn

CHUNK_ALONE = 3.0
"""How far a message may go past ``chunk_s`` while a run is alone: each costs its slot a millisecond or two, and a run
that comes meanwhile waits for one of them, once."""


class Mixtures:
    """The messages in the making of one queue and one dispatch, one for each run and task type.

    Parameters
    ----------
    at_hand
        Steps with something to send to the queue.
    rated
        Task types with a rate limit.
    """

    def __init__(self, turn: Turn, slots: int, at_hand: int, rated: Collection[str]) -> None:
        self._turn, self._rated = turn, rated
        by_slots = math.ceil(at_hand / max(1, slots * turn.policy.chunks_a_slot))
        self._most = min(turn.policy.chunk_max, by_slots)
        self._most_s = turn.policy.chunk_s * (CHUNK_ALONE if len(turn.runs) <= 1 else CHUNK_MOST)
        self._open: dict[tuple[str, str], tuple[LiveRun, list[Placement], float]] = {}

    def add(self, run: LiveRun, placement: Placement) -> list[Chunk]:
        """Send a plain step's node along with others; the messages that are complete by that."""
        step = run.step(placement.step_no)
        known_s = self._turn.odds.typical_s(run.plan.name, step.path, step.task)
        troubled = (placement.step_no, placement.item) in run.trouble
        if known_s is None or step.effects == Effects.EXTERNAL or step.child is not None or troubled:
            return [(placement,)]
        key = run.id, step.task
        _, placements, seconds = self._open.pop(key, (run, [], 0.0))
        placements.append(placement)
        seconds += max(NODE_S, known_s)
        if len(placements) >= self._most or seconds + known_s > self._most_s:
            return [self._closed(run, placements)]
        self._open[key] = run, placements, seconds
        return []

    def rest(self) -> list[Chunk]:
        """The messages that are left."""
        return [self._closed(run, placements) for run, placements, _ in self._open.values()]

    def _closed(self, run: LiveRun, placements: list[Placement]) -> Chunk:
        followers = follow(self._turn, run, placements[0], self._rated) if len(placements) == 1 else []
        return (*placements, *followers)
