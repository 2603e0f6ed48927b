"""The worker's heartbeat, its eye on itself, and the last resort against bodies that do not stop.

A worker counts as alive while it announces itself, and as well only while it works: Celery on Redis
has stopped consuming after a reconnect more than once, with the process still up.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from engine.broker.lifecycle import WorkerProcess
from engine.errors import Unavailable
from engine.hotstate.worker import WorkerHotState
from engine.runtime.ports import WorkerInfo

_LOG = logging.getLogger(__name__)

STUCK_S = 30.0
"""Seconds of a standing main loop, or of idling before a full queue, after which a worker is replaced."""


@dataclass(slots=True)
class _Seen:
    """What the last look found, and since when nothing moved."""

    accepted: int = 0
    moved_at: float = 0.0
    reachable_since: float | None = None
    tokens: frozenset[str] = frozenset()


class Watch:
    """A thread of the worker's main process.

    Parameters
    ----------
    recycle
        Called with a reason when the worker no longer works.
    deaf_after_s
        Seconds after which the child of a body that was told to stop is killed: more than its own
        process takes to interrupt it. ``None`` where there are no children.
    """

    def __init__(
        self,
        process: WorkerProcess,
        hot: WorkerHotState,
        info: WorkerInfo,
        heartbeat_s: float,
        lease_s: float,
        recycle: Callable[[str], None],
        deaf_after_s: float | None = None,
        stuck_s: float | None = None,
    ) -> None:
        self._process, self._hot, self._info = process, hot, info
        self._heartbeat_s, self._lease_s = heartbeat_s, lease_s
        self._stuck_s = STUCK_S if stuck_s is None else stuck_s
        self._recycle = recycle
        self._deaf_after_s = deaf_after_s
        self._stopped: dict[str, float] = {}
        self._announced: dict[str, int] = {}
        self._draining = False
        self._ended = threading.Event()
        self._seen = _Seen(moved_at=time.monotonic())
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Begin to announce the worker."""
        self._thread.start()

    def end(self) -> None:
        """The worker leaves: nobody shall count on it any more."""
        self._ended.set()
        self._thread.join(self._heartbeat_s)
        try:
            self._hot.leave(self._info.name)
        except Unavailable as error:
            _LOG.info("could not say good-bye: %s", error)

    def _run(self) -> None:
        while not self._ended.is_set():
            self.look()
            over = time.monotonic() + self._heartbeat_s
            while not self._ended.is_set() and (left_s := over - time.monotonic()) > 0:
                self._ended.wait(min(left_s, self._kill_deaf()))

    def look(self) -> None:
        """Announce what is active, then check that work moves."""
        active = self._process.active()
        # What only reads ahead holds no lease: nobody misses it.
        shards = {raw["token"]: raw["shard"] for raw in active if not raw.get("prefetch")}
        # A claim leases for several heartbeats. Announcing a delivery only from its second one on keeps
        # us from bringing back the lease of a short one that ends in this moment.
        lasting = {token: shard for token, shard in shards.items() if token in self._seen.tokens}
        self._seen.tokens = frozenset(shards)
        try:
            gone = {token: shard for token, shard in self._announced.items() if token not in shards}
            if gone:
                self._hot.let_go(gone)
            self._announced = lasting
            self._note_stops(self._hot.announce(self._info, lasting, self._lease_s), shards)
            waiting = self._hot.waiting(self._info.queues)
            if not self._draining and self._hot.told_to_drain(self._info.name):
                self._drain()
        except Unavailable as error:
            _LOG.warning("heartbeat: %s", error)
            self._seen.reachable_since = None
            return
        except Exception:  # noqa: BLE001 - the heartbeat must go on, or every lease of this worker runs out
            _LOG.exception("heartbeat")
            return
        if self._draining:
            return  # its main loop has ended, and messages that wait are not for it
        reason = self._stuck(len(active), waiting)
        if reason:
            self._recycle(reason)

    def _note_stops(self, stopped: set[str], active: Collection[str]) -> None:
        """``stopped`` were told to stop; those told before are remembered while they are active."""
        now = time.monotonic()
        self._stopped = {token: self._stopped.get(token, now) for token in stopped if token in active}

    def _kill_deaf(self) -> float:
        """Kill children whose bodies were told to stop long ago; seconds until the next is due."""
        if self._deaf_after_s is None or not self._stopped:
            return self._heartbeat_s
        now = time.monotonic()
        for token in [token for token, since in self._stopped.items() if now - since >= self._deaf_after_s]:
            self._process.kill(token)
            self._stopped[token] = now  # once more, if that comes to nothing
        return max(0.01, min(self._stopped.values()) + self._deaf_after_s - now)

    def _drain(self) -> None:
        """Take nothing new; the process ends with 0 once its bodies have, however long they last."""
        _LOG.info("worker %s drains", self._info.name)
        self._draining = True
        self._info = replace(self._info, queues=())  # nobody shall count on its slots
        self._process.stop(0)

    def _stuck(self, active: int, waiting: int) -> str | None:
        """Why this worker no longer works; ``None`` if it does.

        Time in which Redis was away does not count: then nobody can work.
        """
        seen, now = self._seen, time.monotonic()
        accepted = self._process.accepted()
        if seen.reachable_since is None:
            seen.reachable_since = seen.moved_at = now
        if accepted != seen.accepted or active >= self._info.slots or not waiting:
            seen.accepted, seen.moved_at = accepted, now
        if min(self._process.beat_age_s(), now - seen.reachable_since) > self._stuck_s:
            return f"Celery's main loop has stood still for {self._process.beat_age_s():.0f} s"
        if now - seen.moved_at > self._stuck_s:
            return (
                f"{waiting} messages waited for {now - seen.moved_at:.0f} s before {active} of {self._info.slots} slots"
            )
        return None
