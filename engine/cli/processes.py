"""`flywheel scheduler` and `flywheel worker`: the engine's own processes, in the foreground."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

import click

from engine.cli.session import Session
from engine.errors import UsageError
from engine.runtime.embedded.lifeline import follow_parent

if TYPE_CHECKING:
    from settings import Settings

_PARENTLESS_GRACE_S = 5.0
_lifeline = click.option("--lifeline", type=int, hidden=True, help="Stop when this descriptor closes.")


@click.command()
@_lifeline
@click.pass_obj
def scheduler(session: Session, lifeline: int | None) -> None:
    """Run a scheduler until it is told to stop (SIGTERM, Ctrl-C).

    Start a second one on another host as a hot standby: it takes over within the lease time.

    \b
    Example:
      FLYWHEEL_DATABASE_URL=postgresql://… FLYWHEEL_REDIS_URL=rediss://… flywheel scheduler
    """
    settings = with_redis(session.settings)
    _check_economy(settings)
    if lifeline is not None:
        follow_parent(lifeline, _PARENTLESS_GRACE_S)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    from engine.runtime.service import run_scheduler  # lazy: sqlmodel, redis, celery

    run_scheduler(settings, stop)


@click.command()
@click.option("-q", "--queues", help="Queues to serve, with commas between. Default: all but cpu, in threads.")
@click.option(
    "--pool", type=click.Choice(["prefork", "threads"]), help="Default: prefork for the queue cpu, else threads."
)
@click.option("-c", "--concurrency", type=click.IntRange(1, 1024), help="Slots. Default: cpu_slots or io_slots.")
@_lifeline
@click.pass_obj
def worker(
    session: Session, queues: str | None, pool: str | None, concurrency: int | None, lifeline: int | None
) -> None:
    """Run a worker until it is told to stop; what runs then gets its grace to finish.

    \b
    Examples:
      flywheel worker --queues cpu
      flywheel worker --queues io,speculative,prefetch --concurrency 32
    """
    settings = with_redis(session.settings)
    _check_economy(settings)
    if lifeline is not None:
        follow_parent(lifeline, _PARENTLESS_GRACE_S)
    served = _served(queues, settings)
    chosen_pool = pool or ("prefork" if served == ("cpu",) else "threads")
    slots = concurrency or (settings.cpu_slots if chosen_pool == "prefork" else settings.io_slots)
    from engine.api.plans import admit_current_folder  # lazy: pydantic and the plan floor
    from engine.runtime.worker import main  # lazy: celery

    admit_current_folder()
    main(served, chosen_pool, slots, settings)


def _served(queues: str | None, settings: Settings) -> tuple[str, ...]:
    if queues is None:
        return tuple(queue for queue in settings.queues if queue != "cpu")
    served = tuple(dict.fromkeys(part.strip() for part in queues.split(",") if part.strip()))
    unknown = [queue for queue in served if queue not in settings.queues]
    if unknown or not served:
        raise UsageError(
            f"--queues {queues}: the queues of this installation are {', '.join(settings.queues)}; "
            f"add one with FLYWHEEL_QUEUES={','.join((*settings.queues, *unknown))}"
        )
    return served


def _check_economy(settings: Settings) -> None:
    """Raise ``SettingsError`` at the start rather than in a body."""
    if settings.economy is not None:
        from settings.economy import load_economy  # lazy: most installations have no such file

        load_economy(settings.economy)


def with_redis(settings: Settings) -> Settings:
    """``settings`` with the Redis of a running embedded stack where none is set."""
    if settings.redis_url is not None:
        return settings
    from engine.runtime.embedded.home import Home  # lazy: makes the home

    info = Home(settings.home).info() if settings.home.is_dir() else None
    if info is None:
        raise UsageError("no Redis: set FLYWHEEL_REDIS_URL, or start a stack with `flywheel up`")
    return settings.model_copy(update={"redis_url": info.redis_url})
