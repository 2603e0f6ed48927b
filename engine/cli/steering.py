"""`flywheel runs cancel|pause|drain|resume|prune`: what changes runs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from engine.cli.describe import run_row
from engine.cli.exits import Exit
from engine.cli.names import RUN
from engine.cli.output import output_option, print_one
from engine.cli.session import Session
from engine.cli.times import parse_span, span
from engine.errors import UsageError

if TYPE_CHECKING:
    from engine.api.client import Client
    from engine.store.views import RunView


@click.command()
@click.argument("run", type=RUN)
@click.option("--timeout", default="60s", show_default=True, metavar="DURATION", help="How long to wait for it.")
@output_option
@click.pass_obj
def cancel(session: Session, run: str, timeout: str, output: str) -> None:
    """End a run. When this returns, no body of it begins any more, whatever is restarted or lost.

    Bodies that run are told to stop, and subprocesses of theirs are killed.

    \b
    Example:
      flywheel runs cancel @last
    """
    with session.client() as client:
        if client.redis_url is None and not client.run(run).state.final:
            found = _cancel_alone(session, client.run(run).id, parse_span(timeout))
        else:
            found = client.run(client.cancel(run, parse_span(timeout)).id)
    print_one(run_row(found), output, "flywheel.run/1", table=lambda: click.echo(f"{found.id} {found.state.value}"))


def _cancel_alone(session: Session, run_id: str, timeout_s: float) -> RunView:
    """Cancel where no stack runs: a scheduler is started for just that, and no worker."""
    from engine.api.client import Client
    from engine.cli.attending import stop
    from engine.runtime.embedded.stack import Stack

    stack = Stack(session.settings, "flywheel runs cancel")
    stack.start()
    try:
        with Client(stack.settings) as client:
            return client.run(client.cancel(run_id, timeout_s).id)
    finally:
        stop(stack)


@click.command()
@click.argument("run", type=RUN)
@output_option
@click.pass_obj
def resume(session: Session, run: str, output: str) -> None:
    """Go on with a paused run.

    Where no stack is running, one is started and the run is watched, as `flywheel run` does.

    \b
    Example:
      flywheel runs resume @last
    """
    _tell_or_attend(session, run, "resume", output)


@click.command()
@click.argument("run", type=RUN)
@output_option
@click.pass_obj
def pause(session: Session, run: str, output: str) -> None:
    """Dispatch nothing new of a run; what runs ends, and waits are kept.

    \b
    Example:
      flywheel runs pause @last
    """
    with session.client() as client:
        _tell(client, run, "pause", output)


@click.command()
@click.argument("run", type=RUN)
@click.option("--timeout", default="10m", show_default=True, metavar="DURATION", help="How long to wait for it.")
@output_option
@click.pass_obj
def drain(session: Session, run: str, timeout: str, output: str) -> None:
    """Pause a run, and return when nothing of it runs any more or waits in a queue.

    `flywheel runs resume` goes on with it.

    \b
    Example:
      flywheel runs drain @last --timeout 30m
    """
    with session.client() as client:
        found = client.drain(run, parse_span(timeout))
    print_one(run_row(found), output, "flywheel.run/1", table=lambda: click.echo(f"{found.id} {found.state.value}"))


def _tell_or_attend(session: Session, run: str, kind: str, output: str) -> None:
    with session.client() as client:
        run_id = client.run(run).id
        if client.redis_url is not None:
            _tell(client, run_id, kind, output)
            return
    from engine.cli.attending import attend  # lazy: rich, and the embedded stack
    from engine.cli.run import go_on

    sys.exit(attend(session, lambda client, serve: go_on(client, serve, run_id, kind), output))


def _tell(client: Client, run: str, kind: str, output: str) -> None:
    done = client.command(run, kind)
    found = client.run(run)
    if not done:
        click.echo(f"stored; no scheduler has answered yet, the {kind} holds as soon as one does", err=True)
    print_one(run_row(found), output, "flywheel.run/1", table=lambda: click.echo(f"{found.id} {found.state.value}"))


@click.command()
@click.option("--older-than", metavar="DURATION", help="Age since the end, such as 30d. Default: retention_days.")
@click.option("--state", "states", multiple=True, type=click.Choice(["succeeded", "failed", "cancelled"]))
@click.option("--everything-of", "tenant", metavar="TENANT", help="Delete a tenant: all its runs, whatever their age.")
@click.option("--dry-run", is_flag=True, help="Say which, delete nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@output_option
@click.pass_obj
def prune(
    session: Session, older_than: str | None, states: tuple[str, ...], tenant: str | None, dry_run: bool, yes: bool,
    output: str,
) -> None:  # fmt: skip
    """Delete runs that ended long ago, with their results, logs, and artefacts that nothing else needs.

    \b
    Examples:
      flywheel runs prune --older-than 7d --dry-run
      flywheel runs prune --everything-of acme
    """
    from engine.scheduling.records import RunState  # light, yet not needed for --help
    from engine.store.views import FINAL_STATES

    if tenant is not None and (dry_run or older_than or states):
        raise UsageError("--everything-of deletes all of a tenant; it takes no --older-than, --state or --dry-run")
    age_s = session.settings.retention_days * 86400 if older_than is None else parse_span(older_than)
    what = f"ended runs older than {span(age_s)}" if tenant is None else f"everything of tenant {tenant}"
    if not dry_run and not yes and not _confirmed(f"Delete {what}?"):
        click.echo("nothing was deleted", err=True)
        sys.exit(Exit.INTERRUPTED)
    with session.client() as client:
        if tenant is not None:
            pruned = client.delete_tenant(tenant)
        else:
            chosen = [RunState(state) for state in states] or FINAL_STATES
            pruned = client.prune(age_s, chosen, dry_run)
    outcome = {
        "deleted": not dry_run,
        "runs": len(pruned.runs),
        "artefacts": pruned.artefacts,
        "artefact_bytes": pruned.artefact_bytes,
        "run_ids": list(pruned.runs),
    }
    print_one(outcome, output, "flywheel.prune/1")


def _confirmed(question: str) -> bool:
    try:
        return click.confirm(question, err=True)
    except click.Abort:
        if sys.stdin is not None and sys.stdin.isatty():
            raise  # Ctrl-C
        click.echo("", err=True)
        raise UsageError("nobody answered, since this is no terminal; --yes deletes without asking") from None
