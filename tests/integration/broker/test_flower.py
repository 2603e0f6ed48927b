"""The real Flower on our broker: what it lists, and that it shows ids only."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from settings import as_environment
from tests.integration.worker.conftest import settings_for
from tests.services.redis import RedisServer
from tests.services.worker import Bench


class _Flower:
    """Flower in a process of its own, with its API open on loopback."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = ("-m", "celery", "-A", "engine.broker.celery_app", "flower", f"--port={self.port}")
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, *command, "--address=127.0.0.1"],
                env=environment | {"FLOWER_UNAUTHENTICATED_API": "true"},
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=Path(__file__).parents[3],
            )

    def get(self, path: str) -> Any:
        """What its API says, ``None`` while it does not."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return json.load(answer)
        except (urllib.error.URLError, OSError):
            return None

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)


def _until(holds: Callable[[], Any], timeout_s: float = 20.0) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (found := holds()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def _failed(tasks: dict[str, Any] | None) -> list[Any]:
    return [task for task in (tasks or {}).values() if task["state"] == "FAILURE"]


@pytest.fixture
def flower(redis_server: RedisServer, tmp_path: Path) -> Iterator[tuple[_Flower, Bench]]:
    settings = settings_for(redis_server, tmp_path)
    bench = Bench(redis_server, settings)
    bench.start(queues=",".join(settings.queues))
    started = _Flower(as_environment(settings) | {"PYTHONPATH": os.curdir}, tmp_path / "flower.log")
    try:
        _until(lambda: started.get("/api/workers?refresh=1"))
        yield started, bench
    finally:
        started.close()
        bench.close()


def test_flower_lists_queues_task_types_and_ids_and_no_payload(flower: tuple[_Flower, Bench]) -> None:
    service, bench = flower
    bench.run("t.echo", {"value": "hush-hush"})
    bench.run("t.fail", {"how": "hush-hush"}, run_id="r_2", path="classify")
    query = urllib.parse.urlencode({"search": "kwargs:run=r_2"})
    tasks = _until(lambda: (found := service.get("/api/tasks")) and len(found) == 2 and found)
    assert {task["name"] for task in tasks.values()} == {"t.echo", "t.fail"}
    # A failed node looks failed, so that Flower's own filters find it.
    [found] = _until(lambda: _failed(service.get(f"/api/tasks?{query}")))
    assert found["args"] == "node=classify attempt=1 nodes=1 step=classify run=r_2"
    echoed = json.dumps([task for task in tasks.values() if task["name"] == "t.echo"])
    assert "hush" not in echoed
    queues = service.get("/api/queues/length")["active_queues"]
    assert {queue["name"] for queue in queues} == set(bench.settings.queues)
