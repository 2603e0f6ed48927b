"""An installation of real processes: schedulers and workers that a test starts, kills and counts on."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from engine.api.client import Client
from engine.api.readiness import wait_ready
from engine.hotstate.scheduler import RedisHotState
from engine.plan.model import Plan
from settings import Settings, as_environment

ROOT = Path(__file__).resolve().parents[3]


class Process:
    """One process of the engine, and what it logged."""

    def __init__(self, settings: Settings, arguments: Sequence[str], log: Path) -> None:
        self.log = log
        with log.open("ab") as output:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "engine.cli.main", *arguments],
                env=as_environment(settings) | {"PYTHONPATH": str(ROOT)},
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.popen.pid

    def terminate(self, timeout_s: float = 20.0) -> int:
        """SIGTERM; the exit code."""
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(timeout_s)

    def kill(self) -> None:
        """SIGKILL; children of a pool die with their parent."""
        self.popen.kill()
        self.popen.wait()

    def said(self) -> str:
        """Its log so far."""
        return self.log.read_text("utf-8", "replace")


class Installation:
    """Processes that share one database and one Redis. Close it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.processes: list[Process] = []
        settings.home.mkdir(parents=True, exist_ok=True)
        self.client = Client(settings)
        self.hot = RedisHotState(settings.redis_url or "", settings.namespace)

    def scheduler(self, **changes: Any) -> Process:
        """Start a scheduler."""
        return self._start("scheduler", ("scheduler",), changes)

    def worker(self, queues: str = "io", slots: int = 8, pool: str = "threads", **changes: Any) -> Process:
        """Start a worker."""
        arguments = ("worker", "--queues", queues, "--pool", pool, "--concurrency", str(slots))
        return self._start("worker", arguments, changes)

    def ready(self, *queues: str) -> None:
        """Wait until a scheduler answers and each of ``queues`` has a worker."""
        wait_ready(self.settings, 30.0, queues=queues or ("io",))

    def submit(self, steps: dict[str, Any], name: str = "scale", **inputs: Any) -> str:
        """Submit a plan of these steps."""
        declared = {key: {"type": "any"} for key in inputs}
        return self.client.submit(Plan.model_validate({"name": name, "inputs": declared, "steps": steps}), inputs)

    def wait(self, holds: Callable[[], Any], timeout_s: float = 20.0, pause_s: float = 0.01) -> Any:
        """What ``holds`` gives once it is true; fails with the end of every log."""
        deadline = time.monotonic() + timeout_s
        while not (found := holds()):
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {timeout_s} s\n{self.said()}")
            time.sleep(pause_s)
        return found

    def said(self) -> str:
        """The end of every log."""
        return "\n".join(f"--- {each.log.name}\n{each.said()[-3000:]}" for each in self.processes)

    def close(self) -> None:
        """End every process."""
        for process in self.processes:
            if process.popen.poll() is None:
                process.kill()
        self.hot.close()
        self.client.close()

    def _start(self, kind: str, arguments: Sequence[str], changes: dict[str, Any]) -> Process:
        settings = self.settings.model_copy(update=changes)
        process = Process(settings, arguments, settings.home / f"{kind}-{len(self.processes)}.log")
        self.processes.append(process)
        return process
