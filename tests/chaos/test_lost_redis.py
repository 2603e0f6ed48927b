"""Redis killed, emptied, frozen or cut off, and messages that come twice, while a run works."""

from __future__ import annotations

import os
import signal

import pytest

from engine.errors import Unavailable
from engine.hotstate.keys import Keys
from tests.chaos.runs import Disturbed, Ledger, Mixed
from tests.services.stack import Stack, until

IN_FLIGHT = 12
"""Slots of both workers, twice: what may be running, and what is reported and not yet committed, when Redis goes."""


def test_a_killed_redis_that_kept_its_file_loses_nothing(stack: Stack, ledger: Ledger) -> None:
    case = Disturbed(stack, ledger, "kill -9 of Redis, file kept", twice=IN_FLIGHT, unknown=8).submit().when_begun(12)
    stack.redis.restart()
    case.check()


@pytest.mark.soak
def test_a_killed_redis_that_lost_its_data_is_made_up_for_from_sql(stack: Stack, ledger: Ledger) -> None:
    case = Disturbed(stack, ledger, "kill -9 of Redis, data lost", twice=IN_FLIGHT, unknown=8).submit().when_begun(12)
    stack.redis.kill()
    stack.redis.forget()
    stack.redis.start()
    case.check()


def test_flushall_is_made_up_for_from_sql(stack: Stack, ledger: Ledger) -> None:
    case = Disturbed(stack, ledger, "FLUSHALL", twice=IN_FLIGHT, unknown=8).submit().when_begun(12)
    stack.redis.flush()
    case.check()


@pytest.mark.soak
def test_flushall_while_the_scheduler_is_down(stack: Stack, ledger: Ledger) -> None:
    case = Disturbed(stack, ledger, "FLUSHALL with the scheduler dead", twice=IN_FLIGHT, unknown=8).submit()
    case.when_begun(12)
    stack.scheduler.kill()
    stack.redis.flush()
    stack.scheduler.start()
    case.check()


def test_a_doubled_delivery_is_dropped(stack: Stack, ledger: Ledger) -> None:
    # Copies go out at once, while their originals run, and again when all of them are stale.
    case = Disturbed(stack, ledger, "every waiting message pushed twice more", twice=0).submit().when_begun(4)
    copies = []
    for queue in stack.settings.queues:
        for key in Keys(stack.settings.namespace).queue(queue):
            for message in stack.redis.client.lrange(key, 0, -1):
                stack.redis.client.lpush(key, message)
                copies.append((key, message))
    assert copies
    case.when_begun(40)
    for key, message in copies:
        stack.redis.client.lpush(key, message)
    case.check()
    until(lambda: not sum(stack.hot.queue_lengths(stack.settings.queues).values()), 10, "the copies are taken")
    assert max(ledger.executions(case.run).values()) == 1


def test_cut_connections_repeat_nothing(stack: Stack, ledger: Ledger) -> None:
    # Celery puts unacknowledged messages back when its connection breaks: each comes a second time.
    case = Disturbed(stack, ledger, "CLIENT KILL of every connection, twice", twice=0).submit()
    for begun in (8, 24):
        case.when_begun(begun)
        stack.redis.client.client_kill_filter(_type="normal", skipme=True)
        stack.redis.client.client_kill_filter(_type="pubsub", skipme=True)
    case.check()


@pytest.mark.soak
def test_a_redis_that_is_frozen_for_a_while_loses_nothing(stack: Stack, ledger: Ledger) -> None:
    case = Disturbed(stack, ledger, "SIGSTOP of Redis for 8 s", twice=0).submit().when_begun(12)
    os.kill(stack.redis.pid, signal.SIGSTOP)
    try:
        with pytest.raises(AssertionError):  # eight seconds of nothing: the fault's own length
            until(lambda: False, 8.0, "")
    finally:
        os.kill(stack.redis.pid, signal.SIGCONT)
    case.check()


@pytest.mark.soak
def test_redis_restarted_again_and_again(stack: Stack, ledger: Ledger) -> None:
    case = Disturbed(
        stack, ledger, "kill -9 of Redis four times", twice=4 * IN_FLIGHT, unknown=16, mixed=Mixed(width=60)
    )
    case.submit()
    for begun in (10, 30, 60, 90):
        case.when_begun(begun, timeout_s=40)
        stack.redis.restart()
    case.check(90)


@pytest.mark.soak
def test_a_redis_that_stays_away_stops_nothing_for_good(stack: Stack, ledger: Ledger) -> None:
    case = Disturbed(stack, ledger, "Redis away for 4 s", twice=IN_FLIGHT, unknown=8).submit().when_begun(12)
    stack.redis.kill()
    with pytest.raises(Unavailable):
        stack.hot.epoch()
    with pytest.raises(AssertionError):
        until(lambda: False, 4.0, "")
    stack.redis.start()
    case.check()
