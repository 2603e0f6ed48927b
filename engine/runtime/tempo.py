"""How much one turn of the scheduler takes on: as much as it gets through in some tens of milliseconds.

A run that comes while a turn is under way waits for that turn and for its own, so a turn is bounded by time;
and what a turn costs whatever it holds (a commit, some round trips) is shared by all in it, so it is not made
smaller than that. How long a node takes is measured, as it differs by machine and by what else runs there.
"""

from __future__ import annotations

ALONE_S, SHARED_S = 0.03, 0.015
"""Seconds that a turn should take while there is one run, and while several wait for each other's turns."""
_FEW_ALONE, _FEW_SHARED = 400, 100
"""Nodes that a turn takes on however slow it is: with fewer, what a turn itself costs would weigh more."""
_FEWEST, _PLENTY_OUT = 20, 1000
"""How few a turn that is full of reports sends, while so many are out that the workers have plenty to do."""
_FIRST_S = 0.0001
_TURN_COSTS_S = 0.004
"""What a turn costs whatever it holds, roughly: without it, small turns would make nodes look slow, and so on."""
_WEIGHT = 0.2


class Tempo:
    """Learns seconds a node, and says how many nodes a turn may take on. Asks no clock."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._node_s = _FIRST_S

    def nodes(self, runs: int) -> int:
        """How many nodes, read and sent together, the next turn may take on beside so many runs."""
        turn_s, few = (ALONE_S, _FEW_ALONE) if runs <= 1 else (SHARED_S, _FEW_SHARED)
        return min(self._most, max(few, int(turn_s / self._node_s)))

    def at_least(self, out: int) -> int:
        """How many nodes a turn may send in any case, with so many ``out``."""
        return min(self._most, _FEWEST if out > _PLENTY_OUT else _FEW_SHARED)

    def took(self, seconds: float, nodes: int) -> None:
        """A turn with so many nodes lasted so long."""
        if nodes >= _FEW_SHARED and seconds > 0:  # a small turn says what a turn costs, not what a node does
            of_nodes_s = max(seconds - _TURN_COSTS_S, seconds / 4)
            self._node_s += _WEIGHT * (of_nodes_s / nodes - self._node_s)
