"""`flywheel init`: lays out a project of somebody's own, which runs as it is."""

from __future__ import annotations

import re
from pathlib import Path

import click

from engine.cli.project import FILES
from engine.errors import Unavailable, UsageError

_NOT_WORD = re.compile(r"[^a-z0-9]+")


@click.command()
@click.argument("folder", default=".", metavar="[DIR]", type=click.Path(path_type=Path, file_okay=False))
@click.option("--name", help="Of the project, and of its tasks' module. Default: the folder's name.")
def init(folder: Path, name: str | None) -> None:
    """Lay out a project in DIR: a plan, a task of its own, a test of both, settings, a README.

    Nothing that is there is changed; folders of yours called tasks, settings or engine do no harm.

    \b
    Examples:
      flywheel init shop && cd shop && flywheel run hello
      flywheel init . --name shop
    """
    word = _identifier(name or folder.resolve().name)
    written = {path.format(name=word): text.replace("NAME", word) for path, text in FILES.items()}
    there = [path for path in written if (folder / path).exists()]
    if there:
        raise UsageError(f"{folder} already has {', '.join(there)}; nothing was written. Take another folder")
    try:
        for path, text in written.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise Unavailable(f"cannot write in {folder}: {error.strerror}") from error
    click.echo("\n".join(written))
    inside = "" if folder.resolve() == Path.cwd() else f"cd {folder} && "
    click.echo(f"\nrun it   {inside}flywheel run hello\ntest it  {inside}pytest", err=True)


def _identifier(name: str) -> str:
    word = _NOT_WORD.sub("_", name.lower()).strip("_")
    if not word or not word[0].isalpha():
        raise UsageError(f"{name!r} gives no name for a module; say one with --name, such as --name shop")
    return word[:40]
