"""`flywheel plan preview`: what a plan would do, before any run of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli.names import PLAN
from engine.cli.output import output_option, print_one
from engine.cli.session import Session
from engine.errors import NotFound, Unavailable

if TYPE_CHECKING:
    from engine.api.client import Client
    from engine.api.preview import Preview
    from engine.learning.rows import LearnedRow
    from engine.store.earlier import EarlierRun
    from settings import Settings


@click.command()
@click.argument("name", metavar="PLAN", type=PLAN)
@click.option("-p", "--input", "pairs", multiple=True, metavar="NAME=VALUE", help="An input; @FILE reads it.")
@click.option("--inputs", "inputs_file", type=click.Path(path_type=Path), help="Inputs as JSON or YAML.")
@click.option(
    "--slots", type=click.IntRange(1), metavar="N", help="Slots of each queue. Default: the workers there are."
)
@output_option
@click.pass_obj
def preview(
    session: Session, name: str, pairs: tuple[str, ...], inputs_file: Path | None, slots: int | None, output: str
) -> None:
    """Foresee a run from earlier ones: nodes, width, critical path, seconds and cost.

    Seconds are those within which 50 and 90 of 100 simulated runs end: a list schedule on the slots,
    bodies as long as they were, conditions as often true as they were. Retries, failures, pools, rates
    and other runs are left out; what was never seen is named. Inputs may be left out.

    \b
    Examples:
      flywheel plan preview nightly-digest
      flywheel plan preview dags/audit.yaml -p files=@files.json --slots 32 --json
    """
    from engine.api.learned import knowledge_of  # lazy: the plan floor, the sketches, SQL
    from engine.api.plans import prepare
    from engine.api.preview import preview as foresee
    from engine.cli.inputs import gather
    from engine.store.earlier import earlier_runs
    from engine.store.learned import every_row

    prepared = prepare(name, session.settings)
    given = gather(prepared.plan, pairs, inputs_file)
    declared = prepared.plan.inputs
    if all(each in given for each, spec in declared.items() if spec.required):
        inputs = prepared.check(given)
    else:
        inputs = {each: spec.default for each, spec in declared.items() if not spec.required} | given
    rows: list[LearnedRow] = []
    earlier: list[EarlierRun] = []
    at_hand: dict[str, int] = {}
    try:
        with session.client() as client:
            rows = every_row(client.store.database)
            earlier = earlier_runs(client.store.database, prepared.plan.name)
            at_hand = _working(client) if slots is None else {}
    except NotFound:
        pass  # nothing ran here yet, so nothing was learned
    if slots is not None:
        at_hand = dict.fromkeys(prepared.queues, slots)
    slots_of = at_hand or _embedded(session.settings)
    call_usd = session.settings.call_usd
    found = foresee(prepared.compiled, inputs, knowledge_of(rows), slots_of, earlier, call_usd)
    print_one(found.data(), output, "flywheel.preview/1", table=lambda: _print(found))


def _working(client: Client) -> dict[str, int]:
    """Slots of each queue, of the workers that are there."""
    slots: dict[str, int] = {}
    if client.redis_url is None:
        return slots
    from engine.hotstate.scheduler import RedisHotState  # lazy: redis, only where a stack may run

    hot = RedisHotState(client.redis_url, client.settings.namespace)
    try:
        for worker in hot.workers():
            for queue in worker.queues:
                slots[queue] = slots.get(queue, 0) + worker.slots
    except Unavailable as error:
        click.echo(f"{error}; taking the slots that are set", err=True)
    finally:
        hot.close()
    return slots


def _embedded(settings: Settings) -> dict[str, int]:
    """Slots of each queue, of the workers that `flywheel up` would start."""
    return {queue: settings.cpu_slots if queue == "cpu" else settings.io_slots for queue in settings.queues}


def _print(found: Preview) -> None:
    from engine.cli.times import span

    more = "at least " if found.at_least else ""
    click.echo(f"{found.plan}  {found.version[:12]}  {found.steps} steps")
    click.echo(f"nodes          {'at least ' if found.unknown_sizes else ''}{found.nodes:,}")
    click.echo(f"width          {'at least ' if found.unknown_sizes else ''}{found.width:,} at once, with slots enough")
    click.echo(f"slots          {', '.join(f'{queue} {count}' for queue, count in found.slots.items())}")
    click.echo(f"critical path  {_way(found.critical_path)}")
    if found.p50_s is None:
        click.echo("seconds        unknown: no body of these steps has ended yet")
    else:
        click.echo(f"seconds        {more}{span(found.p50_s)} (p50), {more}{span(found.p90_s)} (p90)")
    click.echo(f"cost           {_cost(found)}")
    for what, paths in (
        ("durations", found.unknown_durations),
        ("fan-out sizes", found.unknown_sizes),
        ("conditions", found.unknown_conditions),
        ("costs", found.cost.unknown_steps if found.cost is not None else []),
    ):
        if paths:
            click.echo(f"never seen     {what} of {', '.join(paths[:10])}{', …' if len(paths) > 10 else ''}")


def _cost(found: Preview) -> str:
    from engine.costs.money import nusd, shown

    cost = found.cost
    if cost is None:
        return "unknown: no earlier run of these steps is known to have spent anything"
    if not cost.high_usd:
        return f"nothing was spent in {cost.runs} earlier run{'s' * (cost.runs != 1)}"
    usual, low, high = (shown(nusd(amount)) for amount in (cost.usd, cost.low_usd, cost.high_usd))
    least = "at least " if found.unknown_sizes or cost.unknown_steps else ""
    runs = "as in 1 earlier run" if cost.runs == 1 else f"{low} to {high} as in {cost.runs} earlier runs"
    return f"{least}{usual}, {runs}"


def _way(path: list[str]) -> str:
    return " > ".join(path if len(path) <= 12 else [*path[:6], "…", *path[-5:]])
