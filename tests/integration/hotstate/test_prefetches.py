"""What was read ahead: handed over once, while it is wanted, and nothing of it left."""

from __future__ import annotations

import threading
import time

from engine.runtime.ports import WorkerInfo
from engine.wire import NodeReport, Outcome, Prefetched, Report, ReportKind, prefetch_field
from tests.integration.hotstate.conftest import Faces


def start(faces: Faces, token: str = "tok") -> bool:
    faces.worker.announce(WorkerInfo("w@host", ("prefetch",), 1), {}, 60.0)
    faces.permit(prefetch_field(3), token)
    return faces.worker.prefetches.begin("r_1", 3, token, faces.epoch, "w@host")


def end(faces: Faces, read: bytes = b"data", fresh_s: float = 60.0, token: str = "tok") -> bool:
    node = NodeReport(0, 0, Outcome.OK, prefetched=Prefetched(len(read), 0.1))
    return faces.worker.prefetches.end(0, Report(ReportKind.PREFETCHED, token, "r_1", 3, "w", (node,)), read, fresh_s)


def take(faces: Faces, wait_s: float = 0.0) -> bytes | None:
    return faces.worker.prefetches.take("r_1", 3, "tok", wait_s)


def keys(faces: Faces) -> set[bytes]:
    return {*faces.server.client.keys("t:ahead:*"), *faces.server.client.keys("t:permit:*")}


def test_what_was_read_is_taken_once_and_reported(faces: Faces) -> None:
    assert start(faces) and end(faces)
    assert take(faces) == b"data"
    assert take(faces) is None
    ((_, report),) = faces.scheduler.read_reports(0, "0", 10, 0.0)
    assert report is not None and report.kind is ReportKind.PREFETCHED
    assert report.nodes[0].prefetched == Prefetched(4, 0.1)
    assert keys(faces) == set()


def test_it_begins_once_and_only_with_a_permit(faces: Faces) -> None:
    assert not faces.worker.prefetches.begin("r_1", 3, "tok", faces.epoch, "w@host")
    assert start(faces)
    assert not faces.worker.prefetches.begin("r_1", 3, "tok", faces.epoch, "w@host")
    assert not faces.worker.prefetches.begin("r_1", 3, "tok", "another server", "w@host")
    assert faces.scheduler.leases(0) == {}


def test_a_body_that_comes_first_keeps_it_from_beginning(faces: Faces) -> None:
    faces.permit(prefetch_field(3))
    assert take(faces, 5.0) is None
    assert not faces.worker.prefetches.begin("r_1", 3, "tok", faces.epoch, "w@host")


def test_a_body_waits_for_what_is_being_read(faces: Faces) -> None:
    start(faces)
    got: list[bytes | None] = []
    waiting = threading.Thread(target=lambda: got.append(take(faces, 20.0)))
    waiting.start()
    assert end(faces)
    waiting.join(20)
    assert got == [b"data"]


def test_a_body_that_waits_hears_at_once_that_nothing_comes(faces: Faces) -> None:
    start(faces)
    assert end(faces, b"")
    begun = time.monotonic()
    assert take(faces, 60.0) is None
    assert time.monotonic() - begun < 30


def test_a_body_that_waited_in_vain_calls_it_off(faces: Faces) -> None:
    start(faces)
    assert take(faces, 0.05) is None
    assert not faces.worker.prefetches.wanted("r_1", 3, "tok")
    assert not end(faces), "nobody wants it any more"
    assert keys(faces) == set()


def test_nobody_waits_for_a_worker_that_is_gone(faces: Faces) -> None:
    start(faces)
    faces.worker.leave("w@host")
    begun = time.monotonic()
    assert take(faces, 60.0) is None
    assert time.monotonic() - begun < 30


def test_what_is_not_taken_in_time_goes(faces: Faces) -> None:
    start(faces)
    end(faces, fresh_s=0.001)
    deadline = time.monotonic() + 10
    while keys(faces) and time.monotonic() < deadline:
        pass
    assert take(faces) is None


def test_what_is_dropped_leaves_nothing_whether_it_still_reads_or_not(faces: Faces) -> None:
    start(faces)
    faces.scheduler.drop_prefetches("r_1", {3: "tok"})
    assert not end(faces) and keys(faces) == set()
    start(faces)
    end(faces)
    faces.scheduler.drop_prefetches("r_1", {3: "tok"})
    assert keys(faces) == set() and take(faces) is None


def test_a_revoked_run_reads_nothing_ahead(faces: Faces) -> None:
    faces.permit(prefetch_field(3))
    faces.scheduler.revoke_run(0, "r_1")
    assert not faces.worker.prefetches.begin("r_1", 3, "tok", faces.epoch, "w@host")
