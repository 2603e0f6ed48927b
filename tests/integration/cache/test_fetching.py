"""What is served, to whom, and until when."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.cache.cache import Made
from engine.cache.key import Key
from engine.errors import Permanent, Retryable
from settings.economy.caching import CachesSection
from tests.integration.cache.conftest import Rig, key


class Maker:
    """Makes a new value each time, and counts."""

    def __init__(self, cost_nusd: int = 700) -> None:
        self.calls, self._cost = 0, cost_nusd

    def __call__(self) -> Made:
        self.calls += 1
        return Made({"n": self.calls}, self._cost)


def test_the_second_call_is_a_hit_that_says_what_it_saved(rig: Rig) -> None:
    make = Maker()
    first = rig.cache().fetch(key(), make)
    again = rig.cache().fetch(key(), make)
    assert (first.value, first.outcome, first.saved_nusd) == ({"n": 1}, "miss", 0)
    assert (again.value, again.outcome, again.saved_nusd) == ({"n": 1}, "hit", 700)
    assert make.calls == 1


def test_a_large_value_rests_as_an_artefact_and_is_made_again_if_that_is_gone(rig: Rig) -> None:
    cache, shelf = rig.cache(), rig.shelf()
    large = "x" * 100_000
    cache.fetch(key(), lambda: Made(large))
    assert shelf.index.state()["bytes"] < 2000
    assert cache.fetch(key(), lambda: Made("other")).value == large
    for digest, _ in list(shelf.artefacts.digests()):
        shelf.artefacts.delete(digest)
    assert rig.cache().fetch(key(), lambda: Made("other")).value == "other"


def test_an_entry_serves_no_longer_than_it_was_said_to(rig: Rig) -> None:
    make = Maker()
    rig.cache().fetch(key(), make, ttl_s=0.02)
    time.sleep(0.03)  # its own time, not somebody else's: nothing could tell of it
    assert rig.cache().fetch(key(), make).value == {"n": 2}


def test_a_failure_that_lasts_is_told_again_without_a_try_for_a_while(rig: Rig) -> None:
    tries = 0

    def fail() -> Made:
        nonlocal tries
        tries += 1
        raise Permanent("no such user")

    for _ in range(3):
        with pytest.raises(Permanent, match="no such user"):
            rig.cache().fetch(key(), fail, negative_ttl_s=30)
    assert tries == 1
    assert not rig.notes, "it is over before a lost Redis is back"
    rig.cache().invalidate(["users"])
    with pytest.raises(Permanent):
        rig.cache().fetch(key(), fail, tags=["users"])
    assert tries == 2


def test_a_failure_that_may_pass_is_tried_again(rig: Rig) -> None:
    def fail() -> Made:
        raise Retryable("busy")

    with pytest.raises(Retryable):
        rig.cache().fetch(key(), fail)
    assert rig.cache().fetch(key(), Maker()).outcome == "miss"


def test_a_sensitive_call_is_neither_kept_nor_looked_for(rig: Rig) -> None:
    make = Maker()
    rig.cache().fetch(key(), make)
    assert rig.cache().fetch(key(), make, sensitive=True).outcome == "none"
    rig.cache().fetch(key("secret"), make, sensitive=True)
    assert rig.shelf().index.state()["entries"] == 1
    assert len(rig.notes) == 1


def test_what_says_it_may_not_be_kept_is_not(rig: Rig) -> None:
    rig.cache().fetch(key(), lambda: Made(1, keep=False))
    assert rig.cache().fetch(key(), Maker()).outcome == "miss"


def test_a_cache_that_is_off_makes_every_call(rig: Rig) -> None:
    make, off = Maker(), CachesSection(enabled=False)
    assert [rig.cache(rules=off).fetch(key(), make).outcome for _ in range(2)] == ["none", "none"]
    assert make.calls == 2


def test_without_redis_calls_are_made_and_nothing_is_served(fragile: Rig) -> None:
    make = Maker()
    fragile.cache().fetch(key(), make)
    fragile.server.kill()
    assert fragile.cache().fetch(key(), make).outcome == "none"
    assert make.calls == 2


def test_an_invalidated_tag_makes_its_entries_stale_and_no_others(rig: Rig) -> None:
    make = Maker()
    rig.cache().fetch(key("one"), make, tags=["user:1", "users"])
    rig.cache().fetch(key("two"), make, tags=["user:2", "users"])
    assert rig.cache().invalidate(["user:1"]) == 1
    assert rig.cache().fetch(key("one"), make, tags=["user:1", "users"]).outcome == "miss"
    assert rig.cache().fetch(key("two"), make, tags=["user:2", "users"]).outcome == "hit"


def test_an_empty_invalidation_does_nothing(rig: Rig) -> None:
    make = Maker()
    rig.cache().fetch(key(), make, tags=["users"])
    before = rig.server.client.dbsize(), len(rig.notes)
    assert rig.cache().invalidate([]) == 0
    assert (rig.server.client.dbsize(), len(rig.notes)) == before
    assert rig.cache().fetch(key(), make, tags=["users"]).outcome == "hit"


def test_a_tag_that_a_plan_names_since_counts_for_entries_kept_before(rig: Rig) -> None:
    make = Maker()
    rig.cache().fetch(key(), make)
    rig.cache().invalidate(["users"])
    assert rig.cache().fetch(key(), make, tags=["users"]).outcome == "miss"


def test_another_tenants_invalidation_changes_nothing(rig: Rig) -> None:
    make = Maker()
    rig.cache("a").fetch(key(), make, tags=["users"])
    rig.cache("b").invalidate(["users"])
    assert rig.cache("a").fetch(key(), make, tags=["users"]).outcome == "hit"


def test_the_cache_of_one_tenant_gives_no_entry_of_another(rig: Rig) -> None:
    rig.cache("a").fetch(key(), Maker())
    with pytest.raises(Permanent, match="tenant b"):
        rig.cache("b").fetch(key(), Maker())


_FACTS = st.fixed_dictionaries(
    {
        "tenant": st.sampled_from("ab"),
        "model": st.sampled_from(["", "p/small", "p/large"]),
        "prompt_version": st.sampled_from(["", "1", "2"]),
        "tools": st.sampled_from([(), ("search",)]),
        "scope": st.sampled_from(["", "run:r_1", "session:s"]),
        "params": st.sampled_from([{"q": 1}, {"q": "1"}, {"q": [1]}]),
    }
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_FACTS, min_size=1, max_size=25))
def test_nothing_is_served_across_tenants_models_or_prompt_versions(rig: Rig, asked: list[dict[str, object]]) -> None:
    rig.server.flush()
    caches = {tenant: rig.cache(tenant) for tenant in "ab"}
    seen: list[Key] = []
    for facts in asked:
        wanted = replace(key("ask"), **facts)  # type: ignore[arg-type]  # drawn to fit
        found = caches[wanted.tenant].fetch(wanted, lambda wanted=wanted: Made(repr(wanted)))  # type: ignore[misc]
        assert found.value == repr(wanted)
        assert (found.outcome == "hit") == (wanted in seen)
        seen.append(wanted)
    rig.close()


def test_redis_is_held_to_its_bound_and_what_was_used_last_stays(rig: Rig) -> None:
    rules = CachesSection(max_bytes=256 * 1024)
    cache, index = rig.cache(rules=rules), rig.shelf(rules).index
    before = rig.server.client.info("memory")["used_memory"]
    for number in range(1500):
        cache.fetch(key(params=number), lambda: Made("x" * 700), tags=[f"n:{number}"])
        cache.fetch(key("often"), lambda: Made("o"))
        if number % 10 == 0:
            cache.invalidate([f"never-seen:{number}-{part}" for part in range(20)])
    state = index.state()
    assert state["bytes"] <= rules.max_bytes
    assert state["evicted"] > 500
    assert cache.fetch(key("often"), Maker()).outcome == "hit"
    assert cache.fetch(key(params=0), Maker()).outcome == "miss"
    # What Redis itself says, with room for the scripts it has loaded meanwhile.
    assert rig.server.client.info("memory")["used_memory"] - before < rules.max_bytes * 1.25 + 300_000


def test_forgotten_tags_never_make_stale_entries_fresh(rig: Rig) -> None:
    rules = CachesSection(max_bytes=64 * 1024)
    cache, make = rig.cache(rules=rules), Maker()
    cache.fetch(key(), make, tags=["users"])
    cache.invalidate(["users"])
    for number in range(300):
        cache.invalidate([f"other:{number}"])
    assert rig.shelf(rules).index.state()["tags"] < 150, "the first ones had to go"
    assert cache.fetch(key(), make, tags=["users"]).outcome == "miss"


def test_a_value_too_large_is_not_kept(rig: Rig) -> None:
    rules = CachesSection(value_max_bytes=20_000)
    rig.cache(rules=rules).fetch(key(), lambda: Made("x" * 30_000))
    assert rig.cache(rules=rules).fetch(key(), Maker()).outcome == "miss"
