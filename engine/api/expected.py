"""What a plan will cost, from what each step cost a node in earlier runs of it. Unknown is unknown, never nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.costs.money import usd
from engine.dag.compiled import CompiledPlan, CompiledStep

if TYPE_CHECKING:
    from engine.store.earlier import EarlierRun


@dataclass(frozen=True, slots=True)
class ExpectedCost:
    """What model calls and priced calls of tools will cost, in USD.

    Parameters
    ----------
    usd
        Mean over the earlier runs, each with as many nodes a step as the new run will have.
    low_usd, high_usd
        The cheapest and the dearest of them.
    runs
        How many there are; all from one are no range.
    unknown_steps
        Paths of steps that no earlier run tried: the cost is without them.
    """

    usd: float
    low_usd: float
    high_usd: float
    runs: int
    unknown_steps: list[str]


def expected_cost(
    plan: CompiledPlan, counts: Sequence[int], earlier: Sequence[EarlierRun], call_usd: Mapping[str, float]
) -> ExpectedCost | None:
    """The expected cost of a run with ``counts`` nodes a step; ``None`` if no earlier run has a ledger.

    Nor is it known where nothing was spent and some step was never tried: that one may be what costs.
    Where a condition did not hold in an earlier run its step cost nothing there: conditions count as
    often as they held.
    """
    # The plan of an item and its batch have one name: runs without any step of this plan tell nothing of it.
    ours = {(step.path, step.task) for step in plan.steps}
    earlier = [run for run in earlier if any((path, step.task) in ours for path, step in run.steps.items())]
    if not any(run.entries for run in earlier):
        return None
    tried = {(path, step.task) for run in earlier for path, step in run.steps.items() if step.nodes}
    totals = sorted(
        sum(_cost(step, count, run, call_usd) for step, count in zip(plan.steps, counts, strict=True))
        for run in earlier
    )
    unknown = [step.path for step in plan.steps if (step.path, step.task) not in tried]
    if unknown and not totals[-1]:
        return None
    return ExpectedCost(sum(totals) / len(totals), totals[0], totals[-1], len(totals), unknown)


def _cost(step: CompiledStep, count: int, run: EarlierRun, call_usd: Mapping[str, float]) -> float:
    """What ``count`` nodes of the step would have cost in that run."""
    found = run.steps.get(step.path)
    if found is None or not found.nodes or found.task != step.task:
        return 0.0
    calls = math.ceil(count / step.batch_items)
    return count * usd(found.cost_nusd) / found.nodes + calls * call_usd.get(step.task, 0.0)
