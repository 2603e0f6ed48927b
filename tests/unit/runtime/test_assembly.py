"""The core's numbers come from the settings."""

from __future__ import annotations

from dataclasses import fields

import pytest

from engine.runtime.assembly import pace_of, policy_of
from engine.runtime.world import Pace
from engine.scheduling.state import Policy
from settings import Settings, load


def test_every_number_that_is_a_setting_reaches_the_core() -> None:
    given = {"losses_max": 7, "window_s": 2.5, "chunk_s": 0.25, "children_max": 3}
    policy = policy_of(load(**given))
    assert {name: getattr(policy, name) for name in given} == given
    assert given.keys() <= {field.name for field in fields(Policy)} & Settings.model_fields.keys()


def test_the_defaults_of_both_agree() -> None:
    assert policy_of(load()).children_max == Policy().children_max


@pytest.mark.parametrize(("heartbeat_s", "announce_s"), [(0.1, 1.0), (0.34, 1.0), (2.0, 3.0)])
def test_short_heartbeats_leave_time_for_two_looks_at_the_leases(heartbeat_s: float, announce_s: float) -> None:
    pace = pace_of(load(heartbeat_s=heartbeat_s, worker_lease_s=10.0))
    assert pace.inspect_s == Pace().inspect_s
    assert pace.announce_s == announce_s >= 2 * pace.inspect_s
