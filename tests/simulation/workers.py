"""Workers as small state machines: every line that waits for Redis, a body or a clock may be the last.

What becomes of a delivery in a slot is in ``executions``. A process that dies takes its messages with it, or they
come back late; one that is frozen goes on where it was, as if nothing had happened.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, TypeVar

import orjson

from engine.errors import Unavailable
from engine.runtime.ports import WorkerInfo
from engine.wire import Delivery, ErrorInfo, NodeReport, Outcome, Report, ReportKind
from tests.simulation.executions import Execution, Work

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

T = TypeVar("T")

HEARTBEAT_S = 2.0
_PARKED = -1.0


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
            yield from Execution(self, self.delivery).run()

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
        self.sim.spending.child_lost(self, delivery.token)
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
    parts = list(delivery.parts())
    names = [f"{part.step_no}:{call.item}" for part, call in parts]
    held = yield from worker.insist(
        lambda: [redis.held(delivery.run_id, name, delivery.token, delivery.epoch) for name in names]
    )
    begun_last = max((place for place, (_, _, begun) in enumerate(held) if begun), default=-1)
    nodes, ended = [], []
    for place, ((part, call), (known, ours, begun)) in enumerate(zip(parts, held, strict=True)):
        if known and not ours:
            continue
        if known:
            earlier = Outcome.INFRASTRUCTURE if begun else Outcome.NOT_BEGUN
            outcome = Outcome.LOST if place == begun_last else earlier
        else:
            outcome = Outcome.LOST
        error = ErrorInfo("WorkerLost", "its process died")
        begun_at = worker.sim.driver.wall if begun else None
        node = NodeReport(call.item, call.attempt, outcome, error=error, begun_at=begun_at, step_no=part.step_no)
        nodes.append(node)
        ended.append(names[place])
    if nodes:
        report = Report(ReportKind.LOST, delivery.token, delivery.run_id, delivery.step_no, worker.name, tuple(nodes))
        yield from worker.insist(lambda: redis.report(report, ended))
    while True:
        yield _PARKED
