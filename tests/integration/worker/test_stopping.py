"""How long workers and their children take to end when nothing holds them up."""

from __future__ import annotations

import itertools
import time

import orjson
import pytest

from engine.wire import Outcome, ReportKind
from tests.services.worker import Bench


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_an_idle_worker_stops_at_once(bench: Bench, pool: str) -> None:
    worker = bench.start(pool, slots=2)
    bench.run("t.echo")
    started = time.monotonic()
    assert worker.terminate() == 0
    took_s = time.monotonic() - started
    print(f"an idle {pool} worker stopped after {took_s:.2f} s")
    assert took_s < 1.5, "any of the waits that were in the way makes it more, a busy machine does not"
    assert bench.hot.workers() == []


def test_a_child_that_did_its_share_is_replaced_without_a_loss(bench: Bench) -> None:
    count = 1_100
    deliveries = [bench.delivery("t.facts", run_id=f"r_{number}") for number in range(count)]
    bench.send(*deliveries)
    bench.start(slots=1, before="import engine.broker.app as app; app.CHILD_MESSAGES = 1_000; ")

    def done() -> int:
        return sum(report.kind is ReportKind.DONE for report in bench.read())

    bench.wait(lambda: done() >= count, 60)
    nodes = [report.nodes[0] for report in bench.seen]
    assert {node.outcome for node in nodes} == {Outcome.OK}
    assert len({orjson.loads(node.result or "")["v"]["pid"] for node in nodes}) == 2
    times = sorted(node.ended_at or 0.0 for node in nodes)
    pause_s = max(later - sooner for sooner, later in itertools.pairwise(times))
    print(f"the longest pause between two results was {pause_s:.2f} s")
