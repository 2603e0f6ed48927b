"""`flywheel workers`: who announced itself of late, and how to let one finish and leave."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from engine.cli.output import output_option, print_rows
from engine.cli.session import Session
from engine.cli.times import parse_span
from engine.errors import NotFound, UsageError

if TYPE_CHECKING:
    from engine.hotstate.scheduler import RedisHotState

_LOOK_S = 0.1


@click.group(invoke_without_command=True)
@output_option
@click.pass_context
def workers(context: click.Context, output: str) -> None:
    """Show each worker: its queues and slots; one that serves no queue drains.

    \b
    Examples:
      flywheel workers
      flywheel workers drain io.4711
    """
    if context.invoked_subcommand is not None:
        return
    with _hot(context.ensure_object(Session)) as hot:
        rows = [
            {
                "worker": worker.name,
                "state": "working" if worker.queues else "draining",
                "queues": list(worker.queues),
                "slots": worker.slots,
            }
            for worker in hot.workers()
        ]
    print_rows(rows, output, "flywheel.workers/1")


@workers.command()
@click.argument("name")
@click.option("--timeout", default="10m", show_default=True, metavar="DURATION", help="How long to wait for its end.")
@click.pass_obj
def drain(session: Session, name: str, timeout: str) -> None:
    """Let a worker finish what it has, take nothing new, and end with exit code 0.

    NAME is as `flywheel workers` shows it, or a beginning of it that only one has. Returns when it has left.

    \b
    Example:
      flywheel workers drain io.4711 --timeout 30m
    """
    timeout_s = parse_span(timeout)
    with _hot(session) as hot:
        known = hot.workers()
        full = _full_name(name, [worker.name for worker in known])
        left = unserved(full, {worker.name: worker.queues for worker in known})
        if left:
            click.echo(f"warning: no other worker serves {', '.join(left)}; what waits there stays", err=True)
        hot.drain(full)
        deadline = time.monotonic() + timeout_s
        while any(worker.name == full for worker in hot.workers()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{full} is told to drain, and has not left after {timeout_s:g} s")
            time.sleep(_LOOK_S)
    click.echo(f"{full} has left")


def unserved(leaving: str, serving: Mapping[str, Collection[str]]) -> list[str]:
    """The queues that only the worker ``leaving`` serves, of workers by name with their queues."""
    others = {queue for name, queues in serving.items() if name != leaving for queue in queues}
    return [queue for queue in serving[leaving] if queue not in others]


def _full_name(name: str, known: list[str]) -> str:
    found = [name] if name in known else [each for each in known if each.startswith(name)]
    if not found:
        raise NotFound(f"no worker {name!r}; there are: {', '.join(known) or 'none'}")
    if len(found) > 1:
        raise UsageError(f"{name!r} may be any of {', '.join(found)}")
    return found[0]


@contextmanager
def _hot(session: Session) -> Iterator[RedisHotState]:
    from engine.cli.processes import with_redis
    from engine.hotstate.scheduler import RedisHotState  # lazy: redis

    settings = with_redis(session.settings)
    assert settings.redis_url is not None
    hot = RedisHotState(settings.redis_url, settings.namespace)
    try:
        yield hot
    finally:
        hot.close()
