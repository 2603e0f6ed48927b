"""Bodies that the benches run. Import nothing heavy: each worker imports this."""

from __future__ import annotations

import time
from typing import Any

from engine.authoring import task


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
