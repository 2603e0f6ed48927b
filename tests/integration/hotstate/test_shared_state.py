"""Reports, grants, heartbeats, pools and rates on a real Redis."""

from __future__ import annotations

import threading
import time

import pytest

from engine.api.endings import Listeners
from engine.errors import Unavailable
from engine.hotstate.endings import Endings
from engine.hotstate.scheduler import RedisHotState
from engine.runtime.ports import WorkerInfo
from engine.wire import NodeReport, Outcome, Report, ReportKind
from tests.integration.hotstate.conftest import Faces


def _done(item: int = 0) -> Report:
    return Report(ReportKind.DONE, "tok", "r_1", 0, "w", (NodeReport(item, 1, Outcome.OK, '{"v":1}'),))


def test_reports_are_read_in_order_and_deleted_when_committed(faces: Faces) -> None:
    for item in range(3):
        faces.worker.append(0, _done(item))
    first = faces.scheduler.read_reports(0, "0", 2, 0)
    assert [report.nodes[0].item for _, report in first if report] == [0, 1]
    rest = faces.scheduler.read_reports(0, first[-1][0], 10, 0)
    assert [report.nodes[0].item for _, report in rest if report] == [2]
    faces.scheduler.delete_reports(0, [entry for entry, _ in (*first, *rest)])
    assert faces.scheduler.read_reports(0, "0", 10, 0) == []


def test_reading_waits_for_the_first_report_and_no_longer(faces: Faces) -> None:
    threading.Timer(0.1, faces.scheduler.wake, [0, "r_7"]).start()
    started = time.monotonic()
    [(_, report)] = faces.scheduler.read_reports(0, "0", 10, 5.0)
    assert report is not None and report.kind is ReportKind.WAKE and report.run_id == "r_7"
    assert time.monotonic() - started < 2
    assert faces.scheduler.read_reports(1, "0", 10, 0.05) == []


def test_a_report_that_cannot_be_read_comes_as_none(faces: Faces) -> None:
    faces.server.client.xadd("t:reports:0", {"r": b"{"})
    faces.server.client.xadd("t:reports:0", {"x": b"1"})
    faces.worker.append(0, _done())
    reports = [report for _, report in faces.scheduler.read_reports(0, "0", 10, 0)]
    assert reports == [None, None, _done()]


@pytest.mark.parametrize("allowed", [True, False])
def test_a_grant_is_answered_once(faces: Faces, allowed: bool) -> None:
    faces.scheduler.grant("tok", allowed)
    faces.scheduler.grant("tok", allowed)
    assert faces.worker.wait_for_grant("tok", 1.0) is allowed
    assert faces.server.client.exists("t:grant:tok") == 0


def test_no_grant_in_time_is_no_answer(faces: Faces) -> None:
    assert faces.worker.wait_for_grant("tok", 0.05) is None


def test_a_heartbeat_renews_leases_and_brings_stop_flags(faces: Faces) -> None:
    info = WorkerInfo("io@host", ("io", "prefetch"), 8)
    faces.scheduler.stop(["b"])
    assert faces.worker.announce(info, {"a": 0, "b": 1}, 5.0) == {"b"}
    assert faces.scheduler.workers() == [info]
    faces.server.flush()
    faces.worker.announce(info, {"a": 0}, 5.0)
    assert set(faces.scheduler.leases(0)) == {"a"}, "a flush loses no lease for longer than a heartbeat"
    faces.worker.leave("io@host")
    assert faces.scheduler.workers() == []


def test_a_silent_worker_is_forgotten(faces: Faces) -> None:
    faces.worker.announce(WorkerInfo("io@host", ("io",), 8), {}, 0.05)
    faces.worker.announce(WorkerInfo("cpu@host", ("cpu",), 2), {}, 5.0)
    time.sleep(0.1)
    assert [worker.name for worker in faces.scheduler.workers()] == ["cpu@host"]


def test_a_leases_stamp_moves_with_each_heartbeat_and_stands_still_without(faces: Faces) -> None:
    info = WorkerInfo("io@host", ("io",), 8)
    faces.worker.announce(info, {"a": 0, "b": 0}, 5.0)
    first = faces.scheduler.leases(0)
    time.sleep(0.005)
    faces.worker.announce(info, {"a": 0}, 5.0)
    second = faces.scheduler.leases(0)
    assert second["a"] > first["a"]
    assert second["b"] == first["b"]
    faces.scheduler.drop_leases(0, ["a", "b"])
    assert faces.scheduler.leases(0) == {}


