"""Bodies that the worker tests run."""

from __future__ import annotations

import asyncio
import os
import signal
import time
import traceback
from pathlib import Path
from typing import Any

from engine.authoring import Permanent, Retryable, TaskContext, task


def _mark(file: str, text: str) -> None:
    with Path(file).open("a") as marks:
        marks.write(text + "\n")


@task("t.echo", effects="none", queue="cpu")
def echo(value: Any = None) -> Any:
    return value


@task("t.facts", effects="none", queue="cpu")
def facts(context: TaskContext) -> dict[str, Any]:
    return {"run": context.run_id, "node": context.node, "key": context.idempotency_key, "pid": os.getpid()}


@task("t.frames", effects="none", queue="cpu")
def frames() -> list[str]:
    return [f"{frame.filename}:{frame.name}" for frame in traceback.extract_stack()]


@task("t.async_frames", effects="none", queue="cpu")
async def async_frames() -> list[str]:
    await asyncio.sleep(0)
    return [f"{frame.filename}:{frame.name}" for frame in traceback.extract_stack()]


@task("t.mark", effects="external", queue="cpu")
def mark(file: str, text: str = "ran", sleep_s: float = 0.0) -> str:
    _mark(file, text)
    time.sleep(sleep_s)
    return text


@task("t.sleep", effects="none", queue="cpu")
def sleep(context: TaskContext, file: str | None = None, sleep_s: float = 0.0) -> str:
    if file:
        _mark(file, context.node)
    time.sleep(sleep_s)
    return "slept"


@task("t.stubborn", effects="none", queue="cpu")
def stubborn(sleep_s: float) -> str:
    try:
        time.sleep(sleep_s)
    except Exception:  # what careless bodies do
        return "swallowed"
    return "slept"


@task("t.deaf", effects="none", queue="cpu")
def deaf() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    time.sleep(60)


@task("t.careless", effects="none", queue="cpu")
def careless(file: str) -> None:
    try:
        time.sleep(60)
    except BaseException:  # what very careless bodies do
        _mark(file, "interrupted")
        time.sleep(60)


@task("t.until_stopped", effects="none", queue="cpu")
def until_stopped(context: TaskContext) -> None:
    while True:
        context.check_cancelled()
        time.sleep(0.01)


@task("t.async_sleep", effects="none", queue="cpu")
async def async_sleep(sleep_s: float) -> str:
    await asyncio.sleep(sleep_s)
    return "slept"


@task("t.fail", effects="none", queue="cpu")
def fail(how: str) -> None:
    match how:
        case "permanent":
            raise Permanent("no use")
        case "retryable":
            raise Retryable("later", delay_s=7)
        case "exit":
            raise SystemExit(3)
        case "interrupt":
            raise KeyboardInterrupt
        case _:
            raise ValueError(f"wrong: {how}")


@task("t.flaky", effects="none", queue="cpu")
def flaky(file: str, fails: int, context: TaskContext) -> int:
    _mark(file, "try")
    tries = len(Path(file).read_text().splitlines())
    if tries <= fails:
        raise OSError(f"try {tries}")
    return context.attempt


@task("t.die", effects="none", queue="cpu")
def die(context: TaskContext, item: int = 0, at: int = 0, file: str | None = None) -> int:
    if file:
        _mark(file, context.node)
    if item == at:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


@task("t.log", effects="none", queue="cpu")
def log(context: TaskContext, lines: int, sleep_s: float = 0.0) -> None:
    for number in range(lines):
        context.log.info("line", number=number)
    context.report_progress(0.5)
    time.sleep(sleep_s)
    context.log.warning("end")


@task("t.secret", effects="none", queue="cpu")
def secret(context: TaskContext, key: str, data: str = "") -> dict[str, Any]:
    context.log.info("using", key=key, password="swordfish-9")
    if data == "raise":
        raise ValueError(f"refused {key} at https://user:{key}@host/")
    return {"length": len(key), "data": data}


@task("t.big", effects="none", queue="cpu")
def big(count: int) -> str:
    return "x" * count


@task("t.nan", effects="none", queue="cpu")
def nan() -> Any:
    return {"value": float("nan")}


def double_many(calls: list[dict[str, Any]], context: TaskContext) -> list[Any]:
    _mark(calls[0]["file"], ",".join(str(call["number"]) for call in calls))
    context.note("seen", {"id": f"{context.node}:{len(calls)}"})
    if any(call["number"] == 13 for call in calls):
        os.kill(os.getpid(), signal.SIGKILL)
    if any(call["number"] == 17 for call in calls):
        return [1]
    return [
        Retryable(f"no answer for {call['number']}") if call["number"] == 3 else 2 * call["number"] for call in calls
    ]


@task("t.double", effects="none", queue="cpu", many=double_many)
def double(number: int, file: str) -> int:
    _mark(file, f"alone {number}")
    return 2 * number
