"""`flywheel learned`: look at what earlier runs taught the scheduler, and make it forget."""

from __future__ import annotations

import click

from engine.cli.output import output_option, print_rows
from engine.cli.session import Session
from engine.errors import UsageError

_COLUMNS = (
    "plan", "step", "task", "bodies", "p50_s", "p90_s", "p99_s", "failure_odds", "condition_odds", "items", "seen_at",
)  # fmt: skip


@click.group()
def learned() -> None:
    """Show or reset what was learned from runs: durations, failure odds, odds of conditions."""


@learned.command()
@click.option("--plan", help="Only the steps of this plan.")
@click.option("--task", help="Only this task type, alone and in plans.")
@output_option
@click.pass_obj
def show(session: Session, plan: str | None, task: str | None, output: str) -> None:
    """Show what is known of each task type and of each step, seconds and odds.

    BODIES is the weight of evidence: old bodies count less. A row without a plan is a task type's,
    which answers for steps that were seen fewer than three times; one with a model and a class of
    steps (`*`: all) says how many of its checked answers failed, one with `(rated)` what operators
    said of them, each rating counted three times. CONDITION_ODDS are those that a
    step's `when` is true.

    \b
    Examples:
      flywheel learned show --plan nightly-digest
      flywheel learned show --task http.get --json
    """
    from engine.api.learned import views  # lazy: the sketches
    from engine.cli.times import stamp
    from engine.store.learned import every_row

    with session.client() as client:
        rows = every_row(client.store.database)
    found = [{**view.data(), "seen_at": stamp(view.seen_at)} for view in views(rows, plan, task)]
    print_rows(found, output, "flywheel.learned/1", columns=_COLUMNS)
    if not found:
        click.echo("nothing was learned of it yet", err=True)


@learned.command()
@click.option("--plan", help="Forget the steps of this plan.")
@click.option("--task", help="Forget this task type, alone and in plans; with --plan, in that plan only.")
@click.option("--all", "everything", is_flag=True, help="Forget everything.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def reset(session: Session, plan: str | None, task: str | None, everything: bool, yes: bool) -> None:
    """Forget what was learned. Running schedulers notice within a second; no run changes its result.

    \b
    Examples:
      flywheel learned reset --task http.get
      flywheel learned reset --all --yes
    """
    from engine.store.learned import reset as forget  # lazy: SQL

    if everything == (plan is not None or task is not None):
        raise UsageError("say what to forget: --plan PLAN, --task TASK (or both), or --all")
    what = "everything" if everything else " in ".join(part for part in (task, plan) if part)
    if not yes:
        click.confirm(f"forget what was learned of {what}?", abort=True, err=True)
    with session.client() as client:
        count = forget(client.store.database, plan, task)
    click.echo(f"forgot {count} of what was learned of {what}")
