"""How long a run will still take, from what has ended in it so far: a range, a lower bound, or nothing.

A pure function of counts: it asks no clock and no database. No estimate is better than a wrong one, so
it says why whenever it has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, log, sqrt

from engine.scheduling.records import RunState
from engine.store.views import Pace, RunProgress, StepProgress

_ENOUGH = 30
"""Nodes that make a short window worth taking; with fewer a longer one is."""

_LEAST = 10
"""Nodes below which nothing is said: their spread is a guess."""

_SILENCE_LEAST_S = 10.0
_SILENCE_NODES = 3.0
"""How many times a node's usual stay may pass without an end before a step counts as stalled."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds left.

    Parameters
    ----------
    low_s, high_s
        The range; both ``None`` where nothing can be said.
    unknown_steps
        Steps that have not ended and are in neither figure: not expanded yet, or with too few nodes to
        tell. With any, the figures are what is left *at least*.
    why
        Why there is no figure; empty if there is one.
    """

    low_s: float | None = None
    high_s: float | None = None
    unknown_steps: int = 0
    why: str = ""


def estimate(progress: RunProgress, paces: Mapping[int, Pace], now: float) -> Estimate:
    """What is left of a run at ``now``, in seconds since the epoch.

    Method
    ------
    For each running step: the nodes without a final state, divided by the rate at which its nodes ended
    in the shortest of the last 1, 5 and 30 minutes in which at least 30 did, else in the longest one if
    at least 10 did. The rate of a window with n ends is taken to lie between those of n - u and n + u
    ends, u = 2 sqrt(n) + the nodes that run now: the spread of a Poisson count at 95 %, and one burst,
    because nodes that began together end together. A window in which n <= u says nothing. The last nodes
    end one by one, with slots that stay empty: the upper end is longer by what k nodes of exponential
    duration take till the last has ended, the mean times 1 + ln k.

    A step has stalled if nothing of it has ended for three times as long as its nodes usually stay out
    (nodes out divided by the rate: Little's law), and for ten seconds at least; it has no figure then.

    Steps that run at once are taken to go on side by side: the run's range is that of the slowest.
    Steps that are not expanded, and running ones without a figure, are unknown and only counted. A pause
    within the window counts as slow work, so the estimate errs on the long side just after one.

    References
    ----------
    Little, A proof for the queuing formula L = lambda W (1961).
    """
    state = progress.run.state
    if state is not RunState.RUNNING:
        return Estimate(why=_WHY.get(state, "it has ended"))
    ranges, silences, unknown = [], [], 0
    for step in progress.steps:
        if step.state.final:
            continue
        pace = paces.get(step.step_no)
        found = None
        if step.count is not None and pace is not None:
            silences.append(now - (pace.last_ended_at or pace.since))
            found = _step_range(step, pace, now)
        if found is None:
            unknown += 1
        else:
            ranges.append(found)
    if ranges:
        return Estimate(max(low for low, _ in ranges), max(high for _, high in ranges), unknown)
    if silences and min(silences) > _SILENCE_LEAST_S:
        return Estimate(unknown_steps=unknown, why=f"nothing has ended for {min(silences):.0f} s")
    return Estimate(unknown_steps=unknown, why="too little has ended to tell")


_WHY = {
    RunState.PENDING: "it has not begun",
    RunState.PAUSED: "it is paused",
    RunState.CANCELLING: "it is being ended",
}


def _step_range(step: StepProgress, pace: Pace, now: float) -> tuple[float, float] | None:
    left = (step.count or 0) - step.done
    if left <= 0:
        return 0.0, 0.0
    age_s = max(now - pace.since, 0.001)
    windows = [(min(window_s, age_s), ended) for window_s, ended in pace.ended]
    window_s, ended = next((each for each in windows if each[1] >= _ENOUGH), windows[-1])
    spread = 2 * sqrt(ended) + step.running
    if ended < _LEAST or ended <= spread:
        return None
    stay_s = max(1, step.out) * window_s / ended
    if now - (pace.last_ended_at or -inf) > max(_SILENCE_LEAST_S, _SILENCE_NODES * stay_s):
        return None
    tail_s = step.running * window_s / ended * (1 + log(max(1, step.running)))
    return left * window_s / (ended + spread), left * window_s / (ended - spread) + tail_s
