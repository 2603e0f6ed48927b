"""Bodies that the benches run. Import nothing heavy: each worker imports this."""

from __future__ import annotations

import json
import time
from functools import cache
from pathlib import Path
from typing import Any

from engine.authoring import TaskContext, task


@task("bench.nothing", effects="none", queue="cpu")
def nothing(value: Any = None) -> Any:
    return value


@task("bench.add", effects="none", queue="cpu")
def add(value: int) -> int:
    return value + 1


@task("bench.total", effects="none", queue="cpu")
def total(values: list[int]) -> int:
    return sum(values)


@task("bench.fibonacci", effects="none", queue="cpu")
def fibonacci(n: int, after: Any = None) -> int:
    return _fibonacci(n)


def _fibonacci(n: int) -> int:
    return n if n < 2 else _fibonacci(n - 1) + _fibonacci(n - 2)


@task("bench.one", effects="none", queue="cpu")
def one() -> int:
    return 1


@task("bench.sleep", effects="none", queue="cpu")
def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@task("bench.sometimes_slow", effects="none", queue="io")
def sometimes_slow(context: TaskContext, item: int, seconds: float, every: int, slower: float) -> int:
    """Last ``seconds``, but ``slower`` times as long in the first attempt at each ``every``-th item."""
    if context.attempt == 1 and item % every == 0:
        seconds *= slower
    end = time.monotonic() + seconds
    while (left_s := end - time.monotonic()) > 0:
        time.sleep(min(0.01, left_s))
        context.check_cancelled()
    return item


@task("bench.condition", effects="none", queue="io")
def condition(holds: bool, seconds: float) -> bool:
    time.sleep(seconds)
    return holds


@task("bench.pause", effects="none", queue="io")
def pause(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@task("bench.sample", effects="none", queue="io")
def sample(file: str, puzzle: int, number: int, seconds: float) -> int:
    """The recorded verdict on one sample of a puzzle: 1 if it is right."""
    time.sleep(seconds)
    return _verdicts(file)[puzzle][number]


@cache
def _verdicts(file: str) -> list[list[int]]:
    return [[int(each["r"]) for each in puzzle["infos"]] for puzzle in json.loads(Path(file).read_text())]
