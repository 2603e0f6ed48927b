"""Prefect: an asynchronous flow (a synchronous one returns on a grid of a second), two threads, a local server."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.update(
    PREFECT_HOME=str(Path.cwd() / "prefect"), PREFECT_LOGGING_LEVEL="ERROR", PREFECT_SERVER_ANALYTICS_ENABLED="false",
    PREFECT_SERVER_ALLOW_EPHEMERAL_MODE="true", DO_NOT_TRACK="1",
)  # fmt: skip

import asyncio
from collections.abc import Sequence
from typing import Any

import prefect
from answering import serve
from graphs import Node, timed, work
from prefect.cache_policies import NO_CACHE
from prefect.task_runners import ThreadPoolTaskRunner

graph: list[Node] = []


@prefect.task(cache_policy=NO_CACHE)  # the default serves equal inputs from a cache
def body(kind: str, argument: Any) -> float:
    return work(kind, argument)


@prefect.flow(task_runner=ThreadPoolTaskRunner(max_workers=2))
async def bench() -> list[float]:
    futures: list[Any] = []
    for kind, argument, parents in graph:
        futures.append(body.submit(kind, argument, wait_for=[futures[each] for each in parents]))
    return await asyncio.to_thread(lambda: [future.result() for future in futures])


def run(nodes: list[Node]) -> Sequence[float]:
    graph[:] = nodes
    return asyncio.run(bench())


if __name__ == "__main__":
    serve({"graph": timed(run), "version": lambda: {"version": prefect.__version__}})
