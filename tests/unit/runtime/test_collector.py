"""The garbage collector of a scheduler: seldom at work, and once it has nothing to do."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from engine.runtime.collector import Collector


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    threshold = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*threshold)


def _collections() -> int:
    return int(gc.get_stats()[2]["collections"])


def test_a_scheduler_that_worked_looks_through_everything_once_it_is_idle() -> None:
    collector = Collector()
    before = _collections()
    collector.step(0.0, idle=True)
    collector.step(1.0, idle=False)
    assert _collections() == before, "it has not worked, or is at work"
    collector.step(2.0, idle=True)
    collector.step(3.0, idle=True)
    assert _collections() == before + 1
    collector.step(4.0, idle=False)
    collector.step(5.0, idle=True)
    assert _collections() == before + 1, "not at each pause between two runs"
    collector.step(70.0, idle=True)
    assert _collections() == before + 2


def test_growing_state_is_not_gone_through_at_work() -> None:
    Collector()
    before = _collections()
    state = [[number] for number in range(200_000)]
    assert len(state) and _collections() == before
