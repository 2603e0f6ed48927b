"""Bodies of somebody's own that spend, for tests."""

from __future__ import annotations

import time
from typing import Any

from engine.authoring import TaskContext, task
from engine.budgets.budget import Budget
from engine.costs.entry import Entry


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


@task("spend.some", effects="none", queue="io")
def spend_some(context: TaskContext, nusd: int) -> int:
    """One call that costs as much as it can."""
    held = context.service(Budget).reserve(nusd, 10, {"model": "my/model"})
    entry = Entry(held.id, "model", "my/model", cost_nusd=nusd, at=time.time())
    held.settle(nusd, 10, entry)
    context.note("ledger", entry.to_json())
    return nusd
