"""Sending attempts, and noticing those that were lost on the way or with their worker."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice

import structlog

from engine.errors import Unavailable, UsageError
from engine.plan.tasktype import Effects
from engine.runtime.deliveries import Deliveries
from engine.runtime.outbox import Outbox, Sent, Unsent
from engine.runtime.ports import PermitView, RunRow
from engine.runtime.world import Pace, World
from engine.scheduling.events import AttemptLost, Chunk, Event, NodeId, PermitsRevoked, Placement, Reported, Unpackable
from engine.scheduling.records import RunState
from engine.scheduling.state import LiveRun
from engine.wire import Delivery, ErrorInfo, NodeCall, NodeReport, Outcome

log = structlog.get_logger(__name__)

_PUBLISH_AT_ONCE = 200
_MAKE_TRIES = 12
_MAKE_AGAIN_MAX_S = 15.0


class Inflight:
    """The shard's messages in flight. Every method may raise ``Unavailable``."""

    def __init__(
        self,
        shard: int,
        leader: int,
        world: World,
        pace: Pace,
        deliveries: Deliveries,
        runs: Mapping[str, LiveRun],
        rows: Mapping[str, RunRow],
    ) -> None:
        self._shard, self._leader, self._world, self._pace = shard, leader, world, pace
        self._deliveries, self._runs, self._rows = deliveries, runs, rows
        self._outbox = Outbox()
        self._redis: tuple[str, str] | None = None
        self._led: tuple[str, str] | None = None
        self._orphans: dict[tuple[str, NodeId], float] = {}
        self._settled_at: dict[str, float] = {}
        self._begun_at_revocation: dict[str, set[str]] = {}
        self._strangers: dict[str, tuple[float, float]] = {}
        self._inspected_at = float("-inf")
        self.redis_changes = 0

    @property
    def waiting_to_send(self) -> bool:
        """Whether attempts are journaled and not published."""
        return bool(self._outbox.unsent)

    def add(self, chunks: Iterable[Chunk]) -> None:
        """These were journaled: publish them, a chunk a message, at the next ``send``."""
        for chunk in chunks:
            queue = self._runs[chunk[0].run_id].step(chunk[0].step_no).queue
            self._outbox.add(chunk, queue)

    def asks_to_begin(self, run_id: str, node: NodeId, token: str) -> bool:
        """Whether ``token`` is what a node's attempt was last published under; its worker holds it then."""
        if self._outbox.token_of(run_id, node) != token:
            return False
        self._outbox.heard_of(token, self._world.clock.monotonic())
        return True

    def current(self, run_id: str, node: NodeId, token: str) -> bool:
        """Whether what is said of the delivery ``token`` can be said of the node's attempt.

        A restored attempt whose permit its own report has deleted has no known token. What is said
        of it is believed, unless an ``external`` body may be running under another one.
        """
        known = self._outbox.token_of(run_id, node)
        if known is not None or (run_id, node) not in self._orphans:
            return known == token
        run = self._runs[run_id]
        active = run.active.get(node)
        return active is not None and (active.begun_at is None or run.step(node[0]).effects != Effects.EXTERNAL)

    def ended(self, run_id: str, node: NodeId) -> None:
        """A node's attempt is over."""
        self._outbox.ended(run_id, node)
        self._orphans.pop((run_id, node), None)

    def forget(self, run_id: str) -> None:
        """A run is over: nothing of it may begin, and nothing of it is kept."""
        self._outbox.forget(run_id)
        self._deliveries.forget(run_id)
        self._settled_at.pop(run_id, None)
        self._begun_at_revocation.pop(run_id, None)
        for key in [key for key in self._orphans if key[0] == run_id]:
            del self._orphans[key]

    def adopt(self, run: LiveRun) -> None:
        """Find out, from the permits in Redis, under which tokens a restored run's attempts are out."""
        if not run.active:
            return
        permits = self._world.hot.permits(run.id, self._server())
        now = self._world.clock.monotonic()
        adopted: dict[str, Sent] = {}
        for (step_no, item), active in run.active.items():
            if run.step(step_no).child is not None:
                continue  # a run of its own, which has no permit
            permit = permits.get(f"{step_no}:{item}")
            if permit is None:
                self._orphans[(run.id, (step_no, item))] = now
                continue
            sent = adopted.setdefault(permit.token, Sent(permit.token, run.id, {}, active.queue, now, alive_at=now))
            sent.placements[(step_no, item)] = Placement(run.id, step_no, item, active.attempt)
            sent.claimed, sent.claimed_at = sent.claimed or permit.claimed, now
        for sent in adopted.values():
            self._outbox.published(sent)

    def send(self) -> list[Event]:
        """Publish what is waiting: permits first, then messages, so that none arrives without its permit."""
        events: list[Event] = []
        epoch, now = self._server(), self._world.clock.monotonic()
        for _ in range(len(self._outbox.unsent) // _PUBLISH_AT_ONCE + 1):
            made: list[tuple[Unsent, Delivery]] = []
            later: list[Unsent] = []
            taken = list(islice(self._outbox.unsent, _PUBLISH_AT_ONCE))
            for unsent in taken:
                wanted = tuple(placement for placement in unsent.placements if self._still_wanted(placement))
                if not wanted:
                    continue
                unsent.placements = wanted
                delivery = self._try_to_make(unsent, epoch, now, events) if now >= unsent.not_before else None
                if delivery is not None:
                    made.append((unsent, delivery))
                elif unsent.placements:
                    later.append(unsent)
            self._publish(epoch, made)
            for _ in taken:
                self._outbox.unsent.popleft()
            self._outbox.unsent.extend(later)
        return events

    def inspect(self, caught_up: bool) -> list[Event]:
        """Look for attempts that were lost, and put those that nobody began back in line.

        Unless the scheduler has ``caught_up`` with the reports, nothing is given up: the end of what
        seems lost may be among those it has not read.
        """
        self._notice_another_redis()
        # Lengths before leases: what is taken from its queue in between is seen by its lease.
        queues = self._outbox.unclaimed_queues()
        lengths = self._world.hot.queue_lengths(queues) if queues else {}
        leases, now = self._world.hot.leases(self._shard), self._world.clock.monotonic()
        self._outbox.seen_leases(leases, now)
        if now - self._inspected_at > self._pace.announce_s:
            # Nobody could be heard while nobody listened: the silence counts from here.
            self._outbox.quiet_until = max(self._outbox.quiet_until, now + self._pace.announce_s)
        self._inspected_at = now
        self._stop_strangers(leases, now)
        if not caught_up:
            return []
        silent = self._outbox.silent(now, self._pace.worker_lease_s)
        events = [event for sent in silent for event in self._lost(sent, "its worker stopped answering")]
        self._world.hot.drop_leases(self._shard, [sent.token for sent in silent])
        self._spread_overlong(now)
        return events + self._missing(lengths, now) + self._found_orphans(now)

    def revoke(self, run: LiveRun, living: frozenset[NodeId] = frozenset()) -> PermitsRevoked | None:
        """Delete a run's permits; ``None`` if a body began so lately that it must be asked again.

        ``living`` are nodes that are runs of their own, which have not ended.
        """
        if self._led is None:
            return None  # a predecessor's permits could still be written after these are gone
        youngest_s, fields = self._world.hot.revoke_run(run.id)
        begun = self._begun_at_revocation.setdefault(run.id, set())
        begun.update(fields)
        now = self._world.clock.monotonic()
        settled_at = max(self._settled_at.get(run.id, now), now + self._pace.settle_s - youngest_s)
        if now < settled_at:
            self._settled_at[run.id] = settled_at
            return None
        leased = self._world.hot.leases(self._shard)
        running, tokens = set(), []
        for node in run.active:
            token = self._outbox.token_of(run.id, node)
            if token is not None and token in leased and self._may_be_running(run, node, begun):
                running.add(node)
                tokens.append(token)
        self._world.hot.stop(tokens)
        return PermitsRevoked(run.id, living.union(running))

    def _may_be_running(self, run: LiveRun, node: NodeId, begun: set[str]) -> bool:
        """Whether a leased node's body had begun; one that was claimed only finds no permit any more.

        After Redis was emptied the permits cannot tell, so that whatever is leased may be running.
        """
        return _name(node) in begun or run.active[node].begun_at is not None or self.redis_changes > 0

    def clear(self, run_id: str) -> None:
        """Remove what a finished run left in Redis."""
        self._world.hot.revoke_run(run_id)

    def _server(self) -> str:
        if self._redis is None:
            self._redis = self._world.hot.epoch()
        return self._redis[0]

    def _try_to_make(self, unsent: Unsent, epoch: str, now: float, events: list[Event]) -> Delivery | None:
        """The message; ``None`` if it cannot be made, with events if it never can for some nodes."""
        first = unsent.placements[0]
        run, row = self._runs[first.run_id], self._rows[first.run_id]
        calls: list[NodeCall] = []
        possible: list[Placement] = []
        try:
            for placement in unsent.placements:
                try:
                    calls.append(self._deliveries.node(run, row, placement))
                    possible.append(placement)
                except UsageError as error:
                    events.append(_unpackable(placement, str(error)))
            unsent.placements = tuple(possible)
            if not calls:
                return None
            return self._deliveries.make(run, row, calls, first.step_no, self._world.new_token(), epoch)
        except UsageError as error:
            events.extend(_unpackable(placement, str(error)) for placement in unsent.placements)
            unsent.placements = ()
        except Unavailable as error:
            unsent.failures += 1
            unsent.not_before = now + min(_MAKE_AGAIN_MAX_S, 0.1 * 2.0**unsent.failures)
            log.warning("inputs.unavailable", run=run.id, step=first.step_no, why=str(error))
            if unsent.failures > _MAKE_TRIES:
                events.extend(_unpackable(placement, str(error)) for placement in unsent.placements)
                unsent.placements = ()
        return None

    def _publish(self, epoch: str, made: list[tuple[Unsent, Delivery]]) -> None:
        if not made:
            return
        now = self._world.clock.monotonic()
        permits = [
            (delivery.run_id, f"{delivery.step_no}:{node.item}", delivery.token)
            for _, delivery in made
            for node in delivery.nodes
        ]
        self._world.hot.write_permits(epoch, permits, (self._shard, self._leader))
        for unsent, delivery in made:
            placements = {(placement.step_no, placement.item): placement for placement in unsent.placements}
            sent = Sent(delivery.token, unsent.run_id, placements, unsent.queue, now, unsent.publications + 1)
            self._outbox.published(sent)
        self._world.publisher.publish([delivery for _, delivery in made])

    def _still_wanted(self, placement: Placement) -> bool:
        run = self._runs.get(placement.run_id)
        active = run.active.get((placement.step_no, placement.item)) if run is not None else None
        if run is None or run.state is RunState.CANCELLING:
            return False  # its permits are going or gone: none may be written after them
        if active is None or active.attempt != placement.attempt:
            return False
        if active.begun_at is None:
            return True
        # An earlier publication arrived after all, and its body began: another might begin as well.
        node = (placement.step_no, placement.item)
        if self._outbox.token_of(run.id, node) is None:
            self._orphans.setdefault((run.id, node), self._world.clock.monotonic())
        return False

    def _notice_another_redis(self) -> None:
        current = self._world.hot.epoch()
        if current != self._led:
            # In this order: only who holds the lease after the marker was read may take this Redis.
            self._world.journal.renew(self._shard, self._leader, self._pace.lease_s)
            if not self._world.hot.lead(self._shard, self._leader, current[1]):
                raise Unavailable("Redis was emptied meanwhile, or a later scheduler leads")
            self._led = current
        if self._redis is not None and current != self._redis:
            log.warning("redis.changed", shard=self._shard, restarted=current[0] != self._redis[0])
            self.redis_changes += 1
            self._outbox.redis_changed(self._world.clock.monotonic() + self._pace.announce_s)
        self._redis = current

    def _missing(self, lengths: Mapping[str, int], now: float) -> list[Event]:
        """Take unclaimed messages that are nowhere: publish them again, unless the body had begun."""
        events: list[Event] = []
        missing = self._outbox.missing(lengths, now)
        for sent in missing:
            again: list[Placement] = []
            for node, placement in list(sent.placements.items()):
                self._outbox.ended(sent.run_id, node)
                run = self._runs.get(sent.run_id)
                active = run.active.get(node) if run is not None else None
                if run is None or active is None:
                    continue
                if active.begun_at is not None or run.state is RunState.CANCELLING:
                    events.append(_lost(placement, "it had begun, or may have, and its worker is gone"))
                else:
                    again.append(placement)
            if again:
                self._outbox.unsent.append(Unsent(tuple(again), sent.queue, sent.publications))
        if missing:
            log.info("messages.published_again", count=len(missing), shard=self._shard)
        return events

    def _lost(self, sent: Sent, why: str) -> list[Event]:
        """A delivery's worker is gone: the node whose body had begun is lost, the rest is sent again.

        A chunk's nodes run in order. Where the permits cannot tell any more which had begun, the
        first that has not reported is taken to have.
        """
        if len(sent.placements) == 1:
            return [_lost(placement, why) for placement in sent.placements.values()]
        permits = self._world.hot.permits(sent.run_id, self._server())
        begun = [node for node in sent.placements if _holds(permits, node, sent.token) and permits[_name(node)].begun]
        blamed = set(begun) or {min(sent.placements)}
        return [
            _lost(placement, why) if node in blamed else _not_begun(placement, sent.token, why)
            for node, placement in sent.placements.items()
        ]

    def _spread_overlong(self, now: float) -> None:
        """Take the nodes of a chunk that takes much longer than meant, and have not begun, to send them singly."""
        for sent in self._outbox.overlong(now, self._pace.chunk_longest_s):
            names = {_name(node): node for node in sent.placements}
            tried, sent.taking = sent.taking, frozenset(names)
            taken = set(self._world.hot.take_back(sent.run_id, list(names), sent.token))
            if tried:  # the reply was lost: what has no permit any more was taken then
                taken |= tried & names.keys() - self._world.hot.permits(sent.run_id, self._server()).keys()
            sent.taking = frozenset()
            for name in sorted(taken):
                placement = sent.placements[names[name]]
                self._outbox.ended(sent.run_id, names[name])
                self._outbox.add((placement,), sent.queue)
            if taken:
                log.info("chunk.spread", run=sent.run_id, nodes=len(taken), shard=self._shard)

    def _stop_strangers(self, leases: Mapping[str, float], now: float) -> None:
        """Bodies whose attempts are no longer wanted (of runs that ended while Redis was away) are told.

        Only those that two inspections saw: between them this scheduler renewed its lease, so it is
        not one that was frozen while another published them. Leases that nobody renews go.
        """
        known, self._strangers = self._strangers, {}
        for token, stamp in leases.items():
            if token not in self._outbox.sent:
                seen = known.get(token)
                self._strangers[token] = seen if seen is not None and seen[0] == stamp else (stamp, now)
        again = [token for token in self._strangers if token in known]
        if again and not self._orphans:  # while there are, tokens of a restored run may not be known
            self._world.hot.stop(again)
        left = [token for token, (_, since) in self._strangers.items() if now - since > self._pace.worker_lease_s]
        if left and now >= self._outbox.quiet_until:
            self._world.hot.drop_leases(self._shard, left)

    def _found_orphans(self, now: float) -> list[Event]:
        """Restored attempts with no permit: their report has been read by now, or they are gone.

        One that had begun may still be running, where Redis was emptied and its token is not known
        any more: its report is waited for as long as a silent worker is.
        """
        events: list[Event] = []
        for (run_id, node), since in list(self._orphans.items()):
            if now - since < self._pace.inspect_s or now < self._outbox.quiet_until:
                continue
            run = self._runs.get(run_id)
            active = run.active.get(node) if run is not None else None
            if active is not None and active.begun_at is not None and now - since < self._pace.worker_lease_s:
                continue
            del self._orphans[(run_id, node)]
            if run is None or active is None:
                continue
            placement = Placement(run_id, *node, active.attempt)
            if active.begun_at is None:
                self._outbox.add((placement,), active.queue)
            else:
                events.append(_lost(placement, "it had begun, and neither its permit nor its report is left"))
        return events


def _lost(placement: Placement, why: str) -> AttemptLost:
    return AttemptLost(placement.run_id, placement.step_no, placement.item, placement.attempt, why)


def _not_begun(placement: Placement, token: str, why: str) -> Reported:
    error = ErrorInfo("NotBegun", why)
    report = NodeReport(placement.item, placement.attempt, Outcome.NOT_BEGUN, error=error)
    return Reported(placement.run_id, placement.step_no, report, token=token)


def _name(node: NodeId) -> str:
    return f"{node[0]}:{node[1]}"


def _holds(permits: Mapping[str, PermitView], node: NodeId, token: str) -> bool:
    permit = permits.get(_name(node))
    return permit is not None and permit.token == token


def _unpackable(placement: Placement, why: str) -> Unpackable:
    return Unpackable(placement.run_id, placement.step_no, placement.item, placement.attempt, why)
