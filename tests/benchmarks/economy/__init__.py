"""`scripts/bench economy NAME`: what model calls, their contexts, caches and budgets cost. One module a subject."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tests.benchmarks.economy import batches, budgets, contexts, overhead, prefixes, route, task, tools
from tests.benchmarks.figures import Figure
from tests.benchmarks.options import Options

ECONOMY: dict[str, Callable[[Options], Iterator[Figure]]] = {
    "budget": budgets.budget,
    "prefix": prefixes.prefix,
    "context": contexts.context,
    "tools": tools.tools,
    "route": route.route,
    "batch": batches.batch,
    "task": task.task,
    "overhead": overhead.overhead,
}
"""The benches of the economy by name, each added with its module."""
