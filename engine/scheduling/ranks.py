"""Upward ranks with learned durations: what orders ready steps, longest way to the end first.

References
----------
Topcuoglu, Hariri, Wu: Performance-effective and low-complexity task scheduling for heterogeneous
computing (HEFT), IEEE TPDS 13(3), 2002: the upward rank, here without communication.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean

from engine.dag.compiled import CompiledPlan

_NOTHING_KNOWN_S = 1.0


def ranks(plan: CompiledPlan, typical_s: Callable[[str, str, str], float | None]) -> list[float]:
    """For each step, by number, the seconds of the longest way from it to an end, itself included.

    Parameters
    ----------
    plan
        Its steps are numbered so that parents come before their children.
    typical_s
        ``Odds.typical_s``. A step of which it knows nothing counts as the mean of those it knows, and
        all as one second if it knows none: then the longest chain of steps goes first.
    """
    found = [typical_s(plan.name, step.path, step.task) for step in plan.steps]
    known = [seconds for seconds in found if seconds is not None]
    guess_s = fmean(known) if known else _NOTHING_KNOWN_S
    upward = [0.0] * len(found)
    for step in reversed(plan.steps):
        own_s = found[step.no]
        below_s = max((upward[child] for child in step.children), default=0.0)
        upward[step.no] = (guess_s if own_s is None else own_s) + below_s
    return upward
