"""What `run` and `submit` share: the options that say what is to be run, and for whom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from engine.cli.dollars import DOLLARS
from engine.errors import UsageError

if TYPE_CHECKING:
    from engine.api.client import Client

F = TypeVar("F", bound=Callable[..., Any])


def plan_options(function: F) -> F:
    """Give a command the options that describe a new run."""
    options = (
        click.option("-p", "--input", "pairs", multiple=True, metavar="NAME=VALUE", help="An input; @FILE reads it."),
        click.option("--inputs", "inputs_file", type=click.Path(path_type=Path), help="Inputs as JSON or YAML."),
        click.option(
            "--items",
            type=click.Path(path_type=Path, dir_okay=False),
            metavar="FILE",
            help="Run the plan for each line of a .jsonl file, or row of a .csv one.",
        ),
        click.option(
            "--max-failures",
            type=click.IntRange(0),
            metavar="N",
            help="With --items: give up after more than N failed items; up to N are tolerated.",
        ),
        click.option("--session", "work_session", default="default", show_default=True, help="Session it belongs to."),
        click.option("--tenant", default="default", show_default=True, help="Tenant it belongs to."),
        click.option("--idempotency-key", "key", help="The same key, plan and inputs give the same run again."),
        click.option("--priority", type=click.IntRange(-1000, 1000), help="Higher goes first. Default: the plan's."),
        click.option(
            "--max-usd",
            type=DOLLARS,
            metavar="USD",
            help="Dollars for its model calls, with --items for all items together; refused if more is expected. "
            "Default: the plan's budget.",
        ),
        click.option("--tag", "tags", multiple=True, help="A tag to find the run by; may be repeated."),
    )
    for option in reversed(options):
        function = option(function)
    return function


@dataclass(frozen=True, slots=True)
class Request:
    """A new run as it was asked for."""

    plan: str
    pairs: tuple[str, ...]
    inputs_file: Path | None
    tenant: str
    session: str
    idempotency_key: str | None
    priority: int | None
    tags: tuple[str, ...]
    items: Path | None = None
    max_failures: int | None = None
    max_usd: float | None = None

    def submit(self, client: Client, serve: Callable[[tuple[str, ...]], None] = lambda _: None) -> str:
        """Store it, its queues served; the run's id."""
        if self.items is not None:
            return self._submit_batch(client, self.items, serve)
        if self.max_failures is not None:
            raise UsageError("--max-failures goes with --items FILE")
        from engine.api.plans import prepare  # lazy: the plan floor and the task modules
        from engine.cli.inputs import gather

        prepared = prepare(self.plan, client.settings)
        inputs = prepared.check(gather(prepared.plan, self.pairs, self.inputs_file))
        if self.max_usd is not None:
            from engine.cli.affording import check_fits  # lazy: what earlier runs cost

            check_fits(client, prepared, inputs, self.max_usd)
        serve(prepared.queues)
        return client.submit(
            prepared, inputs, session=self.session, tenant=self.tenant, idempotency_key=self.idempotency_key,
            priority=self.priority, tags=self.tags, max_usd=self.max_usd,
        )  # fmt: skip

    def _submit_batch(self, client: Client, items: Path, serve: Callable[[tuple[str, ...]], None]) -> str:
        from engine.api.batch import prepare_batch, submit_batch  # lazy: the plan floor and the task modules
        from engine.api.plans import prepare
        from engine.cli.inputs import gather

        common = gather(prepare(self.plan, client.settings).plan, self.pairs, self.inputs_file)
        batch = prepare_batch(client, self.plan, items, common, self.max_failures)
        click.echo(f"{batch.items['count']} items of {items}", err=True)
        if self.max_usd is not None:
            from engine.cli.affording import check_batch_fits  # lazy: what earlier runs cost

            check_batch_fits(client, batch, self.max_usd)
        serve(batch.prepared.queues)
        return submit_batch(
            client, batch, session=self.session, tenant=self.tenant, idempotency_key=self.idempotency_key,
            priority=self.priority, tags=self.tags, max_usd=self.max_usd,
        )  # fmt: skip
