"""`flywheel doctor`: whether this installation can work, and whether a run's record can be true."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from engine.cli.exits import Exit, colour_wanted
from engine.cli.names import RUN
from engine.cli.output import output_option, print_rows
from engine.cli.session import Session
from engine.cli.times import parse_span
from engine.errors import FlywheelError

if TYPE_CHECKING:
    from engine.api.checks import Finding
    from settings import Settings

_COLOURS = {"OK": "green", "WARN": "yellow", "FAIL": "red"}


@click.command()
@click.option(
    "--audit", "audited", type=RUN, metavar="RUN", help="Check what SQL says of a run against the engine's guarantees."
)
@click.option(
    "--canary/--no-canary",
    default=True,
    show_default=True,
    help="Send a node through each queue; without, only ask who is there.",
)
@click.option("--timeout", default="10s", show_default=True, metavar="DURATION", help="How long it may take.")
@output_option
@click.pass_obj
def doctor(session: Session, audited: str | None, canary: bool, timeout: str, output: str) -> None:
    """Check this installation: database, Redis, clocks, storage, plans, and a node through each queue.

    Each line is OK, WARN or FAIL, with its fix. Exit code 0 if nothing fails, else 5; the canary's run
    is deleted again.

    \b
    Examples:
      flywheel doctor
      flywheel doctor --no-canary --json       quick, for a monitor
      flywheel doctor --audit @last            can what SQL says of this run be true?
    """
    if audited is not None:
        sys.exit(_audit(session, audited, output))
    found = list(_findings(session.settings, parse_span(timeout), canary))
    rows = [_row(each) for each in found]
    if output == "table":
        _print(rows)
    else:
        print_rows(rows, output, "flywheel.doctor/1")
    sys.exit(Exit.UNAVAILABLE if any(row["status"] == "FAIL" for row in rows) else Exit.OK)


def _findings(settings: Settings, timeout_s: float, canary: bool) -> Iterator[Finding]:
    from engine.api import checks
    from engine.api.client import Client, embedded_url  # lazy: sqlalchemy

    url = settings.redis_url or embedded_url(settings)
    database = list(checks.database_findings(settings, url is not None))
    yield from database
    yield from checks.redis_findings(settings, url)
    yield from checks.artefact_findings(settings)
    yield from checks.code_findings(settings, url)
    yield from checks.economy_findings(settings)
    yield from checks.plan_findings(settings)
    if database[0].status == "FAIL":
        return
    from engine.api.canary import canary_findings

    try:
        with Client(settings) as client:
            yield from canary_findings(client, timeout_s, canary)
    except FlywheelError as error:
        yield checks.Finding("work", checks.Status.FAIL, str(error), "mend what is said above first")


def _row(found: Finding) -> dict[str, Any]:
    return {
        "check": found.check,
        "status": found.status.value,
        "ok": found.status.value != "FAIL",
        "finding": found.finding,
        "fix": found.fix,
    }


def _print(rows: list[dict[str, Any]]) -> None:
    colour = colour_wanted(sys.stdout)
    width = max(len(row["check"]) for row in rows)
    for row in rows:
        head = click.style(f"{row['status']:<4}", fg=_COLOURS[row["status"]])
        click.echo(f"{head}  {row['check']:<{width}}  {row['finding']}", color=colour)
        if row["fix"]:
            click.echo(f"{'':<{width + 8}}fix: {row['fix']}")


def _audit(session: Session, run: str, output: str) -> int:
    with session.client() as client:
        found = client.run(run)
        findings = client.audit(found.id)
    rows = [
        {
            "run": found.id,
            "invariant": each.invariant,
            "finding": each.message,
            "rows": [list(row) for row in each.rows],
        }
        for each in findings
    ]
    print_rows(rows, output, "flywheel.audit/1")
    if not rows:
        click.echo(f"{found.id} {found.state.value}: the record holds", err=True)
    return Exit.FAILED if rows else Exit.OK
