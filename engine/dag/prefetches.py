"""What has to be known before a part of a step's inputs can be read ahead of it.

The scheduler loads no task modules, so the arguments that a task type reads ahead by are written into
the step at submission; what those refer to is worked out here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from engine.dag.compiled import Prefetch
from engine.dag.drafts import Draft
from engine.plan.binding import binding_of
from engine.plan.tasktype import TaskType
from engine.plan.templates import references

Written = Literal[False] | tuple[str, ...] | None
"""What a step says of it: ``False`` for never, names of arguments, ``None`` if nothing was written yet."""


def arguments_ahead(task_type: TaskType) -> tuple[str, ...] | None:
    """Names of the arguments that a task type reads ahead by, sorted; ``None`` if it never does."""
    return None if task_type.prefetch is None else tuple(sorted(binding_of(task_type.prefetch).parameters))


def frozen_prefetch(written: Written, arguments: tuple[str, ...] | None) -> Written:
    """What is written into a step whose author wrote ``written``."""
    return False if written is False else arguments


def prefetch_of(draft: Draft, number: Sequence[int], task_type: TaskType | None) -> Prefetch | None:
    """What the step's reading ahead needs; ``None`` if nothing is read ahead for it.

    ``number`` gives the numbers of steps by position.
    """
    written: Written = draft.step.prefetch
    if written is None and task_type is not None:
        written = arguments_ahead(task_type)
    if written is None or written is False or draft.child is not None or draft.step.for_each is not None:
        return None
    arguments = tuple(name for name in written if name in draft.with_)
    found = references({name: draft.with_[name] for name in arguments})
    inputs = found.inputs & draft.scope.plan.inputs.keys()
    return Prefetch(
        arguments,
        tuple(sorted(number[draft.names[name]] for name in found.steps if name in draft.names)),
        frozenset(draft.scope.plan.inputs) if found.all_inputs else frozenset(inputs),
    )
