"""Permits: who may begin, and that everything lost or restored fails closed."""

from __future__ import annotations

import time

from engine.runtime.ports import PermitView
from engine.wire import NodeReport, Outcome, Report, ReportKind
from tests.integration.hotstate.conftest import Faces


def test_a_permit_is_claimed_once(faces: Faces) -> None:
    faces.permit()
    assert faces.claim(nonce="n1") == [True]
    assert faces.claim(nonce="n2") == [False], "a second delivery of the same message"
    assert faces.claim(nonce="n1") == [True], "the same execution, whose first reply was lost"


def test_a_claim_says_of_each_node_whether_it_is_ours(faces: Faces) -> None:
    faces.permit("0:0")
    faces.permit("0:2")
    assert faces.claim("0:0", "0:1", "0:2") == [True, False, True]


def test_a_newer_token_makes_the_older_delivery_stale(faces: Faces) -> None:
    faces.permit(token="old")
    faces.permit(token="new")
    assert faces.claim(token="old") == [False]
    assert faces.claim(token="new") == [True]


def test_only_a_claimed_delivery_has_a_lease(faces: Faces) -> None:
    faces.permit()
    assert faces.claim(token="other") == [False]
    assert faces.scheduler.leases(0) == {}
    faces.claim()
    assert set(faces.scheduler.leases(0)) == {"tok"}


def test_a_body_begins_only_under_its_own_claim(faces: Faces) -> None:
    faces.permit()
    assert not faces.begin(), "published, not claimed"
    faces.claim()
    assert not faces.begin(nonce="n2")
    assert faces.begin()
    assert faces.begin(), "another try of the same body"


def test_nothing_begins_between_revoke_and_begin(faces: Faces) -> None:
    faces.permit()
    faces.claim()
    assert faces.scheduler.revoke_run(0, "r_1") == (float("inf"), [])
    assert not faces.begin()


def test_revoking_a_run_tells_how_long_ago_its_youngest_body_began(faces: Faces) -> None:
    for field in ("0:0", "0:1"):
        faces.permit(field)
    faces.claim("0:0", "0:1")
    faces.begin("0:0")
    time.sleep(0.15)
    faces.begin("0:1")
    youngest_s, begun = faces.scheduler.revoke_run(0, "r_1")
    assert 0 <= youngest_s < 0.15
    assert sorted(begun) == ["0:0", "0:1"]


def test_a_runs_permits_tell_what_was_claimed(faces: Faces) -> None:
    faces.permit("0:0", token="a")
    faces.permit("0:1", token="b")
    faces.claim("0:1", token="b")
    assert faces.scheduler.permits("r_1", faces.epoch) == {
        "0:0": PermitView("a", claimed=False, begun=False),
        "0:1": PermitView("b", claimed=True, begun=False),
    }
    assert faces.scheduler.permits("r_1", "another") == {}


def test_a_flush_refuses_what_was_published_before(faces: Faces) -> None:
    faces.permit("0:0")
    faces.permit("0:1")
    faces.claim("0:1")
    faces.server.flush()
    assert faces.claim("0:0") == [False]
    assert not faces.begin("0:1")


def test_scripts_come_back_after_they_were_flushed(faces: Faces) -> None:
    faces.permit()
    faces.claim()
    faces.server.client.script_flush()
    assert faces.begin()
    _, marker = faces.scheduler.epoch()
    assert faces.scheduler.lead(0, 1, marker)
    faces.server.client.script_flush()
    faces.scheduler.write_permits(faces.epoch, [("r_1", "0:1", "tok"), ("r_2", "0:0", "tok")], (0, 1))
    assert faces.claim("0:1") == [True], "several calls in one round trip too"


def test_a_permit_that_the_append_only_file_brings_back_is_refused(fragile: Faces) -> None:
    fragile.permit("0:0")
    fragile.permit("0:1")
    fragile.claim("0:1")
    time.sleep(1.2)  # the file is synchronised once a second; there is no event to wait on
    fragile.server.restart()
    assert fragile.server.client.hlen("t:permit:r_1") == 2, "both permits came back"
    assert fragile.claim("0:0") == [False]
    assert not fragile.begin("0:1")
    assert fragile.scheduler.epoch()[0] != fragile.epoch
    current = fragile.scheduler.epoch()[0]
    assert fragile.claim("0:0", epoch=current) == [False], "an old permit, even if a delivery claims the new epoch"


def test_a_report_gives_up_its_own_permits_only(faces: Faces) -> None:
    faces.permit("0:0")
    faces.permit("0:1")
    faces.claim("0:0", "0:1")
    faces.permit("0:1", token="newer")
    done = Report(ReportKind.DONE, "tok", "r_1", 0, "w", (NodeReport(0, 1, Outcome.OK, '{"v":1}'),))
    faces.worker.report(0, done, ["0:0", "0:1"])
    assert faces.server.client.hkeys("t:permit:r_1") == [b"0:1"]
    assert "tok" in faces.scheduler.leases(0)
    faces.worker.report(0, done, ["0:0"], last=True)
    assert faces.scheduler.leases(0) == {}


def test_what_became_of_a_dead_workers_nodes_is_known(faces: Faces) -> None:
    for field in ("0:0", "0:1", "0:2"):
        faces.permit(field)
    faces.claim("0:0", "0:1")
    faces.begin("0:0")
    begun, claimed, published, gone = faces.worker.held("r_1", ["0:0", "0:1", "0:2", "0:3"], "tok", faces.epoch)
    assert begun.ours and begun.begun_us is not None
    assert claimed.ours and claimed.begun_us is None
    assert published.ours and published.begun_us is None
    assert not gone.ours
    assert not faces.worker.held("r_1", ["0:0"], "tok", "elsewhere")[0].known


def test_only_nodes_that_have_not_begun_are_taken_back(faces: Faces) -> None:
    for field in ("0:0", "0:1", "0:2"):
        faces.permit(field, token="a")
    faces.permit("0:3", token="b")
    nonce = faces.claim("0:1", token="a") and "n"
    assert nonce
    taken = faces.scheduler.take_back("r_1", ["0:0", "0:1", "0:3", "0:9"], "a")
    assert taken == ["0:0", "0:1"]
    assert set(faces.scheduler.permits("r_1", faces.epoch)) == {"0:2", "0:3"}
