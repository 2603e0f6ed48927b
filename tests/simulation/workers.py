"""Workers as small state machines: every line that waits for Redis, a body or a clock may be the last.

Follows ``engine/runtime/worker``: receive, claim, prepare, ask (``external``), begin, body, report,
acknowledge. A process that dies takes its messages with it, or they come back late; one that is
frozen goes on where it was, as if nothing had happened.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from engine.artefacts.values import pack, unpack
from engine.errors import TaskError, Unavailable
from engine.plan.templates import render
from engine.runtime.ports import WorkerInfo
from engine.wire import Delivery, ErrorInfo, NodeCall, NodeReport, Outcome, Report, ReportKind, Try
from tests.simulation import bodies

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

T = TypeVar("T")
Work = Generator[float, None, Any]

HEARTBEAT_S = 2.0
PATIENCE_S = 5.0
CLAIM_PATIENCE_S = 30.0
BEGUN_MARK_S = 0.3
_PARKED = -1.0


class NotOurs(Exception):  # noqa: N818 - no error: the scheduler took the node back
    """The permit is gone: say nothing."""


class Slot:
    """One child of a worker, or one of its threads."""

    def __init__(self, worker: SimWorker, number: int) -> None:
        self.worker, self.number = worker, number
        self.ticket = 0
        self.message: bytes | None = None
        self.delivery: Delivery | None = None
        self.waits_for: str | None = None
        self.parked = False
        self.running = False
        self.work = self._loop()

    def resume(self, ticket: int) -> None:
        """Go on, unless something else made it go on before, or its process is gone or frozen."""
        driver, worker = self.worker.sim.driver, self.worker
        if ticket != self.ticket or not worker.alive:
            return
        if worker.frozen_until > driver.now:
            driver.after(worker.frozen_until - driver.now, self.resume, ticket)
            return
        self.ticket += 1
        self.parked = False
        seconds = next(self.work)
        if seconds == _PARKED:
            self.parked = True
        else:
            driver.after(seconds, self.resume, self.ticket)

    def _loop(self) -> Work:
        worker = self.worker
        while True:
            self.message = self.delivery = None
            while (message := worker.next_message()) is None:
                yield _PARKED
            self.message = message
            self.delivery = Delivery.from_json(orjson.loads(message))
            yield worker.sim.driver.chance.uniform(0.0, 0.01)
            yield from _Execution(self, self.delivery).run()

    def wake(self) -> None:
        if self.parked:
            self.parked = False
            self.worker.sim.driver.after(self.worker.sim.driver.chance.uniform(0.0, 0.01), self.resume, self.ticket)


class SimWorker:
    """A worker process and its slots."""

    def __init__(self, sim: Simulation, name: str, queues: tuple[str, ...], slots: int, prefetch: int) -> None:
        self.sim, self.name, self.queues = sim, name, queues
        self.alive, self.stopping = True, False
        self.frozen_until = self.cut_until = -1.0
        self.prefetched: deque[bytes] = deque()
        self._prefetch = prefetch
        self.slots = [Slot(self, number) for number in range(slots)]
        for slot in self.slots:
            sim.driver.after(0.0, slot.resume, slot.ticket)
        self._beat()

    def redis(self, call: Callable[[], T]) -> T:
        """One round trip."""
        if self.cut_until > self.sim.driver.now:
            raise Unavailable("this worker is cut off")
        self.sim.redis.reach()
        if self.sim.faults.rate("lost_request"):
            raise Unavailable("the request was lost")
        result = call()
        if self.sim.faults.rate("lost_reply"):
            raise Unavailable("the reply was lost")
        return result

    def insist(self, call: Callable[[], T], for_s: float = float("inf")) -> Generator[float, None, T]:
        """Try until it works, as ``engine.runtime.worker.services.insist`` does."""
        started, wait_s = self.sim.driver.now, 0.05
        while True:
            try:
                return self.redis(call)
            except Unavailable:
                if self.sim.driver.now - started > for_s:
                    raise
            yield wait_s
            wait_s = min(1.0, wait_s * 2)

    def next_message(self) -> bytes | None:
        if self.stopping:
            return None
        try:
            message = (
                self.prefetched.popleft() if self.prefetched else self.redis(lambda: self.sim.redis.pop(self.queues))
            )
        except Unavailable:
            return None
        return message

    def pump(self) -> None:
        """Messages may be waiting."""
        if not self.alive or self.stopping or self.frozen_until > self.sim.driver.now:
            return
        parked = [slot for slot in self.slots if slot.parked]
        for slot in parked:
            slot.wake()
        while not parked and len(self.prefetched) < self._prefetch:
            try:
                message = self.redis(lambda: self.sim.redis.pop(self.queues))
            except Unavailable:
                return
            if message is None:
                return
            self.prefetched.append(message)

    def die(self) -> None:
        """SIGKILL of the whole group: what it had taken and not acknowledged is lost, or comes back late."""
        self.alive = False
        held = [*self.prefetched, *(slot.message for slot in self.slots if slot.message is not None)]
        for message in held:
            self.sim.broker.come_back(message)

    def lose_child(self, slot: Slot) -> None:
        """SIGKILL of one child: its parent sees it and reports what it knows."""
        message, delivery = slot.message, slot.delivery
        fresh = Slot(self, slot.number)
        self.slots[slot.number] = fresh
        slot.ticket += 1
        slot.worker = _Nobody(self)  # type: ignore[assignment]
        self.sim.driver.after(0.2, fresh.resume, fresh.ticket)
        if message is None or delivery is None:
            return
        parent = Slot(self, slot.number)
        parent.work = _parent_reports(self, delivery)
        self.sim.driver.after(0.01, parent.resume, parent.ticket)

    def _beat(self) -> None:
        driver = self.sim.driver
        if not self.alive:
            return
        if self.frozen_until <= driver.now:
            tokens = [slot.delivery.token for slot in self.slots if slot.delivery is not None and slot.running]
            info = WorkerInfo(self.name, self.queues, len(self.slots))
            try:
                self.redis(lambda: self.sim.redis.announce(info, tokens))
            except Unavailable:
                driver.after(0.3, self._beat)
                return
            self.pump()
        driver.after(max(HEARTBEAT_S, self.frozen_until - driver.now), self._beat)


class _Nobody:
    """What a dead child belongs to."""

    alive = False

    def __init__(self, worker: SimWorker) -> None:
        self.sim = worker.sim


def _parent_reports(worker: SimWorker, delivery: Delivery) -> Work:
    """What a parent says of the delivery its child died with: its last begun body is lost, the rest is not."""
    redis = worker.sim.redis
    names = [f"{delivery.step_no}:{call.item}" for call in delivery.nodes]
    held = yield from worker.insist(
        lambda: [redis.held(delivery.run_id, name, delivery.token, delivery.epoch) for name in names]
    )
    begun_last = max((place for place, (_, _, begun) in enumerate(held) if begun), default=-1)
    nodes, ended = [], []
    for place, (call, (known, ours, begun)) in enumerate(zip(delivery.nodes, held, strict=True)):
        if known and not ours:
            continue
        if known:
            earlier = Outcome.INFRASTRUCTURE if begun else Outcome.NOT_BEGUN
            outcome = Outcome.LOST if place == begun_last else earlier
        else:
            outcome = Outcome.LOST
        error = ErrorInfo("WorkerLost", "its process died")
        begun_at = worker.sim.driver.wall if begun else None
        nodes.append(NodeReport(call.item, call.attempt, outcome, error=error, begun_at=begun_at))
        ended.append(names[place])
    if nodes:
        report = Report(ReportKind.LOST, delivery.token, delivery.run_id, delivery.step_no, worker.name, tuple(nodes))
        yield from worker.insist(lambda: redis.report(report, ended))
    while True:
        yield _PARKED


class _Execution:
    """One delivery's way through a slot."""

    def __init__(self, slot: Slot, delivery: Delivery) -> None:
        self.slot, self.delivery = slot, delivery
        self.worker, self.sim = slot.worker, slot.worker.sim
        self.call = delivery.nodes[0]
        self.nonce = self.sim.unique("n")
        self.begun_at: float | None = None
        self.tries: list[Try] = []

    @property
    def name(self) -> str:
        return f"{self.delivery.step_no}:{self.call.item}"

    def run(self) -> Work:
        chance, redis, told = self.sim.driver.chance, self.sim.redis, self.delivery
        names = [f"{told.step_no}:{call.item}" for call in told.nodes]
        try:
            verdicts = yield from self.worker.insist(
                lambda: redis.claim(told.run_id, names, told.token, told.epoch, self.nonce), CLAIM_PATIENCE_S
            )
        except Unavailable:
            return
        ours = [call for call, verdict in zip(told.nodes, verdicts, strict=True) if verdict]
        if not ours:
            return
        self.slot.running = True
        try:
            yield chance.uniform(0.0, 0.01)
            yield from self._nodes(ours)
            yield chance.uniform(0.0, 0.01)
        finally:
            self.slot.running = False

    def _nodes(self, ours: list[NodeCall]) -> Work:
        """One node after the other; what ended is reported now and then, and at the end."""
        chance, held = self.sim.driver.chance, []
        for place, call in enumerate(ours):
            self.call, self.begun_at, self.tries = call, None, []
            node = yield from self._attempt()
            yield chance.uniform(0.0, 0.01)
            if node is not None:
                held.append(node)
            last = place == len(ours) - 1
            if held and (last or chance.random() < 0.5):
                yield from self._send(held, last=last)
                held = []

    def _send(self, held: list[NodeReport], *, last: bool) -> Work:
        report, names = self._report(ReportKind.DONE, *held), [self._name_of(each) for each in held]
        yield from self.worker.insist(lambda: self.sim.redis.report(report, names, last=last))

    def _name_of(self, node: NodeReport) -> str:
        return f"{self.delivery.step_no}:{node.item}"

    def _attempt(self) -> Generator[float, None, NodeReport | None]:
        try:
            inputs = self._inputs()
            if self.worker.stopping:
                return self._ended(Outcome.NOT_BEGUN, ErrorInfo("NotBegun", "stopping"))
            if self.delivery.effects == "external" and not (yield from self._leave_to_begin()):
                return self._ended(Outcome.NOT_BEGUN, ErrorInfo("NotBegun", "no leave to begin"))
            return (yield from self._tries(inputs))
        except NotOurs:
            return None
        except Unavailable as error:
            return self._ended(Outcome.INFRASTRUCTURE, ErrorInfo("Unavailable", str(error)))
        except TaskError as error:
            return self._ended(Outcome.FAILED, ErrorInfo("Permanent", str(error), retryable=False))

    def _inputs(self) -> Any:
        store = self.sim.artefacts
        environment = unpack(self.delivery.shared, store)
        own = unpack(self.call.own, store) if self.call.own is not None else {}
        return render(unpack(self.delivery.with_, store), environment | own)

    def _leave_to_begin(self) -> Generator[float, None, bool]:
        redis, token = self.sim.redis, self.delivery.token
        mark = NodeReport(self.call.item, self.call.attempt, Outcome.NOT_BEGUN, begun_at=self.sim.driver.wall)
        asking = self._report(ReportKind.BEGIN, mark)
        try:
            yield from self.worker.insist(lambda: redis.append(asking), PATIENCE_S)
            until = self.sim.driver.now + self.sim.grant_timeout_s
            self.slot.waits_for = token
            while not (answers := self.worker.redis(lambda: redis.data.grants.get(token))):
                left_s = until - self.sim.driver.now
                if left_s <= 0:
                    return False
                yield min(left_s, 2.0)
            return answers[0]
        except Unavailable:
            return False
        finally:
            self.slot.waits_for = None

    def _tries(self, inputs: Any) -> Generator[float, None, NodeReport]:
        while True:
            try:
                yield from self._begin()
            except Unavailable:
                if not self.tries:
                    return self._ended(Outcome.NOT_BEGUN, ErrorInfo("NotBegun", "Redis was away"))
                return self._ended(Outcome.NOT_BEGUN, ErrorInfo("NotBegun", "Redis was away"))
            began_marked = self.sim.driver.now
            froze = self.worker.frozen_until
            yield self.sim.driver.chance.uniform(0.0, 0.06)  # between the mark and the first line
            execution = self.sim.unique("x")
            at = began_marked if self.worker.frozen_until != froze else self.sim.driver.now
            self.sim.audit.body_began(self.delivery, self.call, inputs, at)
            try:
                ended = yield from self._body(inputs, execution)
            finally:
                self.sim.audit.body_ended(self.delivery)
            if ended.outcome is Outcome.FAILED and (yield from self._waited(ended)):
                continue
            if ended.outcome is not Outcome.OK:
                return self._ended(ended.outcome, ended.error)
            self.sim.audit.results[execution] = (self.delivery.run_id, self.delivery.step_no, self.call.item)
            return self._ended(Outcome.OK, result=orjson.dumps(pack(ended.result, self.sim.artefacts)).decode())

    def _begin(self) -> Work:
        told = self.delivery
        allowed = yield from self.worker.insist(
            lambda: self.sim.redis.begin(told.run_id, self.name, told.token, told.epoch, self.nonce), PATIENCE_S
        )
        if not allowed:
            raise NotOurs
        self.begun_at = self.sim.driver.wall

    def _body(self, inputs: Any, execution: str) -> Generator[float, None, bodies.Ending]:
        told = self.delivery
        tries = self.sim.audit.failures(told.run_id, told.step_no, self.call.item) + len(self.tries)
        seed = self.sim.seeds_of_runs[told.run_id]
        ended = bodies.ending(seed, told.path, self.call.item, told.task, tries, inputs, execution)
        left_s, marked = ended.seconds, told.effects == "external"
        while left_s > 0:
            piece_s = min(left_s, 0.5)
            yield piece_s
            left_s -= piece_s
            if not marked and ended.seconds - left_s > BEGUN_MARK_S:
                marked = self._mark_begun()
            if left_s > 0 and self._told_to_stop():
                self.sim.audit.stopped(told, self.call)
                return bodies.Ending(Outcome.CANCELLED, 0.0, error=ErrorInfo("Cancelled", "told to stop"))
        return ended

    def _mark_begun(self) -> bool:
        node = NodeReport(self.call.item, self.call.attempt, Outcome.OK, begun_at=self.begun_at, log=("a line",))
        try:
            self.worker.redis(lambda: self.sim.redis.append(self._report(ReportKind.BEGUN, node)))
        except Unavailable:
            return False
        return True

    def _told_to_stop(self) -> bool:
        try:
            return self.worker.redis(lambda: self.delivery.token in self.sim.redis.data.stops)
        except Unavailable:
            return False

    def _waited(self, ended: bodies.Ending) -> Generator[float, None, bool]:
        rule, made, error = self.delivery.retry, len(self.tries), ended.error
        if rule is None or error is None or error.retryable is False or made >= len(rule.waits_s):
            return False
        if rule.on is not None and error.type not in rule.on:
            return False
        wait_s = rule.waits_s[made] if error.delay_s is None else error.delay_s
        if wait_s > rule.max_wait_s:
            return False
        ended_at = self.sim.driver.wall
        yield wait_s
        if self.worker.stopping or self._told_to_stop():
            return False
        self.tries.append(Try(error, self.begun_at or ended_at, ended_at))
        return True

    def _ended(self, outcome: Outcome, error: ErrorInfo | None = None, result: str | None = None) -> NodeReport:
        return NodeReport(
            self.call.item, self.call.attempt, outcome, result, error, tuple(self.tries), self.begun_at,
            self.sim.driver.wall,
        )  # fmt: skip

    def _report(self, kind: ReportKind, *nodes: NodeReport) -> Report:
        told = self.delivery
        return Report(kind, told.token, told.run_id, told.step_no, self.worker.name, nodes)
