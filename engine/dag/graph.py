"""Questions to a plan's graph of steps, answered by networkx.

Works on steps, never on nodes: a fan-out of 100,000 items is one vertex. Nothing here computes a
transitive closure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import networkx as nx

from engine.dag.compile import upward_ranks
from engine.dag.compiled import CompiledPlan


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
