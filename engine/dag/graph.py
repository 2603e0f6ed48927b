"""Questions to a plan's graph of steps, answered by networkx.

Works on steps, never on nodes: a fan-out of 100,000 items is one vertex. Nothing here computes a
transitive closure but ``transitive_reduction``, which is bounded for that reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import networkx as nx

from engine.dag.compile import upward_ranks
from engine.dag.compiled import CompiledPlan
from engine.errors import UsageError
from engine.plan.names import nearest

REDUCTION_LIMIT = 3_000
"""Steps up to which a transitive reduction is computed: its closure grows with their square."""


def to_networkx(compiled: CompiledPlan) -> nx.DiGraph[int]:
    """The graph: vertices are step numbers with ``path`` and ``task``, edges run from parent to child."""
    graph: nx.DiGraph[int] = nx.DiGraph(name=compiled.name)
    graph.add_nodes_from((step.no, {"path": step.path, "task": step.task}) for step in compiled.steps)
    graph.add_edges_from((step.no, child) for step in compiled.steps for child in step.children)
    return graph


def generations(compiled: CompiledPlan) -> list[list[int]]:
    """Step numbers by the length of the longest way to them; each generation waits only for earlier ones."""
    return [sorted(generation) for generation in nx.topological_generations(to_networkx(compiled))]


def critical_path(compiled: CompiledPlan, seconds: Mapping[str, float]) -> list[str]:
    """Paths of the steps on the longest way through the plan, in order.

    Parameters
    ----------
    seconds
        Expected duration by step path; a step that is not in it takes one second.
    """
    ranks = upward_ranks(compiled, seconds)
    way: list[str] = []
    below: Iterable[int] = (step.no for step in compiled.steps if not step.parents)
    while (no := max(below, key=lambda no: (ranks[no], -no), default=None)) is not None:
        way.append(compiled.steps[no].path)
        below = compiled.steps[no].children
    return way


def goal_cone(compiled: CompiledPlan, targets: Iterable[str]) -> set[int]:
    """Numbers of the steps that ``targets``, given by path, need: themselves, all above, and their fall-backs.

    Raises
    ------
    UsageError
        There is no step of such a path.
    """
    numbers = {step.path: step.no for step in compiled.steps}
    todo: list[int] = []
    for target in targets:
        if target not in numbers:
            raise UsageError(f"there is no step {target!r}{nearest(target, numbers)}")
        todo.append(numbers[target])
    cone: set[int] = set()
    while todo:
        no = todo.pop()
        if no not in cone:
            cone.add(no)
            step = compiled.steps[no]
            todo.extend(step.parents)
            if step.fallback is not None:
                todo.append(step.fallback)
    return cone


def transitive_reduction(compiled: CompiledPlan) -> nx.DiGraph[int]:
    """The graph without the edges that other ways make needless, for drawing.

    Raises
    ------
    UsageError
        The plan has more than ``REDUCTION_LIMIT`` steps.
    """
    if len(compiled.steps) > REDUCTION_LIMIT:
        raise UsageError(f"a plan of {len(compiled.steps):,} steps is too large to reduce; at most {REDUCTION_LIMIT:,}")
    graph = to_networkx(compiled)
    reduced: nx.DiGraph[int] = nx.transitive_reduction(graph)
    reduced.add_nodes_from(graph.nodes(data=True))
    return reduced
