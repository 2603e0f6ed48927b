"""Whether what a worker says is of the delivery that counts."""

from __future__ import annotations

from engine.runtime.inflight import Inflight
from engine.scheduling.attempts import duplicate
from engine.scheduling.events import AttemptLost, BeginAsked, Event, Grant, Reported
from engine.scheduling.records import Duplicate
from engine.wire import Outcome

_BODY_ENDED = (Outcome.OK, Outcome.FAILED, Outcome.TIMED_OUT, Outcome.OVER_BUDGET)


def judged(event: Event, inflight: Inflight, now: float) -> tuple[bool, Grant | Duplicate | None]:
    """Whether ``event`` counts, and what is to be said instead if it does not.

    A result stands whichever delivery of the current attempt brought it. That a body did not
    begin, or is lost, says nothing of the attempt once it was published again.
    """
    match event:
        case BeginAsked():
            if inflight.asks_to_begin(event.run_id, (event.step_no, event.item), event.token):
                return True, None
            return False, Grant(event.token, allowed=False)
        case AttemptLost():
            node = (event.step_no, event.item)
            return not event.token or inflight.current(event.run_id, node, event.token), None
        case Reported() if event.node.outcome not in _BODY_ENDED:
            if inflight.current(event.run_id, (event.step_no, event.node.item), event.token):
                return True, None
            return False, duplicate(event.run_id, event.step_no, event.node, event.worker, now)
    return True, None
