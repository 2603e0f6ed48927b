"""Room at providers over all workers: calls at once, tokens a minute, lost callers, a lost Redis."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
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
    throttle = throttle_of(redis_server, p=Room(2, None))
    yield throttle
    throttle.close()


def test_no_more_calls_are_open_than_a_provider_takes_whoever_makes_them(redis_server: RedisServer) -> None:
    workers = [throttle_of(redis_server, p=Room(3, None)) for _ in range(4)]
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


HOLDER = """
import sys, time
from engine.hotstate.throttle import RedisThrottle, Room
throttle = RedisThrottle(sys.argv[1], "t", {"p": Room(2, None)}, lease_s=1.0)
held = [throttle.admit("p", 1, time.monotonic() + 60, lambda: False) for _ in range(2)]
print("in", flush=True)
sys.stdin.read()
for each in held:
    each.leave(1)
throttle.close()
"""


@contextlib.contextmanager
def holder(server: RedisServer) -> Iterator[subprocess.Popen[str]]:
    """A process that holds both slots until its input ends."""
    command = [sys.executable, "-c", HOLDER, server.url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "in\n"
            yield process
        finally:
            process.kill()


def live(server: RedisServer) -> int:
    return int(server.client.zcount("t:calls:p", redis_ms(server), "+inf"))


def redis_ms(server: RedisServer) -> int:
    seconds, micros = server.client.time()
    return int(seconds * 1000 + micros // 1000)


def test_slots_of_a_killed_worker_are_free_within_their_lease(redis_server: RedisServer) -> None:
    other = RedisThrottle(redis_server.url, "t", {"p": Room(2, None)}, lease_s=1.0)
    with holder(redis_server) as process:
        process.kill()
        process.wait()
        killed_ms = redis_ms(redis_server)
        runs_out = [over_ms for _, over_ms in redis_server.client.zrange("t:calls:p", 0, -1, withscores=True)]
        assert len(runs_out) == 2 and max(runs_out) <= killed_ms + 1000
        for _ in range(2):
            other.admit("p", 1, soon(60), never)
    other.close()


def test_a_call_longer_than_the_lease_keeps_its_slot(redis_server: RedisServer) -> None:
    here, other = (RedisThrottle(redis_server.url, "t", {"p": Room(1, None)}, lease_s=1.0) for _ in range(2))
    call = here.admit("p", 1, soon(), never)
    [(_, first_ms)] = redis_server.client.zrange("t:calls:p", 0, -1, withscores=True)
    until(lambda: redis_ms(redis_server) > first_ms and live(redis_server) == 1, 30, "it outlives its first lease")
    here.renew()
    with pytest.raises(Retryable):
        other.admit("p", 1, soon(0.05), never)
    call.leave(1)
    assert redis_server.client.zcard("t:calls:p") == 0
    here.renew()
    assert redis_server.client.zcard("t:calls:p") == 0, "what has left is not renewed"
    here.close()
    other.close()


def test_calls_of_a_frozen_worker_that_goes_on_count_again(redis_server: RedisServer) -> None:
    other = throttle_of(redis_server, p=Room(2, None))
    with holder(redis_server) as process:
        os.kill(process.pid, signal.SIGSTOP)
        redis_server.client.zremrangebyscore("t:calls:p", "-inf", "+inf")  # as if it had been so for its lease
        entered = [other.admit("p", 1, soon(), never) for _ in range(2)]
        os.kill(process.pid, signal.SIGCONT)
        until(lambda: redis_server.client.zcard("t:calls:p") == 4, 30, "its calls count again")
        for each in entered:
            each.leave(1)
        until(lambda: live(redis_server) == 2, 30, "it renews them")
        with pytest.raises(Retryable):
            other.admit("p", 1, soon(0.05), never)
        process.communicate()
        other.admit("p", 1, soon(), never)
    other.close()


def test_calls_beyond_the_limit_are_told_of(
    redis_server: RedisServer, two: RedisThrottle, caplog: pytest.LogCaptureFixture
) -> None:
    held = [two.admit("p", 1, soon(), never) for _ in range(2)]
    with caplog.at_level(logging.WARNING):
        two.renew()
        assert not caplog.messages
        redis_server.client.zadd("t:calls:p", {held[0].call: 1, "of another": redis_ms(redis_server) + 60_000})
        two.renew()
    assert caplog.messages == ["1 calls at provider p were not renewed in time and count again: 3 of 2 slots in use"]


def test_who_could_not_renew_while_redis_was_away_does_so_before_others_enter(redis_server: RedisServer) -> None:
    here, other = (RedisThrottle(redis_server.url, "t", {"p": Room(1, None)}, lease_s=600.0) for _ in range(2))
    call = here.admit("p", 1, soon(), never)
    redis_server.client.zadd("t:calls:p", {call.call: redis_ms(redis_server) - 1000})
    redis_server.client.hset("t:calltokens:p", "seen", redis_ms(redis_server) - 601_000)
    with pytest.raises(Retryable):
        other.admit("p", 1, soon(0.05), never)
    here.renew()
    assert live(redis_server) == 1
    redis_server.client.zadd("t:calls:p", {call.call: redis_ms(redis_server) - 1000})
    redis_server.client.hset("t:calltokens:p", "spared", redis_ms(redis_server))
    other.admit("p", 1, soon(), never)  # they had their time
    here.close()
    other.close()


def test_a_caller_that_was_ended_from_without_is_not_renewed_for_ever(
    redis_server: RedisServer, two: RedisThrottle
) -> None:
    lost = two.admit("p", 1, soon(), never)
    kept = two.admit("p", 1, soon(), never)
    redis_server.client.delete("t:calls:p")
    del lost
    two.renew()
    assert redis_server.client.zrange("t:calls:p", 0, -1) == [kept.call.encode()]


def test_who_waits_long_says_once_what_for(redis_server: RedisServer) -> None:
    throttle = RedisThrottle(redis_server.url, "t", {"p": Room(2, None), "q": Room(2, 60)}, said_after_s=0.0)
    held = [throttle.admit("p", 1, soon(), never) for _ in range(2)]
    said: list[str] = []
    with pytest.raises(Retryable):
        throttle.admit("p", 1, soon(0.2), never, "", said.append)
    assert said == ["waits for a slot of provider p: 2 of 2 in use"]
    held[0].leave(1)
    throttle.admit("p", 1, soon(), never, "", said.append).leave(1)
    assert len(said) == 1, "who need not wait says nothing"
    with pytest.raises(Retryable):
        throttle.admit("q", 50, soon(0.2), never, "", said.append)
    assert said[1:] == ["waits for tokens of provider q, 60 a minute"]
    throttle.close()


def test_a_provider_without_a_limit_asks_nobody(two: RedisThrottle) -> None:
    two.admit("other", 10**9, soon(), never).leave(None)


def test_tokens_come_back_by_the_minute_and_by_what_was_not_used(redis_server: RedisServer) -> None:
    throttle = throttle_of(redis_server, p=Room(100, 60_000))
    first = throttle.admit("p", 1000, soon(), never)  # a bucket that is not there begins with a second's worth
    first.leave(0)
    assert throttle.admit("p", 900, soon(), never).waited_s < 10
    with pytest.raises(Retryable) as caught:
        throttle.admit("p", 50_000, soon(0.5), never)
    assert caught.value.delay_s is not None and 10 < caught.value.delay_s < 60
    throttle.close()


def test_a_call_above_a_minutes_tokens_is_not_locked_out_for_ever(redis_server: RedisServer) -> None:
    throttle = throttle_of(redis_server, p=Room(10, 6_000_000))
    redis_server.client.hset("t:calltokens:p", mapping={"tokens": "6000000", "at_ms": str(int(time.time() * 1000))})
    throttle.admit("p", 7_000_000, soon(), never).leave(7_000_000)
    throttle.close()


def test_nobody_enters_while_redis_is_away_and_calls_go_on_after(fragile_redis: RedisServer) -> None:
    throttle = throttle_of(fragile_redis, p=Room(1, None))
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
    throttle = throttle_of(redis_server, p=Room(1, 60_000))
    for opened in (1, 1):
        assert throttle._enter("p", "the same call", Room(1, 60_000), 600) == (1, 0, 0, opened)
    throttle.leave("p", "the same call", 600)
    throttle.admit("p", 600, soon(), never).leave(600)
    throttle.close()


def test_a_model_that_wants_to_be_left_alone_is_left_alone_by_all(redis_server: RedisServer) -> None:
    first, second = (throttle_of(redis_server, p=Room(9, None)) for _ in range(2))
    first.admit("p", 1, soon(), never, "m").leave(0, alone_s=30.0)
    with pytest.raises(Retryable, match="p asked to be left alone with m") as caught:
        second.admit("p", 1, soon(1.0), never, "m")
    assert caught.value.delay_s is not None and 20 < caught.value.delay_s <= 30
    first.admit("p", 1, soon(), never, "m2").leave(0, alone_s=0.2)
    assert second.admit("p", 1, soon(), never, "another").waited_s < 10
    assert second.admit("p", 1, soon(), never, "m2").waited_s > 0.05
    first.close()
    second.close()
