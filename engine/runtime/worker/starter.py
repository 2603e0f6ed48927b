"""Begin marks: the last word before a body, for short bodies a few at a time.

A mark costs a round trip, which next to a body of microseconds is most of the work. So the marks of
the next bodies of a delivery are set together, as many as will have begun within ``AHEAD_S``. A mark
that was set longer ago than that is asked for anew: a cancelled run is reported as such only once
every mark is older than ``Pace.settle_s``, which is longer, so that no body begins after it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from engine.hotstate.keys import permit_field
from engine.runtime.worker.places import PLACES
from engine.runtime.worker.services import Services
from engine.wire import Delivery

AHEAD_S = 0.02
"""Seconds for which a mark that was set ahead of its body holds. Well below ``Pace.settle_s``."""
_MOST = 64


class Starter:
    """Asks for the begin marks of one delivery. ``nonce`` names this execution of it."""

    def __init__(self, services: Services, delivery: Delivery, nonce: str) -> None:
        self._hot, self._delivery = services.hot, delivery
        self.nonce = nonce
        self._fields = [permit_field(part.step_no, call.item) for part, call in delivery.parts()]
        self._places = {field: place for place, field in enumerate(self._fields)}
        self._ahead: set[str] = set()
        self._until = 0.0
        self._first_at: float | None = None
        self._begun = 0

    def begin(self, step_no: int, item: int, *, again: bool = False) -> bool:
        """Whether the node's body may begin now. Raises ``Unavailable``.

        ``again`` is for a further try of the same body.
        """
        field, now = permit_field(step_no, item), time.monotonic()
        if self._first_at is None:
            self._first_at = now
        if field in self._ahead and now < self._until:
            self._ahead.discard(field)
        elif not self._ask([field] if again else self._next(field, now), now):
            return False
        self._begun += 1
        PLACES.note(self._delivery.token, self._places[field])
        return True

    def begin_together(self, step_no: int, items: Sequence[int]) -> list[bool]:
        """Which of the nodes may begin now, in one body. Raises ``Unavailable``.

        No place is noted: if the process dies, all of them had begun.
        """
        fields = [permit_field(step_no, item) for item in items]
        return self._hot.begin(self._delivery.run_id, fields, self._delivery.token, self._delivery.epoch, self.nonce)

    def _ask(self, fields: Sequence[str], now: float) -> bool:
        allowed = self._hot.begin(self._delivery.run_id, fields, self._delivery.token, self._delivery.epoch, self.nonce)
        self._ahead = {field for field, verdict in zip(fields[1:], allowed[1:], strict=True) if verdict}
        self._until = now + AHEAD_S
        return allowed[0]

    def _next(self, field: str, now: float) -> list[str]:
        """``field`` and those after it that will begin soon, judged by how fast it has gone so far."""
        if self._begun == 0 or self._first_at is None:
            return [field]
        each_s = max((now - self._first_at) / self._begun, 1e-6)
        count = max(1, min(_MOST, int(AHEAD_S / 2 / each_s)))
        place = self._places[field]
        return self._fields[place : place + count]
