"""Whether a run can be expected to fit what it may spend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from engine.errors import UsageError

if TYPE_CHECKING:
    from engine.api.client import Client
    from engine.api.plans import Prepared


def check_fits(client: Client, prepared: Prepared, inputs: Mapping[str, Any], max_usd: float) -> None:
    """Say so if nobody knows what it will cost.

    Raises
    ------
    UsageError
        Earlier runs of the plan cost more than that, counted by the nodes that it will have.
    """
    from engine.api.learned import knowledge_of
    from engine.api.preview import preview
    from engine.store.earlier import earlier_runs
    from engine.store.learned import every_row

    database = client.store.database
    slots = dict.fromkeys(prepared.queues, 1)
    earlier = earlier_runs(database, prepared.plan.name)
    call_usd = client.settings.call_usd
    found = preview(prepared.compiled, inputs, knowledge_of(every_row(database)), slots, earlier, call_usd).cost
    if found is None:
        click.echo(f"nobody knows yet what it will cost; it may spend ${max_usd:g}", err=True)
    elif found.usd > max_usd:
        raise UsageError(
            f"it is expected to cost ${found.usd:.4g} (${found.low_usd:.4g} to ${found.high_usd:.4g}), more than "
            f"--max-usd {max_usd:g}: allow more, give it less to do, or state cheaper models"
        )
