"""When a worker takes up a message that no slot is free for yet, and that it does so seldom."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from engine.wire import Delivery, ReportKind
from tests.services.worker import Bench


def _waiting(bench: Bench) -> int:
    return bench.hot.queue_lengths(["cpu"])["cpu"]


def _asks(bench: Bench) -> bool:
    """Whether the worker waits for a message."""
    clients = cast("list[dict[str, str]]", bench.server.client.client_list())
    return any(client["cmd"] == "brpop" and "b" in client["flags"] for client in clients)


def _slow(bench: Bench, file: Path, run_id: str, lasts_s: float | None) -> Delivery:
    return bench.delivery("t.sleep", {"file": str(file), "sleep_s": 1.5}, run_id=run_id, lasts_s=lasts_s)


def test_the_next_message_is_taken_up_when_what_runs_is_about_to_end(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "marks"
    bench.start()
    first, second = _slow(bench, file, "r_1", 0.5), bench.delivery("t.echo", run_id="r_2")
    bench.send(first, second)
    bench.wait(lambda: not _waiting(bench))
    assert not any(report.kind is ReportKind.DONE for report in bench.read())  # the slot is not free yet
    assert file.read_text() == "s\n"
    bench.ended(first)
    bench.ended(second)


def test_a_message_waits_in_redis_while_nobody_knows_how_long_what_runs_takes(bench: Bench, tmp_path: Path) -> None:
    bench.start()
    first, second = _slow(bench, tmp_path / "marks", "r_1", None), bench.delivery("t.echo", run_id="r_2")
    bench.send(first, second)
    bench.report(ReportKind.BEGUN)
    assert _waiting(bench) == 1
    bench.ended(first)
    bench.ended(second)


def test_a_worker_whose_body_is_overdue_asks_for_nothing(bench: Bench, tmp_path: Path) -> None:
    bench.start()
    bench.wait(lambda: _asks(bench))
    first, second = _slow(bench, tmp_path / "marks", "r_1", 0.05), bench.delivery("t.echo", run_id="r_2")
    bench.send(first)
    bench.report(ReportKind.BEGUN)  # after 0.2 s
    bench.wait(lambda: not _asks(bench))
    assert not any(report.kind is ReportKind.DONE for report in bench.read())
    bench.send(second)
    assert _waiting(bench) == 1
    bench.ended(first)
    bench.ended(second)
