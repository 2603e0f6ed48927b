"""What authors of tasks and Python plans import, and all they need.

::

    from engine.authoring import TaskContext, task

    @task("tickets.count", effects="none")
    def count(tickets: list[str], context: TaskContext) -> int:
        context.log.info("counting")
        return len(tickets)
"""

from __future__ import annotations

from engine.errors import Cancelled, Permanent, Retryable
from engine.plan.decorators import plan, task
from engine.plan.expand import expand
from engine.plan.tasktype import TaskContext

__all__ = ["Cancelled", "Permanent", "Retryable", "TaskContext", "expand", "plan", "task"]
