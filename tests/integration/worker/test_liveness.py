"""A worker that is up and does nothing, for real: Celery on Redis has stopped consuming more than once."""

from __future__ import annotations

import pytest

from engine.wire import Outcome
from tests.services.worker import Bench

_IMPATIENT = "import engine.runtime.worker.watch as watch; watch.STUCK_S = 1.0; "


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_worker_that_stopped_consuming_asks_to_be_replaced(bench: Bench, pool: str) -> None:
    worker = bench.start(pool, before=_IMPATIENT)
    assert bench.run("t.echo").outcome is Outcome.OK
    control = bench.publisher._app.control
    [reply] = control.cancel_consumer("cpu", reply=True, timeout=5, limit=1)
    assert "no longer consuming from cpu" in str(reply)
    waiting = bench.delivery("t.echo", run_id="r_2")
    bench.send(waiting)
    assert worker.process.wait(15) == 75
    assert "1 messages waited" in worker.said()
    assert bench.hot.queue_lengths(["cpu"]) == {"cpu": 1}, "and left it to its successor"
    bench.start(pool)
    assert [node.outcome for node in bench.ended(waiting)] == [Outcome.OK]


def test_an_idle_worker_and_a_busy_one_are_left_alone(bench: Bench) -> None:
    worker = bench.start(before=_IMPATIENT)
    held = bench.delivery("t.sleep", {"sleep_s": 3})
    behind = bench.delivery("t.echo", run_id="r_2")
    bench.send(held, behind)  # its only slot is taken, so that one waits for longer than it may idle
    assert [node.outcome for node in bench.ended(behind)] == [Outcome.OK]
    stamp = bench.server.client.time()[0]
    bench.wait(lambda: bench.server.client.time()[0] > stamp + 2)  # its queue is empty for as long
    assert bench.run("t.echo", run_id="r_3").outcome is Outcome.OK
    assert worker.process.poll() is None
