"""Whether a run can be expected to fit what it may spend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from engine.api.expected import ExpectedCost, expected_cost
from engine.api.learned import knowledge_of
from engine.api.preview import node_counts
from engine.artefacts.values import PagedRows
from engine.errors import UsageError
from engine.plan.batch import ITEMS
from engine.store.earlier import earlier_runs
from engine.store.learned import every_row

if TYPE_CHECKING:
    from engine.api.batch import Batch
    from engine.api.client import Client
    from engine.api.plans import Prepared


def check_fits(client: Client, prepared: Prepared, inputs: Mapping[str, Any], max_usd: float) -> None:
    """Say so if nobody knows what it will cost.

    Raises
    ------
    UsageError
        Earlier runs of the plan cost more than that, counted by the nodes that it will have.
    """
    _check(_expected(client, prepared, inputs), 1, max_usd)


def check_batch_fits(client: Client, batch: Batch, max_usd: float) -> None:
    """The same for all items of a batch together, by earlier batches of the plan, else by runs of one item."""
    count = int(batch.items["count"])
    found = _expected(client, batch.prepared, {ITEMS: [None] * count})
    if found is not None:
        _check(found, 1, max_usd)
    else:
        first = PagedRows(batch.items, client.artefacts)[0]["v"]
        _check(_expected(client, batch.one, first), count, max_usd)


def _expected(client: Client, prepared: Prepared, inputs: Mapping[str, Any]) -> ExpectedCost | None:
    database = client.store.database
    counts = node_counts(prepared.compiled, inputs, knowledge_of(every_row(database)))
    nodes = [1 if count is None else count for count in counts]
    earlier = earlier_runs(database, prepared.plan.name)
    return expected_cost(prepared.compiled, nodes, earlier, client.settings.call_usd)


def _check(found: ExpectedCost | None, times: int, max_usd: float) -> None:
    if found is None:
        click.echo(f"nobody knows yet what it will cost; it may spend ${max_usd:g}", err=True)
    elif times * found.usd > max_usd:
        raise UsageError(
            f"it is expected to cost ${times * found.usd:.4g} (${times * found.low_usd:.4g} to "
            f"${times * found.high_usd:.4g}), more than --max-usd {max_usd:g}: allow more, give it less to do, or "
            "state cheaper models"
        )
