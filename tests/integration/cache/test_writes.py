"""Reads and writes in every order: what was begun before a write is never served after it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from engine.cache.cache import Cache, Hit, Made
from engine.cache.making import Making
from engine.errors import Unavailable
from engine.wire import Value
from tests.integration.cache.conftest import Rig, key
from tests.services.redis import RedisServer

_ENTITIES = ("x", "y")


def test_what_a_write_overtakes_is_not_kept(rig: Rig) -> None:
    cache = rig.cache()
    making = cache.begin(key(), ["users"])
    assert isinstance(making, Making)
    rig.cache().written(["users"])
    assert not making.keep("before", 1)
    assert cache.fetch(key(), lambda: Made("after"), tags=["users"]).outcome == "miss"


def test_nothing_that_is_made_during_a_write_is_kept(rig: Rig) -> None:
    cache = rig.cache()
    cache.fetch(key(), lambda: Made("before"), tags=["users"])
    with rig.cache().writing(["users"], "r_1:save"):
        assert cache.fetch(key(), lambda: Made("during"), tags=["users"]).outcome == "miss"
        assert cache.fetch(key(), lambda: Made("during, again"), tags=["users"]).outcome == "miss"
    assert cache.fetch(key(), lambda: Made("after"), tags=["users"]).value == "after"
    assert cache.fetch(key(), lambda: Made("never"), tags=["users"]).outcome == "hit"


def test_what_was_begun_before_redis_was_emptied_is_not_kept(rig: Rig) -> None:
    cache = rig.cache()
    for _ in range(3):
        cache.invalidate(["other"])
    making = cache.begin(key(), ["users"])
    assert isinstance(making, Making)
    rig.server.flush()
    cache.written(["users"])
    assert not making.keep("before", 1)


def test_what_a_restarted_redis_brought_back_is_not_served(fragile: Rig) -> None:
    cache = fragile.cache()
    cache.fetch(key(), lambda: Made("before"))
    fragile.server.client.config_set("appendfsync", "always")
    fragile.server.restart()
    assert fragile.server.client.exists("t:cache:entries"), "it is there, and may lack the last writes"
    assert cache.fetch(key(), lambda: Made("after")).value == "after"


def test_what_a_result_turns_out_to_depend_on_makes_it_stale_as_well(rig: Rig) -> None:
    cache = rig.cache()
    cache.fetch(key(), lambda: Made({"card": "c1"}, tags=("card:c1",)), tags=["users"])
    assert cache.fetch(key(), lambda: Made(0), tags=["users"]).outcome == "hit"
    cache.written(["card:c1"])
    making = cache.begin(key(), ["users"])
    assert isinstance(making, Making), "stale by a tag that only its result had named"
    cache.written(["card:c2"])
    assert not making.keep({"card": "c2"}, 1, tags=("card:c2",)), "written while it was made"


def test_a_write_that_fails_counts_as_one(rig: Rig) -> None:
    cache = rig.cache()
    cache.fetch(key(), lambda: Made("before"), tags=["users"])
    with pytest.raises(RuntimeError), rig.cache().writing(["users"], "r_1:save"):
        raise RuntimeError("half way")
    assert cache.fetch(key(), lambda: Made("after"), tags=["users"]).value == "after"


def test_a_write_that_nobody_ended_is_over_with_its_next_try(rig: Rig) -> None:
    cache, index = rig.cache(), rig.shelf().index
    index.open_write(["a\x1fusers"], "r_1:save", 3600)  # and its worker was killed
    cache.fetch(key(), lambda: Made(1), tags=["users"])
    assert cache.fetch(key(), lambda: Made(2), tags=["users"]).outcome == "miss"
    with rig.cache().writing(["users"], "r_1:save"):
        pass
    cache.fetch(key(), lambda: Made(3), tags=["users"])
    assert cache.fetch(key(), lambda: Made(4), tags=["users"]).value == 3


def test_a_write_waits_until_redis_hears_of_it(fragile: Rig) -> None:
    cache = fragile.cache()
    fragile.server.kill()
    told = threading.Event()

    def write() -> None:
        cache.written(["users"])
        told.set()

    writer = threading.Thread(target=write)
    writer.start()
    assert not told.wait(0.2)
    fragile.server.start()
    assert told.wait(30)
    writer.join()


def test_a_write_that_is_told_to_stop_while_redis_is_away_says_so(fragile: Rig) -> None:
    cache = fragile.cache(stop=lambda: True)
    fragile.server.kill()
    with pytest.raises(Unavailable):
        cache.written(["users"])


class Interleaving(RuleBasedStateMachine):
    """Two entities, reads of each and of both, writes that take a while, crashes, and a Redis that is emptied.

    ``now`` is each entity's version, ``told`` the version of the last write that was told complete: what is served
    may never be older, and without a loss of Redis it is never anything but the latest.
    """

    server: RedisServer
    artefacts: str

    def __init__(self) -> None:
        super().__init__()
        self.server.flush()
        self.rig = Rig(self.server, Path(self.artefacts))
        self.cache: Cache = self.rig.cache()
        self.now = dict.fromkeys(_ENTITIES, 0)
        self.told = dict.fromkeys(_ENTITIES, 0)
        self.reads: list[tuple[Making, Value]] = []
        self.writes: dict[str, Any] = {}
        self.lost = False

    def teardown(self) -> None:
        for write in self.writes.values():
            write.__exit__()
        self.rig.close()

    @rule(of=st.sets(st.sampled_from(_ENTITIES), min_size=1))
    def begin_read(self, of: set[str]) -> None:
        got = self.cache.begin(key(params=sorted(of)), sorted(of), patience_s=0)
        seen = {name: self.now[name] for name in sorted(of)}
        if isinstance(got, Hit):
            served = got.kept.value["v"]
            oldest = self.told if self.lost else self.now
            assert all(served[name] >= oldest[name] for name in of), f"{served} is served, {seen} is true"
        else:
            self.reads.append((got, {"v": seen}))

    @rule(of=st.sets(st.sampled_from(_ENTITIES), min_size=1))
    def read(self, of: set[str]) -> None:
        before = len(self.reads)
        self.begin_read(of)
        for making, value in self.reads[before:]:
            making.keep_value(value, 1)
        del self.reads[before:]

    @precondition(lambda self: self.reads)
    @rule(data=st.data())
    def end_read(self, data: st.DataObject) -> None:
        making, value = self.reads.pop(data.draw(st.integers(0, len(self.reads) - 1)))
        making.keep_value(value, 1)

    @rule(name=st.sampled_from(_ENTITIES))
    def begin_write(self, name: str) -> None:
        if name not in self.writes:
            self.writes[name] = self.cache.writing([name], f"w:{name}")
            self.writes[name].__enter__()

    @precondition(lambda self: self.writes)
    @rule(data=st.data())
    def have_effect(self, data: st.DataObject) -> None:
        self.now[data.draw(st.sampled_from(sorted(self.writes)))] += 1

    @precondition(lambda self: self.writes)
    @rule(data=st.data())
    def end_write(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.writes)))
        self.writes.pop(name).__exit__()
        self.told[name] = self.now[name]

    @rule()
    def lose_redis(self) -> None:
        self.server.flush()
        self.lost = True

    @invariant()
    def reads_are_few(self) -> None:
        """So that sequences get to writes as well."""
        while len(self.reads) > 6:
            self.reads.pop(0)[0].release()


def test_no_interleaving_of_reads_and_writes_serves_what_is_stale(redis_server: RedisServer, tmp_path: Path) -> None:
    machine = type("Here", (Interleaving,), {"server": redis_server, "artefacts": str(tmp_path)})
    run_state_machine_as_test(machine, settings=settings(max_examples=80, stateful_step_count=25, deadline=None))
