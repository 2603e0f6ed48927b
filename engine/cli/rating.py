"""`flywheel runs rate`: what an operator says of a result, and how `runs show` tells it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from engine.cli.names import RUN
from engine.cli.output import output_option, print_one
from engine.cli.session import Session
from engine.errors import UsageError

if TYPE_CHECKING:
    from engine.store.runs import RunStore


@click.command()
@click.argument("run", type=RUN)
@click.argument("said", nargs=-1, required=True, metavar="[NODE] SCORE")
@click.option("--note", default="", help="Why, for those who read it later.")
@output_option
@click.pass_obj
def rate(session: Session, run: str, said: tuple[str, ...], note: str, output: str) -> None:
    """Rate a run, or the result of one NODE, from 0 (useless) to 1 (all that was wanted).

    A node's rating takes the place of what checks and judges said of it, in reports too. Rated again, the newest
    counts.

    \b
    Examples:
      flywheel runs rate @last 0.8 --note "right, but long"
      flywheel runs rate @last 'sort[17]' 0
    """
    from engine.cli.runs import locate  # lazy: not needed for --help
    from engine.store.ratings import rate as store

    where, score = _read(said)
    with session.client() as client:
        found = client.run(run)
        step_no = item = None
        if where is not None:
            step, item = locate(client.store, found.id, where)
            if step.fanned and item is None:
                raise UsageError(f"{where} is a fan-out: name one of its nodes, such as {where}[0]")
            step_no, item = step.step_no, item or 0
        view = store(client.store.database, found.id, score, time.time(), step_no=step_no, item=item, note=note)
    data = {"run": found.id, "node": where, "score": view.score, "note": view.note}
    of = f"{found.id} {where}" if where else found.id
    print_one(data, output, "flywheel.rating/1", table=lambda: click.echo(f"{of} rated {view.score:g}"))


def _read(said: tuple[str, ...]) -> tuple[str | None, float]:
    try:
        score = float(said[-1])
    except ValueError:
        raise UsageError(f"a score is a number from 0 to 1, not {said[-1]!r}") from None
    if len(said) > 2:
        raise UsageError("give one NODE at most, then the score")
    return (said[0] if len(said) == 2 else None), score


def rating_rows(store: RunStore, run_id: str) -> list[dict[str, Any]]:
    """The newest rating of the run and of each node that has one."""
    from engine.store.ratings import ratings  # lazy: SQL

    found = ratings(store.database, run_id)
    if not found:
        return []
    paths = {step.step_no: (step.path, step.fanned) for step in store.steps(run_id)}
    newest = {(view.step_no, view.item): view for view in found}
    return [
        {"node": _name(paths, step_no, item), "score": view.score, "note": view.note}
        for (step_no, item), view in newest.items()
    ]


def rating_lines(rows: list[dict[str, Any]]) -> list[str]:
    """Such as ``rated    0.8 (right, but long); sort[17] 0``."""
    told = []
    for row in rows[:10]:
        note = " ".join(row["note"].split())  # of one line, as all the rest
        told.append(" ".join(part for part in (row["node"], f"{row['score']:g}", note and f"({note})") if part))
    return [f"rated    {'; '.join(told)}"] if told else []


def _name(paths: dict[int, tuple[str, bool]], step_no: int | None, item: int | None) -> str | None:
    if step_no is None:
        return None
    path, fanned = paths.get(step_no, (str(step_no), False))
    return f"{path}[{item}]" if fanned else path
