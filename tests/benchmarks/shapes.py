"""The plans that several benches run."""

from __future__ import annotations

from typing import Any

from engine.plan.model import Plan
from tests.benchmarks.ours import plan_of

PARENTS = 3
"""Parents of each node of a layered graph, in the layer before."""


def fan(task: str, last: str | None) -> Plan:
    """One node an item of the input ``items``; ``last``, if any, gets the list of their results."""
    steps: dict[str, Any] = {
        "many": {"task": task, "for_each": "{{ inputs.items }}", "with": {"value": "{{ item }}"}},
    }
    if last is None:
        return plan_of(steps, "fan", ("items",))
    steps["last"] = {"task": last, "with": {"values": "{{ steps.many.output }}"}}
    return plan_of(steps, "join", ("items",), outputs="{{ steps.last.output }}")


def chain(task: str, nodes: int) -> Plan:
    """Each step gets as ``value`` what the one before returned; the first gets 0."""
    steps = {
        f"s{number}": {"task": task, "with": {"value": f"{{{{ steps.s{number - 1}.output }}}}" if number else 0}}
        for number in range(nodes)
    }
    return plan_of(steps, "chain", outputs=f"{{{{ steps.s{nodes - 1}.output }}}}")


def layer_parents(position: int, width: int) -> list[int]:
    """Positions, in the layer before, of the parents of one node."""
    return sorted({(position + offset) % width for offset in range(min(PARENTS, width))})


def layered_steps(layers: int, width: int, step: dict[str, Any]) -> dict[str, Any]:
    """``layers`` of ``width`` steps; each waits for three of the layer before."""
    steps: dict[str, Any] = {}
    for layer in range(layers):
        for position in range(width):
            after = [f"l{layer - 1}_{parent}" for parent in layer_parents(position, width)] if layer else []
            steps[f"l{layer}_{position}"] = {**step, "after": after}
    return steps
