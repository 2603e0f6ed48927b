"""Bodies that say in a file when they begin and end, so that executions can be counted.

One line is one ``write`` to a file opened for appending: lines of different processes never mix, and a
line that was written survives any kill.
"""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from engine.authoring import Permanent, TaskContext, task

LEDGER = "CHAOS_LEDGER"


def note(context: TaskContext, event: str) -> None:
    """One line of the ledger."""
    line = {
        "run": context.run_id, "node": context.node, "attempt": context.attempt, "pid": os.getpid(),
        "event": event, "mono": time.monotonic(), "wall": time.time(),
    }  # fmt: skip
    ledger = os.open(os.environ[LEDGER], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(ledger, json.dumps(line).encode() + b"\n")
    finally:
        os.close(ledger)


def _work(context: TaskContext, work_s: float) -> None:
    note(context, "begin")
    time.sleep(work_s)
    note(context, "end")


@task("chaos.pure", effects="none", queue="cpu")
def pure(context: TaskContext, value: int, work_s: float = 0.05) -> int:
    _work(context, work_s)
    return value * 2 + 1


@task("chaos.idempotent", effects="idempotent", queue="io")
def idempotent(context: TaskContext, value: int, work_s: float = 0.05) -> int:
    _work(context, work_s)
    return value * 3


@task("chaos.external", effects="external", queue="io")
def external(context: TaskContext, value: int, work_s: float = 0.05) -> int:
    _work(context, work_s)
    return value + 100


@task("chaos.external_cpu", effects="external", queue="cpu")
def external_cpu(context: TaskContext, value: int, work_s: float = 0.05) -> int:
    _work(context, work_s)
    return value + 200


@task("chaos.total", effects="none", queue="cpu")
def total(context: TaskContext, values: list[int | None]) -> int:
    _work(context, 0.0)
    return sum(value for value in values if value is not None)


@task("chaos.large", effects="none", queue="io")
def large(context: TaskContext, value: int, work_s: float = 0.02) -> dict[str, Any]:
    """More than travels inline, so that it becomes an artefact."""
    _work(context, work_s)
    return {"value": value, "filling": f"{value:08d}" * 4_000}


@task("chaos.poison", effects="none", queue="cpu")
def poison(context: TaskContext, value: int, bad: int) -> int:
    note(context, "begin")
    if value == bad:
        os.kill(os.getpid(), signal.SIGKILL)
    note(context, "end")
    return value


@task("chaos.touch", effects="none", queue="io")
def touch(context: TaskContext) -> None:
    """As short as a body can be."""
    note(context, "begin")


@task("chaos.touch_cpu", effects="external", queue="cpu")
def touch_cpu(context: TaskContext) -> None:
    note(context, "begin")


@task("chaos.flaky", effects="none", queue="io")
def flaky(context: TaskContext, value: int) -> int:
    """Fails at its first attempt."""
    note(context, "begin")
    if context.attempt == 1:
        raise OSError("once")
    note(context, "end")
    return value


@task("chaos.brittle", effects="none", queue="io")
def brittle(context: TaskContext, value: int, bad: int, flag: str = "") -> int:
    """Fails for the bad value while there is a file called ``flag``."""
    note(context, "begin")
    if flag and value == bad and Path(flag).exists():
        raise Permanent(f"{value} is bad")
    note(context, "end")
    return value


@task("chaos.lagging", effects="none", queue="io")
def lagging(context: TaskContext, value: int, slow: list[int], flag: str) -> int:
    """For one of the ``slow`` values each attempt lasts until there is a file called ``flag``, or it is stopped."""
    note(context, "begin")
    while value in slow and not Path(flag).exists():
        context.check_cancelled()
        time.sleep(0.01)
    note(context, "end")
    return value * 7
