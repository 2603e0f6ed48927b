"""Workers that are stopped, killed, hung, or cut off from Redis."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from engine.wire import NodeReport, Outcome, ReportKind
from tests.integration.worker.conftest import settings_for
from tests.services.redis import RedisServer
from tests.services.worker import Bench, alive


def _outcomes(nodes: list[NodeReport]) -> list[Outcome]:
    return [node.outcome for node in nodes]


def test_a_killed_child_is_reported_within_two_seconds_and_not_run_again(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "marks"
    worker = bench.start()
    started = time.monotonic()
    delivery = bench.delivery("t.die", {"file": str(file)})
    bench.send(delivery)
    report = bench.report(ReportKind.LOST)
    assert time.monotonic() - started < 2.0
    print(f"a killed child was reported after {time.monotonic() - started:.2f} s")
    assert (report.token, report.run_id, report.step_no) == (delivery.token, "r_1", 0)
    assert _outcomes(list(report.nodes)) == [Outcome.LOST]
    assert report.nodes[0].begun_at is not None
    assert bench.run("t.echo", run_id="r_2").outcome is Outcome.OK, "a new child works"
    assert file.read_text() == "s\n"
    assert worker.process.poll() is None


def test_of_a_lost_chunk_only_the_node_that_ran_is_blamed(bench: Bench) -> None:
    bench.start()
    delivery = bench.delivery("t.die", {"item": "{{ item }}", "at": 2}, nodes=4)
    bench.send(delivery)
    bench.report(ReportKind.LOST)
    nodes = bench.ended(delivery)
    assert [node.outcome for node in nodes[2:]] == [Outcome.LOST, Outcome.NOT_BEGUN]
    assert {node.outcome for node in nodes[:2]} <= {Outcome.OK, Outcome.INFRASTRUCTURE}


def test_a_child_that_heeds_no_alarm_is_killed_at_the_hard_limit(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.broker.publisher.HARD_MARGIN_S", 0.7)
    bench.start()
    report = bench.run("t.deaf", timeout_s=0.3)
    assert report.outcome is Outcome.TIMED_OUT
    assert bench.run("t.echo", run_id="r_2").outcome is Outcome.OK


def test_a_body_that_hangs_on_a_thread_recycles_its_worker(bench: Bench, tmp_path: Path) -> None:
    worker = bench.start("threads", slots=2)
    other = bench.delivery("t.sleep", {"sleep_s": 1.0}, run_id="r_2")
    hung = bench.delivery("t.sleep", {"file": str(tmp_path / "marks"), "sleep_s": 2.0}, timeout_s=0.3)
    bench.send(other, hung)
    assert _outcomes(bench.ended(hung)) == [Outcome.TIMED_OUT]
    assert _outcomes(bench.ended(other)) == [Outcome.OK], "others end"
    assert worker.process.wait(10) == 75
    late = bench.delivery("t.echo", run_id="r_3")
    bench.send(late)
    assert bench.hot.queue_lengths(["cpu"]) == {"cpu": 1}, "it took no new message"
    bench.start("threads")
    bench.ended(late)
    assert [r.kind for r in bench.seen if r.token == hung.token].count(ReportKind.DONE) == 1, "no late result"


def test_an_async_body_on_a_thread_is_interrupted_without_recycling(bench: Bench) -> None:
    worker = bench.start("threads", slots=2)
    assert bench.run("t.async_sleep", {"sleep_s": 30}, timeout_s=0.2).outcome is Outcome.TIMED_OUT
    assert bench.run("t.echo", run_id="r_2").outcome is Outcome.OK
    assert worker.process.poll() is None


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_stopped_worker_finishes_what_runs_and_gives_back_the_rest(bench: Bench, pool: str) -> None:
    worker = bench.start(pool)
    delivery = bench.delivery("t.sleep", {"sleep_s": 0.8}, nodes=3)
    behind = bench.delivery("t.echo", run_id="r_2")
    bench.send(delivery, behind)
    bench.report(ReportKind.BEGUN)
    started = time.monotonic()
    assert worker.terminate() == 0
    print(f"{pool}: stopped after {time.monotonic() - started:.2f} s")
    assert _outcomes(bench.ended(delivery)) == [Outcome.OK, Outcome.NOT_BEGUN, Outcome.NOT_BEGUN]
    assert bench.hot.workers() == []
    bench.start(pool)
    assert _outcomes(bench.ended(behind)) == [Outcome.OK], "what was not claimed is still in the queue"


def test_what_outlasts_the_grace_is_reported_lost(
    redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(redis_server, settings_for(redis_server, tmp_path, stop_grace_s=0.5))
    try:
        for pool in ("prefork", "threads"):
            worker = bench.start(pool)
            delivery = bench.delivery("t.sleep", {"sleep_s": 60})
            bench.seen.clear()
            bench.send(delivery)
            bench.report(ReportKind.BEGUN)
            children = worker.children()
            assert worker.terminate() == 0
            assert _outcomes(bench.ended(delivery)) == [Outcome.LOST]
            bench.wait(lambda left=children: not any(alive(pid) for pid in left))  # type: ignore[misc]
    finally:
        bench.close()


def test_a_running_delivery_keeps_its_lease_and_a_killed_worker_does_not(bench: Bench) -> None:
    worker = bench.start()
    delivery = bench.delivery("t.sleep", {"sleep_s": 60})
    bench.send(delivery)
    bench.report(ReportKind.BEGUN)
    stamp = bench.hot.leases(0)[delivery.token]
    bench.wait(lambda: bench.hot.leases(0)[delivery.token] > stamp)
    bench.server.flush()
    bench.wait(lambda: delivery.token in bench.hot.leases(0))
    children = worker.children()
    os.kill(worker.process.pid, signal.SIGKILL)
    worker.process.wait()
    bench.wait(lambda: not any(alive(pid) for pid in children))
    stamp = bench.hot.leases(0)[delivery.token]
    bench.wait(lambda: bench.hot.workers() == [])
    assert bench.hot.leases(0)[delivery.token] == stamp


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_result_survives_a_restart_of_redis(fragile_bench: Bench, pool: str) -> None:
    bench = fragile_bench
    worker = bench.start(pool)
    delivery = bench.delivery("t.sleep", {"sleep_s": 1.0})
    bench.send(delivery)
    bench.report(ReportKind.BEGUN)
    bench.server.kill()
    time.sleep(1.2)  # the body ends while Redis is away
    bench.server.start()
    bench.forget()
    assert _outcomes(bench.ended(delivery, 15)) == [Outcome.OK]
    assert bench.run("t.echo", run_id="r_2", within_s=20).outcome is Outcome.OK, "and it consumes again"
    assert worker.process.poll() is None


def test_a_dropped_connection_runs_nothing_twice(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "marks"
    bench.start(slots=2)
    delivery = bench.delivery("t.sleep", {"file": str(file), "sleep_s": 1.0})
    bench.send(delivery)
    bench.report(ReportKind.BEGUN)
    bench.server.client.client_kill_filter(_type="normal", skipme=True)
    assert _outcomes(bench.ended(delivery)) == [Outcome.OK]
    assert bench.run("t.echo", run_id="r_2", within_s=20).outcome is Outcome.OK
    assert file.read_text() == "s\n"


def test_a_worker_starts_quickly(bench: Bench) -> None:
    started = time.monotonic()
    worker = bench.start()
    ready_s = time.monotonic() - started
    times = psutil.Process(worker.process.pid).cpu_times()
    print(f"a worker was ready after {ready_s:.2f} s, {times.user + times.system:.2f} s of them its own")
    assert times.user + times.system < 2.5, "processor time: other tests may share the machine"
    assert worker.process.poll() is None
    program = "import sys, engine.runtime.worker; print(sorted({'sqlmodel', 'networkx'} & set(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
