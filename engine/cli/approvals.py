"""`flywheel approvals list|approve|reject`: runs whose budget is used up and that wait for an answer."""

from __future__ import annotations

import time
from typing import Any

import click

from engine.cli.dollars import DOLLARS
from engine.cli.names import RUN
from engine.cli.output import output_option, print_one, print_rows
from engine.cli.session import Session
from engine.cli.times import span


@click.group()
def approvals() -> None:
    """Runs that wait for an operator, because their budget is used up and their plan says to ask."""


@approvals.command("list")
@output_option
@click.pass_obj
def list_(session: Session, output: str) -> None:
    """Show what waits, oldest first.

    \b
    Example:
      flywheel approvals list
    """
    from engine.store.approvals import waiting

    with session.client() as client:
        rows = [each.data(time.time()) for each in waiting(client.store.database)]
    if output == "table":
        rows = [row | {"age": span(row["age_s"]), "until": row["until"] or "for ever"} for row in rows]
    print_rows(rows, output, "flywheel.approvals/1", ("run", "plan", "tenant", "age", "until", "why"))


@approvals.command()
@click.argument("run", type=RUN)
@click.option(
    "--max-usd",
    type=DOLLARS,
    metavar="USD",
    help="What the run may spend in all from now on. Default: its limit stays, and the call is tried again.",
)
@click.option("--max-calls", type=click.IntRange(1), metavar="N", help="How many model calls in all, likewise.")
@click.option("--max-tokens", type=click.IntRange(1), metavar="N", help="How many tokens in all, likewise.")
@click.option("--max-time", metavar="DURATION", help="How long its model calls may take, summed, likewise: 90s, 2h.")
@output_option
@click.pass_obj
def approve(
    session: Session, run: str, max_usd: float | None, max_calls: int | None, max_tokens: int | None,
    max_time: str | None, output: str,
) -> None:  # fmt: skip
    """Let RUN go on.

    The limit that it has met is to be raised (`flywheel approvals list` says which it is), or it asks again.

    \b
    Examples:
      flywheel approvals approve @last --max-usd 20
      flywheel approvals approve @last --max-calls 500
    """
    from engine.costs.money import limit_nusd

    said = {
        "max_nusd": None if max_usd is None else limit_nusd(max_usd), "max_calls": max_calls,
        "max_tokens": max_tokens, "max_time": None if max_time is None else _seconds(max_time),
    }  # fmt: skip
    arguments = {name: value for name, value in said.items() if value is not None}
    _answer(session, run, "approve", arguments, output)


@approvals.command()
@click.argument("run", type=RUN)
@click.option("--reason", metavar="TEXT", help="Kept with the decision.")
@output_option
@click.pass_obj
def reject(session: Session, run: str, reason: str | None, output: str) -> None:
    """Let RUN finish what is paid, and stop.

    \b
    Example:
      flywheel approvals reject @last --reason "not this month"
    """
    _answer(session, run, "reject", {"reason": reason} if reason else {}, output)


def _seconds(said: str) -> float:
    from engine.plan.durations import duration_s

    try:
        seconds = duration_s(float(said) if said.replace(".", "", 1).isdigit() else said)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--max-time") from None
    if seconds <= 0:
        raise click.BadParameter("it is more than no time", param_hint="--max-time")
    return seconds


def _answer(session: Session, run: str, kind: str, arguments: dict[str, Any], output: str) -> None:
    from engine.cli.describe import run_row

    with session.client() as client:
        run_id = client.run(run).id
        if not client.command(run_id, kind, **arguments):
            click.echo("stored; no scheduler has answered yet, it holds as soon as one does", err=True)
        found = client.run(run_id)
    print_one(run_row(found), output, "flywheel.run/1", table=lambda: click.echo(f"{found.id} {found.state.value}"))
