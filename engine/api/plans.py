"""From what a person names to a plan that can be stored: found, resolved, checked, frozen, compiled."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from engine.dag.code import tasks_used
from engine.dag.compiled import CompiledPlan
from engine.dag.whole import whole_plan
from engine.errors import UsageError
from engine.plan.files import check_inputs, find_plan, plan_files
from engine.plan.model import Plan, plan_data
from engine.plan.registry import load_task_modules
from settings import Settings


@dataclass(frozen=True)
class Prepared:
    """A plan with its sub-plans and its task types' defaults written in, and what it compiles to.

    ``code`` has the hash of each task type's code, see ``engine.plan.code``.
    """

    plan: Plan
    compiled: CompiledPlan
    code: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def source(self) -> Mapping[str, Any]:
        """The plan as JSON data, made once for all its submissions."""
        return plan_data(self.plan)

    @property
    def queues(self) -> tuple[str, ...]:
        """Every queue its steps need."""
        return tuple(sorted(self.compiled.queues()))

    def check(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """``inputs`` with defaults filled in and types checked. Raises ``UsageError``."""
        return check_inputs(self.plan, dict(inputs))


def prepare(plan: str | Path | Plan, settings: Settings) -> Prepared:
    """The plan that ``plan`` names, ready to be stored.

    Raises
    ------
    NotFound
        No plan of that name, or a task type that no task module registers.
    PlanError
        Everything that is wrong with it.
    UsageError
        A step needs a queue that this installation does not have.
    """
    admit_current_folder()
    registry = load_task_modules(settings.task_modules)
    frozen, compiled = whole_plan(
        lambda: plan if isinstance(plan, Plan) else find_plan(str(plan), settings.plan_paths),
        lambda name: find_plan(name, settings.plan_paths),
        registry,
    )
    prepared = Prepared(frozen, compiled, registry.code_hashes(tasks_used(compiled)))
    _check_pools(prepared, settings)
    unknown = [queue for queue in prepared.queues if queue not in settings.queues]
    if unknown:
        raise UsageError(
            f"plan {frozen.name}: no worker serves queue {', '.join(unknown)}; the queues are "
            f"{', '.join(settings.queues)}. Add it: FLYWHEEL_QUEUES={','.join((*settings.queues, *unknown))}"
        )
    return prepared


def _check_pools(prepared: Prepared, settings: Settings) -> None:
    plans = list(prepared.compiled.plans())
    known = {*settings.pools, *(pool for plan in plans for pool in plan.pools)}
    unknown = sorted({pool for plan in plans for step in plan.steps for pool in step.pools} - known)
    if unknown:
        raise UsageError(
            f"plan {prepared.plan.name}: nothing says how large the pool {', '.join(unknown)} is; declare it in the "
            f"plan (pools: {{{unknown[0]}: 4}}) or for the installation (FLYWHEEL_POOLS={unknown[0]}=4)"
        )


def known_plans(settings: Settings) -> dict[str, Path]:
    """Plans in the plan folders: name to file."""
    return plan_files(settings.plan_paths)


def admit_current_folder() -> None:
    """Let task modules of the current folder be imported, after everything that is installed."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
