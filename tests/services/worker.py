"""A real Celery worker in a process of its own, and a scheduler's hand to feed it.

``Bench`` writes permits, publishes deliveries and reads reports, as the scheduler does, but decides
nothing: a test says what happens.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from engine.broker.app import make_app
from engine.broker.publisher import CeleryPublisher
from engine.hotstate.keys import permit_field
from engine.hotstate.scheduler import RedisHotState
from engine.ids import new_token
from engine.wire import Delivery, NodeCall, NodeReport, Report, ReportKind
from settings import Settings, as_environment
from tests.services.redis import RedisServer

_ROOT = Path(__file__).resolve().parents[2]
_PROGRAM = (
    "import sys; from settings import load; from engine.runtime.worker import main; "
    "sys.exit(main(tuple(sys.argv[3].split(',')), sys.argv[1], int(sys.argv[2]), load()))"
)


class WorkerService:
    """One worker process. ``log`` is where its output goes."""

    def __init__(self, settings: Settings, pool: str, slots: int, queues: str, log: Path, before: str = "") -> None:
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", before + _PROGRAM, pool, str(slots), queues],
                env=as_environment(settings) | {"PYTHONPATH": str(_ROOT)},
                cwd=_ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def children(self) -> list[int]:
        """Process ids of the pool's children."""
        return [child.pid for child in psutil.Process(self.process.pid).children()]

    def terminate(self, timeout_s: float = 20.0) -> int:
        """SIGTERM, as a supervisor does; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def close(self) -> None:
        """End it, however it is."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def said(self) -> str:
        """What it logged."""
        return self.log.read_text("utf-8", "replace")


class Bench:
    """The scheduler's side of the protocol by hand, and workers to run what it sends."""

    def __init__(self, server: RedisServer, settings: Settings) -> None:
        self.server, self.settings = server, settings
        self.hot = RedisHotState(server.url, settings.namespace)
        self.publisher = CeleryPublisher(make_app(settings), settings.grant_timeout_s)
        self.workers: list[WorkerService] = []
        self.seen: list[Report] = []
        self._after = "0"

    def start(self, pool: str = "prefork", slots: int = 1, queues: str = "cpu", before: str = "") -> WorkerService:
        """Start a worker and wait until it consumes; ``before`` is what its process runs first."""
        log = self.settings.home / f"worker-{len(self.workers)}.log"
        worker = WorkerService(self.settings, pool, slots, queues, log, before)
        known = {info.name for info in self.hot.workers()}
        self.workers.append(worker)
        self.wait(lambda: {info.name for info in self.hot.workers()} - known, 20, worker)
        return worker

    def delivery(self, task: str, with_: Any = None, nodes: int = 1, **changes: Any) -> Delivery:
        """A delivery of ``nodes`` nodes of one step."""
        fields: dict[str, Any] = {
            "token": new_token(), "epoch": self.hot.epoch()[0], "shard": 0, "run_id": "r_1", "tenant": "default",
            "session": "default", "plan": "p", "step_no": 0, "path": "s", "fanned": nodes > 1, "task": task,
            "queue": "cpu", "effects": "none", "with_": {"v": with_ or {}},
            "shared": {"map": {"inputs": {"v": {}}, "steps": {"map": {}}, "run": {"v": {"id": "r_1"}}}},
            "nodes": tuple(
                NodeCall(item, 1, {"map": {"item": {"v": item}, "index": {"v": item}}} if nodes > 1 else None)
                for item in range(nodes)
            ),
        } | changes  # fmt: skip
        return Delivery(**fields)

    def send(self, *deliveries: Delivery, permits: bool = True) -> None:
        """Write permits and publish."""
        for delivery in deliveries if permits else ():
            fields = [(delivery.run_id, permit_field(delivery.step_no, c.item), delivery.token) for c in delivery.nodes]
            self.hot.write_permits(delivery.epoch, fields)
        self.publisher.publish(deliveries)

    def run(self, task: str, with_: Any = None, within_s: float = 10.0, **changes: Any) -> NodeReport:
        """Send one node and wait for its end."""
        delivery = self.delivery(task, with_, **changes)
        self.send(delivery)
        return self.ended(delivery, within_s)[0]

    def ended(self, delivery: Delivery, timeout_s: float = 10.0) -> list[NodeReport]:
        """What was reported of a delivery's nodes, by item, once there is a report of each."""

        def found() -> dict[int, NodeReport]:
            final = (ReportKind.DONE, ReportKind.LOST)
            mine = [report for report in self.read() if report.token == delivery.token and report.kind in final]
            return {node.item: node for report in mine for node in report.nodes}

        self.wait(lambda: len(found()) == len(delivery.nodes), timeout_s)
        return [node for _, node in sorted(found().items())]

    def report(self, kind: ReportKind, timeout_s: float = 10.0) -> Report:
        """The first report of that kind."""
        self.wait(lambda: any(report.kind is kind for report in self.read()), timeout_s)
        return next(report for report in self.seen if report.kind is kind)

    def read(self) -> list[Report]:
        """All reports so far."""
        for entry, report in self.hot.read_reports(0, self._after, 1000, 0):
            self._after = entry
            assert report is not None
            self.seen.append(report)
        return self.seen

    def forget(self) -> None:
        """Start anew on the reports, as after a flush or restart."""
        self.seen, self._after = [], "0"

    def wait(self, holds: Callable[[], Any], timeout_s: float = 10.0, worker: WorkerService | None = None) -> None:
        """Wait until something holds; fails with what the workers said."""
        deadline = time.monotonic() + timeout_s
        while not holds():
            dead = worker is not None and worker.process.poll() is not None
            if dead or time.monotonic() > deadline:
                said = "\n".join(each.said()[-4000:] for each in self.workers)
                raise AssertionError(f"not within {timeout_s} s; reports: {self.seen[-5:]}\nworkers said:\n{said}")
            time.sleep(0.01)

    def close(self) -> None:
        """End everything."""
        for worker in self.workers:
            worker.close()
        self.publisher.close()
        self.hot.close()


def alive(pid: int) -> bool:
    """Whether a process runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
