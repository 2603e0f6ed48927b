"""`flywheel queues`: the true backlog of each queue, what the broker holds of it, and who serves it."""

from __future__ import annotations

from typing import Any

import click

from engine.cli.output import output_option, print_rows
from engine.cli.session import Session
from engine.errors import Unavailable


@click.command()
@output_option
@click.pass_obj
def queues(session: Session, output: str) -> None:
    """Show each queue: nodes ready, out and waiting for a retry; messages in Redis; workers and slots.

    Only seconds of work are handed to the broker at once, so READY is the true backlog, not MESSAGES.
    """
    settings = session.settings
    with session.client() as client:
        backlog = {each.queue: each for each in client.store.queue_backlog()}
        url = client.redis_url
    names = list(dict.fromkeys((*settings.queues, *backlog)))
    messages, workers = _from_redis(url, settings.namespace, names)
    rows: list[dict[str, Any]] = []
    for name in names:
        serving = [worker for worker in workers if name in worker.queues]
        known = backlog.get(name)
        rows.append({
            "queue": name,
            "ready": known.ready if known else 0,
            "out": known.out if known else 0,
            "retrying": known.retrying if known else 0,
            "messages": messages.get(name),
            "workers": len(serving),
            "slots": sum(worker.slots for worker in serving),
        })  # fmt: skip
    print_rows(rows, output, "flywheel.queues/1")


def _from_redis(url: str | None, namespace: str, names: list[str]) -> tuple[dict[str, int], Any]:
    if url is None:
        click.echo("no stack is running here: `flywheel up` starts one", err=True)
        return {}, ()
    from engine.hotstate.scheduler import RedisHotState  # lazy: redis

    hot = RedisHotState(url, namespace)
    try:
        return hot.queue_lengths(names), hot.workers()
    except Unavailable as error:
        click.echo(f"{error}; showing what SQL knows", err=True)
        return {}, ()
    finally:
        hot.close()
