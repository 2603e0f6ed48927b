"""`flywheel submit`: store a run for an installation that is up, and return."""

from __future__ import annotations

from pathlib import Path

import click

from engine.cli.describe import run_row
from engine.cli.names import PLAN
from engine.cli.output import output_option, print_one
from engine.cli.plan_options import Request, plan_options
from engine.cli.session import Session


@click.command()
@click.argument("plan", type=PLAN)
@plan_options
@output_option
@click.pass_obj
def submit(
    session: Session, plan: str, pairs: tuple[str, ...], inputs_file: Path | None, output: str, tenant: str,
    work_session: str, key: str | None, priority: int | None, tags: tuple[str, ...],
    items: Path | None, max_failures: int | None, max_usd: float | None,
) -> None:  # fmt: skip
    """Store a run of PLAN and print its id; the scheduler takes it up.

    \b
    Examples:
      flywheel submit nightly -p date=2026-11-21 --idempotency-key nightly-2026-11-21
      flywheel runs watch "$(flywheel submit nightly)"
      flywheel submit classify --items tickets.jsonl --max-failures 50
    """
    with session.client(making=True) as client:
        run_id = Request(
            plan, pairs, inputs_file, tenant, work_session, key, priority, tags, items, max_failures, max_usd
        ).submit(client)
        run = client.run(run_id)
        if client.redis_url is None:
            click.echo("stored; no stack is running here: `flywheel up`, or `flywheel run --resume @last`", err=True)
        elif not client.wake(run_id):
            click.echo("stored; Redis cannot be reached, so nothing begins until it is back", err=True)
    print_one(run_row(run), output, "flywheel.run/1", table=lambda: click.echo(run_id))
