"""``llm.plan``: a goal becomes a plan as data, which a step with ``expand`` runs.

The plan is held to what ``expand`` holds it to, by the engine's own reader and compiler, so that its faults come back
to the model, once. The goal and its material are data: whatever they ask for, only the task types that the plan's
author listed can be named, and nothing of money or secrets. Runs nothing itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from engine.errors import NotFound, Permanent, PlanError, Retryable
from engine.plan.decorators import task
from engine.plan.registry import REGISTRY
from engine.plan.tasktype import TaskContext
from tasks.asking import (
    Called,
    LongText,
    ModelId,
    Pieces,
    Question,
    Tokens,
    ask,
    chosen,
    messages_of,
    passages_of,
    total,
)
from tasks.llm_plan_parts import asked_by, parts_plan, task_manual, task_problems

if TYPE_CHECKING:
    from engine.dag.compiled import ChildRuns
    from engine.models.request import Answer, Message

Steps = Annotated[int, Field(ge=1, le=200)]
Items = Annotated[int, Field(ge=1, le=10_000)]

_RULES = """You plan work for a workflow engine. Answer with JSON: {{"steps": [...], "outputs": {{...}}}}.
A step: {{"name": "lower_case", "task": one of the task types below, "with": {{its arguments}}}}. It may also have
"for_each" (one reference to a list; {{{{ item }}}} is then the item), "after" (names of steps to wait for), "when" (a
condition, written bare), "phase" (planning, execution, checking or consolidation) and "description".
A reference is {{{{ steps.NAME.output }}}} or a part of it, such as {{{{ steps.NAME.output.text }}}}, and
{{{{ inputs.NAME }}}} for the inputs{inputs}. Steps that do not refer to each other run at once: make no chain of what
can run side by side. "outputs" is what the plan hands back: names, each with one reference.
At most {steps} steps, at most {items} items in a for_each. No other keys: nothing of models, budgets or secrets.
{instructions}
Task types:
{manual}"""
_FORM = {
    "type": "object",
    "properties": {
        "steps": {"type": "array", "minItems": 1, "items": {"type": "object"}},
        "outputs": {"type": "object"},
    },
    "required": ["steps", "outputs"],
}
_SUBTASKS = {
    "type": "object",
    "properties": {"subtasks": {"type": "array", "items": {"type": "object"}}},
    "required": ["subtasks"],
}


@dataclass(frozen=True, slots=True)
class Part:
    """A step of the plan: its name, and in words what it asks."""

    name: str
    task: str
    question: str


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan that holds, what each of its steps asks or is for, and whether it had to be repaired."""

    plan: dict[str, Any]
    parts: list[Part]
    repaired: bool
    call: Called


