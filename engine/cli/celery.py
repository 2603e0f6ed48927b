"""`flywheel celery …`: Celery's own command line on this installation's app."""

from __future__ import annotations

import os
import sys

import click

from engine.cli.session import Session
from engine.errors import UsageError


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="COMMAND [ARGS]...")
@click.pass_obj
def celery(session: Session, arguments: tuple[str, ...]) -> None:
    """Pass COMMAND to Celery's own command line, with this installation's app and broker.

    To look with: workers are started by `flywheel worker`, work is revoked by `flywheel runs cancel`.

    \b
    Examples:
      flywheel celery inspect active
      flywheel celery status
      flywheel celery events --dump
    """
    from engine.cli.processes import with_redis
    from settings import as_environment  # lazy: pydantic

    if arguments[:1] in (("worker",), ("multi",), ("beat",)):
        raise UsageError(f"celery {arguments[0]} would know no task type: start `flywheel worker` or `flywheel up`")
    settings = with_redis(session.settings)
    command = [sys.executable, "-P", "-m", "celery", "-A", "engine.broker.celery_app", *arguments]
    os.execve(sys.executable, command, as_environment(settings))  # noqa: S606 - replaces this process, so that signals reach Celery
