"""`flywheel settings`: every setting in force, secrets masked."""

from __future__ import annotations

from typing import Any

import click

from engine.cli.output import cell, output_option, print_rows
from engine.cli.session import Session


@click.command()
@click.option("--explain", is_flag=True, help="With each setting's meaning.")
@click.argument("names", nargs=-1, metavar="[NAME...]")
@output_option
@click.pass_obj
def settings(session: Session, explain: bool, names: tuple[str, ...], output: str) -> None:
    """Show the settings in force; NAME (with or without FLYWHEEL_) shows only those.

    Each is an environment variable, FLYWHEEL_ and its name in capitals, or such a line in .env.

    \b
    Examples:
      flywheel settings
      flywheel settings --explain window_s pools
    """
    from engine.errors import NotFound
    from settings import masked  # lazy: pydantic

    found = session.settings
    values = masked(found)
    wanted = [name.lower().removeprefix("flywheel_") for name in names] or list(values)
    unknown = [name for name in wanted if name not in values]
    if unknown:
        raise NotFound(f"no setting {', '.join(unknown)}; `flywheel settings` lists all")
    rows: list[dict[str, Any]] = [
        {
            "setting": name,
            "variable": f"FLYWHEEL_{name.upper()}",
            "value": values[name],
            "source": "set" if name in found.model_fields_set else "default",
            "meaning": type(found).model_fields[name].description,
        }
        for name in wanted
    ]
    if output != "table" or not explain:
        print_rows(rows, output, "flywheel.settings/1", columns=("setting", "value", "source"))
        return
    for row in rows:
        click.echo(f"{row['variable']}={cell(row['value'])}  ({row['source']})")
        click.echo(click.wrap_text(row["meaning"], 100, initial_indent="    ", subsequent_indent="    "))
