"""Putting the plans that a plan's steps name into it.

Each is found and read once, however often it is named. Must not read files itself: the caller finds.
"""

from __future__ import annotations

from collections.abc import Callable

from engine.errors import NotFound, PlanError, Problem
from engine.plan.document import PROBLEMS_LIMIT, Loc
from engine.plan.model import Plan
from engine.plan.problems import Finding, placed
from engine.plan.salvage import BrokenPlanError

DEPTH_LIMIT = 8
"""Sub-plans inside sub-plans."""
STEPS_LIMIT = 200_000
"""Steps of a plan with all its sub-plans written out."""


def resolve(plan: Plan, find: Callable[[str], Plan]) -> Plan:
    """``plan`` with every sub-plan it names put in.

    Parameters
    ----------
    find
        Gives the plan of a name; raises ``NotFound``.

    Raises
    ------
    BrokenPlanError
        A ``PlanError`` that names every sub-plan that is unknown, does not hold, contains itself,
        lies too deep, or makes the whole too large.
    """
    resolver = _Resolver(find)
    whole, _ = resolver.resolve(plan, (plan.name,), ())
    if resolver.findings or resolver.problems:
        raise BrokenPlanError(
            [*placed(whole, resolver.findings), *resolver.problems], whole if resolver.sound else None
        )
    return whole


class _Resolver:
    """Puts sub-plans in, each read once."""

    def __init__(self, find: Callable[[str], Plan]) -> None:
        self.findings: list[Finding] = []
        self.problems: list[Problem] = []
        self.sound = True
        self._find = find
        self._known: dict[str, tuple[Plan, int] | None] = {}

    def resolve(self, plan: Plan, above: tuple[str, ...], prefix: Loc) -> tuple[Plan, int]:
        """The plan with its sub-plans in it, and how many steps it has in all."""
        steps = dict(plan.steps)
        total = len(steps)
        for name, step in plan.steps.items():
            if step.plan is None:
                continue
            found = self._sub_plan(step.plan, above, (*prefix, "steps", name, "plan"))
            if found is not None:
                steps[name] = step.model_copy(update={"plan": found[0]})
                total += found[1] + 1
        if total > STEPS_LIMIT:
            self.sound = False
            self._wrong(f"with its sub-plans the plan has more than {STEPS_LIMIT:,} steps", prefix or ("steps",))
            total = 0  # one problem is enough: plans above are not blamed for it
        return plan.model_copy(update={"steps": steps}), total

    def _sub_plan(self, wanted: str | Plan, above: tuple[str, ...], where: Loc) -> tuple[Plan, int] | None:
        if len(above) > DEPTH_LIMIT:
            self._wrong(f"sub-plans lie more than {DEPTH_LIMIT} deep: {' -> '.join(above)}", where)
            return None
        if isinstance(wanted, Plan):
            return self.resolve(wanted, (*above, wanted.name), where)
        if wanted in above:
            self._wrong(f"a plan contains itself: {' -> '.join((*above, wanted))}", where)
            return None
        if wanted not in self._known:
            self._known[wanted] = None
            plan = self._read(wanted, where)
            if plan is not None:
                self._known[wanted] = self.resolve(plan, (*above, wanted), where)
        return self._known[wanted]

    def _read(self, wanted: str, where: Loc) -> Plan | None:
        try:
            return self._find(wanted)
        except NotFound as error:
            self._wrong(str(error), where)
        except PlanError as error:
            self.problems.extend(error.problems)
            return getattr(error, "rest", None)
        return None

    def _wrong(self, message: str, where: Loc) -> None:
        if len(self.findings) < PROBLEMS_LIMIT:
            self.findings.append(Finding(message, where))
