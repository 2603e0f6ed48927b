"""The scheduler of one shard: the only writer of its runs' state.

One step: read what happened, ask the core, look up what the core asks for, commit it all in one
transaction, then publish and acknowledge. Nothing leaves before it is journaled, and nothing is
acknowledged before it is committed; so a crash at any line repeats work that changes nothing.

Everything it touches is a port, which is how the simulation drives this very code.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import structlog

from engine.clock import JumpWatch
from engine.errors import Unavailable
from engine.runtime import faults
from engine.runtime.answers import Answers
from engine.runtime.budgets import Accounting, looked
from engine.runtime.caring import Caring
from engine.runtime.children import Children
from engine.runtime.consequences import Consequences
from engine.runtime.credibility import judged
from engine.runtime.deliveries import Deliveries
from engine.runtime.inflight import Inflight
from engine.runtime.intake import Intake
from engine.runtime.learning import Learning
from engine.runtime.newcomers import Newcomers
from engine.runtime.offspring import Offspring
from engine.runtime.ports import RunRow
from engine.runtime.prefetching import Prefetching
from engine.runtime.questions import Questions
from engine.runtime.rooms import Rooms
from engine.runtime.tempo import Tempo
from engine.runtime.translation import events_of
from engine.runtime.values import Values
from engine.runtime.world import Limits, Pace, World
from engine.scheduling.core import Core
from engine.scheduling.events import AttemptLost, Commanded, Event, Grant, NodeId, Reported, TimePassed, Verdict
from engine.scheduling.records import Record
from engine.scheduling.state import Policy
from engine.wire import ReportKind

log = structlog.get_logger(__name__)

_AGAIN_S = 0.02


class Leader:
    """Schedules one shard for as long as ``epoch`` is its fencing epoch.

    A new one is made at each takeover: its memory comes from the journal alone.
    """

    def __init__(self, shard: int, epoch: int, world: World, pace: Pace, policy: Policy, limits: Limits) -> None:
        self._shard, self._epoch, self._world, self._pace = shard, epoch, world, pace
        self._learning = Learning(shard, epoch, world)
        self._core = Core(policy, self._learning.knowledge)
        self._rows: dict[str, RunRow] = {}
        self._values = Values(world.journal, world.artefacts)
        self._answers = Answers(self._values)
        runs, rows = self._core.runs, self._rows
        self._prefetching = Prefetching(shard, epoch, world, runs, rows, self._core.prefetch_left_s)
        waits = (pace.retry_in_worker_max_s, self._core.mark_after_s, self._prefetching.ahead)
        self._caring = Caring(runs, rows)
        self._deliveries = Deliveries(self._values, self._answers, shard, *waits, self._caring)
        self._inflight = Inflight(shard, epoch, world, pace, self._deliveries, runs, rows)
        self._rooms = Rooms(shard, world, limits)
        offspring = Offspring(self._values, self._answers, world.clock)
        self._children = Children(shard, epoch, world, offspring, runs, rows)
        self._newcomers = Newcomers(shard, epoch, world, self._core, rows, self._absorb, self._taken_up)
        self._questions = Questions(self._answers, self._learning, runs, rows, self._decided)
        others = (self._inflight, self._children, self._newcomers, self._prefetching)
        self._consequences = Consequences(world, self._core, *others, self._decided, self._forget)
        self._accounting = Accounting(world.budgets, shard, f"{shard}:{epoch}", world.hot, world.clock, pace.announce_s)
        self._uncommitted: list[Record] = []
        self._intake = Intake(shard, world, pace, self._core.is_light)
        self._tempo = Tempo(pace.dispatch)
        self._jumps = JumpWatch(world.clock)
        self._to_adopt: list[str] = []
        self._poll_at = self._inspect_at = float("-inf")
        self._full = self._loaded = False

    def step(self) -> None:
        """One turn of the loop; waits for something to do, at most until the next thing is due.

        Raises ``Fenced`` once another scheduler leads the shard.
        """
        if not self._commit():
            return
        self._learning.turn()
        if not self._loaded:
            self._load()
            return
        if jumped_s := self._jumps.jumped_s():
            log.warning("clock.jumped", shard=self._shard, seconds=jumped_s)
            self._core.clock_jumped(jumped_s)
        events = self._read()
        now, nodes = self._world.clock.monotonic(), len(events)
        self._take_named()
        if now >= self._poll_at and not self._intake.light:
            self._poll_at = now + self._pace.poll_s
            events += self._poll()
        if now >= self._inspect_at and not self._intake.light:
            self._inspect_at = now + self._pace.inspect_s
            events += self._inspect()
            self._uncommitted += looked(self._accounting, self._intake.caught_up)
        self._decide(events)
        self._answer()
        self._tell_children()
        nodes += self._dispatch(self._tempo.nodes(len(self._rows)) - nodes)
        if self._commit():
            self._after_commit()
        self._tempo.took(self._world.clock.monotonic() - now, nodes, len(self._rows))

    @property
    def idle(self) -> bool:
        """Whether no run is in memory."""
        return not self._rows

    def leave(self) -> None:
        """Another may lead from now on. Raises ``Fenced`` or ``Unavailable``."""
        self._learning.leave()

    def _load(self) -> None:
        """Take up the shard's unfinished runs, before the first report is read.

        A report of a run that is not in memory would be taken for one that came too late.
        """
        self._rooms.paused = self._world.journal.paused_queues()
        self._loaded = not self._newcomers.take_all()
        self._commit()

    # --- in -------------------------------------------------------------------------------------

    def _read(self) -> list[Event]:
        try:
            most = self._tempo.nodes(len(self._rows)) if self._world.clock.monotonic() < self._inspect_at else None
            reports = self._intake.read(self._idle_s(), self._core.attempts_out(), self._inflight.redis_changes, most)
        except Unavailable as error:
            self._complain("redis.unavailable", error)
            self._full = False  # full would be no wait at all
            self._world.sleep(min(0.2, self._idle_s()))
            return []
        events: list[Event] = []
        for report in reports:
            if report.kind is not ReportKind.WAKE:
                told, lines = events_of(report)
                self._uncommitted += lines
                self._learning.noted(lines)
                events += told
            elif report.run_id:
                self._newcomers.name(report.run_id)
            else:
                self._poll_at = float("-inf")
        return events

    def _take_named(self) -> None:
        try:
            if self._newcomers.take_named():
                return
        except Unavailable as error:
            self._complain("journal.unavailable", error)
        self._poll_at = float("-inf")

    def _poll(self) -> list[Event]:
        try:
            self._newcomers.take_all()
            commands = self._world.journal.commands(self._shard)
            self._rooms.paused = self._world.journal.paused_queues()
            for command in commands:
                if command.run_id not in self._core.runs:
                    self._newcomers.take_commanded(command.run_id)
        except Unavailable as error:
            self._complain("journal.unavailable", error)
            return []
        return [Commanded(command.id, command.run_id, command.kind, command.arguments) for command in commands]

    def _taken_up(self, row: RunRow) -> None:
        self._children.taken_up(row)
        if self._inflight.may_hold(self._core.runs[row.id]):
            self._to_adopt.append(row.id)
            self._inspect_at = float("-inf")

    def _inspect(self) -> list[Event]:
        try:
            while self._to_adopt:
                run = self._core.runs.get(self._to_adopt[-1])
                if run is not None:
                    self._inflight.adopt(run)
                self._to_adopt.pop()
            return self._inflight.inspect(self._intake.caught_up)
        except Unavailable as error:
            self._complain("redis.unavailable", error)
            return []

    # --- decide ---------------------------------------------------------------------------------

    def _decide(self, events: Iterable[Event]) -> None:
        batch = [event for event in events if self._credible(event)] or [TimePassed()]
        self._decided(batch)
        for event in batch:
            if isinstance(event, Reported):
                self._settle_message(event.run_id, (event.step_no, event.node.item))
            elif isinstance(event, AttemptLost):
                self._settle_message(event.run_id, (event.step_no, event.item))

    def _credible(self, event: Event) -> bool:
        """Whether an event counts; if not, what is to be said instead is taken in here."""
        holds, instead = judged(event, self._inflight, self._world.clock.now())
        if isinstance(instead, Grant):
            self._consequences.take_in([instead])
        elif instead is not None:
            self._uncommitted.append(instead)
        return holds and self._prefetching.says(event)

    def _settle_message(self, run_id: str, node: NodeId) -> None:
        run = self._core.runs.get(run_id)
        if run is None or node not in run.active:
            self._inflight.ended(run_id, node)

    def _answer(self) -> None:
        try:
            self._questions.answer()
        except Unavailable as error:
            self._complain("values.unavailable", error)

    def _tell_children(self) -> None:
        """Let what happened to runs happen to those above and below them, in the same transaction."""
        while self._children.waiting:
            try:
                events = self._children.take()
            except Unavailable as error:
                self._complain("values.unavailable", error)
                return
            self._decided(events)
            self._answer()

    def _dispatch(self, most: int) -> int:
        if self._to_adopt:
            self._full = False  # nothing goes out before they are adopted, which is tried again in time
            return 0
        try:
            room = self._rooms.room(self._core)
        except Unavailable as error:
            self._complain("redis.unavailable", error)
            return 0
        most = max(most, self._tempo.at_least(self._core.attempts_out()))
        now, light = self._world.clock.now(), self._intake.light
        chunks, verdict = self._core.dispatch(room, now, most, newcomers_only=light)
        self._accounting.with_ceilings(verdict, self._core.runs, self._caring)
        self._absorb(verdict)
        self._full = (sent := sum(map(len, chunks))) >= most
        self._intake.patience.sent(self._core.light_work_s(chunks))
        chunks = self._children.dispatched(chunks)
        self._inflight.add(chunks)
        for chunk in chunks:
            self._rooms.used(self._core.runs[chunk[0].run_id].step(chunk[0].step_no).task, len(chunk))
        return sent

    def _decided(self, events: Iterable[Event]) -> None:
        self._absorb(self._core.decide(events, self._world.clock.now()))

    def _absorb(self, verdict: Verdict) -> None:
        self._values.take_in(verdict.records, self._core.runs)
        self._answers.take_in(verdict.records)
        self._children.take_in(verdict)
        self._learning.take_in(verdict.records, self._core.runs)
        self._uncommitted += verdict.records
        self._questions.take_in(verdict.requests)
        self._consequences.take_in(verdict.effects)

    # --- out ------------------------------------------------------------------------------------

    def _commit(self) -> bool:
        """Make what was decided durable; whether nothing is left to commit."""
        if not self._uncommitted:
            return True
        faults.point("before_commit")
        try:
            self._world.journal.commit(self._shard, self._epoch, self._uncommitted)
        except Unavailable as error:
            self._complain("journal.unavailable", error)
            self._world.sleep(0.2)
            return False
        faults.point("after_commit")
        self._uncommitted = []
        self._values.committed()
        return True

    def _after_commit(self) -> None:
        try:
            self._consequences.carry_out()
            self._start_children()
            self._decide_unpackable(self._inflight.send())
            self._prefetching.send(self._deliveries, self._inflight.epoch)
            faults.point("after_publish")
            self._accounting.committed()
            self._intake.acknowledge()
        except Unavailable as error:
            self._complain("redis.unavailable", error)

    def _start_children(self) -> None:
        try:
            rows, events = self._children.start()
            for row in rows:
                self._newcomers.take(row)
        except Unavailable as error:
            self._complain("journal.unavailable", error)
            return
        self._decide_unpackable(events)
        self._full = self._full or bool(rows)  # what they have ready need not wait

    def _decide_unpackable(self, events: Sequence[Event]) -> None:
        if events:
            self._decided(events)

    def _forget(self, run_id: str) -> None:
        self._children.forget(run_id)
        self._prefetching.forget(run_id)
        self._inflight.clear(run_id)
        self._inflight.forget(run_id)
        self._core.forget(run_id)
        self._answers.forget(run_id)
        self._values.forget(run_id)
        self._rows.pop(run_id, None)

    def _idle_s(self) -> float:
        """Seconds that may be spent waiting for a report."""
        if self._full or self._newcomers.waiting or self._intake.holds:
            return 0.0
        now = self._world.clock.monotonic()
        waits = [self._poll_at - now, self._inspect_at - now]
        due = self._core.next_due()
        if due is not None:
            waits.append(due - self._world.clock.now())
        if self._rooms.next_token_s is not None:
            waits.append(self._rooms.next_token_s)
        left = self._questions.waiting or self._consequences.waiting or self._inflight.waiting_to_send
        if left or self._children.waiting:
            waits.append(_AGAIN_S)  # something was out of reach
        return max(0.0, min(waits))

    def _complain(self, what: str, error: Exception) -> None:
        log.warning(what, shard=self._shard, why=str(error))
