"""Who is to blame for a child that died."""

from __future__ import annotations

import os
from dataclasses import replace

from engine.hotstate.worker import Held
from engine.runtime.worker.losses import blamed
from engine.runtime.worker.places import Places
from engine.wire import Delivery, NodeCall, Outcome

DELIVERY = Delivery(
    token="k", epoch="e", shard=0, run_id="r", tenant="t", session="s", plan="p", step_no=0, path="a", fanned=True,
    task="t", queue="io", effects="none", nodes=(), with_={"v": {}}, shared={"v": {}},
)  # fmt: skip


def _outcomes(*held: Held, timed_out: bool = False, place: int | None = None) -> dict[int, Outcome]:
    nodes = tuple(NodeCall(item, 1) for item in range(len(held)))
    chunk = replace(DELIVERY, nodes=nodes)
    return {report.item: report.outcome for report in blamed(chunk, held, place, "died", timed_out=timed_out)}


def test_the_body_that_began_last_is_blamed_and_no_other() -> None:
    ended, ran = Held(known=True, ours=True, begun_us=10), Held(known=True, ours=True, begun_us=20)
    waiting, reported = Held(known=True, ours=True, begun_us=None), Held(known=True, ours=False, begun_us=None)
    assert _outcomes(reported, ended, ran, waiting) == {
        1: Outcome.INFRASTRUCTURE,
        2: Outcome.LOST,
        3: Outcome.NOT_BEGUN,
    }
    assert _outcomes(ran, timed_out=True) == {0: Outcome.TIMED_OUT}


def test_the_steps_that_follow_in_a_segment_are_told_apart() -> None:
    held = [Held(known=True, ours=True, begun_us=us) for us in (10, 20, None)]
    then = tuple(replace(DELIVERY, step_no=no, nodes=(NodeCall(0, 1),)) for no in (1, 2))
    segment = replace(DELIVERY, nodes=(NodeCall(0, 1),), then=then)
    told = [(node.step_no, node.outcome) for node in blamed(segment, held, None, "died", timed_out=False)]
    assert told == [(None, Outcome.INFRASTRUCTURE), (1, Outcome.LOST), (2, Outcome.NOT_BEGUN)]


def test_a_child_that_died_before_any_body_began_costs_no_attempt() -> None:
    waiting = Held(known=True, ours=True, begun_us=None)
    assert _outcomes(waiting, waiting) == {0: Outcome.NOT_BEGUN, 1: Outcome.NOT_BEGUN}


def test_what_another_redis_cannot_tell_counts_as_lost() -> None:
    unknown = Held(known=False, ours=False, begun_us=None)
    assert _outcomes(unknown) == {0: Outcome.LOST}


def test_of_bodies_whose_marks_were_set_together_only_the_one_at_its_place_is_blamed() -> None:
    begun, waiting = Held(known=True, ours=True, begun_us=10), Held(known=True, ours=True, begun_us=None)
    assert _outcomes(begun, begun, begun, waiting, place=1) == {
        0: Outcome.INFRASTRUCTURE,
        1: Outcome.LOST,
        2: Outcome.NOT_BEGUN,
        3: Outcome.NOT_BEGUN,
    }


def test_a_child_notes_the_place_of_its_body_where_its_parent_can_see_it() -> None:
    places = Places()
    child = os.fork()
    if child == 0:
        places.note("token", 7)
        os._exit(0)
    os.waitpid(child, 0)
    assert places.of("token") == 7
    assert places.of("another") is None
