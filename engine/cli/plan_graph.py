"""`flywheel plan graph`: a plan's steps as a drawing."""

from __future__ import annotations

import click

from engine.cli.session import Session

FORMS = ("text", "svg", "mermaid", "dot")


@click.command()
@click.argument("name", metavar="PLAN")
@click.option(
    "-o", "--output", type=click.Choice(FORMS), default="text", show_default=True, help="Form of the drawing."
)
@click.pass_obj
def graph(session: Session, name: str, output: str) -> None:
    """Draw a plan's steps and what waits for what; sub-plans are drawn with what is inside.

    \b
    Examples:
      flywheel plan graph dependency-audit
      flywheel plan graph dags/nightly.yaml -o svg > nightly.svg
    """
    from engine.api.plans import prepare  # lazy: the plan floor and the task modules
    from engine.dag.drawing import DRAWINGS

    click.echo(DRAWINGS[output](prepare(name, session.settings).compiled), nl=False)
