"""Batch jobs: a plan over the items of a file, and what came of each item.

Items are read, checked and stored page by page, and results are read page by page, so that neither
side ever holds a million of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.api.client import Client
from engine.api.plans import Prepared, prepare
from engine.artefacts.values import PagedRows, pack_rows, unpack
from engine.errors import NotFound
from engine.plan.batch import ITEMS, batch_plan, read_items
from engine.scheduling.records import NodeState
from engine.wire import Value

_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch that is ready to be submitted; ``items`` is a paged list, stored already, ``one`` the plan of an item."""

    prepared: Prepared
    items: Value
    one: Prepared


@dataclass(frozen=True, slots=True)
class ItemResult:
    """What came of one item.

    Parameters
    ----------
    state
        ``succeeded``, ``failed``, ``skipped``, ``cancelled``, or ``open`` if it has not ended.
    output
        The result as plain data; ``None`` unless it succeeded.
    error
        Why it did not succeed; empty if it did.
    """

    index: int
    state: str
    output: Any
    error: str
    item: Mapping[str, Any]


def prepare_batch(
    client: Client, plan: str | Path, file: Path, common: Mapping[str, Any], max_failures: int | None = None
) -> Batch:
    """Check a plan and every item of ``file``, and store the items.

    Raises
    ------
    PlanError, UsageError, NotFound
        The plan does not hold, or items do not fit its inputs: the first of them are named.
    """
    written = prepare(plan, client.settings)
    prepared = prepare(batch_plan(written.plan, max_failures), client.settings)
    return Batch(prepared, pack_rows(read_items(file, written.plan, common), client.artefacts, _PAGE), written)


def submit_batch(client: Client, batch: Batch, **options: Any) -> str:
    """Store the batch as a run and wake its scheduler; the run's id. ``options`` as in ``Client.submit``."""
    return client.submit_packed(batch.prepared, {"map": {ITEMS: batch.items}}, **options)


def item_results(client: Client, run: str) -> Iterator[ItemResult]:
    """What came of each item of a batch, in the order of its file.

    Raises
    ------
    NotFound
        There is no such run, or it is no batch.
    """
    found = client.run(run)
    items = client.store.inputs(found.id).get("map", {}).get(ITEMS)
    step = client.store.steps(found.id)[-1]
    if not isinstance(items, dict) or "pages" not in items or not step.fanned:
        raise NotFound(f"run {found.id} is no batch; `flywheel runs show {found.id}` shows its outputs")
    rows = PagedRows(items, client.artefacts)
    for start in range(0, len(rows), _PAGE):
        ended = client.store.node_results(found.id, step.step_no, start, start + _PAGE)
        for index in range(start, min(start + _PAGE, len(rows))):
            node = ended.get(index)
            item = rows[index]["v"]
            if node is None:
                yield ItemResult(index, "cancelled" if found.state.final else "open", None, found.reason, item)
            elif node.state is NodeState.SUCCEEDED:
                output = None if node.value is None else unpack(node.value, client.artefacts)
                yield ItemResult(index, node.state.value, output, "", item)
            else:
                yield ItemResult(index, node.state.value, None, node.reason, item)
