"""What a step that runs plans made by others keeps of the task types it allows: stored with the plan.

The scheduler loads no task modules, so whatever it must know of them is written down at submission.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.dag.compiled import TaskFacts
from engine.dag.prefetches import arguments_ahead
from engine.plan.binding import binding_of
from engine.plan.tasktype import TaskType


def facts_of_type(task_type: TaskType) -> TaskFacts:
    """The facts of a registered task type."""
    binding = binding_of(task_type)
    return TaskFacts(
        effects=task_type.effects.value, queue=task_type.queue, timeout_s=task_type.timeout_s,
        arguments=frozenset(binding.parameters), required=frozenset(binding.required), any_argument=binding.any_name,
        prefetch=arguments_ahead(task_type),
    )  # fmt: skip


def facts_data(facts: TaskFacts) -> dict[str, Any]:
    """Facts as JSON data, as they are stored with a step."""
    ahead = {} if facts.prefetch is None else {"prefetch": list(facts.prefetch)}
    return {
        "effects": facts.effects, "queue": facts.queue, "timeout_s": facts.timeout_s,
        "arguments": sorted(facts.arguments), "required": sorted(facts.required), "any_argument": facts.any_argument,
        **ahead,
    }  # fmt: skip


def facts_of(data: Mapping[str, Any]) -> TaskFacts:
    """The reverse of ``facts_data``."""
    return TaskFacts(
        effects=data["effects"], queue=data["queue"], timeout_s=data["timeout_s"],
        arguments=frozenset(data["arguments"]), required=frozenset(data["required"]), any_argument=data["any_argument"],
        prefetch=tuple(data["prefetch"]) if "prefetch" in data else None,
    )  # fmt: skip
