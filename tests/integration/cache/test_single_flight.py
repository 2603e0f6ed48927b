"""One makes it, all others wait: threads, processes, and makers that die."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.process import BaseProcess

import pytest
import redis

from engine.cache.cache import Cache, Made
from engine.errors import Cancelled, Retryable
from settings.economy.caching import CachesSection
from tests.integration.cache.conftest import Rig, key, shelf_at

_SHORT = CachesSection(lease_s=0.6)
_DIGEST = key().digest()


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def _waiting(rig: Rig) -> int:
    return int(rig.server.client.scard(f"t:cache:waiters:{_DIGEST}"))


def _fetch_elsewhere(url: str, artefacts: str, socket: str, go: str) -> None:
    """In a process of its own: count calls of ``make`` in Redis, and make only once ``go`` is there."""
    client = redis.Redis(unix_socket_path=socket, protocol=2)

    def make() -> Made:
        client.rpush("calls", "1")
        client.blpop([go], timeout=60)
        return Made("made")

    shelf = shelf_at(url, artefacts, _SHORT)
    found = Cache(shelf, "a").fetch(key(), make)
    client.rpush("found", f"{found.outcome} {found.value}")
    shelf.close()
    client.close()


def _elsewhere(rig: Rig, go: str = "go") -> BaseProcess:
    process = multiprocessing.get_context("spawn").Process(
        target=_fetch_elsewhere, args=(rig.server.url, rig.artefacts, str(rig.server.socket), go)
    )
    process.start()
    return process


def test_many_threads_make_it_once(rig: Rig) -> None:
    calls, go = [], threading.Event()

    def make() -> Made:
        calls.append(1)
        assert go.wait(60)
        return Made("made", 9)

    cache = rig.cache()
    with ThreadPoolExecutor(12) as pool:
        asked = [pool.submit(cache.fetch, key(), make) for _ in range(12)]
        _until(lambda: _waiting(rig) == 11)
        go.set()
        found = [each.result(60) for each in asked]
    assert len(calls) == 1
    assert sorted(each.outcome for each in found) == ["miss", *["shared"] * 11]
    assert {each.value for each in found} == {"made"}
    assert sum(each.saved_nusd for each in found) == 99


def test_processes_make_it_once(rig: Rig) -> None:
    processes = [_elsewhere(rig) for _ in range(3)]
    _until(lambda: _waiting(rig) == 2)
    rig.server.client.rpush("go", "1")
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert rig.server.client.llen("calls") == 1
    assert sorted(rig.server.client.lrange("found", 0, -1)) == [b"miss made", b"shared made", b"shared made"]


def test_when_the_maker_is_killed_another_takes_over(rig: Rig) -> None:
    maker = _elsewhere(rig, "never")
    assert rig.server.client.blpop(["calls"], timeout=60)
    found = threading.Thread(
        target=lambda: rig.server.client.rpush("found", rig.cache(rules=_SHORT).fetch(key(), lambda: Made(2)).outcome)
    )
    found.start()
    _until(lambda: _waiting(rig) == 1)
    maker.kill()
    maker.join()
    found.join(60)
    assert rig.server.client.lrange("found", 0, -1) == [b"miss"]


def test_a_slow_maker_keeps_its_lease(rig: Rig) -> None:
    go, calls = threading.Event(), []

    def slow() -> Made:
        calls.append(1)
        assert go.wait(60)
        return Made("slow")

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(rig.cache(rules=_SHORT).fetch, key(), slow)
        _until(lambda: bool(calls))
        second = pool.submit(rig.cache(rules=_SHORT).fetch, key(), slow)
        _until(lambda: _waiting(rig) == 1)
        time.sleep(1.5)  # more than two leases: that none ran out is what is tested
        go.set()
        assert (first.result(60).outcome, second.result(60).outcome) == ("miss", "shared")
    assert calls == [1]


def test_when_the_maker_fails_one_of_those_who_wait_makes_it(rig: Rig) -> None:
    go, calls = threading.Event(), []

    def make() -> Made:
        calls.append(1)
        if len(calls) == 1:
            assert go.wait(60)
            raise Retryable("once")
        return Made("made")

    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(rig.cache().fetch, key(), make)
        _until(lambda: bool(calls))
        others = [pool.submit(rig.cache().fetch, key(), make) for _ in range(2)]
        _until(lambda: _waiting(rig) == 2)
        go.set()
        with pytest.raises(Retryable):
            first.result(60)
        assert sorted(each.result(60).outcome for each in others) == ["miss", "shared"]
    assert len(calls) == 2


def test_who_waits_heeds_a_stop_and_has_patience_for_so_long_only(rig: Rig) -> None:
    rig.cache().begin(key())
    with pytest.raises(Cancelled):
        rig.cache(stop=lambda: True).fetch(key(), lambda: Made(1))
    alone = rig.cache().begin(key(), patience_s=0.05)
    assert alone.outcome == "none"
