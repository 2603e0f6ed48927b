"""A last report whose answer is read later: it is with Redis all the same, or is sent again."""

from __future__ import annotations

import pytest

from engine.errors import Unavailable
from engine.wire import NodeReport, Outcome, Report, ReportKind
from tests.integration.hotstate.conftest import Faces

_REPORT = Report(ReportKind.DONE, "tok", "r_1", 0, "w", (NodeReport(0, 1, Outcome.OK, '{"v":1}'),))


def _stored(faces: Faces) -> int:
    return len(faces.scheduler.read_reports(0, "0", 10, 0))


def test_a_report_arrives_before_its_answer_is_read(faces: Faces) -> None:
    faces.permit()
    faces.claim("0:0")
    faces.worker.report(0, _REPORT)  # Redis knows the script from now on
    read = faces.worker.report_unread(0, _REPORT, ["0:0"])
    assert [report.token for _, report in faces.scheduler.read_reports(0, "0", 10, 1000) if report] == ["tok"] * 2
    read()
    assert not faces.scheduler.permits("r_1", faces.epoch)
    assert not faces.scheduler.leases(0)


def test_a_redis_that_forgot_the_script_is_told_again(faces: Faces) -> None:
    faces.server.client.script_flush()
    read = faces.worker.report_unread(0, _REPORT, ["0:0"])
    with pytest.raises(Unavailable):
        read()
    assert _stored(faces) == 0
    faces.worker.report(0, _REPORT, ["0:0"], last=True)
    faces.worker.report_unread(0, _REPORT, ["0:0"])()
    assert _stored(faces) == 2


def test_a_connection_that_was_lost_is_replaced(faces: Faces) -> None:
    faces.worker.report(0, _REPORT)
    faces.worker.report_unread(0, _REPORT, [])()
    faces.server.client.client_kill_filter(_type="normal", skipme=True)
    with pytest.raises(Unavailable):
        faces.worker.report_unread(0, _REPORT, [])()
    faces.worker.report_unread(0, _REPORT, [])()
