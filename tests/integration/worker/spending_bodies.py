"""Bodies of somebody's own that spend, for tests."""

from __future__ import annotations

from typing import Any

from engine.authoring import TaskContext, task
from engine.budgets.budget import Budget


def spend_for_all(calls: list[dict[str, Any]], context: TaskContext) -> list[int]:
    """One call that pays for all."""
    _spend(context)
    return [len(calls) for _ in calls]


@task("spend.own", effects="none", many=spend_for_all)
def spend(context: TaskContext, item: int = 0) -> int:
    """Two calls of which its step says nothing."""
    _spend(context)
    _spend(context)
    return item


def _spend(context: TaskContext) -> None:
    context.service(Budget).reserve(1000, 10, {"model": "my/model"}).release()
