"""`flywheel explain`: why a run, a step or a node went as it did."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from engine.cli.names import RUN
from engine.cli.output import output_option, print_one
from engine.cli.session import Session
from engine.cli.times import stamp

if TYPE_CHECKING:
    from engine.api.explaining import Explanation


@click.command()
@click.argument("run", type=RUN)
@click.argument("where", required=False, metavar="[STEP|NODE]")
@click.option("-n", "--limit", type=click.IntRange(1, 10_000), default=200, show_default=True, help="Lines of a sort.")
@click.option("--figures", is_flag=True, help="The figures behind each decision too.")
@output_option
@click.pass_obj
def explain(session: Session, run: str, where: str | None, limit: int, figures: bool, output: str) -> None:
    """Say why a run went as it did: each decision of the engine in order, with its reason.

    With a STEP or a NODE also what it waited for, when it was ready, each attempt and its kind, and which
    one brought the result. Times are seconds since the run was submitted.

    \b
    Examples:
      flywheel explain @last
      flywheel explain @last inspect --figures
      flywheel explain @last 'inspect[17]' --json
    """
    from engine.api.explaining import explain_run, explain_step  # lazy: SQL
    from engine.cli.runs import locate

    with session.client() as client:
        found = client.run(run)
        if where is None:
            told = explain_run(client.store, found, limit)
        else:
            step, item = locate(client.store, found.id, where)
            told = explain_step(client.store, found, step, item, limit)
    print_one(_data(told), output, "flywheel.explanation/1", table=lambda: _print(told, found.created_at, figures))


def _data(told: Explanation) -> dict[str, Any]:
    data = told.data()
    for line in data["lines"]:
        line["at"] = stamp(line["at"])
    return data


def _print(told: Explanation, since: float, figures: bool) -> None:
    places = max((len(line.where) for line in told.lines), default=0)
    for line in told.lines:
        moment = "now" if line.at is None else f"{max(0.0, line.at - since):.3f}s"
        click.echo(f"{moment:>10}  {line.kind:<9}  {line.where:<{min(places, 30)}}  {line.words}")
        if figures and line.figures:
            shown = ", ".join(f"{name} {_figure(value)}" for name, value in line.figures.items())
            click.echo(f"{'':>10}  {'':<9}  {'':<{min(places, 30)}}    {shown}")
    if told.attempts:
        kinds = [
            f"{each.attempts:,} {each.kind}" + (f" ({each.won:,} won)" if each.won is not None else "")
            for each in told.attempts
        ]
        click.echo(f"attempts: {', '.join(kinds)}")
    if told.left_out:
        click.echo(f"{told.left_out:,} more; -n shows more of them", file=sys.stderr)


def _figure(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
