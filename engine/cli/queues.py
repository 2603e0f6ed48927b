"""`flywheel queues`: the true backlog of each queue, who serves it; and to pause and resume one."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from engine.cli.output import output_option, print_rows
from engine.cli.session import NothingHere, Session
from engine.errors import NotFound, Unavailable

if TYPE_CHECKING:
    from engine.store.views import QueueBacklog


@click.group(invoke_without_command=True)
@output_option
@click.pass_context
def queues(context: click.Context, output: str) -> None:
    """Show each queue: nodes ready, out and waiting for a retry; messages in Redis; workers and slots.

    Only seconds of work are handed to the broker at once, so READY is the true backlog, not MESSAGES.

    \b
    Examples:
      flywheel queues
      flywheel queues pause io && flywheel queues resume io
    """
    if context.invoked_subcommand is None:
        _show(context.ensure_object(Session), output)


@queues.command()
@click.argument("name")
@click.pass_obj
def pause(session: Session, name: str) -> None:
    """Dispatch nothing more to a queue, of any run; what is out already goes on.

    It holds over restarts of schedulers, until `flywheel queues resume`.

    \b
    Example:
      flywheel queues pause io
    """
    _check_name(session, name)
    with session.client(making=True) as client:
        client.pause_queue(name)
    click.echo(f"{name} paused")


@queues.command()
@click.argument("name")
@click.pass_obj
def resume(session: Session, name: str) -> None:
    """Dispatch to a paused queue again.

    \b
    Example:
      flywheel queues resume io
    """
    _check_name(session, name)
    with session.client(making=True) as client:
        client.resume_queue(name)
    click.echo(f"{name} resumed")


def _check_name(session: Session, name: str) -> None:
    known = session.settings.queues
    if name not in known:
        raise NotFound(f"no queue {name!r}; the queues of this installation are {', '.join(known)}")


def _show(session: Session, output: str) -> None:
    settings = session.settings
    paused: frozenset[str] = frozenset()
    backlog: dict[str, QueueBacklog] = {}
    url = settings.redis_url
    with suppress(NothingHere), session.client() as client:
        paused = client.paused_queues()
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
            "paused": name in paused,
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
