"""What was, or is about to be, published: the scheduler's knowledge of messages in flight.

SQL says which attempts are out; this says under which token each was last published, and whether a
worker has claimed it. It is rebuilt from the permits in Redis, and where Redis has lost them the
attempt is simply published again: the older message, should it turn up, holds a void token.

When an attempt is published again (never by age alone, which storms when the backlog is merely
long):

* Redis was restarted, replaced or flushed: once live workers have had the time to announce what
  they hold;
* its queue is empty and nobody has claimed it;
* fewer messages wait in its queue than were sent: with growing waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.scheduling.events import Chunk, NodeId, Placement

EMPTY_QUEUE_S = 2.0
"""Seconds an unclaimed message's queue must have been empty before it is published again."""
_BACKOFF_S = 30.0
_BACKOFF_MAX_S = 600.0


@dataclass(slots=True)
class Sent:
    """One publication. Times are of the monotonic clock.

    Parameters
    ----------
    placements
        The attempts it holds that have not ended, by node.
    stamp, alive_at
        The lease's last stamp, and when it was last seen to change, or, once claimed and with no
        lease any more, when the lease was last seen.
    claimed_at
        When it was first seen claimed.
    taking
        Permits that were asked back, until Redis has answered.
    """

    token: str
    run_id: str
    placements: dict[NodeId, Placement]
    queue: str
    published_at: float
    publications: int = 1
    claimed: bool = False
    stamp: float | None = None
    alive_at: float = 0.0
    claimed_at: float = 0.0
    taking: frozenset[str] = frozenset()


@dataclass(slots=True)
class Unsent:
    """Attempts to publish in one message, for the first time or again.

    ``failures`` counts how often the message could not be made.
    """

    placements: Chunk
    queue: str
    publications: int = 0
    failures: int = 0
    not_before: float = 0.0

    @property
    def run_id(self) -> str:
        return self.placements[0].run_id


@dataclass(slots=True)
class Outbox:
    """Attempts to send, and those sent.

    Parameters
    ----------
    unsent
        In order; an attempt stays until its publication did not fail.
    quiet_until
        Monotonic time before which nothing is published again or given up: workers are announcing
        what they hold.
    """

    unsent: deque[Unsent] = field(default_factory=deque)
    sent: dict[str, Sent] = field(default_factory=dict)
    quiet_until: float = 0.0
    _tokens: dict[tuple[str, NodeId], str] = field(default_factory=dict)
    _empty_since: dict[str, float] = field(default_factory=dict)

    def add(self, placements: Chunk, queue: str) -> None:
        """Attempts were journaled and are to be published in one message."""
        self.unsent.append(Unsent(placements, queue))

    def published(self, sent: Sent) -> None:
        """A publication was tried; even one that failed may have arrived."""
        for node in sent.placements:
            self._drop_token((sent.run_id, node))
            self._tokens[(sent.run_id, node)] = sent.token
        self.sent[sent.token] = sent

    def token_of(self, run_id: str, node: NodeId) -> str | None:
        """The token under which a node's attempt was last published."""
        return self._tokens.get((run_id, node))

    def ended(self, run_id: str, node: NodeId) -> None:
        """The node's attempt is over."""
        self._drop_token((run_id, node))

    def forget(self, run_id: str) -> None:
        """A run is over or cancelled: nothing of it is to be published."""
        for key in [key for key in self._tokens if key[0] == run_id]:
            self._drop_token(key)
        self.unsent = deque(unsent for unsent in self.unsent if unsent.run_id != run_id)

    def seen_leases(self, leases: Mapping[str, float], now: float) -> None:
        """Take in the stamps of all leases, as read now."""
        for token, stamp in leases.items():
            sent = self.sent.get(token)
            if sent is not None and sent.stamp != stamp:
                sent.stamp = stamp
                self.heard_of(token, now)

    def heard_of(self, token: str, now: float) -> None:
        """A worker holds this delivery and is alive."""
        sent = self.sent[token]
        if not sent.claimed:
            sent.claimed, sent.claimed_at = True, now
        sent.alive_at = now

    def silent(self, now: float, lease_s: float) -> list[Sent]:
        """Claimed deliveries whose worker has said nothing for ``lease_s`` seconds."""
        if now < self.quiet_until:
            return []
        return [sent for sent in self.sent.values() if sent.claimed and now - sent.alive_at > lease_s]

    def overlong(self, now: float, longest_s: float) -> list[Sent]:
        """Claimed chunks that have been held for longer than ``longest_s`` and have nodes left."""
        return [
            sent
            for sent in self.sent.values()
            if sent.claimed and len(sent.placements) > 1 and now - sent.claimed_at > longest_s
        ]

    def redis_changed(self, quiet_until: float) -> None:
        """Permits and messages are void; whatever is still running will announce itself."""
        self.quiet_until = quiet_until
        for sent in self.sent.values():
            sent.published_at = float("-inf")
            sent.claimed, sent.stamp = False, None

    def unclaimed_queues(self) -> set[str]:
        """Queues in which a message of ours should be waiting."""
        return {sent.queue for sent in self.sent.values() if not sent.claimed}

    def missing(self, lengths: Mapping[str, int], now: float) -> list[Sent]:
        """Publications that are to be taken as lost before anybody claimed them."""
        if now < self.quiet_until:
            return []
        for queue, length in lengths.items():
            if length:
                self._empty_since.pop(queue, None)
            else:
                self._empty_since.setdefault(queue, now)
        waiting: dict[str, list[Sent]] = {}
        for sent in self.sent.values():
            if not sent.claimed:
                waiting.setdefault(sent.queue, []).append(sent)
        return [
            sent
            for queue, unclaimed in waiting.items()
            if queue in lengths and lengths[queue] < len(unclaimed)
            for sent in unclaimed
            if self._is_missing(sent, now)
        ]

    def _is_missing(self, sent: Sent, now: float) -> bool:
        age_s = now - sent.published_at
        empty_for_s = now - self._empty_since.get(sent.queue, now)
        if min(age_s, empty_for_s) >= min(_BACKOFF_MAX_S, EMPTY_QUEUE_S * 2 ** (sent.publications - 1)):
            return True
        return age_s >= min(_BACKOFF_MAX_S, _BACKOFF_S * 2.0 ** (sent.publications - 1))

    def _drop_token(self, key: tuple[str, NodeId]) -> None:
        token = self._tokens.pop(key, None)
        sent = self.sent.get(token) if token is not None else None
        if sent is not None:
            sent.placements.pop(key[1], None)
            if not sent.placements:
                del self.sent[sent.token]
