"""`flywheel cache`: look at kept results of tools and models, and make them stale."""

from __future__ import annotations

import click

from engine.cli.output import output_option, print_rows
from engine.cli.session import Session

_COLUMNS = ("tenant", "kind", "name", "entries", "bytes", "newest_at")


@click.group()
def cache() -> None:
    """Show, invalidate or clear kept results of tools and models."""


@cache.command()
@click.option("--tenant", help="Only this tenant's.")
@output_option
@click.pass_obj
def show(session: Session, tenant: str | None, output: str) -> None:
    """Show what is kept, by task type and model.

    ENTRIES are those that SQL knows and that have not run out; a part of them may be stale, or have made
    room in Redis. BYTES are without values that rest as artefacts.

    \b
    Examples:
      flywheel cache show
      flywheel cache show --tenant acme --json
    """
    from engine.api.caching import open_index, state  # lazy: Redis and SQL
    from engine.cli.times import stamp
    from engine.clock import SystemClock
    from engine.errors import Unavailable
    from engine.store.caching import overview

    now = {}
    with session.client() as client, open_index(session.settings, client.redis_url) as index:
        rows = overview(client.store.database, SystemClock().now(), tenant)
        try:
            if index is None:
                click.echo("no Redis runs here; the next one takes up from SQL what still holds", err=True)
            else:
                now = state(session.settings, index)
        except Unavailable as error:
            click.echo(f"what Redis holds is unknown: {error}", err=True)
    found = [
        {
            "tenant": each.tenant,
            "kind": each.kind,
            "name": each.name,
            "entries": each.entries,
            "bytes": each.body_bytes,
            "newest_at": stamp(each.made_at),
        }
        for each in rows
    ]
    print_rows(found, output, "flywheel.cache/1", columns=_COLUMNS)
    if now:
        click.echo(
            f"Redis: {now['entries']} entries, {now['tags']} tags, {now['bytes']:,} of {now['max_bytes']:,} bytes, "
            f"{now['hits']} hits, {now['misses']} misses, {now['evicted']} made room",
            err=True,
        )


@cache.command()
@click.argument("tags", nargs=-1)
@click.option("--tenant", default="default", show_default=True, help="Whose results.")
@click.pass_obj
def invalidate(session: Session, tags: tuple[str, ...], tenant: str) -> None:
    """Make stale whatever has one of TAGS, also what is being made now. Without a tag nothing happens.

    \b
    Examples:
      flywheel cache invalidate user:17 prices
    """
    from engine.api.caching import invalidate as make_stale  # lazy: Redis and SQL
    from engine.api.caching import open_index

    if not tags:
        click.echo("no tag was given: nothing was invalidated")
        return
    with session.client() as client, open_index(session.settings, client.redis_url) as index:
        count = make_stale(client.store.database, index, tenant, tags)
    click.echo(f"invalidated {count} {'tag' if count == 1 else 'tags'} of tenant {tenant}")


@cache.command()
@click.option("--tenant", help="Only this tenant's results; else everybody's.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def clear(session: Session, tenant: str | None, yes: bool) -> None:
    """Drop every kept result. What was kept is made again, and paid for again.

    \b
    Examples:
      flywheel cache clear --tenant acme
    """
    from engine.api.caching import clear as drop  # lazy: Redis and SQL
    from engine.api.caching import open_index

    whose = f"of tenant {tenant}" if tenant else "of all tenants"
    if not yes:
        click.confirm(f"drop every kept result {whose}?", abort=True, err=True)
    with session.client() as client, open_index(session.settings, client.redis_url) as index:
        count = drop(client.store.database, index, tenant)
    click.echo(f"dropped {count} kept results {whose}")
