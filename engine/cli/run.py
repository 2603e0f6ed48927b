"""`flywheel run`: one plan, here and now, watched to its end."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli.attending import attend
from engine.cli.names import PLAN, RUN
from engine.cli.output import output_option
from engine.cli.plan_options import Request, plan_options
from engine.cli.session import Session
from engine.cli.times import parse_span
from engine.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.api.client import Client


@click.command()
@click.argument("plan", required=False, type=PLAN)
@plan_options
@click.option("--timeout", metavar="DURATION", help="Give up watching after this long (30s, 5m); exit code 124.")
@click.option("--resume", type=RUN, metavar="RUN", help="Go on with a run that was interrupted, instead of a new one.")
@output_option
@click.pass_obj
def run(
    session: Session, plan: str | None, pairs: tuple[str, ...], inputs_file: Path | None, timeout: str | None,
    resume: str | None, output: str, tenant: str, work_session: str, key: str | None, priority: int | None,
    tags: tuple[str, ...], items: Path | None, max_failures: int | None, max_usd: float | None,
) -> None:  # fmt: skip
    """Run PLAN (a name, or the path of its file) and watch it.

    Without FLYWHEEL_REDIS_URL this starts a Redis of its own, a scheduler and workers, and stops them
    at the end; with it, the run goes to that installation. Ctrl-C pauses and says how to go on.
    Exit code 3 says that the run waits for an answer, 4 that it stopped because a budget is used up.

    \b
    Examples:
      flywheel run dependency-audit
      flywheel run dags/nightly.yaml -p date=2026-11-21 -p sources=@sources.json
      flywheel run --resume @last
    """
    if (plan is None) == (resume is None):
        raise UsageError("give a plan, or --resume RUN; `flywheel plan list` shows the plans")
    timeout_s = None if timeout is None else parse_span(timeout)
    if resume is not None:
        ended = _shown_if_ended(session, resume, output)
        if ended is not None:
            sys.exit(ended)
        sys.exit(attend(session, lambda client, serve: go_on(client, serve, resume), output, timeout_s))
    assert plan is not None
    request = Request(plan, pairs, inputs_file, tenant, work_session, key, priority, tags, items, max_failures, max_usd)
    sys.exit(attend(session, request.submit, output, timeout_s, f"run {plan}"))


def _shown_if_ended(session: Session, run: str, output: str) -> int | None:
    """Show the end of a run that has ended, without starting anything; the exit code that says how it did.

    A run that is interrupted while its last nodes are out ends all the same, and who was told to resume
    it is not wrong.
    """
    from engine.cli.watching import exit_code, print_result, result

    with session.client() as client:
        found = client.run(run)
        if not found.state.final:
            return None
        click.echo(f"run {found.id}  plan {found.plan_name}  has already ended", err=True)
        progress = client.store.progress(found.id)
        print_result(result(client, progress), output)
        return exit_code(client, progress)


def go_on(client: Client, serve: Callable[[tuple[str, ...]], None], run: str, command: str | None = None) -> str:
    """Make a stored run go on, ``command`` told to its scheduler first; its id."""
    found = client.run(run)
    if found.state.final and command is None:
        return found.id  # its last nodes may have ended it meanwhile: what is watched then is its end
    serve(tuple(sorted({step.queue for step in client.store.steps(found.id)})))
    kind = command or ("resume" if found.state.value == "paused" else None)
    if kind is not None:
        client.command(found.id, kind, timeout_s=30.0)
    return found.id