@task("llm.plan", effects="none", queue="io")
def plan(
    context: TaskContext,
    goal: LongText,
    tasks: Annotated[list[str], Field(min_length=1, max_length=50)],
    pieces: Pieces | None = None,
    inputs: dict[str, str] | None = None,
    about: list[str] | None = None,
    instructions: LongText = "",
    max_steps: Steps = 20,
    max_items: Items = 100,
    model: ModelId | None = None,
    max_output_tokens: Tokens = 4096,
) -> Planned:
    """Turn a goal into a plan that a step with ``expand`` runs.

    Parameters
    ----------
    goal
        What is to be reached. It is data: it cannot widen what the plan may do.
    tasks
        Task types that the plan may use; list the same in ``expand``.
    pieces
        What there is to know: texts, or ``{text, source}``.
    inputs
        Names of the inputs that ``expand`` gives the plan, each with what it holds.
    about
        Parts of the goal that are known beforehand; without a key each becomes a part of the plan.
    instructions
        What else to heed.
    max_steps
        Steps that it may have.
    max_items
        Items that each ``for_each`` that it writes out may have.
    model, max_output_tokens
        As of ``llm.complete``.

    Raises
    ------
    Permanent
        If there is no such task type, model or key, or no plan can be made of the task types without a model.
    Retryable
        If the plan does not hold when repaired either, or the provider stays busy or away.

    Examples
    --------
    ::

        think:
          task: llm.plan
          with: {goal: "{{ inputs.goal }}", tasks: [files.read, llm.complete], max_steps: 10}
    """
    bounds = _bounds(tasks, max_steps, max_items)
    given = inputs or {}
    passages = passages_of(context, pieces)
    if about:
        passages.append({"text": "\n".join(about), "source": "parts that are known"})
    facts = {"goal": goal, "about": about or [], "max_subtasks": max(1, max_steps // len(tasks))}
    question = Question("plan", _messages(goal, passages, given, bounds, instructions), facts, max_output_tokens, _FORM)
    question = replace(question, purpose="plan")
    if chosen(context, model, question).model.local:
        answer, call = ask(context, replace(question, schema=_SUBTASKS), model)
        titles = [str(part["title"]) for part in answer.data["subtasks"]] or [goal]
        made = parts_plan(titles, tasks, given, max_steps)
        if problems := _problems(made, given, bounds):
            raise Permanent("; ".join(problems))
        return _planned(made, call)
    answer, call = ask(context, question, model)
    made = _as_plan(answer.data)
    problems = _problems(made, given, bounds)
    if not problems:
        return _planned(made, call)
    context.log.info("the plan does not hold", problems=problems)
    again, second = ask(context, _repair(question, answer, problems), model)
    made, call = _as_plan(again.data), total([call, second])
    if problems := _problems(made, given, bounds):
        raise Retryable(f"{call.model} made no plan that holds, twice: {'; '.join(problems)[:2000]}")
    return replace(_planned(made, call), repaired=True)


def _bounds(tasks: Sequence[str], max_steps: int, max_items: int) -> ChildRuns:
    """What ``expand`` holds the plan to."""
    from engine.dag.compiled import ChildKind, ChildRuns
    from engine.dag.task_facts import facts_of_type

    try:
        facts = {name: facts_of_type(REGISTRY.get(name)) for name in tasks}
    except NotFound as error:
        raise Permanent(str(error)) from error
    return ChildRuns(ChildKind.EXPAND, 0, tasks=facts, steps_max=max_steps, items_max=max_items)


def _messages(
    goal: str, passages: Sequence[Mapping[str, str]], inputs: Mapping[str, str], bounds: ChildRuns, instructions: str
) -> tuple[Message, ...]:
    named = "; ".join(f"{name}: {what}" if what else name for name, what in inputs.items())
    rules = _RULES.format(
        inputs=f" ({named})" if named else ", of which there are none", steps=bounds.steps_max, items=bounds.items_max,
        instructions=instructions, manual="\n".join(task_manual(REGISTRY.get(name)) for name in bounds.tasks),
    )  # fmt: skip
    # The goal is material as well: who states it may not be who wrote the plan.
    return messages_of(rules, [*passages, {"text": goal, "source": "the goal"}], "Plan how to reach the goal.")


def _as_plan(data: Mapping[str, Any]) -> Any:
    """The plan with its steps by name; a list that has no names is left to the checks."""
    steps = data["steps"]
    names = [step.get("name") for step in steps]
    if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
        return steps
    bare = {step["name"]: {key: value for key, value in step.items() if key != "name"} for step in steps}
    return {"steps": bare, "outputs": data["outputs"]}


def _problems(made: Any, inputs: Mapping[str, str], bounds: ChildRuns) -> list[str]:
    """What ``expand`` would refuse, and arguments that their task would."""
    from engine.dag.expansion import expanded

    try:
        _, source = expanded(made, tuple(inputs), bounds, "plan")
    except PlanError as error:
        return [problem.message for problem in error.problems]
    return task_problems(source, bounds.tasks)


def _planned(made: dict[str, Any], call: Called) -> Planned:
    parts = [Part(name, step.get("task", ""), asked_by(name, step)) for name, step in made["steps"].items()]
    return Planned(made, parts, repaired=False, call=call)


def _repair(question: Question, answer: Answer, problems: Sequence[str]) -> Question:
    from engine.models.request import Message

    told = "\n".join(f"- {each}" for each in problems)
    said = (
        Message("assistant", answer.text or "(nothing)"),
        Message("user", f"That plan does not hold:\n{told}\n\nAnswer again with the whole plan, mended."),
    )
    return replace(question, messages=(*question.messages, *said), purpose="repair")
