"""Room at providers over all workers: calls at once, tokens a minute, lost callers, a lost Redis."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from engine.errors import Cancelled, Retryable
from engine.hotstate.throttle import RedisThrottle, Room
from tests.services.redis import RedisServer
from tests.services.stack import until


def throttle_of(server: RedisServer, **rooms: Room) -> RedisThrottle:
    return RedisThrottle(server.url, "t", rooms)


def soon(seconds: float = 20.0) -> float:
    return time.monotonic() + seconds


def never() -> bool:
    return False


@pytest.fixture
def two(redis_server: RedisServer) -> Iterator[RedisThrottle]:
    throttle = throttle_of(redis_server, p=Room(2, None, 60.0))
    yield throttle
    throttle.close()


def test_no_more_calls_are_open_than_a_provider_takes_whoever_makes_them(redis_server: RedisServer) -> None:
    workers = [throttle_of(redis_server, p=Room(3, None, 60.0)) for _ in range(4)]
    lock, open_now, peak = threading.Lock(), 0, 0

    def call(worker: RedisThrottle) -> None:
        nonlocal open_now, peak
        for _ in range(10):
            admission = worker.admit("p", 1, soon(), never)
            with lock:
                open_now += 1
                peak = max(peak, open_now)
            time.sleep(0.001)
            with lock:
                open_now -= 1
            admission.leave(1)

    threads = [threading.Thread(target=call, args=(worker,)) for worker in workers for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for worker in workers:
        worker.close()
    assert peak == 3


def test_who_finds_no_room_in_time_is_told_to_come_back(two: RedisThrottle) -> None:
    for _ in range(2):
        two.admit("p", 1, soon(), never)
    with pytest.raises(Retryable, match="p has no room: 2 calls at once") as caught:
        two.admit("p", 1, soon(0.05), never)
    assert caught.value.delay_s is not None


def test_who_waits_hears_a_stop(two: RedisThrottle) -> None:
    for _ in range(2):
        two.admit("p", 1, soon(), never)
    asked = iter([False, False])
    with pytest.raises(Cancelled):
        two.admit("p", 1, soon(), lambda: next(asked, True))


def test_a_call_whose_worker_died_is_forgotten(redis_server: RedisServer) -> None:
    throttle = throttle_of(redis_server, p=Room(1, None, -29.95))  # with its grace a twentieth of a second
    throttle.admit("p", 1, soon(), never)
    throttle.admit("p", 1, soon(), never)
    throttle.close()


def test_a_provider_without_a_limit_asks_nobody(two: RedisThrottle) -> None:
    two.admit("other", 10**9, soon(), never).leave(None)


def test_tokens_come_back_by_the_minute_and_by_what_was_not_used(redis_server: RedisServer) -> None:
    throttle = throttle_of(redis_server, p=Room(100, 60_000, 60.0))
    first = throttle.admit("p", 1000, soon(), never)  # a bucket that is not there begins with a second's worth
    first.leave(0)
    assert throttle.admit("p", 900, soon(), never).waited_s < 10
    with pytest.raises(Retryable) as caught:
        throttle.admit("p", 50_000, soon(0.5), never)
    assert caught.value.delay_s is not None and 10 < caught.value.delay_s < 60
    throttle.close()


def test_a_call_above_a_minutes_tokens_is_not_locked_out_for_ever(redis_server: RedisServer) -> None:
    throttle = throttle_of(redis_server, p=Room(10, 6_000_000, 60.0))
    redis_server.client.hset("t:calltokens:p", mapping={"tokens": "6000000", "at_ms": str(int(time.time() * 1000))})
    throttle.admit("p", 7_000_000, soon(), never).leave(7_000_000)
    throttle.close()


def test_nobody_enters_while_redis_is_away_and_calls_go_on_after(fragile_redis: RedisServer) -> None:
    throttle = throttle_of(fragile_redis, p=Room(1, None, 60.0))
    throttle.admit("p", 1, soon(), never)
    fragile_redis.kill()
    with pytest.raises(Retryable, match="nobody can tell whether p has room"):
        throttle.admit("p", 1, soon(0.1), never)
    entered: list[float] = []
    waiting = threading.Thread(target=lambda: entered.append(throttle.admit("p", 1, soon(60), never).waited_s))
    waiting.start()
    fragile_redis.forget()
    fragile_redis.start()
    until(lambda: entered, 30, "the one who waits enters once Redis is back, emptied")
    waiting.join()
    throttle.close()


def test_a_call_whose_reply_was_lost_does_not_wait_for_itself(redis_server: RedisServer) -> None:
    throttle = throttle_of(redis_server, p=Room(1, 60_000, 60.0))
    for _ in range(2):
        assert throttle._enter("p", "the same call", Room(1, 60_000, 60.0), 600) == (1, 0, 0)
    throttle.leave("p", "the same call", 600)
    throttle.admit("p", 600, soon(), never).leave(600)
    throttle.close()


def test_a_model_that_wants_to_be_left_alone_is_left_alone_by_all(redis_server: RedisServer) -> None:
    first, second = (throttle_of(redis_server, p=Room(9, None, 60.0)) for _ in range(2))
    first.admit("p", 1, soon(), never, "m").leave(0, alone_s=30.0)
    with pytest.raises(Retryable, match="p asked to be left alone with m") as caught:
        second.admit("p", 1, soon(1.0), never, "m")
    assert caught.value.delay_s is not None and 20 < caught.value.delay_s <= 30
    first.admit("p", 1, soon(), never, "m2").leave(0, alone_s=0.2)
    assert second.admit("p", 1, soon(), never, "another").waited_s < 10
    assert second.admit("p", 1, soon(), never, "m2").waited_s > 0.05
    first.close()
    second.close()
