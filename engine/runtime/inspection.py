"""Looking at what is in flight: which attempts were lost on the way or with their worker."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from engine.runtime.outbox import Outbox, Sent, Unsent
from engine.runtime.ports import PermitView
from engine.runtime.server import Server
from engine.runtime.world import Pace, World
from engine.scheduling.events import AttemptLost, Event, NodeId, Placement, Reported
from engine.scheduling.records import RunState
from engine.scheduling.state import LiveRun
from engine.wire import ErrorInfo, NodeReport, Outcome

log = structlog.get_logger(__name__)

Orphans = dict[tuple[str, NodeId], float]
"""Restored attempts, by run and node, whose permit was not found, and when that was."""


class Inspection:
    """The regular look at leases, permits and queue lengths. Every method may raise ``Unavailable``."""

    def __init__(
        self,
        shard: int,
        leader: int,
        world: World,
        pace: Pace,
        outbox: Outbox,
        orphans: Orphans,
        runs: Mapping[str, LiveRun],
        server: Server,
    ) -> None:
        self._shard, self._fence, self._world, self._pace, self._outbox = shard, (shard, leader), world, pace, outbox
        self._orphans, self._runs, self._server = orphans, runs, server
        self._strangers: dict[str, tuple[float, float]] = {}
        self._inspected_at = float("-inf")

    def inspect(self, caught_up: bool) -> list[Event]:
        """Look for attempts that were lost, and put those that nobody began back in line.

        Unless the scheduler has ``caught_up`` with the reports, nothing is given up: the end of what
        seems lost may be among those it has not read.
        """
        if self._server.notice():
            self._outbox.redis_changed(self._world.clock.monotonic() + self._pace.announce_s)
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
        """A delivery's worker is gone: the nodes whose bodies had begun are lost, the rest is sent again.

        A chunk's nodes run in order. Where nothing tells which had begun, the first that has not reported
        is taken to have. A permit that is gone (revoked, or Redis was emptied) does not say that none had.
        """
        if len(sent.placements) == 1:
            return [_lost(placement, why) for placement in sent.placements.values()]
        permits = self._world.hot.permits(sent.run_id, self._server.epoch())
        held = {node for node in sent.placements if _holds(permits, node, sent.token)}
        run = self._runs.get(sent.run_id)
        begun = {node for node in held if permits[_name(node)].begun} | (_seen_running(run) & sent.placements.keys())
        blamed = begun or {next(iter(sent.placements))}
        events: list[Event] = []
        for node, placement in sent.placements.items():
            if node in blamed:
                events.append(_lost(placement, why))
            else:
                events.append((not_begun if node in held else untold)(placement, sent.token, why))
        return events

    def _spread_overlong(self, now: float) -> None:
        """Take the nodes of a chunk that takes much longer than meant, and have not begun, to send them singly."""
        for sent in self._outbox.overlong(now, self._pace.chunk_longest_s):
            run = self._runs.get(sent.run_id)
            if run is None or run.state is RunState.CANCELLING:
                continue  # its permits are gone: that says nothing of who took them, and nothing of it is sent again
            names = {_name(node): node for node in sent.placements}
            tried, sent.taking = sent.taking, frozenset(names)
            taken = set(self._world.hot.take_back(sent.run_id, list(names), sent.token, self._fence))
            if tried:  # the reply was lost: what has no permit any more was taken then
                taken |= tried & names.keys() - self._world.hot.permits(sent.run_id, self._server.epoch()).keys()
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
                # Another's message, of which nothing is known but that it may have gone out.
                self._outbox.unsent.append(Unsent((placement,), active.queue, publications=1))
            else:
                events.append(_lost(placement, "it had begun, and neither its permit nor its report is left"))
        return events


def _lost(placement: Placement, why: str) -> AttemptLost:
    return AttemptLost(placement.run_id, placement.step_no, placement.item, placement.attempt, why)


def not_begun(placement: Placement, token: str, why: str) -> Reported:
    error = ErrorInfo("NotBegun", why)
    report = NodeReport(placement.item, placement.attempt, Outcome.NOT_BEGUN, error=error)
    return Reported(placement.run_id, placement.step_no, report, token=token)


def _seen_running(run: LiveRun | None) -> set[NodeId]:
    return set() if run is None else {node for node, active in run.active.items() if active.begun_at is not None}


def untold(placement: Placement, token: str, why: str) -> Reported:
    """Sent again like one that did not begin, and not said never to have."""
    error = ErrorInfo("WorkerLost", why)
    report = NodeReport(placement.item, placement.attempt, Outcome.INFRASTRUCTURE, error=error)
    return Reported(placement.run_id, placement.step_no, report, token=token)


def _name(node: NodeId) -> str:
    return f"{node[0]}:{node[1]}"


def _holds(permits: Mapping[str, PermitView], node: NodeId, token: str) -> bool:
    permit = permits.get(_name(node))
    return permit is not None and permit.token == token
