"""`flywheel plan schema`: the JSON Schema by which editors check plan files and complete them."""

from __future__ import annotations

from pathlib import Path

import click

from engine.cli.output import to_file
from engine.cli.session import Session


@click.command()
@click.option("--tasks", is_flag=True, help="With the names and arguments of the task types that are loaded.")
@click.option("-o", "--output", "file", type=click.Path(path_type=Path), metavar="FILE", help="Write it there.")
@click.pass_obj
def schema(session: Session, tasks: bool, file: Path | None) -> None:
    """Print the JSON Schema of plan files.

    Editors with a YAML language server use it for a plan whose first line names it:

    \b
      # yaml-language-server: $schema=plan.schema.json

    \b
    Example:
      flywheel plan schema --tasks -o plan.schema.json
    """
    import json

    from engine.plan.schema import plan_schema  # lazy: the plan floor

    registry = None
    if tasks:
        from engine.api.plans import admit_current_folder  # lazy: the task modules
        from engine.plan.registry import load_task_modules

        admit_current_folder()
        registry = load_task_modules(session.settings.task_modules)
    text = json.dumps(plan_schema(registry), indent=1, ensure_ascii=False) + "\n"
    if file is None:
        click.echo(text, nl=False)
        return
    with to_file(file):
        file.write_text(text, "utf-8")
    click.echo(f"wrote {file}", err=True)
