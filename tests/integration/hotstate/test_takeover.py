"""What a scheduler finds in Redis of its predecessor's, and puts right."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from engine.clock import SystemClock
from engine.runtime.deliveries import Deliveries
from engine.runtime.inflight import Inflight
from engine.runtime.ports import RunRow
from engine.runtime.world import Pace, World
from tests.integration.hotstate.conftest import Faces


def test_permits_of_a_run_whose_end_was_stored_last_are_cleared_by_who_takes_over(faces: Faces) -> None:
    faces.scheduler.lead(0, 1, faces.scheduler.epoch()[1])
    for run_id in ("r_ended", "r_open"):
        faces.scheduler.write_permits(faces.epoch, [(run_id, "0:0", "tok")], (0, 1))
    journal: Any = SimpleNamespace(renew=lambda *_: None)
    world = cast(World, SimpleNamespace(hot=faces.scheduler, journal=journal, clock=SystemClock()))
    rows = {"r_open": cast(RunRow, None)}
    successor = Inflight(0, 2, world, Pace(), cast(Deliveries, None), {}, rows)
    successor.inspect(caught_up=True)
    assert faces.scheduler.permitted_runs(0) == {"r_ended", "r_open"}, "not before Redis refuses the predecessor"
    successor.inspect(caught_up=True)
    assert faces.scheduler.permitted_runs(0) == {"r_open"}
    assert faces.scheduler.permits("r_ended", faces.epoch) == {}
    assert faces.scheduler.permits("r_open", faces.epoch).keys() == {"0:0"}
