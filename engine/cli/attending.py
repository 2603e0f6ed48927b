"""Runs that this process drives to their end: with an embedded stack, or with a service that is up.

Against an embedded stack, an interrupt pauses the run, stops what was started here, and says how to
go on. Against a service it only stops watching.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.exits import Exit
from engine.cli.watching import exit_code, print_result, result, watch
from engine.errors import FlywheelError
from engine.runtime.embedded.stack import Stack

if TYPE_CHECKING:
    from engine.api.client import Client
    from engine.cli.session import Session
    from settings import Settings

_PAUSE_TIMEOUT_S = 3.0


def attend(session: Session, begin: Begin, output: str, timeout_s: float | None = None, command: str = "run") -> int:
    """Begin a run, watch it to its end, print how it ended; the exit code.

    Parameters
    ----------
    begin
        Given a client and a function that makes queues be served, it gives the run's id.
    """
    settings = session.settings
    _terminate_like_interrupt()
    if settings.redis_url is not None:
        return _attend_service(settings, begin, output, timeout_s)
    with _stack(settings, f"flywheel {command}") as stack:
        return _attend_here(stack, begin, output, timeout_s)


Begin = Callable[["Client", Callable[["tuple[str, ...]"], None]], str]


def _attend_service(settings: Settings, begin: Begin, output: str, timeout_s: float | None) -> int:
    from engine.api.client import Client  # lazy: sqlmodel

    with Client(settings) as client:
        run_id = begin(client, lambda _: None)
        if not client.wake(run_id):  # else one would watch a run that cannot begin, and not know why
            click.echo(f"warning: Redis does not answer; {run_id} is stored and begins once it does", err=True)
        try:
            return _watch_to_end(client, run_id, output, timeout_s, lambda: None)
        except KeyboardInterrupt:
            click.echo(f"\nstopped watching; {run_id} goes on\n  watch   flywheel runs watch {run_id}", err=True)
            click.echo(f"  cancel  flywheel runs cancel {run_id}", err=True)
            return Exit.INTERRUPTED


def _attend_here(stack: Stack, begin: Begin, output: str, timeout_s: float | None) -> int:
    from engine.api.client import Client  # lazy: sqlmodel; Redis and the scheduler start meanwhile

    with Client(stack.settings) as client:
        run_id = begin(client, stack.serve)
        if stack.owned:
            _mention_others(client, run_id)
        try:
            return _watch_to_end(client, run_id, output, timeout_s, lambda: stack.failure)
        except (KeyboardInterrupt, TimeoutError) as stopped:
            _say_how_to_go_on(client, stack, run_id)
            if isinstance(stopped, TimeoutError):
                raise
            return Exit.INTERRUPTED


def _mention_others(client: Client, run_id: str) -> None:
    """Say which runs of before go on too: those whose process was killed, rather than interrupted."""
    from engine.scheduling.records import RunState  # with the store, which is loaded by now

    going = client.store.list_runs(states=[RunState.PENDING, RunState.RUNNING, RunState.CANCELLING], limit=6)
    others = [run.id for run in going if run.id != run_id]
    if others:
        click.echo(f"going on as well: {', '.join(others[:5])}{', …' if len(others) > 5 else ''}", err=True)


def _say_how_to_go_on(client: Client, stack: Stack, run_id: str) -> None:
    if not stack.owned:
        click.echo(f"\nstopped watching; {run_id} goes on in the stack of process {_owner(stack)}", err=True)
        click.echo(f"  watch   flywheel runs watch {run_id}\n  cancel  flywheel runs cancel {run_id}", err=True)
        return
    click.echo(f"\npausing {run_id} ...", err=True)
    try:  # else the next stack on this home would go on with it unasked
        client.command(run_id, "pause", timeout_s=_PAUSE_TIMEOUT_S)
    except FlywheelError as error:
        found = client.run(run_id)
        if found.state.final:
            click.echo(f"{run_id} has ended meanwhile: {found.state.value}", err=True)
            return
        click.echo(f"could not pause it: {error}", err=True)
    click.echo(f"  go on   flywheel run --resume {run_id}\n  cancel  flywheel runs cancel {run_id}", err=True)


def _owner(stack: Stack) -> str:
    return "?" if stack.owner is None else str(stack.owner.pid)


def _watch_to_end(
    client: Client, run_id: str, output: str, timeout_s: float | None, broken: Callable[[], str | None]
) -> int:
    run = client.run(run_id)
    click.echo(f"run {run.id}  plan {run.plan_name}", err=True)
    progress = watch(client, run.id, timeout_s=timeout_s, broken=broken)
    data = result(client, progress)
    _keep(client.settings.home, data)
    print_result(data, output)
    return exit_code(client, progress)


def _keep(home: Path, data: dict[str, Any]) -> None:
    """Leave ``last_run.json`` in the home, whole or not at all."""
    if home.is_dir():
        draft = home / f".last_run.{os.getpid()}"
        draft.write_text(json.dumps({"schema": "flywheel.run/1", **data}, indent=2, ensure_ascii=False, default=str))
        draft.replace(home / "last_run.json")


@contextmanager
def _stack(settings: Settings, command: str) -> Iterator[Stack]:
    stack = Stack(settings, command)
    stack.start()
    try:
        yield stack
    finally:
        stop(stack)


def stop(stack: Stack) -> None:
    """Stop a stack, waiting first for others that share it; a second interrupt ends the waiting."""
    told = stack.failure is not None
    try:
        if stack.owned and stack.in_use():
            click.echo("another process still uses this stack; waiting for it (Ctrl-C stops it all the same)", err=True)
            while stack.in_use():
                if stack.failure is not None and not told:
                    told = True
                    click.echo(f"the stack has failed: {stack.failure}", err=True)  # asking tells the others as well
                time.sleep(0.2)
    except KeyboardInterrupt:
        click.echo("", err=True)
    try:
        stubborn = stack.stop()
    except KeyboardInterrupt:
        stubborn = stack.kill()
    if stubborn:
        click.echo(f"had to be killed: {', '.join(stubborn)}", err=True)


def _terminate_like_interrupt() -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
