"""DBOS on SQLite: each node a durable workflow on a DBOS queue, two at once, polled every 20 ms."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from answering import serve
from dbos import DBOS
from graphs import Node, drive, timed, work

DBOS(config={"name": "bench", "system_database_url": "sqlite:///dbos.sqlite", "run_admin_server": False,
             "log_level": "ERROR"})  # fmt: skip
ended: queue.SimpleQueue[int] = queue.SimpleQueue()
lock = threading.Lock()


@DBOS.step()
def body(kind: str, argument: Any) -> float:
    return work(kind, argument)


@DBOS.workflow()
def node(number: int, kind: str, argument: Any) -> float:
    result = body(kind, argument)
    ended.put(number)  # in the same process; that it is recorded is asked at the end
    return result


def run(nodes: list[Node]) -> Sequence[float]:
    handles: dict[int, Any] = {}

    def submit(number: int) -> None:
        handles[number] = nodes_queue.enqueue(node, number, nodes[number][0], nodes[number][1])

    drive(nodes, submit, ended.get)
    return [handles[number].get_result(polling_interval_sec=0.02) for number in range(len(nodes))]


if __name__ == "__main__":
    DBOS.launch()
    nodes_queue = DBOS.register_queue("nodes", global_concurrency=2, polling_interval_sec=0.02)
    serve({"graph": timed(run), "version": lambda: {"version": version("dbos")}})
    DBOS.destroy()
