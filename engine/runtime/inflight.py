"""Sending attempts, and noticing those that were lost on the way or with their worker."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import islice

import structlog

from engine.errors import Unavailable, UsageError
from engine.plan.tasktype import Effects
from engine.runtime.bugs import reason_of
from engine.runtime.deliveries import Deliveries
from engine.runtime.inspection import Inspection, Orphans, not_begun, untold
from engine.runtime.outbox import Outbox, Sent, Unsent
from engine.runtime.ports import PermitView, RunRow
from engine.runtime.server import Server
from engine.runtime.world import Pace, World
from engine.scheduling.ahead import may_be_sent
from engine.scheduling.events import Chunk, Event, NodeId, PermitsRevoked, Placement, Unpackable
from engine.scheduling.records import RunState
from engine.scheduling.state import LiveRun
from engine.wire import Delivery, NodeCall

log = structlog.get_logger(__name__)

_PUBLISH_AT_ONCE = 200
_PUBLISH_FIRST, _PUBLISH_MANY = 8, 40
"""Of so many messages the first few go out before the others are made: slots that are idle wait for them."""
_BEFORE_THE_BACKLOG = 0
"""The broker's first priority."""
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
        self._server = Server(shard, leader, world, pace)
        self._orphans: Orphans = {}
        self._swept: int | None = None
        self._settled_at: dict[str, float] = {}
        self._begun_at_revocation: dict[str, set[str]] = {}
        self._inspection = Inspection(shard, leader, world, pace, self._outbox, self._orphans, runs, self._server)

    @property
    def redis_changes(self) -> int:
        """How often Redis was found restarted, replaced or flushed."""
        return self._server.changes

    def epoch(self) -> str:
        """The server's own run id, as it was last seen."""
        return self._server.epoch()

    @property
    def waiting_to_send(self) -> bool:
        """Whether attempts are journaled and not published."""
        return bool(self._outbox.unsent)

    def add(self, chunks: Iterable[Chunk]) -> None:
        """These were journaled: publish them, a chunk a message, at the next ``send``."""
        for chunk in chunks:
            first = chunk[0]
            self._outbox.add(chunk, self._runs[first.run_id].active[first.step_no, first.item].queue)

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

    def may_hold(self, run: LiveRun) -> bool:
        """Whether permits of a restored run may be in Redis: of attempts that are out, or were to be stopped."""
        return bool(run.active) or run.news is not None

    def adopt(self, run: LiveRun) -> None:
        """Find out, from the permits in Redis, under which tokens a restored run's attempts are out.

        Permits of attempts that are not were to be taken back by a scheduler that did not come to it.
        """
        if not self.may_hold(run):
            return
        permits = self._world.hot.permits(run.id, self._server.epoch())
        self._take_back_left(run, permits)
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

    def _take_back_left(self, run: LiveRun, permits: Mapping[str, PermitView]) -> None:
        wanted = {_name(node) for node in run.active}
        if permits.keys() <= wanted:
            return
        # Raises ``Fenced`` if another leads by now: what it wrote is not ours to take. What was read before
        # this holds is of us or of schedulers before us, however late it is acted upon.
        self._world.journal.commit(self._shard, self._leader, ())
        held = {permit.token for field, permit in permits.items() if field in wanted}
        for field, permit in permits.items():
            if field not in wanted:
                self._world.hot.take_back(run.id, [field], permit.token)
        self._world.hot.stop({permit.token for permit in permits.values()} - held)

    def send(self) -> list[Event]:
        """Publish what is waiting: permits first, then messages, so that none arrives without its permit."""
        events: list[Event] = []
        epoch, now = self._server.epoch(), self._world.clock.monotonic()
        left = len(self._outbox.unsent)
        at_once = _PUBLISH_FIRST if left >= _PUBLISH_MANY else _PUBLISH_AT_ONCE
        while left:
            made: list[tuple[Unsent, Delivery]] = []
            later: list[Unsent] = []
            taken = list(islice(self._outbox.unsent, min(left, at_once)))
            left, at_once = left - len(taken), _PUBLISH_AT_ONCE
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
        self._sweep()
        return self._inspection.inspect(caught_up)

    def _sweep(self) -> None:
        """Clear what is left of runs that ended: a predecessor may have died between an end and its clearing.

        Once, and again after Redis was found changed: its file may bring an older state back. Not before Redis takes
        no permits of a predecessor any more.
        """
        if not self._server.led or self._swept == self.redis_changes:
            return
        changes = self.redis_changes
        for run_id in self._world.hot.permitted_runs(self._shard):
            if run_id not in self._rows:
                self.clear(run_id)
        self._swept = changes

    def revoke(self, run: LiveRun, living: frozenset[NodeId] = frozenset()) -> PermitsRevoked | None:
        """Delete a run's permits; ``None`` if a body began so lately that it must be asked again.

        ``living`` are nodes that are runs of their own, which have not ended.
        """
        if not self._server.led:
            return None  # a predecessor's permits could still be written after these are gone
        youngest_s, fields = self._world.hot.revoke_run(self._shard, run.id)
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

    def stop(self, run_id: str, nodes: Iterable[NodeId]) -> None:
        """Take back those of these attempts that have not begun, and tell the others to stop.

        The body of a chunk cannot be stopped without its neighbours, and is short: unless none of them
        is wanted any more.
        """
        wanted = list(nodes)
        fields: dict[str, list[str]] = {}
        for node in wanted:
            token = self._outbox.token_of(run_id, node)
            # Where the token is not known any more, no other was written yet: stops come before what is sent.
            fields.setdefault(token or "", []).append(_name(node))
        known = self._outbox.sent
        whole = [token for token, names in fields.items() if token and len(names) == len(known[token].placements)]
        self._world.hot.stop(whole)  # first: what has begun costs more with every moment
        for token, names in fields.items():
            self._world.hot.take_back(run_id, names, token, (self._shard, self._leader))
        for node in wanted:
            self.ended(run_id, node)

    def _may_be_running(self, run: LiveRun, node: NodeId, begun: set[str]) -> bool:
        """Whether a leased node's body had begun; one that was claimed only finds no permit any more.

        After Redis was emptied the permits cannot tell, so that whatever is leased may be running.
        """
        return _name(node) in begun or run.active[node].begun_at is not None or self.redis_changes > 0

    def clear(self, run_id: str) -> None:
        """Remove what a finished run left in Redis."""
        self._world.hot.revoke_run(self._shard, run_id)

    def _try_to_make(self, unsent: Unsent, epoch: str, now: float, events: list[Event]) -> Delivery | None:
        """The message; ``None`` if it cannot be made, with events if it never can for some nodes."""
        first = unsent.placements[0]
        run, row = self._runs[first.run_id], self._rows[first.run_id]
        calls: list[tuple[Placement, NodeCall]] = []
        placed: set[int] = set()
        try:
            for placement in unsent.placements:
                if not may_be_sent(run, placement, placed):
                    told = untold if unsent.publications else not_begun
                    events.append(told(placement, "", "it was to follow a step that has not succeeded yet"))
                    continue
                try:
                    calls.append((placement, self._deliveries.node(run, row, placement)))
                    placed.add(placement.step_no)
                except UsageError as error:
                    events.append(_unpackable(placement, str(error)))
                except Exception as error:  # noqa: BLE001 - nothing is sent or decided yet: it ends this node alone
                    events.append(_unpackable(placement, _fault(run, placement, error)))
            unsent.placements = tuple(placement for placement, _ in calls)
            if not calls:
                return None
            return self._make(run, row, calls, epoch, unsent.queue)
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
        except Exception as error:  # noqa: BLE001 - as above, for what the nodes share
            why = _fault(run, first, error)
            events.extend(_unpackable(placement, why) for placement in unsent.placements)
            unsent.placements = ()
        return None

    def _make(
        self, run: LiveRun, row: RunRow, calls: list[tuple[Placement, NodeCall]], epoch: str, queue: str
    ) -> Delivery:
        head_no = calls[0][0].step_no
        own = [call for placement, call in calls if placement.step_no == head_no]
        followers = [(placement.step_no, call) for placement, call in calls if placement.step_no != head_no]
        head = self._deliveries.make(run, row, own, head_no, self._world.new_token(), epoch, queue)
        lasts_s = sum(run.active[placement.step_no, placement.item].estimate_s for placement, _ in calls)
        whole = self._deliveries.followed(head, run, row, followers) if followers else head
        return replace(whole, lasts_s=lasts_s)

    def _publish(self, epoch: str, made: list[tuple[Unsent, Delivery]]) -> None:
        if not made:
            return
        now = self._world.clock.monotonic()
        permits = [
            (delivery.run_id, _name((part.step_no, node.item)), delivery.token)
            for _, delivery in made
            for part, node in delivery.parts()
        ]
        self._world.hot.write_permits(epoch, permits, (self._shard, self._leader))
        for unsent, delivery in made:
            placements = {(placement.step_no, placement.item): placement for placement in unsent.placements}
            sent = Sent(delivery.token, unsent.run_id, placements, unsent.queue, now, unsent.publications + 1)
            self._outbox.published(sent)
        first = {delivery.token: _BEFORE_THE_BACKLOG for unsent, delivery in made if self._urgent(unsent)}
        self._world.publisher.publish([delivery for _, delivery in made], first)

    def _urgent(self, unsent: Unsent) -> bool:
        placement = unsent.placements[0]
        active = self._runs[placement.run_id].active.get((placement.step_no, placement.item))
        return active is not None and active.urgent

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


def _name(node: NodeId) -> str:
    return f"{node[0]}:{node[1]}"


def _fault(run: LiveRun, placement: Placement, error: Exception) -> str:
    return reason_of(error, run.id, f"a message of {run.step(placement.step_no).path} was made")


def _unpackable(placement: Placement, why: str) -> Unpackable:
    return Unpackable(placement.run_id, placement.step_no, placement.item, placement.attempt, why)
