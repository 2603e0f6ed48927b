"""What ``llm.plan`` tells a model of task types, what it checks of their arguments, and its plan without a model."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from engine.errors import Permanent
from engine.plan.binding import binding_of
from engine.plan.registry import REGISTRY
from engine.plan.schema import parameter_texts
from engine.plan.tasktype import TaskType

_AUTHORS = frozenset({"model", "models"})
"""Arguments of ``llm`` tasks that decide what a call costs: whoever wrote the outer plan says them, in its clauses."""

_ASKING = ("prompt", "question", "query", "goal", "text", "message")
_READING = ("pieces", "sources")
_TEMPLATE = ("{{", "{%", "{#")


def task_manual(task_type: TaskType) -> str:
    """One task type with its arguments, and what its result has, for a model to read."""
    binding = binding_of(task_type)
    texts = parameter_texts(inspect.getdoc(task_type.function) or "")
    shapes = binding.arguments.json_schema().get("properties", {})
    lines = [f"- {task_type.name}: {task_type.summary}"]
    for name in binding.parameters:
        if not _is_the_authors(task_type.name, name):
            needed = ", required" if name in binding.required else ""
            lines.append(f"    {name} ({_kind(shapes.get(name, {}))}{needed}): {texts.get(name, '')}".rstrip(": "))
    fields = list(_fields(binding.result))
    return "\n".join([*lines, f"    result: {', '.join(fields)}"] if fields else lines)


def task_problems(plan: Mapping[str, Any], tasks: Mapping[str, Any]) -> list[str]:
    """What is wrong with arguments that are written out, and those that are not a made plan's to say."""
    found: list[str] = []
    for name, step in plan["steps"].items():
        if isinstance(step.get("plan"), Mapping):
            found += [f"{name}.{problem}" for problem in task_problems(step["plan"], tasks)]
        elif step.get("task") in tasks:
            found += _argument_problems(name, REGISTRY.get(step["task"]), step.get("with", {}))
    return found


def asked_by(name: str, step: Mapping[str, Any]) -> str:
    """What a step asks: its question as it is written, else what it is described as, else its name."""
    given = step.get("with") or {}
    asked = next((given[each] for each in _ASKING if isinstance(given.get(each), str)), "")
    plain = asked if not _has_a_template(asked) else ""
    return plain or str(step.get("description") or name.replace("_", " "))


def parts_plan(
    titles: Sequence[str], tasks: Sequence[str], inputs: Mapping[str, str], max_steps: int
) -> dict[str, Any]:
    """The plan that needs no model: for each part of the goal, one step of each of ``tasks``, in their order.

    The first text argument of a step is the part; what reads ``sources`` or ``pieces`` gets those of the plan's inputs
    or of the step before, and what weighs gets the text of the step before.
    """
    within = max(1, min(len(titles), max_steps // max(1, len(tasks))))
    if len(tasks) > max_steps:
        raise Permanent(f"{max_steps} steps are too few for one of each of {len(tasks)} task types")
    steps: dict[str, Any] = {}
    outputs: dict[str, Any] = {}
    for number, title in enumerate(titles[:within], 1):
        before: dict[str, str] = {}
        for task in tasks:
            name = f"{task.rpartition('.')[2]}_{number}"
            steps[name] = {"task": task, "with": _filled(REGISTRY.get(task), title, inputs, before)}
            if REGISTRY.get(task).name.endswith(".judge"):
                steps[name]["phase"] = "checking"
            for field in _fields(binding_of(REGISTRY.get(task)).result):
                before[field] = f"{{{{ steps.{name}.output.{field} }}}}"
            outputs[name] = f"{{{{ steps.{name}.output }}}}"
    return {"steps": steps, "outputs": outputs}


def _filled(task_type: TaskType, title: str, inputs: Mapping[str, str], before: Mapping[str, str]) -> dict[str, Any]:
    binding = binding_of(task_type)
    given: dict[str, Any] = {}
    for name in _READING:
        if name in binding.parameters:
            if name in inputs:
                given[name] = f"{{{{ inputs.{name} }}}}"
            elif found := before.get("hits" if "hits" in before else "pieces"):
                given[name] = found
    if "text" in binding.required and "text" in before:
        given["text"] = before["text"]
    asking = next((name for name in _ASKING if name in binding.parameters and name not in given), None)
    if asking is not None:
        given[asking] = _plain(title)
    missing = sorted(name for name in binding.required - given.keys() if name not in inputs)
    if missing:
        raise Permanent(
            f"without a model no plan can be made of {task_type.name}: nobody says its {', '.join(missing)}; give a "
            "model a key (docs/models.md), or list task types that take a question"
        )
    return given | {name: f"{{{{ inputs.{name} }}}}" for name in binding.required - given.keys()}


def _plain(text: str) -> str:
    """``text`` as no template reads it: who states a goal writes no templates."""
    for mark in _TEMPLATE:
        text = text.replace(mark, f"{mark[0]} {mark[1]}")
    return text


def _argument_problems(where: str, task_type: TaskType, given: Mapping[str, Any]) -> Iterator[str]:
    hints = binding_of(task_type).parameters
    for name, value in given.items():
        if _is_the_authors(task_type.name, name):
            yield f"{where}: {name} is not a made plan's to say: leave it out"
        elif name in hints and not _has_a_template(value):
            try:
                TypeAdapter(hints[name]).validate_python(value)
            except ValidationError as error:
                told = error.errors(include_url=False, include_context=False, include_input=False)[0]
                yield f"{where}: the argument {name!r} of {task_type.name}: {told['msg']}"


def _is_the_authors(task: str, argument: str) -> bool:
    return task.startswith("llm.") and argument in _AUTHORS


def _has_a_template(value: Any) -> bool:
    if isinstance(value, str):
        return any(mark in value for mark in _TEMPLATE)
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return any(_has_a_template(part) for part in parts)


def _kind(shape: Mapping[str, Any]) -> str:
    if "enum" in shape:
        return json.dumps(shape["enum"])
    kinds = [str(each.get("type", "any")) for each in shape.get("anyOf", [shape]) if each.get("type") != "null"]
    return " or ".join(dict.fromkeys(kinds)) or "any"


def _fields(result: TypeAdapter[Any]) -> Iterator[str]:
    shape = result.json_schema(mode="serialization")
    shape = shape.get("$defs", {}).get(shape.get("$ref", "").rpartition("/")[2], shape)
    yield from shape.get("properties", {})
