"""What one attempt reports, on a real prefork worker."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from engine.artefacts.store import ArtefactStore
from engine.artefacts.values import unpack
from engine.runtime.worker.reports import BATCH_S
from engine.wire import NodeReport, Outcome, ReportKind, RetryRule
from settings import MASK
from tests.integration.worker.conftest import settings_for
from tests.services.redis import RedisServer
from tests.services.worker import Bench


@pytest.fixture(scope="module")
def shared(_shared_redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    patch = pytest.MonkeyPatch()
    patch.setenv("FLYWHEEL_SECRET_API_KEY", "swordfish-7/&")
    made = Bench(_shared_redis, settings_for(_shared_redis, tmp_path_factory.mktemp("w")))
    made.start(slots=2)
    yield made
    made.close()
    patch.undo()


def _result(report: NodeReport) -> object:
    assert report.outcome is Outcome.OK, report
    assert report.result is not None
    return orjson.loads(report.result)["v"]


def test_a_result_comes_back_with_its_times(shared: Bench) -> None:
    report = shared.run("t.echo", {"value": {"a": [1, "ü", None]}})
    assert _result(report) == {"a": [1, "ü", None]}
    assert report.begun_at is not None and report.ended_at is not None
    assert 0 <= report.ended_at - report.begun_at < 1
    assert abs(time.time() - report.ended_at) < 5


def test_templates_are_rendered_from_what_the_delivery_carries(shared: Bench) -> None:
    value = {"map": {"inputs": {"v": {"n": 3}}, "steps": {"map": {}}, "run": {"v": {"id": "r_1"}}}}
    report = shared.run("t.echo", {"value": ["{{ inputs.n }}", "n={{ inputs.n }} of {{ run.id }}"]}, shared=value)
    assert _result(report) == [3, "n=3 of r_1"]


def test_a_body_knows_where_it_runs(shared: Bench) -> None:
    facts = _result(shared.run("t.facts"))
    assert isinstance(facts, dict)
    assert (facts["run"], facts["node"], facts["key"]) == ("r_1", "s", "r_1:s")


@pytest.mark.parametrize(
    ("how", "error_type", "retryable", "delay_s"),
    [
        ("permanent", "Permanent", False, None),
        ("retryable", "Retryable", True, 7),
        ("plain", "ValueError", None, None),
        ("exit", "SystemExit", None, None),
        ("interrupt", "KeyboardInterrupt", None, None),
    ],
)
def test_whatever_a_body_raises_is_an_outcome(
    shared: Bench, how: str, error_type: str, retryable: bool | None, delay_s: float | None
) -> None:
    children = shared.workers[0].children()
    report = shared.run("t.fail", {"how": how})
    assert report.outcome is Outcome.FAILED
    assert report.error is not None
    assert (report.error.type, report.error.retryable, report.error.delay_s) == (error_type, retryable, delay_s)
    assert report.error.traceback is not None
    assert "bodies.py" in report.error.traceback
    assert "/engine/" not in report.error.traceback, "only the author's own frames"
    assert shared.workers[0].children() == children, "no child died of it"


def test_inputs_that_do_not_fit_fail_for_good(shared: Bench) -> None:
    report = shared.run("t.big", {"count": "many"})
    assert report.outcome is Outcome.FAILED
    assert report.error is not None
    assert report.error.retryable is False
    assert "count" in report.error.message
    assert report.begun_at is None, "the body never began"


def test_results_that_are_no_data_or_too_large_fail_for_good(shared: Bench) -> None:
    for task, with_, told in (("t.nan", {}, "t.nan"), ("t.big", {"count": 33 << 20}, "FLYWHEEL_RESULT_LIMIT_BYTES")):
        report = shared.run(task, with_)
        assert report.outcome is Outcome.FAILED
        assert report.error is not None
        assert report.error.retryable is False
        assert told in report.error.message


def test_a_large_result_travels_as_an_artefact(shared: Bench) -> None:
    report = shared.run("t.big", {"count": 100_000})
    assert report.result is not None and len(report.result) < 200
    assert unpack(orjson.loads(report.result), ArtefactStore(shared.settings.artefact_url)) == "x" * 100_000


def test_inputs_that_cannot_be_fetched_are_not_the_bodys_fault(shared: Bench) -> None:
    report = shared.run("t.echo", shared={"ref": "0" * 64, "bytes": 1})
    assert report.outcome is Outcome.INFRASTRUCTURE
    assert report.begun_at is None


def test_secrets_are_resolved_here_and_seen_nowhere(shared: Bench) -> None:
    secret = "swordfish-7/&"
    report = shared.run("t.secret", {"key": "secret://api_key"})
    assert _result(report) == {"length": len(secret), "data": ""}
    assert MASK in report.log[0]
    report = shared.run("t.secret", {"key": "secret://api_key", "data": "raise"})
    assert report.error is not None
    told = repr(report)
    assert MASK in told
    assert "swordfish" not in told, "neither the value nor what stands after `password`"
    assert "swordfish" not in shared.workers[0].said()


def test_data_that_looks_like_a_secret_reference_stays_data(shared: Bench) -> None:
    value = {"map": {"inputs": {"v": {"evil": "secret://api_key"}}, "steps": {"map": {}}, "run": {"v": {}}}}
    assert _result(shared.run("t.echo", {"value": "{{ inputs.evil }}"}, shared=value)) == "secret://api_key"


def test_a_secret_that_is_not_there_says_what_to_set(shared: Bench) -> None:
    report = shared.run("t.secret", {"key": "secret://other"})
    assert report.error is not None
    assert "FLYWHEEL_SECRET_OTHER" in report.error.message


def test_log_lines_come_with_the_report_and_are_bounded(shared: Bench) -> None:
    report = shared.run("t.log", {"lines": 3})
    assert ["number=0" in report.log[0], "warning end" in report.log[3], report.progress] == [True, True, 0.5]
    report = shared.run("t.log", {"lines": 5000})
    assert len(report.log) <= 1001
    assert "lines were dropped" in report.log[-1]


def test_a_long_body_is_seen_while_it_runs(shared: Bench) -> None:
    shared.seen.clear()
    delivery = shared.delivery("t.log", {"lines": 2, "sleep_s": 1.6})
    shared.send(delivery)
    begun = shared.report(ReportKind.BEGUN)
    assert (begun.token, begun.nodes[0].item) == (delivery.token, 0)
    progress = shared.report(ReportKind.PROGRESS)
    assert len(progress.nodes[0].log) == 2 and progress.nodes[0].progress == 0.5
    [report] = shared.ended(delivery)
    assert len(report.log) == 1, "only what was not sent before"


@pytest.mark.parametrize("task", ["t.sleep", "t.stubborn", "t.async_sleep"])
def test_a_body_over_its_time_is_interrupted(shared: Bench, task: str) -> None:
    report = shared.run(task, {"sleep_s": 30}, timeout_s=0.2)
    assert report.outcome is Outcome.TIMED_OUT


def test_each_body_of_a_chunk_has_its_own_time(shared: Bench) -> None:
    delivery = shared.delivery("t.sleep", {"sleep_s": 0.15}, nodes=3, timeout_s=0.3)
    shared.send(delivery)
    assert [node.outcome for node in shared.ended(delivery)] == [Outcome.OK] * 3


def test_an_async_body_runs_and_is_cancelled_when_told_to_stop(shared: Bench) -> None:
    assert _result(shared.run("t.async_sleep", {"sleep_s": 0})) == "slept"
    for task, with_ in (("t.async_sleep", {"sleep_s": 30}), ("t.until_stopped", {})):
        shared.seen.clear()
        delivery = shared.delivery(task, with_)
        shared.send(delivery)
        shared.report(ReportKind.BEGUN)
        shared.hot.stop([delivery.token])
        [report] = shared.ended(delivery)
        assert report.outcome is Outcome.CANCELLED


def test_short_retries_happen_here_and_each_failed_try_is_told(shared: Bench, tmp_path: Path) -> None:
    rule = RetryRule((0.01, 0.01), 1.0)
    report = shared.run("t.flaky", {"file": str(tmp_path / "a"), "fails": 2}, retry=rule)
    assert _result(report) == 3
    assert [each.error.message for each in report.tries] == ["try 1", "try 2"]
    report = shared.run("t.flaky", {"file": str(tmp_path / "b"), "fails": 9}, retry=rule)
    assert report.outcome is Outcome.FAILED
    assert report.error is not None and report.error.message == "try 3"
    assert len(report.tries) == 2


def test_retries_that_are_not_ours_go_back_to_the_scheduler(shared: Bench, tmp_path: Path) -> None:
    for number, rule in enumerate((RetryRule((2.0,), 1.0), RetryRule((0.01,), 1.0, ("TypeError",)))):
        report = shared.run("t.flaky", {"file": str(tmp_path / str(number)), "fails": 9}, retry=rule)
        assert (report.outcome, report.tries) == (Outcome.FAILED, ())
    report = shared.run("t.fail", {"how": "permanent"}, retry=RetryRule((0.01,), 1.0))
    assert report.tries == ()


def test_a_chunk_runs_in_order_and_is_reported_in_few_entries(shared: Bench) -> None:
    shared.seen.clear()
    delivery = shared.delivery("t.echo", {"value": "{{ item }}"}, nodes=50)
    began = time.monotonic()
    shared.send(delivery)
    assert [_result(node) for node in shared.ended(delivery)] == list(range(50))
    took_s = time.monotonic() - began
    reports = [report for report in shared.seen if report.token == delivery.token]
    assert len(reports) <= min(49, 2 + took_s / BATCH_S)  # one as often as a batch is due, and the last
    assert shared.hot.leases(0) == {}
    assert shared.server.client.exists("t:permit:r_1") == 0


@pytest.mark.parametrize("task", ["t.frames", "t.async_frames"])
def test_at_most_six_frames_of_ours_stand_under_a_body(shared: Bench, task: str) -> None:
    for timeout_s in (None, 5.0):
        frames = _result(shared.run(task, timeout_s=timeout_s))
        assert isinstance(frames, list)
        first = next(index for index, frame in enumerate(frames) if frame.endswith("pipeline.py:run"))
        ours = [frame for frame in frames[first:] if "/engine/" in frame]
        assert len(ours) <= 6, ours
