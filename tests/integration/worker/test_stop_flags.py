"""Bodies that are told to stop and go on as if nothing were."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.wire import Delivery, NodeReport, Outcome, ReportKind
from tests.integration.worker.conftest import settings_for
from tests.services.redis import RedisServer
from tests.services.worker import Bench

_GRACE_S = 0.5
_MARGIN_S = 3.0


@pytest.fixture
def brisk(redis_server: RedisServer, tmp_path: Path) -> Iterator[Bench]:
    made = Bench(redis_server, settings_for(redis_server, tmp_path, stop_grace_s=_GRACE_S))
    yield made
    made.close()


def _cancelled(bench: Bench, delivery: Delivery) -> NodeReport:
    """Its report, after its run was revoked and it was told to stop while it ran."""
    bench.send(delivery)
    begun = (ReportKind.BEGUN, delivery.token)
    bench.wait(lambda: begun in {(report.kind, report.token) for report in bench.read()})
    told = time.monotonic()
    bench.hot.revoke_run(delivery.shard, delivery.run_id)
    bench.hot.stop([delivery.token])
    [node] = bench.ended(delivery)
    took_s = time.monotonic() - told
    print(f"{delivery.task} was final {took_s:.2f} s after it was told, with a grace of {_GRACE_S} s")
    assert _GRACE_S <= took_s < _GRACE_S + _MARGIN_S
    assert delivery.token not in bench.hot.leases(0)
    return node


def test_a_sleeping_body_in_a_child_is_interrupted_and_its_child_works_on(brisk: Bench) -> None:
    worker = brisk.start(slots=1)
    children = worker.children()
    node = _cancelled(brisk, brisk.delivery("t.sleep", {"sleep_s": 60}))
    assert (node.outcome, node.error and node.error.type) == (Outcome.CANCELLED, "Stopped")
    assert brisk.run("t.echo", run_id="r_2").outcome is Outcome.OK
    assert worker.children() == children


@pytest.mark.parametrize("task", ["t.careless", "t.deaf"])
def test_a_body_that_heeds_nothing_is_killed_with_its_child_only(brisk: Bench, tmp_path: Path, task: str) -> None:
    worker = brisk.start(slots=2)
    other = brisk.delivery("t.sleep", {"sleep_s": _GRACE_S + _MARGIN_S + 1}, run_id="r_2")
    brisk.send(other)
    with_ = {"file": str(tmp_path / "marks")} if task == "t.careless" else {}
    assert _cancelled(brisk, brisk.delivery(task, with_)).outcome is Outcome.CANCELLED
    assert task == "t.deaf" or (tmp_path / "marks").read_text() == "interrupted\n"
    assert [node.outcome for node in brisk.ended(other)] == [Outcome.OK]
    assert brisk.run("t.echo", run_id="r_3").outcome is Outcome.OK
    assert worker.process.poll() is None


def test_a_body_on_a_thread_is_abandoned_and_its_worker_recycled(brisk: Bench) -> None:
    worker = brisk.start("threads", slots=2)
    delivery = brisk.delivery("t.sleep", {"sleep_s": 6})
    node = _cancelled(brisk, delivery)
    assert (node.outcome, node.error and node.error.type) == (Outcome.CANCELLED, "Stopped")
    assert worker.process.wait(10) == 75
    assert [report.kind for report in brisk.read() if report.token == delivery.token].count(ReportKind.DONE) == 1


def test_a_body_that_heeds_its_flag_within_the_grace_is_left_alone(brisk: Bench) -> None:
    worker = brisk.start("threads", slots=1)
    brisk.seen.clear()
    delivery = brisk.delivery("t.until_stopped")
    brisk.send(delivery)
    brisk.report(ReportKind.BEGUN)
    brisk.hot.stop([delivery.token])
    assert [node.outcome for node in brisk.ended(delivery)] == [Outcome.CANCELLED]
    assert brisk.run("t.echo", run_id="r_2").outcome is Outcome.OK
    assert worker.process.poll() is None
