"""When a worker that is up counts as no longer working."""

from __future__ import annotations

import time
from typing import Any

from engine.errors import Unavailable
from engine.runtime.ports import WorkerInfo
from engine.runtime.worker.watch import Watch


class _Celery:
    """As much of a Celery worker as the watch asks for."""

    def __init__(self) -> None:
        self.count, self.age_s, self.busy = 0, 0.0, 0

    def active(self) -> list[dict[str, Any]]:
        return [{"token": str(number), "shard": 0} for number in range(self.busy)]

    def accepted(self) -> int:
        return self.count

    def beat_age_s(self) -> float:
        return self.age_s


class _Redis:
    """A Redis that can be away."""

    def __init__(self) -> None:
        self.queued, self.away = 0, False

    def announce(self, *_: Any) -> set[str]:
        if self.away:
            raise Unavailable("away")
        return set()

    def told_to_drain(self, _: str) -> bool:
        return False

    def waiting(self, _: Any) -> int:
        return self.queued


class _Bench:
    def __init__(self) -> None:
        self.celery, self.redis = _Celery(), _Redis()
        self.reasons: list[str] = []
        info = WorkerInfo("w", ("cpu",), 2)
        self.watch = Watch(
            self.celery,  # type: ignore[arg-type]
            self.redis,  # type: ignore[arg-type]
            info,
            1.0,
            5.0,
            self.reasons.append,
            stuck_s=0.02,
        )

    def look_twice(self) -> None:
        self.watch.look()
        time.sleep(0.03)
        self.watch.look()


def test_idling_before_a_full_queue_is_not_working() -> None:
    bench = _Bench()
    bench.redis.queued = 3
    bench.look_twice()
    assert len(bench.reasons) == 1
    assert "3 messages" in bench.reasons[0]


def test_an_empty_queue_full_slots_or_moving_work_is_fine() -> None:
    for queued, busy, moves in ((0, 0, 0), (3, 2, 0), (3, 1, 1)):
        bench = _Bench()
        bench.redis.queued, bench.celery.busy = queued, busy
        bench.watch.look()
        time.sleep(0.03)
        bench.celery.count += moves
        bench.watch.look()
        assert bench.reasons == []


def test_a_standing_main_loop_is_not_working_unless_redis_was_away() -> None:
    bench = _Bench()
    bench.celery.age_s = 60.0
    bench.look_twice()
    assert "stood still" in bench.reasons[0]
    bench = _Bench()
    bench.celery.age_s = 60.0
    bench.watch.look()
    bench.redis.away = True
    time.sleep(0.03)
    bench.watch.look()
    bench.redis.away = False
    bench.watch.look()
    assert bench.reasons == []
