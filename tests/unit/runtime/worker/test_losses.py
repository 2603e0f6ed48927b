"""Who is to blame for a child that died."""

from __future__ import annotations

from engine.hotstate.worker import Held
from engine.runtime.worker.losses import blamed
from engine.wire import NodeCall, Outcome


def _outcomes(*held: Held, timed_out: bool = False) -> dict[int, Outcome]:
    nodes = [NodeCall(item, 1) for item in range(len(held))]
    return {report.item: report.outcome for report in blamed(nodes, held, "died", timed_out=timed_out)}


def test_the_body_that_began_last_is_blamed_and_no_other() -> None:
    ended, ran = Held(known=True, ours=True, begun_us=10), Held(known=True, ours=True, begun_us=20)
    waiting, reported = Held(known=True, ours=True, begun_us=None), Held(known=True, ours=False, begun_us=None)
    assert _outcomes(reported, ended, ran, waiting) == {
        1: Outcome.INFRASTRUCTURE,
        2: Outcome.LOST,
        3: Outcome.NOT_BEGUN,
    }
    assert _outcomes(ran, timed_out=True) == {0: Outcome.TIMED_OUT}


def test_a_child_that_died_before_any_body_began_costs_no_attempt() -> None:
    waiting = Held(known=True, ours=True, begun_us=None)
    assert _outcomes(waiting, waiting) == {0: Outcome.NOT_BEGUN, 1: Outcome.NOT_BEGUN}


def test_what_another_redis_cannot_tell_counts_as_lost() -> None:
    unknown = Held(known=False, ours=False, begun_us=None)
    assert _outcomes(unknown) == {0: Outcome.LOST}
