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
SHARED_TURNS = 500
"""Turns for which a run that is alone again is taken for one that will have company: some ten seconds at work."""
SOON_S = 0.02
"""Seconds that a turn is put off at most for what light runs have out, and the work of theirs that is waited for."""
_PUT_OFF_SHARE, _PUT_OFF_SAVED_S = 0.25, 0.04


class Tempo:
    """Learns seconds a node, and says how many nodes a turn may take on. Asks no clock."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._node_s = _FIRST_S
        self._shared_turns = 0

    def nodes(self, runs: int) -> int:
        """How many nodes, read and sent together, the next turn may take on beside so many runs."""
        turn_s, few = (ALONE_S, _FEW_ALONE) if runs <= 1 and not self._shared_turns else (SHARED_S, _FEW_SHARED)
        return min(self._most, max(few, int(turn_s / self._node_s)))

    def at_least(self, out: int) -> int:
        """How many nodes a turn may send in any case, with so many ``out``."""
        return min(self._most, _FEWEST if out > _PLENTY_OUT else _FEW_SHARED)

    def took(self, seconds: float, nodes: int, runs: int = 1) -> None:
        """A turn with so many nodes lasted so long, beside so many runs."""
        self._shared_turns = SHARED_TURNS if runs > 1 else max(0, self._shared_turns - 1)
        if nodes >= _FEW_SHARED and seconds > 0:  # a small turn says what a turn costs, not what a node does
            of_nodes_s = max(seconds - _TURN_COSTS_S, seconds / 4)
            self._node_s += _WEIGHT * (of_nodes_s / nodes - self._node_s)


class Patience:
    """How long a turn is put off so that what light runs have out is heard of first. Asks no clock.

    A turn that takes in what a big run's nodes did takes some tens of milliseconds, and what a light run has
    out is often back before that. No more than a share of the time is spent so, for a stream of light runs
    must not stop a big one.
    """

    def __init__(self) -> None:
        self._left_s, self._at, self._wanted = _PUT_OFF_SAVED_S, 0.0, False

    def sent(self, light_s: float) -> None:
        """What went out last holds so many seconds of light runs' work; 0 for none."""
        self._wanted = 0.0 < light_s <= SOON_S

    def take(self, now: float) -> float:
        """Seconds that the next turn may be put off; ``now`` in seconds, of a clock that only goes on."""
        self._left_s = min(_PUT_OFF_SAVED_S, self._left_s + max(0.0, now - self._at) * _PUT_OFF_SHARE)
        self._at = now
        return min(SOON_S, self._left_s) if self._wanted else 0.0

    def spent(self, seconds: float) -> None:
        """So long it was put off."""
        self._left_s = max(0.0, self._left_s - seconds)
        self._wanted = False
