"""Celery 5.7 on its own Redis: prefork 2, acks late, two workers with prefetch 1 and 64, each with a queue."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import celery
import redis
from answering import check, serve
from celery import chain, chord, group
from celery_tasks import URL, add, app, node, nothing, same, total
from graphs import Node, levels, timed

QUEUES = {"one": 1, "many": 32}
"""Prefetch multiplier of each queue's worker; times two processes."""
_TIMEOUT_S = 900.0
client = redis.Redis.from_url(URL.replace("redis+socket://", "unix://").split("?")[0])
workers: list[subprocess.Popen[bytes]] = []


def start() -> None:
    for queue, multiplier in QUEUES.items():
        command = [
            sys.executable, "-m", "celery", "-A", "celery_tasks", "worker", "-P", "prefork", "-c", "2", "-Q", queue,
            "-n", f"{queue}@bench", f"--prefetch-multiplier={multiplier}", "--without-gossip", "--without-mingle",
            "--without-heartbeat", "-l", "warning",
        ]  # fmt: skip
        workers.append(
            subprocess.Popen(command, cwd=Path(__file__).parent, stdin=subprocess.DEVNULL, stdout=sys.stderr)
        )
    for queue in QUEUES:
        check(add.apply_async((1,), queue=queue).get(timeout=60) == 2, "add")


def stop() -> None:
    for worker in workers:
        worker.terminate()
    for worker in workers:
        worker.wait(10)


def executed() -> int:
    stats = app.control.inspect(timeout=5, limit=len(QUEUES)).stats()
    return sum(sum(each["total"].values()) for each in stats.values())


def drained(queue: str, started: float) -> float:
    """Seconds until every message of ``queue`` has been acknowledged, which acks late does after the body."""
    empty_s = None  # twice in a row: a message is in neither place for a moment when a worker takes it
    while True:
        seconds = time.perf_counter() - started
        if client.llen(queue) or client.hlen("unacked"):
            empty_s = None
        elif empty_s is not None:
            return empty_s
        else:
            empty_s = seconds
        if seconds > _TIMEOUT_S:
            raise TimeoutError(queue)
        time.sleep(0.005)


def queue(nodes: int, queue: str) -> dict[str, Any]:
    before = executed()
    started = time.perf_counter()
    group(nothing.s(number) for number in range(nodes)).apply_async(queue=queue)
    seconds = drained(queue, started)
    check(executed() - before == nodes, "tasks executed")
    return {"seconds": seconds}


def chunks(nodes: int, size: int, queue: str) -> dict[str, Any]:
    before = executed()
    started = time.perf_counter()
    nothing.chunks(((number,) for number in range(nodes)), size).apply_async(queue=queue)
    seconds = drained(queue, started)
    check(executed() - before == -(-nodes // size), "chunks executed")
    return {"seconds": seconds}


def chained(nodes: int) -> dict[str, Any]:
    started = time.perf_counter()
    result = chain(add.s(0), *(add.s() for _ in range(nodes - 1))).apply_async().get(timeout=_TIMEOUT_S)
    seconds = time.perf_counter() - started
    check(result == nodes, "end of the chain")
    return {"seconds": seconds}


def joined(nodes: int) -> dict[str, Any]:
    started = time.perf_counter()
    result = chord((same.s(number) for number in range(nodes)), total.s()).apply_async().get(timeout=_TIMEOUT_S)
    seconds = time.perf_counter() - started
    check(result == sum(range(nodes)), "sum at the join")
    return {"seconds": seconds}


def hop() -> dict[str, Any]:
    started = time.perf_counter()
    result = add.delay(1).get(timeout=60)
    seconds = time.perf_counter() - started
    check(result == 2, "add")
    return {"seconds": seconds}


def graph(nodes: list[Node]) -> list[float]:
    """Groups by hand, a barrier a level, where chains are chains: one canvas grows with all that is left."""
    results: list[float] = []
    found = levels(nodes)
    if all(len(level) == 1 for level in found):
        last = chain(*(node.si(kind, argument) for kind, argument, _ in nodes)).apply_async()
        last.get(timeout=_TIMEOUT_S)
        each = last
        while each is not None:
            results.append(each.get(timeout=_TIMEOUT_S))
            each = each.parent
        return results
    for level in found:
        done = group(node.s(nodes[number][0], nodes[number][1]) for number in level).apply_async()
        results += done.get(timeout=_TIMEOUT_S, interval=0.005)
    return results


def version() -> dict[str, Any]:
    return {"version": celery.__version__}


if __name__ == "__main__":
    os.chdir(Path(__file__).parent)
    start()
    try:
        actions = {"queue": queue, "chunks": chunks, "chain": chained, "join": joined, "hop": hop}
        serve({**actions, "graph": timed(graph), "version": version})
    finally:
        stop()
