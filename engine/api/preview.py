"""What a plan would do and how long it would take, before any run of it: from its graph and what was learned.

Seconds come from simulated runs (``engine.scheduling.forecast``) whose bodies take what earlier ones
took, drawn independently of each other, and whose conditions hold as often as they did. The draws
begin at the plan's version, so that the same plan, inputs and knowledge give the same figures.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from engine.api.expected import ExpectedCost, expected_cost
from engine.dag.compiled import CompiledPlan, CompiledStep
from engine.dag.graph import critical_path, generations
from engine.errors import TaskError
from engine.learning.knowledge import Knowledge
from engine.plan.references import lone_reference
from engine.plan.templates import references, render
from engine.scheduling.forecast import Chances, makespan_s
from engine.scheduling.ranks import ranks

if TYPE_CHECKING:
    from engine.store.earlier import EarlierRun

_SAMPLES, _SAMPLES_LEAST = 200, 20
_WORK = 200_000
"""Steps simulated in all, about: a plan of very many steps gets fewer runs."""


@dataclass(frozen=True, slots=True)
class Preview:
    """A plan before it runs.

    Parameters
    ----------
    nodes
        Expected number; fan-outs whose size nobody knows count once.
    width
        Most nodes of one level of the graph: what could run at once with slots enough.
    critical_path
        Paths of the steps on the longest way through, in order, by learned durations.
    p50_s, p90_s
        Seconds within which half and nine in ten of the simulated runs end; ``None`` if no step's
        duration is known.
    at_least
        Whether something is unknown that can only make it longer.
    unknown_durations, unknown_sizes, unknown_conditions
        Paths of the steps of which that was never seen: such bodies count as no time, such fan-outs
        as one node, such conditions as true.
    slots
        Of each queue, as assumed.
    runs
        How many were simulated.
    cost
        What it will cost; ``None`` if no earlier run of it is known to have spent anything.
    """

    plan: str
    version: str
    steps: int
    nodes: int
    width: int
    critical_path: list[str]
    p50_s: float | None
    p90_s: float | None
    at_least: bool
    unknown_durations: list[str]
    unknown_sizes: list[str]
    unknown_conditions: list[str]
    slots: dict[str, int]
    runs: int
    cost: ExpectedCost | None = None

    def data(self) -> dict[str, Any]:
        """As plain data, by name."""
        return asdict(self)


def preview(
    plan: CompiledPlan,
    inputs: Mapping[str, Any],
    knowledge: Knowledge,
    slots: Mapping[str, int],
    earlier: Sequence[EarlierRun] = (),
    call_usd: Mapping[str, float] | None = None,
) -> Preview:
    """Foresee a run of ``plan`` with ``inputs`` on ``slots`` by queue, after ``earlier`` runs of it."""
    sizes = node_counts(plan, inputs, knowledge)
    counts = [1 if size is None else size for size in sizes]
    unknown_s = [step.path for step in plan.steps if knowledge.typical_s(plan.name, step.path, step.task) is None]
    unknown_sizes = [step.path for step, size in zip(plan.steps, sizes, strict=True) if size is None]
    conditional = [step for step in plan.steps if step.when is not None]
    assumed = {queue: max(1, slots.get(queue, 1)) for queue in sorted({step.queue for step in plan.steps})}
    ends: list[float] = []
    if len(unknown_s) < len(plan.steps):
        ends = _simulated(plan, counts, knowledge, assumed)
    return Preview(
        plan=plan.name,
        version=plan.version,
        steps=len(plan.steps),
        nodes=sum(counts),
        width=max((sum(counts[no] for no in level) for level in generations(plan)), default=0),
        critical_path=_critical_path(plan, counts, knowledge, assumed),
        p50_s=_quantile(ends, 0.5),
        p90_s=_quantile(ends, 0.9),
        at_least=bool(unknown_s or unknown_sizes),
        unknown_durations=unknown_s,
        unknown_sizes=unknown_sizes,
        unknown_conditions=[step.path for step in conditional if knowledge.branch(plan.name, step.path) is None],
        slots=assumed,
        runs=len(ends),
        cost=expected_cost(plan, counts, earlier, call_usd or {}),
    )


def node_counts(plan: CompiledPlan, inputs: Mapping[str, Any], knowledge: Knowledge) -> list[int | None]:
    """Nodes of each step, by number: as written, as the inputs say, or as in earlier runs; else ``None``."""
    counts: list[int | None] = []
    for step in plan.steps:
        found = _written_count(step, inputs, counts)
        if found is None:
            learned = knowledge.items(plan.name, step.path)
            found = None if learned is None else round(learned)
        counts.append(found)
    return counts


def _written_count(step: CompiledStep, inputs: Mapping[str, Any], counts: Sequence[int | None]) -> int | None:
    if step.for_each is None:
        return 1
    if isinstance(step.for_each, list):
        return len(step.for_each)
    used = references(step.for_each)
    if used.steps:
        path = lone_reference(step.for_each)
        no = step.names.get(str(path[1])) if path is not None and len(path) == 3 else None
        # Over all results of a fan-out: as many as it has nodes.
        return counts[no] if no is not None and no < len(counts) and counts[no] != 1 else None
    if step.inputs_step is not None or not used.inputs <= inputs.keys():
        return None
    try:
        items = render(step.for_each, {"inputs": inputs, "steps": {}})
    except TaskError:
        return None
    return len(items) if isinstance(items, list) else None


def _critical_path(
    plan: CompiledPlan, counts: Sequence[int], knowledge: Knowledge, slots: Mapping[str, int]
) -> list[str]:
    seconds = {}
    for step in plan.steps:
        typical_s = knowledge.typical_s(plan.name, step.path, step.task)
        if typical_s is not None:
            at_once = min(slots[step.queue], step.max_parallel or slots[step.queue])
            seconds[step.path] = typical_s * max(1.0, counts[step.no] / at_once)
    return critical_path(plan, seconds)


def _simulated(
    plan: CompiledPlan, counts: Sequence[int], knowledge: Knowledge, slots: Mapping[str, int]
) -> list[float]:
    """Seconds of each simulated run, ascending."""
    chance = random.Random(plan.version)  # noqa: S311 - figures that repeat, no secret
    order = ranks(plan, knowledge.typical_s)
    drawn = [_draw(plan.name, step, knowledge, chance) for step in plan.steps]
    odds = [(knowledge.branch(plan.name, step.path) or (1.0, 0))[0] for step in plan.steps]
    chances = Chances(lambda no: drawn[no](), lambda no: chance.random() < odds[no])
    runs = max(_SAMPLES_LEAST, min(_SAMPLES, _WORK // max(1, len(plan.steps))))
    return sorted(makespan_s(plan, counts, slots, order, chances) for _ in range(runs))


def _draw(plan: str, step: CompiledStep, knowledge: Knowledge, chance: random.Random) -> Callable[[], float]:
    """Seconds of a body, as earlier ones took."""
    typical_s = knowledge.typical_s(plan, step.path, step.task) or 0.0
    if not knowledge.bodies(plan, step.path, step.task):
        return lambda: typical_s
    return lambda: knowledge.quantile_s(plan, step.path, step.task, chance.random()) or 0.0


def _quantile(ends: Sequence[float], q: float) -> float | None:
    return float(f"{ends[min(len(ends) - 1, int(q * len(ends)))]:.4g}") if ends else None