def test_shards_share_a_pool_without_going_over(faces: Faces) -> None:
    assert faces.scheduler.admit("db", 4, 0, 0, 3) == 3
    assert faces.scheduler.admit("db", 4, 1, 0, 3) == 1
    assert faces.scheduler.admit("db", 4, 0, 3, 1) == 0
    assert faces.scheduler.admit("db", 4, 0, 1, 5) == 2, "two of the first three ended"
    assert faces.scheduler.admit("db", 2, 1, 1, 1) == 0, "a smaller limit grants nothing, never less"


def test_what_a_dead_leader_or_a_shard_that_is_no_more_held_of_a_pool_is_given_back(faces: Faces) -> None:
    assert faces.scheduler.admit("db", 4, 0, 0, 2) == 2
    assert faces.scheduler.admit("disk", 4, 0, 0, 3) == 3
    assert faces.scheduler.admit("db", 4, 3, 0, 2) == 2
    assert faces.scheduler.admit("db", 4, 1, 0, 4) == 0
    faces.scheduler.release_pools(0, None, {"disk"})
    assert faces.scheduler.admit("db", 4, 1, 0, 4) == 2, "its successor uses none of db"
    assert faces.scheduler.admit("disk", 4, 1, 0, 4) == 1, "and what it uses it keeps"
    faces.scheduler.release_pools(0, 2, {"disk"})
    assert faces.scheduler.admit("db", 4, 1, 2, 4) == 2, "nobody leads shard 3 any more"


def test_a_bucket_starts_with_one_token_and_fills_by_redis_clock(faces: Faces) -> None:
    granted, wait_s = faces.scheduler.take_tokens("http", 20.0, 5, 5)
    assert granted == 1
    assert 0 < wait_s <= 0.05
    time.sleep(0.2)
    granted, _ = faces.scheduler.take_tokens("http", 20.0, 5, 10)
    assert 3 <= granted <= 5
    time.sleep(0.5)
    assert faces.scheduler.take_tokens("http", 20.0, 5, 10)[0] == 5, "never more than the burst"


def test_a_flush_changes_the_marker_and_a_restart_the_run_id(fragile: Faces) -> None:
    run_id, marker = fragile.scheduler.epoch()
    assert fragile.scheduler.epoch() == (run_id, marker)
    fragile.server.flush()
    flushed = fragile.scheduler.epoch()
    assert flushed[0] == run_id and flushed[1] != marker
    fragile.server.restart()
    assert fragile.scheduler.epoch()[0] != run_id


def test_redis_away_full_or_read_only_is_unavailable(fragile: Faces) -> None:
    fragile.permit()
    fragile.server.client.config_set("maxmemory", "1")
    with pytest.raises(Unavailable):
        fragile.claim()
    with pytest.raises(Unavailable):
        fragile.scheduler.grant("tok", True)
    fragile.server.client.config_set("maxmemory", "0")
    fragile.server.client.execute_command("REPLICAOF", "127.0.0.1", "1")
    with pytest.raises(Unavailable):
        fragile.claim()
    fragile.server.client.execute_command("REPLICAOF", "NO", "ONE")
    assert fragile.claim() == [True]
    fragile.server.kill()
    with pytest.raises(Unavailable):
        fragile.scheduler.epoch()
    with pytest.raises(Unavailable):
        fragile.scheduler.read_reports(0, "0", 1, 0.1)


def test_nobody_listening_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        RedisHotState("unix:///nowhere/r.sock", "t").epoch()


def test_a_reported_attempt_may_use_every_field() -> None:
    report = Report(ReportKind.DONE, "tok", "r_1", 3, "w", (NodeReport(1, 2, Outcome.CANCELLED, log=("a", "b")),))
    assert Report.from_bytes(report.to_bytes()) == report


def test_one_connection_hears_of_one_run_after_the_other(faces: Faces) -> None:
    endings = Endings(faces.server.url, "t")
    endings.listen("r_1")
    faces.scheduler.tell_end("r_1")
    assert endings.wait(5.0)
    endings.listen("r_2")
    faces.scheduler.tell_end("r_1")
    assert not endings.wait(0.05), "what it no longer listens to is not told"
    faces.scheduler.tell_end("r_2")
    assert endings.wait(5.0)
    endings.close()


def test_a_client_waits_again_after_its_connection_was_cut(fragile: Faces) -> None:
    listeners = Listeners("t")
    with listeners.ended(fragile.server.url, "r_1"):
        pass
    fragile.server.restart()
    with listeners.ended(fragile.server.url, "r_2") as told:
        fragile.scheduler.tell_end("r_2")
        started = time.monotonic()
        told(30.0)
        assert time.monotonic() - started < 20.0
    listeners.close()
