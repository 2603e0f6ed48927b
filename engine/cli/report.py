"""`flywheel report`: what runs cost, took and were worth."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.names import PLAN, RUN
from engine.cli.output import output_option, print_one, print_table, to_file
from engine.cli.session import Session
from engine.cli.times import parse_span, stamp
from engine.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


@click.command()
@click.argument("run", type=RUN, required=False)
@click.option("--since", metavar="DURATION", help="All runs that went on within this time: 2h, 7d.")
@click.option("--plan", type=PLAN, help="Runs of this plan only.")
@click.option("--tenant")
@click.option("--session", "work_session")
@click.option("--html", "page", type=click.Path(path_type=Path, dir_okay=False), help="Write a page with charts here.")
@output_option
@click.pass_obj
def report(
    session: Session, run: str | None, since: str | None, plan: str | None, tenant: str | None,
    work_session: str | None, page: Path | None, output: str,
) -> None:  # fmt: skip
    """Say what a RUN cost and took, or all runs since a time: models, tools, coordination, caches, retries.

    Runs below a run count as part of it. What nobody looked at is unknown, never perfect. Times and prices
    are explained in docs/economy.md.

    \b
    Examples:
      flywheel report @last
      flywheel report --since 7d --tenant acme --html report.html
      flywheel report r_1m81q0 --json
    """
    others = (since, plan, tenant, work_session)
    if run is None and since is None:
        raise UsageError("name a run, such as @last, or a time: --since 7d")
    if run is not None and any(each is not None for each in others):
        raise UsageError("a RUN stands alone: --since, --plan, --tenant and --session choose among all runs")
    with session.client() as client:
        found = None if run is None else client.run(run)
        from_at = None if since is None else time.time() - parse_span(since)
        chosen = None if found is None else found.id
        data = client.report(chosen, since=from_at, plan=plan, tenant=tenant, session=work_session)
    for name in ("since", "from_at", "to_at"):
        data[name] = stamp(data[name])
    title = f"{found.plan_name}, run {found.id}" if found is not None else f"Runs of the last {since}"
    if page is not None:
        from engine.api.report.page import page as drawn

        with to_file(page):
            page.write_text(drawn(f"Flywheel: {title}", data), "utf-8")
        click.echo(f"wrote {page}", err=True)
        if output == "table":
            return
    print_one(data, output, "flywheel.report/1", table=lambda: _print(title, data))


def _print(title: str, data: Mapping[str, Any]) -> None:
    from engine.api.report.page import money, part, score, seconds, share

    total, context = data["total"], data["context"]
    below = f" and {data['runs_below']:,} below" if data["runs_below"] else ""
    click.echo(f"{title}: {data['runs']:,} run{'s' * (data['runs'] != 1)}{below}")
    click.echo(
        f"cost {money(total['usd'])}: models {money(total['models_usd'])}, tools {money(total['tools_usd'])}, workers "
        f"{money(total['workers_usd'])}, coordination {money(total['coordination_usd'])}; "
        f"saved {money(total['saved_usd'])}"
    )
    if total["not_settled_usd"]:
        click.echo(f"of it {money(total['not_settled_usd'])} estimated: calls whose end nobody saw")
    if data["deleted_runs"]["usd"]:
        click.echo(f"beside it {money(data['deleted_runs']['usd'])} of runs that were deleted since")
    looked = f"{context['looked']:,} of {context['calls']:,} calls looked at"
    click.echo(f"context used: {share(context['utilisation'])} ({looked})")

    def tables(name: str, rows: Sequence[Mapping[str, Any]], **forms: Callable[[Any], str]) -> None:
        if rows:
            click.echo(f"\n{name}")
            print_table([dict(_told(key, value, forms) for key, value in row.items()) for row in rows])

    tables("models", data["models"], usd=money, share=part, saved_usd=money, prompt_cache_share=part)
    tables("tokens", data["tokens"], usd=money)
    tables("tools", data["tools"], calls_usd=money, worker_usd=money, body_s=seconds)
    tables("latency", data["latency"], p50_s=seconds, p95_s=seconds)
    tables("retries", [row for row in data["retries"] if row["retries"] or row["repairs"]], rate=part)
    tables("caches", data["caches"], hit_rate=share, saved_usd=money)
    tables("cost against quality", data["quality"], usd_per_call=money, score=score)
    tables(
        "speculation, hedging, prefetching",
        data["extras"],
        usd=money,
        body_s=seconds,
        saved_s=seconds,
        wasted_s=seconds,
    )
    click.echo(f"\nprices: {data['prices']}", err=True)


def _told(key: str, value: Any, forms: Mapping[str, Callable[[Any], str]]) -> tuple[str, str]:
    """A column and what is in it. A time that tells its unit, such as ``12 ms``, is under no name of another one."""
    return key.removesuffix("_s") if key in forms else key, forms.get(key, _plain)(value)


def _plain(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
