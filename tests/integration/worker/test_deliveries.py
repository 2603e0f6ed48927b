"""Which deliveries a worker runs, and how an `external` body gets its leave."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from engine.wire import Outcome, ReportKind
from tests.services.worker import Bench


def test_a_delivery_that_comes_twice_runs_once(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "marks"
    delivery = bench.delivery("t.sleep", {"file": str(file), "sleep_s": 0.3})
    bench.send(delivery)
    bench.publisher.publish([delivery, delivery])
    bench.start(slots=3)
    bench.ended(delivery)
    bench.wait(lambda: not any(bench.hot.queue_lengths(["cpu"]).values()))
    bench.run("t.echo")  # whatever was taken up before it has ended or was dropped
    assert file.read_text() == "s\n"


def test_stale_and_unpermitted_deliveries_are_dropped(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "marks"
    old = bench.delivery("t.sleep", {"file": str(file)})
    new = replace(old, token="00000000-0000-4000-8000-000000000000")
    elsewhere = bench.delivery("t.sleep", {"file": str(file)}, run_id="r_2", epoch="f" * 40)
    bench.send(old, elsewhere)
    bench.send(new)
    bench.publisher.publish([bench.delivery("t.sleep", {"file": str(file)}, run_id="r_3")])
    bench.start()
    bench.ended(new)
    bench.run("t.echo", run_id="r_4")
    assert file.read_text() == "s\n"
    assert {report.token for report in bench.seen} & {old.token, elsewhere.token} == set()


def test_a_permit_that_a_restart_brought_back_runs_nothing(fragile_bench: Bench, tmp_path: Path) -> None:
    bench, file = fragile_bench, tmp_path / "marks"
    bench.send(bench.delivery("t.sleep", {"file": str(file)}))
    bench.server.client.bgrewriteaof()
    bench.wait(lambda: bench.server.client.info("persistence")["aof_rewrite_in_progress"] == 0)
    bench.server.restart()
    assert bench.server.client.hlen("t:permit:r_1") == 1
    assert bench.hot.queue_lengths(["cpu"]) == {"cpu": 1}
    bench.start()
    bench.run("t.echo", run_id="r_2")
    assert not file.exists()


def test_revoked_nodes_of_a_chunk_never_begin(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "marks"
    bench.start()
    delivery = bench.delivery("t.sleep", {"file": str(file), "sleep_s": 0.4}, nodes=3)
    bench.send(delivery)
    bench.report(ReportKind.BEGUN)
    assert bench.hot.revoke_run(0, "r_1")[0] < 5
    bench.run("t.echo", run_id="r_2")
    assert file.read_text() == "s[0]\n"


@pytest.mark.parametrize("allowed", [True, False])
def test_an_external_body_waits_for_its_grant(bench: Bench, tmp_path: Path, allowed: bool) -> None:
    file = tmp_path / "marks"
    bench.start()
    delivery = bench.delivery("t.mark", {"file": str(file)}, effects="external")
    bench.send(delivery)
    asking = bench.report(ReportKind.BEGIN)
    assert (asking.token, asking.nodes[0].item, asking.nodes[0].attempt) == (delivery.token, 0, 1)
    assert not file.exists()
    bench.hot.grant(delivery.token, allowed)
    [report] = bench.ended(delivery)
    assert report.outcome is (Outcome.OK if allowed else Outcome.NOT_BEGUN)
    assert file.exists() is allowed
    assert bench.server.client.exists(f"t:grant:{delivery.token}") == 0


def test_an_external_body_without_an_answer_never_begins(bench: Bench, tmp_path: Path) -> None:
    bench.start()
    report = bench.run("t.mark", {"file": str(tmp_path / "marks")}, effects="external")
    assert report.outcome is Outcome.NOT_BEGUN
    assert not (tmp_path / "marks").exists()


def test_a_granted_body_whose_permit_went_meanwhile_never_begins(bench: Bench, tmp_path: Path) -> None:
    bench.start()
    delivery = bench.delivery("t.mark", {"file": str(tmp_path / "marks")}, effects="external")
    bench.send(delivery)
    bench.report(ReportKind.BEGIN)
    bench.hot.revoke_run(0, "r_1")
    bench.hot.grant(delivery.token, True)
    bench.run("t.echo", run_id="r_2")
    assert not (tmp_path / "marks").exists()


def test_a_task_type_nobody_knows_fails_at_once(bench: Bench) -> None:
    bench.start()
    report = bench.run("t.unheard_of")
    assert report.outcome is Outcome.FAILED
    assert report.error is not None and report.error.retryable is False
    assert "FLYWHEEL_TASK_MODULES" in report.error.message


def test_a_message_that_is_no_delivery_harms_nobody(bench: Bench) -> None:
    worker = bench.start()
    bench.publisher._app.send_task("t.echo", kwargs={"delivery": {"token": 1}}, queue="cpu")
    bench.publisher._app.send_task("t.echo", args=[1, 2], queue="cpu")
    assert bench.run("t.echo").outcome is Outcome.OK
    assert worker.process.poll() is None
