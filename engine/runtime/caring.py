"""What travels with a delivery of how its calls are made: its step's clauses, and limits decided on since.

A run's limits are its plan's, or what a submission or an operator said; those of the runs above it bind it too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.dag.compiled import CompiledStep
from engine.errors import UsageError
from engine.runtime.ports import RunRow
from engine.scheduling.state import LiveRun


class Caring:
    """Of the runs in memory."""

    def __init__(self, runs: Mapping[str, LiveRun], rows: Mapping[str, RunRow]) -> None:
        self._runs, self._rows = runs, rows
        self._refused: dict[tuple[str, int], str] = {}

    def care(self, run: LiveRun, step: CompiledStep) -> dict[str, Any] | None:
        """As ``engine.plan.care.Care`` reads it; ``None`` if nothing is said.

        Raises
        ------
        UsageError
            What is said could not be read: no body may spend by it.
        """
        if (why := self._refused.get((run.id, step.no))) is not None:
            raise UsageError(why)
        care = dict(step.care) if step.care is not None else {}
        above = self._above(run)
        if cheaper := max(run.budget.cheaper, *(each.budget.cheaper for each in above), 0):
            care["cheaper"] = cheaper
            ends = [each.deadline_at for each in (run, *above) if each.deadline_at is not None]
            if ends:  # what is cheap may take a day: only where there is one
                care["deadline_at"] = min(ends)
        if run.budget.max_nusd is not None or run.budget.limits:
            care["run_budget"] = _limits(run)
        if above:
            care["above"] = [(each.id, _limits(each)) for each in above]
        return care or None

    def refuse(self, run_id: str, step_no: int, why: str) -> None:
        """What is said of a step's calls cannot be read: none of its deliveries can be made from now on."""
        self._refused[run_id, step_no] = why

    def forget(self, run_id: str) -> None:
        """A run ended."""
        for key in [key for key in self._refused if key[0] == run_id]:
            del self._refused[key]

    def _above(self, run: LiveRun) -> list[LiveRun]:
        """The runs above ``run``, the nearest first."""
        found: list[LiveRun] = []
        row = self._rows.get(run.id)
        while row is not None and row.parent is not None and row.parent.run_id in self._runs:
            found.append(self._runs[row.parent.run_id])
            row = self._rows.get(row.parent.run_id)
        return found


def _limits(run: LiveRun) -> dict[str, Any] | None:
    """What the run's plan says, with what was allowed in its place since."""
    clause = dict(run.plan.budget) if run.plan.budget is not None else None
    if run.budget.limits:
        clause = {**(clause or {}), **run.budget.limits}
    if run.budget.max_nusd is None:
        return clause
    # An earlier release took amounts that round to nothing, which no clause may state: the least there is.
    return {**(clause or {}), "max_usd": max(1, run.budget.max_nusd) / 1e9}
