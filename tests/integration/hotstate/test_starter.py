"""Begin marks set ahead: few round trips for short bodies, and none that outlives its time."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from engine.runtime.worker import starter as starters
from engine.runtime.worker.aside import Chore
from engine.runtime.worker.starter import Starter
from engine.wire import Delivery, NodeCall
from tests.integration.hotstate.conftest import Faces

NODES = 200


class Counting:
    """The worker's hot state; how many marks each round trip asked for."""

    def __init__(self, faces: Faces) -> None:
        self._faces = faces
        self.asked: list[int] = []

    def unbegin(self, run_id: str, fields: Sequence[str], token: str, epoch: str, nonce: str) -> None:
        self._faces.worker.unbegin(run_id, fields, token, epoch, nonce)

    def begin(self, run_id: str, fields: Sequence[str], token: str, epoch: str, nonce: str) -> list[bool]:
        self.asked.append(len(fields))
        return self._faces.worker.begin(run_id, fields, token, epoch, nonce)


@pytest.fixture
def hot(faces: Faces) -> Counting:
    fields = [f"0:{item}" for item in range(NODES)]
    for field in fields:
        faces.permit(field)
    assert all(faces.claim(*fields))
    return Counting(faces)


class ByHand:
    """What a starter leaves to another thread, done when the test says so."""

    def __init__(self) -> None:
        self.chores: list[Chore] = []

    def put(self, chore: Chore) -> None:
        self.chores.append(chore)

    def run(self) -> float | None:
        return self.chores[-1]()


def starter(hot: Counting, faces: Faces, aside: Any = None) -> Starter:
    chunk = Delivery(
        token="tok", epoch=faces.epoch, shard=0, run_id="r_1", tenant="t", session="s", plan="p", step_no=0, path="a",
        fanned=True, task="t", queue="io", effects="none", nodes=tuple(NodeCall(item, 1) for item in range(NODES)),
        with_={"v": {}}, shared={"v": {}},
    )  # fmt: skip
    services: Any = SimpleNamespace(hot=hot)
    return Starter(services, chunk, "n1", aside)


def test_short_bodies_share_their_round_trips(hot: Counting, faces: Faces) -> None:
    begins = starter(hot, faces)
    assert all(begins.begin(0, item) for item in range(NODES))
    assert hot.asked[0] == 1, "nothing is known of how long the bodies take"
    assert len(hot.asked) < NODES / 2


def test_a_mark_that_is_too_old_is_asked_for_anew(hot: Counting, faces: Faces, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(starters.time, "monotonic", lambda: now)
    begins = starter(hot, faces)
    for item in range(3):
        assert begins.begin(0, item)
        now += 0.001
    assert hot.asked[-1] > 1
    before = len(hot.asked)
    now += starters.AHEAD_S
    assert begins.begin(0, 3)
    assert len(hot.asked) == before + 1


def test_nothing_begins_on_a_mark_whose_time_is_over_once_the_run_is_revoked(
    hot: Counting, faces: Faces, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(starters.time, "monotonic", lambda: now)
    begins = starter(hot, faces)
    for item in range(3):
        assert begins.begin(0, item)
        now += 0.001
    youngest_s, begun = faces.scheduler.revoke_run(0, "r_1")
    assert len(begun) > 3, "marks that were set ahead count as begun"
    assert youngest_s < 10.0
    now += starters.AHEAD_S
    assert not begins.begin(0, 3)


def test_another_try_of_a_body_asks_for_itself_alone(hot: Counting, faces: Faces) -> None:
    begins = starter(hot, faces)
    assert begins.begin(0, 0)
    assert begins.begin(0, 0, again=True)
    assert hot.asked == [1, 1]


def test_the_mark_of_the_next_body_is_set_while_one_runs_and_kept_fresh(
    hot: Counting, faces: Faces, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, aside = 0.0, ByHand()
    monkeypatch.setattr(starters.time, "monotonic", lambda: now)
    begins = starter(hot, faces, aside)
    assert begins.begin(0, 0)
    now += 0.004
    again_s = aside.run()
    assert hot.asked == [1, 1]
    assert again_s is not None and again_s < starters.AHEAD_S
    now += again_s
    aside.run()
    assert hot.asked == [1, 1, 1], "the body runs on, and the mark was about to be too old"
    now += starters.AHEAD_S * 0.9
    assert begins.begin(0, 1)
    assert hot.asked == [1, 1, 1], "its mark was there"
    now += starters.AHEAD_S
    assert begins.begin(0, 2)
    assert hot.asked == [1, 1, 1, 1], "nobody set it meanwhile"


def test_a_mark_set_while_a_body_runs_is_no_leave_once_its_time_is_over(
    hot: Counting, faces: Faces, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, aside = 0.0, ByHand()
    monkeypatch.setattr(starters.time, "monotonic", lambda: now)
    begins = starter(hot, faces, aside)
    assert begins.begin(0, 0)
    now += 0.004
    aside.run()
    faces.scheduler.revoke_run(0, "r_1")
    now += starters.AHEAD_S
    assert aside.run() is None, "it was refused"
    assert not begins.begin(0, 1)


def test_a_body_that_lasts_hands_back_the_mark_of_the_one_behind_it(
    hot: Counting, faces: Faces, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, aside = 0.0, ByHand()
    monkeypatch.setattr(starters.time, "monotonic", lambda: now)
    begins = starter(hot, faces, aside)
    assert begins.begin(0, 0)
    now += 0.004
    aside.run()
    assert faces.scheduler.take_back("r_1", ["0:1"], "tok") == [], "it counts as begun"
    now += starters.GIVE_UP_S
    assert aside.run() is None
    assert faces.scheduler.take_back("r_1", ["0:0", "0:1"], "tok") == ["0:1"]
    assert not begins.begin(0, 1)


def test_bodies_of_microseconds_are_not_looked_after(hot: Counting, faces: Faces) -> None:
    aside = ByHand()
    begins = starter(hot, faces, aside)
    for item in range(NODES):
        assert begins.begin(0, item)
    assert len(aside.chores) < NODES / 2, "the marks of most were set together"
