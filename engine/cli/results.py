"""`flywheel runs results`: what came of each item of a batch."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import click
import orjson

from engine.cli.output import to_file
from engine.cli.session import Session

_FILE = click.Path(path_type=Path, dir_okay=False, writable=True)


@click.command()
@click.argument("run")
@click.option("--to", "target", type=_FILE, help="Write results here instead of to standard output.")
@click.option("--errors", type=_FILE, help="Write items without a result here. Default: TARGET.errors.jsonl.")
@click.pass_obj
def results(session: Session, run: str, target: Path | None, errors: Path | None) -> None:
    """Write the results of a batch as JSON lines, in the order of its items.

    A line is {"index": 0, "output": …}. Items without a result go to the errors file, each with the
    reason and the item itself, so that the file can be looked through and its items submitted again.

    \b
    Examples:
      flywheel runs results @last --to labels.jsonl
      flywheel runs results @last | jq -c .output
    """
    from engine.api.batch import item_results  # lazy: the plan floor

    if errors is None and target is not None:
        errors = target.with_suffix(".errors.jsonl")
    good = bad = 0
    with session.client() as client, ExitStack() as files:
        out: IO[bytes] = sys.stdout.buffer if target is None else files.enter_context(_opened(target))
        log: IO[bytes] | None = None
        for result in item_results(client, run):
            if result.state == "succeeded":
                good += 1
                out.write(orjson.dumps({"index": result.index, "output": result.output}) + b"\n")
                continue
            bad += 1
            if errors is not None:
                log = log or files.enter_context(_opened(errors))
                line = {"index": result.index, "state": result.state, "error": result.error, "item": result.item}
                log.write(orjson.dumps(line) + b"\n")
    where = f", {bad} without: {errors}" if bad and errors is not None else f", {bad} without" if bad else ""
    click.echo(f"{good} results{where}", err=True)


def _opened(file: Path) -> IO[bytes]:
    with to_file(file):
        return file.open("wb")
