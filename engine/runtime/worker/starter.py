"""Begin marks: the last word before a body, for short bodies a few at a time, and while the one before runs.

A mark costs a round trip, which next to a short body is much of the work. So the marks of the next
bodies of a delivery are set together, as many as will have begun within ``AHEAD_S``, and where there is
a thread for it, that of the next body while this one runs. A mark that was set longer ago than that is
asked for anew: a cancelled run is reported as such only once every mark is older than
``Pace.settle_s``, which is longer, so that no body begins after it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from engine.hotstate.keys import permit_field
from engine.runtime.worker.aside import Aside
from engine.runtime.worker.places import PLACES
from engine.runtime.worker.services import Services
from engine.wire import Delivery

AHEAD_S = 0.02
"""Seconds for which a mark that was set ahead of its body holds. Well below ``Pace.settle_s``."""
GIVE_UP_S = 0.1
"""A body that runs for longer keeps no marks for those behind it: they can be taken back, and run elsewhere."""
_MOST = 64
_SOON_S = 0.002  # shorter bodies share a mark's round trip with many others
_RENEW_S = 0.004  # before a mark is too old; more than a round trip


class Starter:
    """Asks for the begin marks of one delivery. ``nonce`` names this execution of it.

    ``aside`` is the thread that asks for the next marks while a body runs; ``None`` where there is none.
    """

    def __init__(self, services: Services, delivery: Delivery, nonce: str, aside: Aside | None = None) -> None:
        self._hot, self._delivery, self._aside = services.hot, delivery, aside
        self.nonce = nonce
        self._fields = [permit_field(part.step_no, call.item) for part, call in delivery.parts()]
        self._places = {field: place for place, field in enumerate(self._fields)}
        self._lock = threading.Lock()  # held over a round trip: the body waits for a mark that is on its way
        self._ahead: set[str] = set()
        self._until = 0.0
        self._first_at: float | None = None
        self._begun = 0
        self._running = 0  # the place of the body that began last
        self._since = 0.0
        self._each_s = AHEAD_S  # from one begin to the next so far; where nothing is known, one mark at a time

    def begin(self, step_no: int, item: int, *, again: bool = False) -> bool:
        """Whether the node's body may begin now. Raises ``Unavailable``.

        ``again`` is for a further try of the same body.
        """
        field = permit_field(step_no, item)
        with self._lock:
            now = time.monotonic()
            if self._first_at is None:
                self._first_at = now
            if self._begun:
                self._each_s = max((now - self._first_at) / self._begun, 1e-6)
            fresh = field in self._ahead and now < self._until
            if not fresh and not self._ask([field] if again else self._next(field, self._each_s), now):
                return False
            self._ahead.discard(field)
            self._note(self._places[field], now)
        return True

    def began_first(self) -> None:
        """The delivery's first body was begun with its claim."""
        with self._lock:
            self._first_at = now = time.monotonic()
            self._note(0, now)

    def begin_together(self, step_no: int, items: Sequence[int]) -> list[bool]:
        """Which of the nodes may begin now, in one body. Raises ``Unavailable``.

        No place is noted: if the process dies, all of them had begun.
        """
        fields = [permit_field(step_no, item) for item in items]
        return self._hot.begin(self._delivery.run_id, fields, self._delivery.token, self._delivery.epoch, self.nonce)

    def _note(self, place: int, now: float) -> None:
        self._begun += 1
        self._running, self._since = place, now
        PLACES.note(self._delivery.token, place)
        if self._aside is not None and place + 1 < len(self._fields) and self._each_s >= _SOON_S:
            self._aside.put(self._keep_ahead)

    def _keep_ahead(self) -> float | None:
        """Have a fresh mark for the body behind the one that runs; when to look again."""
        with self._lock:
            place, now = self._running + 1, time.monotonic()
            if place >= len(self._fields) or self._each_s < _SOON_S:
                return None
            runs_s = now - self._since
            if runs_s > GIVE_UP_S:
                self._give_up()
                return None
            if runs_s < _SOON_S:
                return _SOON_S - runs_s
            field = self._fields[place]
            left_s = self._until - _RENEW_S - now if field in self._ahead else 0.0
            if left_s > 0:
                return left_s
            self._ask(self._next(field, max(self._each_s, runs_s)), now)
            return AHEAD_S - _RENEW_S if field in self._ahead else None  # else it is not ours any more

    def _give_up(self) -> None:
        """No body begins on what was set ahead: say so, or the nodes count as begun while this body lasts."""
        fields, self._ahead = list(self._ahead), set()
        if fields:
            it = self._delivery
            self._hot.unbegin(it.run_id, fields, it.token, it.epoch, self.nonce)

    def _ask(self, fields: Sequence[str], now: float) -> bool:
        allowed = self._hot.begin(self._delivery.run_id, fields, self._delivery.token, self._delivery.epoch, self.nonce)
        self._ahead = {field for field, verdict in zip(fields, allowed, strict=True) if verdict}
        self._until = now + AHEAD_S
        return allowed[0]

    def _next(self, field: str, each_s: float) -> list[str]:
        """``field`` and those after it that will begin soon."""
        place, count = self._places[field], max(1, min(_MOST, int(AHEAD_S / 2 / each_s)))
        return self._fields[place : place + count]
