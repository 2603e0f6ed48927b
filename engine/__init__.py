"""Flywheel's engine: what authors import is here; everything else is found on its floor.

``from engine import task, plan, TaskContext, Retryable, Permanent`` is all a task's author needs.
The names load on first use, so that importing ``engine`` alone stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.errors import Cancelled, Permanent, Retryable
    from engine.plan.decorators import plan, task
    from engine.plan.tasktype import TaskContext

__all__ = ["Cancelled", "Permanent", "Retryable", "TaskContext", "plan", "task"]

_HOMES = {
    "Cancelled": "engine.errors",
    "Permanent": "engine.errors",
    "Retryable": "engine.errors",
    "TaskContext": "engine.plan.tasktype",
    "plan": "engine.plan.decorators",
    "task": "engine.plan.decorators",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'engine' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
