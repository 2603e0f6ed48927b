"""`flywheel up` and `flywheel down`: an embedded stack that stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import click
import psutil

from engine.cli.attending import stop
from engine.cli.session import Session
from engine.cli.times import parse_span
from engine.errors import Conflict, Unavailable
from engine.runtime.embedded.home import Home
from engine.runtime.embedded.stack import Stack


@click.command()
@click.option("-d", "--detach", is_flag=True, help="Return once it is ready, and leave it running.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="With --detach: wait until it can work.")
@click.option("--timeout", default="60s", show_default=True, metavar="DURATION", help="How long to wait for that.")
@click.pass_obj
def up(session: Session, detach: bool, wait: bool, timeout: str) -> None:
    """Start Redis, a scheduler and workers for every queue on this machine, and keep them running.

    With FLYWHEEL_REDIS_URL set, that Redis is used and only the rest is started.

    \b
    Examples:
      flywheel up                      in the foreground, Ctrl-C stops it
      flywheel up --detach             in the background, `flywheel down` stops it
    """
    home = Home(session.settings.home)
    running = home.info()
    if running is not None:
        raise Conflict(
            f"a stack already runs here: process {running.pid} ({running.command}); `flywheel down` stops it"
        )
    timeout_s = parse_span(timeout)
    if detach:
        _detached(home, wait, timeout_s)
    else:
        _foreground(session, timeout_s)


def _foreground(session: Session, timeout_s: float) -> None:
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: stopping.set())
    started = time.monotonic()
    stack = Stack(session.settings, "flywheel up")
    stack.start()
    try:
        if not stack.owned:
            raise Conflict("a stack already runs here; `flywheel down` stops it")
        stack.serve(stack.settings.queues)
        from engine.api.readiness import wait_ready  # lazy: redis, while the children start

        ready = wait_ready(stack.settings, timeout_s, give_up=lambda: stack.failure or stopping.is_set())
        stack.mark_ready()
        if ready:
            click.echo(f"ready in {time.monotonic() - started:.1f}s  redis {stack.settings.redis_url}", err=True)
            click.echo(f"logs  {stack.home.logs}\nCtrl-C or `flywheel down` stops it", err=True)
        while not stopping.wait(0.5):
            if stack.failure is not None:
                raise Unavailable(stack.failure)
    finally:
        click.echo("stopping ...", err=True)
        stop(stack)


def _detached(home: Home, wait: bool, timeout_s: float) -> None:
    log = home.logs / "stack.log"
    with log.open("ab") as sink:
        process = subprocess.Popen(  # noqa: S603 - this program itself
            [sys.executable, "-P", "-m", "engine.cli.main", "up", "--timeout", f"{timeout_s}s"],
            stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, start_new_session=True,
        )  # fmt: skip
    deadline = time.monotonic() + timeout_s
    while wait:
        info = home.info()
        if info is not None and info.ready:
            break
        if process.poll() is not None:
            raise Unavailable(f"the stack did not come up; see {log}")
        if time.monotonic() > deadline:
            raise TimeoutError(f"the stack is not ready after {timeout_s:g} s; it goes on starting, see {home.logs}")
        time.sleep(0.05)
    click.echo(f"running as process {process.pid}; `flywheel down` stops it", err=True)


@click.command()
@click.option("--timeout", default="60s", show_default=True, metavar="DURATION", help="How long to wait for its end.")
@click.pass_obj
def down(session: Session, timeout: str) -> None:
    """Stop the stack that runs here: workers first, which get their grace, then the scheduler, then Redis.

    \b
    Example:
      flywheel down --timeout 5m
    """
    home = Home(session.settings.home)
    running = home.info()
    if running is None:
        click.echo("no stack is running here", err=True)
        return
    os.kill(running.pid, signal.SIGTERM)
    deadline = time.monotonic() + parse_span(timeout)
    while (lock := home.own()) is None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"process {running.pid} has not stopped; it gives bodies their grace, see {home.logs}")
        time.sleep(0.05)
    lock.release()
    while _alive(running.pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    click.echo("stopped", err=True)


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
