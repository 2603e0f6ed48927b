"""`flywheel runs retry`: says what of a run that ended is taken over and what runs again, then starts it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from engine.cli.describe import run_row
from engine.cli.names import PLAN, RUN
from engine.cli.output import output_option, print_one, print_rows, print_table
from engine.cli.session import Session

if TYPE_CHECKING:
    from engine.api.client import Client
    from engine.api.rerun import StepFate
    from engine.api.retrying import Rerun


@click.command()
@click.argument("run", type=RUN)
@click.option("--from", "from_step", metavar="STEP", help="Run this step again too, and all that hangs below it.")
@click.option("--plan", type=PLAN, metavar="PLAN", help="Run the plan as it is now (a name or a file), not as it was.")
@click.option("--keep", is_flag=True, help="Take results over though the code that made them has changed.")
@click.option("--dry-run", is_flag=True, help="Say what would be taken over and what would run; start nothing.")
@output_option
@click.pass_obj
def retry(
    session: Session, run: str, from_step: str | None, plan: str | None, keep: bool, dry_run: bool, output: str
) -> None:
    """Try a run that ended again: what failed, what was changed, and whatever hangs below.

    A new run takes over every result that holds; the earlier run stays as it is. A result holds if its
    step ended well and is the same in the plan, its task's code is the same, and all above it holds. What
    is taken over and what is not, and why, is said first. Where no stack is running, one is started and
    the new run is watched, as `flywheel run` does.

    \b
    Examples:
      flywheel runs retry @last
      flywheel runs retry r_1m81q0 --from report
      flywheel runs retry @last --plan dags/nightly.yaml --dry-run
    """
    from engine.api.retrying import prepare_rerun, submit_rerun  # lazy: the plan floor and the task modules

    with session.client() as client:
        rerun = prepare_rerun(client, run, from_step, plan, keep=keep)
        rows = [_row(step) for step in rerun.steps]
        if dry_run and output != "table":
            print_rows(rows, output, "flywheel.retry/1")
        else:
            print_table([{key: row[key] for key in _COLUMNS} for row in rows], err=not dry_run)
        _say_more(rerun)
        if dry_run:
            return
        rerun.check()
        if client.redis_url is not None:
            found = client.run(submit_rerun(client, rerun))
            told = run_row(found) | {"steps": rows}
            print_one(told, output, "flywheel.run/1", table=lambda: click.echo(f"{found.id} {found.state.value}"))
            return
    from engine.cli.attending import attend  # lazy: rich, and the embedded stack
    from engine.cli.run import go_on

    def begin(client: Client, serve: Callable[[tuple[str, ...]], None]) -> str:
        return go_on(client, serve, submit_rerun(client, rerun))

    sys.exit(attend(session, begin, output))


_COLUMNS = ("step", "task", "fate", "taken_over", "why")


def _row(step: StepFate) -> dict[str, Any]:
    return {
        "step": step.path,
        "task": step.task,
        "fate": step.fate.value,
        "why": step.why,
        "taken_over": step.nodes_taken,
        "nodes": step.nodes,
    }


def _say_more(rerun: Rerun) -> None:
    from engine.api.worker_code import RESTART

    if rerun.code_changed:
        click.echo("results that other code made are not taken over; --keep takes them over all the same", err=True)
    if rerun.other_workers:
        names = ", ".join(rerun.other_workers[:5])
        click.echo(f"warning: {names}: other code runs there than is here; {RESTART}", err=True)
