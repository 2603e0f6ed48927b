"""Only the scheduler that leads a shard may store permits or take them back: a frozen predecessor must not."""

from __future__ import annotations

import pytest

from engine.errors import Unavailable
from tests.integration.hotstate.conftest import Faces


def test_a_predecessor_cannot_bring_back_what_its_successor_revoked(faces: Faces) -> None:
    marker = faces.scheduler.epoch()[1]
    assert faces.scheduler.lead(0, 1, marker)
    assert faces.scheduler.lead(0, 2, marker)
    assert not faces.scheduler.lead(0, 1, marker)
    with pytest.raises(Unavailable, match="does not lead"):
        faces.scheduler.write_permits(faces.epoch, [("r_1", "0:0", "tok")], (0, 1))
    assert faces.claim() == [False]
    faces.scheduler.write_permits(faces.epoch, [("r_1", "0:0", "tok")], (0, 2))
    assert faces.claim() == [True]


def test_a_predecessor_cannot_take_back_what_its_successor_believes_to_be_out(faces: Faces) -> None:
    marker = faces.scheduler.epoch()[1]
    for leader in (1, 2):
        assert faces.scheduler.lead(0, leader, marker)
    faces.permit("0:0", token="tok")
    with pytest.raises(Unavailable, match="does not lead"):
        faces.scheduler.take_back("r_1", ["0:0"], "tok", (0, 1))
    assert set(faces.scheduler.permits("r_1", faces.epoch)) == {"0:0"}
    assert faces.scheduler.take_back("r_1", ["0:0"], "tok", (0, 2)) == ["0:0"]


def test_after_a_flush_nobody_leads_until_the_new_marker_is_known(faces: Faces) -> None:
    marker = faces.scheduler.epoch()[1]
    assert faces.scheduler.lead(0, 7, marker)
    faces.scheduler._redis.flushall()
    with pytest.raises(Unavailable):
        faces.scheduler.write_permits(faces.epoch, [("r_1", "0:0", "tok")], (0, 7))
    assert not faces.scheduler.lead(0, 7, marker)
    assert faces.scheduler.lead(0, 7, faces.scheduler.epoch()[1])


def test_runs_with_permits_are_known_until_these_are_revoked(faces: Faces) -> None:
    assert faces.scheduler.lead(0, 1, faces.scheduler.epoch()[1])
    faces.scheduler.write_permits(faces.epoch, [("r_1", "0:0", "a"), ("r_2", "0:0", "b"), ("r_2", "0:1", "b")], (0, 1))
    assert faces.scheduler.permitted_runs(0) == {"r_1", "r_2"}
    assert faces.scheduler.permitted_runs(1) == set()
    faces.scheduler.revoke_run(0, "r_2")
    assert faces.scheduler.permitted_runs(0) == {"r_1"}
    assert faces.scheduler.permits("r_2", faces.epoch) == {}
