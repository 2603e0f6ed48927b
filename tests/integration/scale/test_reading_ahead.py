"""Reading ahead on real processes, of a server on loopback that says when it answers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from engine.learning.knowledge import Knowledge
from engine.store.learned import keep
from tests.benchmarks.ours import plan_of
from tests.integration.scale.conftest import Make
from tests.services.redis import RedisServer

SECRET = "a-token-that-nobody-sees"


class Source:
    """Answers ``{"asked": n}``, once it is let to; ``statuses`` are those of the first answers."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.statuses: list[int] = []
        self.go = threading.Event()
        self.go.set()
        source = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                source.asked.append(self.headers.get("X-Token", ""))
                body, status = b'{"asked": %d}' % len(source.asked), source.statuses.pop(0) if source.statuses else 200
                source.go.wait(60)
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

            def handle(self) -> None:
                try:
                    super().handle()
                except OSError:  # whoever asked has gone
                    self.close_connection = True

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.go.set()
        self.server.shutdown()
        self.server.server_close()


class Reader:
    """``first`` lasts until it is let go; ``read`` comes after it and asks the source."""

    def __init__(self, make: Make, redis: RedisServer, source: Source, folder: Path) -> None:
        self.make, self.redis, self.source, self.folder = make, redis, source, folder

    def start(self, when: str | None = None, **settings: Any) -> str:
        (self.folder / "secrets").mkdir()
        (self.folder / "secrets" / "token").write_text(SECRET)
        fields = {"http_allow": ("127.0.0.1",), "secrets_dir": self.folder / "secrets"} | settings
        self.installation = self.make(**fields)
        self._know()
        self.installation.scheduler()
        self.worker = self.installation.worker(queues="io,prefetch")
        self.installation.ready("io", "prefetch")
        files = {"begun": str(self.folder / "begun"), "release": str(self.folder / "go")}
        asks = {"url": self.source.url, "headers": {"X-Token": "secret://token"}}
        read: dict[str, Any] = {"task": "http.get", "with": asks, "after": ["first"]}
        if when is not None:
            read["when"] = when
        steps = {"first": {"task": "scale.until", "with": files}, "read": read}
        self.run = self.installation.client.submit(plan_of(steps, "reader", outputs="{{ steps.read.output.body }}"))
        return self.run

    def release(self) -> None:
        (self.folder / "go").touch()

    def wait(self, holds: Callable[[], Any]) -> None:
        self.installation.wait(holds)

    def ended(self) -> Any:
        view = self.installation.client.wait(self.run, 60)
        assert self.installation.client.store.audit(self.run) == []
        self.wait(lambda: not self.left())
        return view

    def told(self) -> list[str]:
        decisions = self.installation.client.store.decisions(self.run)
        return [each.reason for each in decisions if each.kind == "prefetch"]

    def sums(self) -> dict[str, Any]:
        return self.installation.client.store.decisions(self.run)[-1].figures

    def left(self) -> list[bytes]:
        """What Redis still holds of the run and of what was read for it."""
        keys = [*self.redis.client.keys("s:ahead:*"), *self.redis.client.keys("s:permit:*")]
        return [key for key in keys if b"ahead" in key or self.run.encode() in key]

    def _know(self) -> None:
        """A body of ``read`` usually takes half a minute, so one that waits does so for as long."""
        known = Knowledge()
        known.observe_bodies("reader", "read", "http.get", [30.0] * 20, 1.0)
        rows, _ = known.unstored(100)
        with self.installation.client.store.database.writing("odds") as connection:
            assert keep(connection, 0, 0, rows, ())


@pytest.fixture
def source() -> Iterator[Source]:
    made = Source()
    yield made
    made.close()


@pytest.fixture
def reader(make: Make, redis_server: RedisServer, source: Source, tmp_path: Path) -> Reader:
    return Reader(make, redis_server, source, tmp_path)


def test_a_body_gets_what_was_read_while_the_step_above_ran(reader: Reader, source: Source) -> None:
    run = reader.start()
    reader.wait(lambda: reader.redis.client.keys("s:ahead:*"))
    reader.release()
    assert reader.ended().state.value == "succeeded"
    assert reader.installation.client.outputs(run) == {"asked": 1}
    assert source.asked == [SECRET], "asked once"
    assert [reason.split(":")[0] for reason in reader.told()] == ["started", "used", "1 of 1 prefetches were used"]
    assert reader.sums()["used_bytes"] == reader.sums()["fetched_bytes"] > 0


def test_a_body_that_comes_while_it_is_read_waits_instead_of_asking_as_well(reader: Reader, source: Source) -> None:
    source.go.clear()
    run = reader.start()
    reader.wait(lambda: source.asked)
    reader.release()
    store = reader.installation.client.store
    reader.wait(lambda: any(each.begun_at for each in store.attempts(run, 1)))
    source.go.set()
    assert reader.ended().state.value == "succeeded"
    assert len(source.asked) == 1


def test_what_fails_ahead_is_met_and_told_by_the_body(reader: Reader, source: Source) -> None:
    source.statuses = [500, 404]
    reader.start()
    reader.wait(lambda: len(reader.told()) == 2)
    reader.release()
    assert reader.ended().state.value == "failed"
    assert len(source.asked) == 2
    assert reader.told()[1] == "in vain: nothing was brought: Retryable"
    error = reader.installation.client.store.attempts(reader.run, 1, 0)[0].error
    assert error is not None and "404" in error.message


def test_a_step_that_is_skipped_after_all_leaves_nothing(reader: Reader, source: Source) -> None:
    reader.start(when="steps.first.output == 'never'")
    reader.wait(lambda: reader.redis.client.keys("s:ahead:*"))
    reader.release()
    reader.ended()
    assert reader.told()[1] == "in vain: its step is skipped"
    assert reader.sums()["used"] == 0 and len(source.asked) == 1


def test_a_cancelled_run_stops_what_reads_for_it(reader: Reader, source: Source) -> None:
    source.go.clear()
    reader.start()
    reader.wait(lambda: source.asked)
    reader.installation.client.cancel(reader.run)
    assert reader.ended().state.value == "cancelled"
    source.go.set()
    assert reader.told()[-1] == "0 of 1 prefetches were used"
    assert reader.left() == []


def test_a_body_does_not_wait_for_a_worker_that_died_over_it(reader: Reader, source: Source) -> None:
    source.go.clear()
    reader.start(worker_lease_s=2.0, heartbeat_s=0.5)
    reader.wait(lambda: source.asked)
    reader.worker.kill()
    source.go.set()
    reader.installation.worker(queues="io,prefetch")
    reader.release()
    assert reader.ended().state.value == "succeeded"
    assert len(source.asked) == 2


def test_what_a_body_may_not_reach_is_not_reached_ahead_of_it_either(reader: Reader, source: Source) -> None:
    reader.start(http_allow=())
    reader.wait(lambda: len(reader.told()) == 2)
    assert reader.told()[1] == "in vain: nothing was brought: Permanent"
    reader.release()
    assert reader.ended().state.value == "failed"
    assert source.asked == []


def test_nothing_is_read_ahead_where_it_is_switched_off(reader: Reader, source: Source) -> None:
    reader.start(prefetch=False)
    reader.wait(lambda: (reader.folder / "begun").exists())
    reader.release()
    assert reader.ended().state.value == "succeeded"
    assert reader.told() == [] and len(source.asked) == 1
