"""Placing requests by their prefix: the longest match, unless its replica is busy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.context.placement import BlockCache, Placed, Placement, block_hashes


def test_a_request_goes_where_its_beginning_was_read() -> None:
    placement = Placement(4, bound=100.0)
    first = placement.place(["a", "b"], at=0.0)
    other = placement.place(["x"], at=0.0)
    assert other.replica != first.replica  # nothing of it is anywhere: the least loaded
    assert placement.place(["a", "b", "c"], at=0.0) == Placed(first.replica, matched=2)
    assert placement.place(["x", "y"], at=0.0) == Placed(other.replica, matched=1)


def test_a_popular_prefix_spreads_once_its_replica_is_busy() -> None:
    placement = Placement(4)
    replicas = {placement.place(["a", f"own {turn}"], at=0.0).replica for turn in range(40)}
    assert replicas == {0, 1, 2, 3}
    assert max(placement.loads) <= 1.25 * sum(placement.loads) / 4 + 2  # one request of two blocks is the grain


def test_work_of_long_ago_keeps_no_replica_busy() -> None:
    placement = Placement(2, half_life_s=1.0)
    home = placement.place(["a", "b", "c"], at=0.0).replica
    placement.place(["x"], at=0.0)
    assert placement.place(["a", "b", "c", "d"], at=60.0) == Placed(home, matched=3)


def test_a_full_cache_drops_the_end_of_a_prefix_before_its_beginning() -> None:
    cache = BlockCache(3)
    assert cache.read(["a", "b", "c"]) == []
    assert cache.read(["x"]) == ["c"]
    assert cache.matched(["a", "b", "c"]) == 2


def test_a_restarted_replica_has_read_nothing() -> None:
    placement = Placement(1)
    placement.place(["a"], at=0.0)
    placement.forget(0)
    assert placement.place(["a"], at=0.0) == Placed(0, matched=0)


def test_hashes_of_blocks_are_equal_as_far_as_the_prompts_are() -> None:
    one, other = block_hashes("aaaabbbbcccc..", size=4), block_hashes("aaaabbbXcccc", size=4)
    assert len(one) == 3
    assert one[0] == other[0]
    assert not set(one[1:]) & set(other[1:])
    assert block_hashes([1, 2, 3, 4], size=2)[0] == block_hashes([1, 2, 9], size=2)[0]


def test_a_placement_without_replicas_or_room_is_refused() -> None:
    with pytest.raises(ValueError, match="bound above 1"):
        Placement(2, bound=1.0)


@given(st.lists(st.lists(st.integers(0, 12), max_size=6, unique=True), max_size=40), st.integers(1, 8))
def test_what_the_placement_believes_is_what_the_replicas_hold(requests: list[list[int]], capacity: int) -> None:
    placement, caches = Placement(3, capacity), [BlockCache(capacity) for _ in range(3)]
    for number, blocks in enumerate(requests):
        placed = placement.place(blocks, at=float(number))
        assert placed.matched == caches[placed.replica].matched(blocks)
        caches[placed.replica].read(blocks)
        assert all(len(cache) <= capacity for cache in placement.caches)
