"""`flywheel flower`: Flower on this installation's broker, closed to everybody but who has its password."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

import click

from engine.cli.session import Session
from engine.errors import UsageError
from settings import as_environment


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), help="Default: flower_port.")
@click.option("--address", help="Default: flower_address, which is loopback.")
@click.pass_obj
def flower(session: Session, port: int | None, address: str | None) -> None:
    """Start Flower, which shows workers, queues and the last 20,000 messages.

    It is for what happens now; what happened is in `flywheel runs`. Without FLYWHEEL_FLOWER_AUTH a
    password is made up and printed.

    \b
    Examples:
      flywheel flower
      FLYWHEEL_FLOWER_AUTH=ops:… flywheel flower --port 5556
    """
    from engine.cli.processes import with_redis

    settings = with_redis(session.settings)
    if settings.flower_auth is None:
        auth = f"flywheel:{secrets.token_urlsafe(12)}"
        click.echo(f"user {auth.replace(':', ', password ')}", err=True)
    else:
        auth = settings.flower_auth.get_secret_value()
    port, address = port or settings.flower_port, address or settings.flower_address
    if address not in ("127.0.0.1", "localhost", "::1"):
        click.echo(f"warning: {address} is open to others; Flower never guards /metrics and /healthcheck", err=True)
    click.echo(f"http://{address}:{port}", err=True)
    # The password travels in the environment, which other users cannot read; arguments they can.
    environment = as_environment(settings) | {
        "FLOWER_BASIC_AUTH": auth,
        "FLOWER_UNAUTHENTICATED_API": "false",
    }
    arguments = [
        sys.executable, "-P", "-m", "celery", "-A", "engine.broker.celery_app", "flower",
        f"--conf={Path(__file__).with_name('flowerconfig.py')}", f"--port={port}", f"--address={address}",
        f"--read_only={settings.flower_read_only}",
    ]  # fmt: skip
    try:
        os.execve(sys.executable, arguments, environment)  # noqa: S606 - replaces this process, so that signals reach Flower
    except OSError as error:
        raise UsageError(f"cannot start Flower: {error}") from error
