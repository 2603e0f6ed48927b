"""What the attempts of one process hold and have spent, until their reports are on their way.

Redis may lose all of it. Then this process is the only one that knows, so it tells Redis again, and ends there
what ended meanwhile. One thread, only while something is held. Decides nothing about limits.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from engine.errors import Unavailable
from engine.hotstate.budgets import GONE, MOVED, OK, Amounts, Record, RedisBudgets, settled

_LOG = logging.getLogger(__name__)
_LOOK_S = 0.5
_RENEWED_WITHIN_S, _RENEWED_FOR_S = 20.0, 60.0

AttemptKey = tuple[str, str]
"""A delivery's token and an attempt's name."""


@dataclass(slots=True)
class AttemptHolds:
    """All reservations of one attempt under one delivery, by id, and the generation of Redis that knows them.

    ``over`` are the monotonic times at which open ones expire; ``unsettled`` have ended, which Redis was not told.
    """

    gen: str = ""
    records: dict[str, Record] = field(default_factory=dict)
    over: dict[str, float] = field(default_factory=dict)
    unsettled: set[str] = field(default_factory=set)
    lock: threading.RLock = field(default_factory=threading.RLock)


class Holdings:
    """The attempts of this process that hold or have spent something."""

    def __init__(self, redis: RedisBudgets, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._redis, self._monotonic = redis, monotonic
        self._attempts: dict[AttemptKey, AttemptHolds] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def of(self, key: AttemptKey) -> AttemptHolds:
        """What the attempt holds; new ones are looked after from here on."""
        with self._lock:
            holds = self._attempts.setdefault(key, AttemptHolds())
            if self._thread is None:
                self._thread = threading.Thread(target=self._look_after, name="budgets", daemon=True)
                self._thread.start()
        return holds

    def spent(self, key: AttemptKey) -> Amounts:
        """Ceilings of what is open, and costs of what is not, of one attempt."""
        holds, total = self._attempts.get(key), Amounts()
        for record in list(holds.records.values()) if holds is not None else ():
            total = total.plus(record.amounts)
        return total

    def added(self, holds: AttemptHolds, gen: str, record: Record, live_s: float) -> None:
        """Redis holds this back, under that generation."""
        with holds.lock:
            if not holds.records:
                holds.gen = gen
            elif holds.gen != gen:
                holds.gen = ""  # Redis was lost between the two: all of it is told again
            holds.records[record.id] = record
            holds.over[record.id] = self._monotonic() + live_s

    def settle(self, key: AttemptKey, holds: AttemptHolds, record_id: str, spent: Amounts, entry: str) -> None:
        """A call ended: an empty ``entry`` gives all of it back. Never raises: what Redis cannot be told, it is later.

        Once it has ended, ending it again changes nothing.
        """
        with holds.lock:
            record = holds.records.get(record_id)
            if record is None or record.state == "s":
                return
            holds.records[record_id] = settled(record, spent, entry)
            holds.unsettled.add(record_id)
            self._tell(key, holds)

    def reported(self, token: str) -> None:
        """The last report of a delivery is on its way, with every entry: none of it is to be told again."""
        with self._lock:
            gone = [key for key in self._attempts if key[0] == token]
            for key in gone:
                del self._attempts[key]
        if not gone:
            return
        try:
            self._redis.reported(token)
        except Unavailable as error:  # the scheduler finds them, and they say nothing new
            _LOG.warning("what delivery %s held is left to the scheduler: %s", token, error)

    def _look_after(self) -> None:
        while True:
            time.sleep(_LOOK_S)
            with self._lock:
                if not self._attempts:
                    self._thread = None
                    return
            self.look()

    def look(self) -> None:
        """Tell Redis again what it does not know, if it can be reached."""
        with self._lock:
            attempts = list(self._attempts.items())
        try:
            gen = self._redis.generation()
        except Unavailable:
            return
        for key, holds in attempts:
            if holds.unsettled or (gen and holds.gen != gen):
                with holds.lock:
                    self._tell(key, holds)
            elif gen:
                self._renew(key, holds)

    def _renew(self, key: AttemptKey, holds: AttemptHolds) -> None:
        """Keep what is open from expiring: its call takes longer than it said, and this process lives."""
        with holds.lock:
            soon = self._monotonic() + _RENEWED_WITHIN_S
            late = [i for i, record in holds.records.items() if record.state != "s" and holds.over[i] < soon]
            if not late:
                return
            try:
                answer = self._redis.renew(holds.gen, key[0], late, int(_RENEWED_FOR_S * 1000))
            except Unavailable as error:
                _LOG.warning("what %s holds is not renewed: %s", key[1], error)
                return
            if answer == OK:
                holds.over.update(dict.fromkeys(late, self._monotonic() + _RENEWED_FOR_S))

    def _tell(self, key: AttemptKey, holds: AttemptHolds) -> None:
        """Bring Redis up to date with one attempt, as far as it can be reached."""
        try:
            known = bool(holds.unsettled)
            for record_id in list(holds.unsettled):
                record = holds.records[record_id]
                answer = self._redis.settle(holds.gen, key[0], record_id, record.amounts, record.entry)
                known = known and answer == OK  # Redis answered for this very generation
                if answer == MOVED:
                    break
                if answer in (OK, GONE):
                    holds.unsettled.discard(record_id)
                    if not record.entry:
                        del holds.records[record_id]
            gen = "" if known else self._redis.generation()
            if gen and gen != holds.gen:
                self._announce(key, holds, gen)
        except Unavailable as error:
            _LOG.warning("budgets of %s cannot be told to Redis: %s", key[1], error)

    def _announce(self, key: AttemptKey, holds: AttemptHolds, gen: str) -> None:
        now = self._monotonic()
        for record_id in [i for i, record in holds.records.items() if record.state == "s" and not record.entry]:
            del holds.records[record_id]  # given back while Redis did not know of it
        told = [(record, max(0, int((holds.over[i] - now) * 1000))) for i, record in holds.records.items()]
        # An attempt that an earlier delivery of it is not told for counts under that one's own records.
        if self._redis.announce(gen, key[0], key[1], told) == OK:
            holds.gen = gen
            holds.unsettled.clear()
