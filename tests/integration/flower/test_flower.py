"""`flywheel flower`: it shows queues, task types and ids, to those who have its password, and no payload."""

from __future__ import annotations

import base64
import json
import socket
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from redis.client import PubSub

from tests.integration.scale.conftest import Make
from tests.integration.scale.installation import Installation, Process
from tests.services.redis import RedisServer

SECRET, PAYLOAD = "swordfish-7731", "the-patient-is-called-Quixotenberg"
USER, PASSWORD = "ops", "long-and-hard"


class Flower:
    """`flywheel flower` in a process of its own."""

    def __init__(self, installation: Installation) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process: Process = installation._start("flower", ("flower", "--port", str(self.port)), {})

    def ask(self, path: str, *, known: bool = True, post: bool = False) -> tuple[int, str]:
        """Status and body; 0 while nobody listens."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=b"" if post else None)
        if known:
            request.add_header("Authorization", "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode())
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except (urllib.error.URLError, OSError):
            return 0, ""

    def get(self, path: str) -> Any:
        """What the API says; ``None`` if it does not."""
        status, body = self.ask(path)
        return json.loads(body) if status == 200 else None

    def search(self, query: str) -> dict[str, dict[str, Any]]:
        """The tasks that a search finds."""
        found: dict[str, dict[str, Any]] = self.get(f"/api/tasks?{urllib.parse.urlencode({'search': query})}") or {}
        return found


@pytest.fixture
def installation(make: Make, monkeypatch: pytest.MonkeyPatch) -> Installation:
    monkeypatch.setenv("FLYWHEEL_SECRET_API_KEY", SECRET)
    return make(
        namespace="flowered", flower_auth=f"{USER}:{PASSWORD}",
        task_modules=("tasks", "tests.integration.flower.bodies", "tests.integration.scale.bodies"),
    )  # fmt: skip


@pytest.fixture
def events(redis_server: RedisServer) -> Iterator[PubSub]:
    """Everything that is published on the broker from now on."""
    listener = redis_server.client.pubsub()
    listener.psubscribe("*")
    yield listener
    listener.close()


def _told(events: PubSub) -> str:
    """All events so far, their bodies decoded."""
    texts = []
    while (message := events.get_message(timeout=0.1)) is not None:
        if message["type"] == "pmessage":
            raw = message["data"].decode()
            told = json.loads(raw)
            body = told.get("body", "") if isinstance(told, dict) else ""  # a run's end is a bare number
            texts.append(raw + base64.b64decode(body).decode())
    return "\n".join(texts)


def test_flower_shows_queues_types_and_ids_to_those_who_may_and_no_payload(
    installation: Installation, events: PubSub, tmp_path: Path
) -> None:
    flower, release = Flower(installation), tmp_path / "release"
    installation.wait(lambda: flower.ask("/api/workers")[0] == 200)

    queues = installation.wait(lambda: flower.get("/api/queues/length"))  # there is no worker yet
    assert {queue["name"] for queue in queues["active_queues"]} == set(installation.settings.queues)

    installation.scheduler()
    installation.worker(slots=4)
    installation.ready()
    installation.wait(lambda: flower.get("/api/workers?refresh=1"))
    secret = {"payload": "{{ inputs.text }}", "key": "secret://api_key"}
    steps = {
        "keep": {"task": "flower.keep", "for_each": [1, 2], "with": secret | {"release": str(release)}},
        "spill": {"task": "flower.spill", "with": secret, "on_failure": "continue"},
    }
    run_id = installation.submit(steps, text=PAYLOAD)
    other = installation.submit({"keep": {"task": "scale.nothing", "with": {"value": PAYLOAD}}})
    installation.client.wait(other, 20)
    mine = installation.wait(lambda: len(found := flower.search(f"kwargs:run={run_id}")) == 3 and found)
    assert {task["name"] for task in mine.values()} == {"flower.keep", "flower.spill"}
    assert sorted(task["args"] for task in mine.values()) == [
        f"node=keep[0] attempt=1 nodes=1 step=keep run={run_id}",
        f"node=keep[1] attempt=1 nodes=1 step=keep run={run_id}",
        f"node=spill attempt=1 nodes=1 step=spill run={run_id}",
    ]
    others = installation.wait(lambda: flower.search(f"kwargs:run={other}"))
    assert {task["name"] for task in others.values()} == {"scale.nothing"}
    assert flower.search(f"kwargs:run={run_id[:-1]}") == {}
    assert len(flower.search(f"kwargs:run={run_id} kwargs:node=keep[1]")) == 1
    assert {"flower.keep", "flower.spill", "scale.nothing"} <= set(flower.get("/api/task/types")["task-types"])

    seen = _pages(flower, mine)  # while bodies hold both
    release.touch()
    assert installation.client.wait(run_id, 20).state.value == "succeeded"
    assert installation.client.outputs(run_id) is None
    installation.wait(lambda: len(flower.search(f"kwargs:run={run_id} state:SUCCESS")) == 2)
    [failed] = flower.search(f"kwargs:run={run_id} state:FAILURE").values()
    assert "failed: ValueError" in failed["exception"]
    seen += _pages(flower, mine) + _told(events)
    assert run_id in seen
    assert SECRET not in seen
    assert PAYLOAD not in seen


def _pages(flower: Flower, tasks: dict[str, Any]) -> str:
    """Every page and every answer that might show something of a task."""
    workers = flower.get("/api/workers?refresh=1")
    paths = [
        "/", "/workers", "/tasks", "/broker", "/metrics", "/api/workers", "/api/tasks", "/api/queues/length",
        "/tasks/datatable?draw=1&start=0&length=100&search[value]=&order[0][column]=0&order[0][dir]=asc"
        "&columns[0][data]=name",
        *(f"/worker/{name}" for name in workers),
        *(f"/task/{uuid}" for uuid in tasks),
        *(f"/api/task/info/{uuid}" for uuid in tasks),
    ]  # fmt: skip
    shown = []
    for path in paths:
        status, body = flower.ask(path)
        assert status == 200, (path, status, body)
        shown.append(body)
    return json.dumps(workers) + "\n".join(shown)


def test_flower_listens_on_loopback_asks_for_a_password_and_only_looks(installation: Installation) -> None:
    flower = Flower(installation)
    installation.wait(lambda: flower.ask("/api/workers")[0] == 200)
    listening = [each for each in psutil.Process(flower.process.pid).net_connections() if each.status == "LISTEN"]
    assert {each.laddr.ip for each in listening} == {"127.0.0.1"}
    for path in ("/", "/tasks", "/broker", "/api/workers", "/api/tasks"):
        assert flower.ask(path, known=False)[0] == 401
    for path in ("/api/task/revoke/x", "/api/worker/shutdown/x", "/api/task/send-task/flower.keep"):
        assert flower.ask(path, post=True)[0] == 403
    assert PASSWORD not in " ".join(psutil.Process(flower.process.pid).cmdline())
    assert PASSWORD not in flower.process.said()
