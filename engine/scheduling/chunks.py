"""How many nodes travel in one message: as many as take about ``chunk_s`` seconds together.

A message costs about a millisecond of the broker's and the worker's time however little its body
does, so short bodies travel together. Only those may that can be repeated without harm, for a chunk
is lost as a whole when its worker dies; and only when it is known how long they take.
"""

from __future__ import annotations

import math

from engine.dag.compiled import CompiledStep
from engine.plan.tasktype import Effects
from engine.scheduling.odds import Odds
from engine.scheduling.state import Policy

MESSAGE_S = 0.001
"""What a message of its own costs, however short its body: the broker's time."""
NODE_S = 0.0002
"""What a node costs inside a chunk, however short its body: claim, begin, report."""
MESSAGES_WORTH = 2
"""Nodes are not shared out among slots in messages that hold less work than so many messages cost."""
CHUNK_MOST = 1.5
"""How far a message may go past ``chunk_s``: two bodies of three quarters of it travel together."""
UNKNOWN_S = 1.0
"""What a body is taken to last before one of its kind has ended."""


def message_cost_s(plan: str, step: CompiledStep, odds: Odds) -> float:
    """Expected seconds that one node of the step occupies a slot, in a message of its own."""
    known_s = odds.typical_s(plan, step.path, step.task)
    return max(MESSAGE_S, UNKNOWN_S if known_s is None else known_s)


def node_cost_s(plan: str, step: CompiledStep, odds: Odds) -> float:
    """Expected seconds that one node of the step occupies a slot, as it will travel."""
    known_s = odds.typical_s(plan, step.path, step.task)
    if step.effects == Effects.EXTERNAL or known_s is None:
        return message_cost_s(plan, step, odds)
    return max(NODE_S, known_s)


def chunk_size(plan: str, step: CompiledStep, odds: Odds, policy: Policy, at_hand: int, slots: int) -> int:
    """Nodes of ``step`` that go into one message, of ``at_hand`` that could go out now."""
    if step.batch_items > 1:
        return step.batch_items
    known_s = odds.typical_s(plan, step.path, step.task)
    if step.effects == Effects.EXTERNAL or known_s is None or step.child is not None:
        return 1
    by_time = round(policy.chunk_s / max(NODE_S, known_s))  # never past CHUNK_MOST
    by_slots = math.ceil(at_hand / max(1, slots * policy.chunks_a_slot))
    worth_it = int(MESSAGES_WORTH * MESSAGE_S / max(NODE_S, known_s))
    return max(1, min(policy.chunk_max, by_time, max(by_slots, worth_it)))
