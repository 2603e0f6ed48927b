"""Bodies that the scale tests run."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from engine.authoring import TaskContext, task


@task("scale.nothing", effects="none", queue="io")
def nothing(value: Any = None) -> Any:
    return value


@task("scale.span", effects="none", queue="io")
def span(context: TaskContext, file: str, sleep_s: float) -> None:
    """Write when this body began and ended; an interval without an end was killed."""
    name = f"{context.node} {context.attempt} {os.getpid()}"
    _write(file, f"begin {time.monotonic():.6f} {name}")
    time.sleep(sleep_s)
    _write(file, f"end {time.monotonic():.6f} {name}")


@task("scale.until", effects="none", queue="io")
def until(context: TaskContext, begun: str, release: str) -> str:
    """Say that it began, then last until the file ``release`` is there."""
    _write(begun, context.node)
    while not Path(release).exists():
        context.check_cancelled()
        time.sleep(0.02)
    return context.node


@task("scale.straggles", effects="none", queue="io")
def straggles(context: TaskContext, said: str, release: str) -> int:
    """The first attempt lasts until it is told to stop, each one until there is a file ``release`` with its number."""
    _write(said, f"begin {context.attempt} {os.getpid()}")
    while not Path(f"{release}-{context.attempt}").exists():
        if context.stop_requested():
            _write(said, f"stop {context.attempt} {os.getpid()}")
            context.check_cancelled()
        time.sleep(0.01)
    return os.getpid()


def _write(file: str, line: str) -> None:
    # One write of a short line to a file opened for appending is not torn by other processes.
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)


@task("scale.pause", effects="none", queue="io")
def pause(sleep_s: float) -> None:
    time.sleep(sleep_s)
