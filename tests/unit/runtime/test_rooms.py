"""What a dispatch asks of Redis."""

from __future__ import annotations

from collections.abc import Collection
from types import SimpleNamespace
from typing import Any, cast

from engine.runtime.rooms import Rooms
from engine.runtime.world import Limits, World
from engine.scheduling.core import Core
from engine.scheduling.records import AttemptKind
from engine.scheduling.state import Active
from tests.unit.scheduling.worlds import NOW, OneRun, plan_of, step


class Slots:
    """Says what was told of pools, and gives all that is wanted."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int, int]] = []
        self.released: list[set[str]] = []

    def admit(self, pool: str, _limit: int, _shard: int, in_use: int, want: int) -> int:
        self.told.append((pool, in_use, want))
        return want

    def release_pools(self, _shard: int, _shards: int | None, used: Collection[str]) -> None:
        self.released.append(set(used))

    def workers(self) -> list[Any]:
        return []


def test_that_a_pool_is_not_used_any_more_is_told_once() -> None:
    slots = Slots()
    world = cast(World, SimpleNamespace(hot=slots, clock=SimpleNamespace(monotonic=lambda: 0.0)))
    rooms, core = Rooms(0, world, Limits(pools={"db": 2})), Core()
    run = OneRun(plan_of(step(0))).core.runs["r"]
    object.__setattr__(run.plan.steps[0], "pools", ("db",))
    active = Active(1, AttemptKind.PRIMARY, "io", 1.0, NOW)
    for _ in range(2):
        core._outstanding.add(run, 0, active)
        rooms.room(core)
        core._outstanding.remove(run, 0, active)
        for _ in range(3):
            rooms.room(core)
    assert slots.told == [("db", 1, 0), ("db", 0, 0)] * 2
    assert slots.released == [{"db"}], "what a predecessor held and this one does not is given back once"
