"""Versions of a plan that give one of its pools different sizes."""

from __future__ import annotations

from dataclasses import replace

from engine.scheduling.core import Core
from tests.unit.scheduling.worlds import NOW, OneRun, plan_of, step


def test_the_smallest_size_among_live_runs_holds_and_the_last_one_is_kept_when_they_ended() -> None:
    core, plan = Core(), plan_of(step(0))
    for run_id, size in (("a", 4), ("b", 2), ("c", 8), ("d", 2)):
        snapshot = OneRun(plan).snapshot()
        core.take(replace(snapshot, run=replace(snapshot.run, id=run_id)), replace(plan, pools={"p.disk": size}), NOW)
    held = [core.plan_pools["p.disk"]]
    for run_id in ("b", "d", "a", "c", "c"):
        core.forget(run_id)
        held.append(core.plan_pools["p.disk"])
    assert held == [2, 2, 4, 8, 8, 8]
