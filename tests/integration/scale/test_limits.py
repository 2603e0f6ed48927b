"""Pools and rates hold over all workers, whatever is killed or emptied meanwhile."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest
from sqlalchemy import select

from engine.store.writing import ATTEMPT
from tests.integration.scale.conftest import Make
from tests.integration.scale.installation import Installation
from tests.services.redis import RedisServer

_LEASES = {"worker_lease_s": 2.0, "heartbeat_s": 0.4}


class Spans:
    """When bodies began and ended, as they wrote it; one that has no end was killed with its process."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.killed_at: dict[int, float] = {}

    def lines(self) -> list[list[str]]:
        return [line.split() for line in self.file.read_text().splitlines()] if self.file.exists() else []

    def begun(self) -> int:
        return sum(line[0] == "begin" for line in self.lines())

    def begins(self) -> list[float]:
        return sorted(float(line[1]) for line in self.lines() if line[0] == "begin")

    def most_at_once(self) -> int:
        ends = {tuple(line[2:]): float(line[1]) for line in self.lines() if line[0] == "end"}
        moments: list[tuple[float, int]] = []
        for what, at, *name in self.lines():
            if what == "begin":
                end = ends.get(tuple(name))
                moments += [(float(at), 1), (self.killed_at[int(name[2])] if end is None else end, -1)]
        running = most = 0
        for _, change in sorted(moments):
            running += change
            most = max(most, running)
        return most


def _disturb(installation: Installation, server: RedisServer, spans: Spans, nodes: int) -> None:
    """Kill a worker after a quarter of the nodes and start another; empty Redis after half of them."""
    victim = next(each for each in installation.processes if "worker" in each.log.name)
    installation.wait(lambda: spans.begun() >= nodes // 4)
    pids = [victim.pid, *(child.pid for child in psutil.Process(victim.pid).children())]
    victim.kill()
    spans.killed_at = dict.fromkeys(pids, time.monotonic())
    installation.worker(slots=8)
    installation.wait(lambda: spans.begun() >= nodes // 2)
    server.flush()


def test_a_pool_of_four_is_never_exceeded(
    make: Make, redis_server: RedisServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    installation, spans = make(pools={"db": 4}, **_LEASES), Spans(tmp_path / "spans")
    installation.scheduler()
    installation.worker(slots=8)
    installation.worker(slots=8)
    installation.ready()
    arguments = {"file": str(spans.file), "sleep_s": 0.1}
    run_id = installation.submit(
        {"many": {"task": "scale.span", "for_each": list(range(64)), "with": arguments, "pools": ["db"]}}
    )
    _disturb(installation, redis_server, spans, 64)
    view = installation.client.wait(run_id, 60)
    assert view.state.value == "succeeded", view.reason
    assert installation.client.audit(run_id) == []
    with capsys.disabled():
        repeated = spans.begun() - 64
        print(f"\n  pool of 4: at most {spans.most_at_once()} of 64 nodes at once; {repeated} bodies began twice")
    assert spans.most_at_once() == 4


def _over_the_rate(times: Sequence[float], per_s: float) -> float:
    """By how much the most crowded interval exceeds ``per_s``: the burst that was used."""
    worst = 0.0
    for first in range(len(times)):
        for last in range(first, len(times)):
            worst = max(worst, (last - first + 1) - (times[last] - times[first]) * per_s)
    return worst


def test_a_rate_is_kept_within_its_burst(
    make: Make, redis_server: RedisServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    installation, spans = make(rate_limits={"scale.span": "20/s:5"}, **_LEASES), Spans(tmp_path / "spans")
    installation.scheduler()
    installation.worker(slots=8)
    installation.worker(slots=8)
    installation.ready()
    arguments = {"file": str(spans.file), "sleep_s": 0.01}
    started = time.monotonic()
    run_id = installation.submit({"many": {"task": "scale.span", "for_each": list(range(120)), "with": arguments}})
    _disturb(installation, redis_server, spans, 120)
    view = installation.client.wait(run_id, 60)
    assert view.state.value == "succeeded", view.reason
    assert installation.client.audit(run_id) == []
    with installation.client.store.database.reading("read the dispatches") as connection:
        at = select(ATTEMPT.c.dispatched_at).where(ATTEMPT.c.run_id == run_id).order_by(ATTEMPT.c.dispatched_at)
        dispatched = [float(moment) for moment in connection.scalars(at)]
    burst = _over_the_rate(dispatched, 20)
    with capsys.disabled():
        seconds = time.monotonic() - started
        print(
            f"\n  rate 20/s, burst 5: {len(dispatched)} dispatched in {seconds:.1f} s; over the rate at most "
            f"{burst:.1f}, bodies' beginnings {_over_the_rate(spans.begins(), 20):.1f}"
        )
    assert burst <= 6.0  # 5, and one for the millisecond in which a token is granted
