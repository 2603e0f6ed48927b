"""One delivery's way through a worker's slot.

Follows ``engine/runtime/worker``: receive, claim, prepare, ask (``external``), begin, body, report,
acknowledge. Each ``yield`` is a moment at which the process may die, freeze or be cut off.
"""

from __future__ import annotations

import zlib
from collections.abc import Generator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from engine.artefacts.values import pack, unpack
from engine.errors import TaskError, Unavailable
from engine.plan.templates import render
from engine.wire import (
    Delivery,
    ErrorInfo,
    NodeCall,
    NodeReport,
    Note,
    Outcome,
    Prefetched,
    Report,
    ReportKind,
    Try,
    real_item,
)
from tests.simulation import bodies
from tests.simulation.ahead import read_ahead, taken

if TYPE_CHECKING:
    from tests.simulation.workers import Slot

Work = Generator[float, None, Any]

PATIENCE_S = 5.0
CLAIM_PATIENCE_S = 30.0
BEGUN_MARK_S = 0.3


class NotOurs(Exception):  # noqa: N818 - no error: the scheduler took the node back
    """The permit is gone: say nothing."""


class Execution:
    """One delivery's way through a slot."""

    def __init__(self, slot: Slot, delivery: Delivery) -> None:
        self.slot, self.head, self.delivery = slot, delivery, delivery
        self.worker, self.sim = slot.worker, slot.worker.sim
        self.call = delivery.nodes[0]
        self.nonce = self.sim.unique("n")
        self.begun_at: float | None = None
        self.tries: list[Try] = []
        self.used: Prefetched | None = None
        self.views: dict[int, Any] = {}
        self.notes: list[Note] = []
        self.output: Any = None

    @property
    def name(self) -> str:
        return f"{self.delivery.step_no}:{self.call.item}"

    def run(self) -> Work:
        chance, redis, told = self.sim.driver.chance, self.sim.redis, self.delivery
        if told.prefetch is not None:
            yield from read_ahead(self.slot, told)
            return
        parts = list(told.parts())
        names = [f"{part.step_no}:{call.item}" for part, call in parts]
        try:
            verdicts = yield from self.worker.insist(
                lambda: redis.claim(told.run_id, names, told.token, told.epoch, self.nonce), CLAIM_PATIENCE_S
            )
        except Unavailable:
            return
        ours = [each for each, verdict in zip(parts, verdicts, strict=True) if verdict]
        if not ours:
            return
        self.slot.running = True
        try:
            yield chance.uniform(0.0, 0.01)
            yield from self._nodes(ours)
            yield chance.uniform(0.0, 0.01)
        finally:
            self.slot.running = False

    def _nodes(self, ours: list[tuple[Delivery, NodeCall]]) -> Work:
        """One node after the other; what ended is reported now and then, and at the end.

        A step that follows begins only if the one before it succeeded here.
        """
        chance, held = self.sim.driver.chance, []
        node: NodeReport | None = None
        for place, (part, call) in enumerate(ours):
            reached = part is self.head or not part.follows or (node is not None and node.outcome is Outcome.OK)
            self.delivery, self.call, self.begun_at, self.tries, self.used = part, call, None, [], None
            self.notes = []
            if reached:
                node = yield from self._attempt()
            else:
                node = self._ended(Outcome.NOT_BEGUN, ErrorInfo("NotBegun", "not reached"))
            yield chance.uniform(0.0, 0.01)
            if node is not None:
                node = replace(node, step_no=part.step_no)
                held.append(node)
                if node.outcome is Outcome.OK and len(ours) > 1:
                    self._keep(part, node)
            last = place == len(ours) - 1
            if held and (last or chance.random() < 0.5):
                yield from self._send(held, last=last)
                held = []

    def _send(self, held: list[NodeReport], *, last: bool) -> Work:
        report, names = self._report(ReportKind.DONE, *held), [self._name_of(each) for each in held]
        yield from self.worker.insist(lambda: self.sim.redis.report(report, names, last=last))
        if last:
            self.sim.spending.reported(self.worker, self.head.token)

    def _keep(self, part: Delivery, node: NodeReport) -> None:
        self.views[part.step_no] = {"output": self.output, "state": "succeeded", "error": None, "count": 1, "failed": 0}

    def _name_of(self, node: NodeReport) -> str:
        return f"{node.step_no}:{node.item}"

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
        given = {name: self.views[number] for name, number in self.delivery.given.items()}
        environment = environment | {"steps": environment.get("steps", {}) | given}
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
            self.sim.audit.body_began(self.delivery, self.call, inputs, at, execution, self.views)
            try:
                ended = yield from self._body(inputs, execution)
            finally:
                self.sim.audit.running.ended(self.delivery, self.call)
            if ended.outcome is Outcome.FAILED and (yield from self._waited(ended)):
                continue
            if ended.outcome is not Outcome.OK:
                return self._ended(ended.outcome, ended.error)
            self.sim.audit.results[execution] = (
                self.delivery.run_id, self.delivery.step_no, real_item(self.call.item),
            )  # fmt: skip
            self.output = ended.result
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
        tries = self.sim.audit.failures(told.run_id, told.step_no, real_item(self.call.item)) + len(self.tries)
        seed = self.sim.seeds_of_runs[told.run_id]
        ended = bodies.ending(seed, told.path, real_item(self.call.item), told.task, tries, inputs, execution)
        seconds = ended.seconds * self._slower(seed)
        if told.ahead is not None and not self.tries:
            self.used = yield from taken(self, inputs)
            seconds = max(0.001, seconds - (self.used.seconds if self.used else 0.0))
        if self.sim.spending.by(self.sim.plan_of(told.run_id).steps[told.step_no]):
            over = yield from self.sim.spending.calls(self)
            if over is not None:
                return bodies.Ending(over[0], 0.0, error=over[1])
        left_s, marked = seconds, told.effects == "external"
        mark_s = BEGUN_MARK_S if told.mark_after_s is None else min(BEGUN_MARK_S, told.mark_after_s)
        while left_s > 0:
            piece_s = min(left_s, 0.5)
            if not marked and told.mark_after_s is not None and seconds - left_s <= mark_s:
                piece_s = min(piece_s, mark_s - (seconds - left_s) + 0.001)
            yield piece_s
            left_s -= piece_s
            if not marked and seconds - left_s > mark_s:
                marked = self._mark_begun()
            if left_s > 0 and self._told_to_stop():
                self.sim.audit.stopped(told, self.call)
                return bodies.Ending(Outcome.CANCELLED, 0.0, error=ErrorInfo("Cancelled", "told to stop"))
        return ended

    def _slower(self, seed: int) -> float:
        """How many times longer than usual this try of the body takes, where bodies straggle."""
        told, call = self.delivery, self.call
        told_apart = f"{seed}/{told.path}/{real_item(call.item)}/{call.attempt}/slow"
        straggles = self.sim.stragglers and told.task != "t.long" and zlib.crc32(told_apart.encode()) % 3 == 0
        return 10.0 if straggles else 1.0

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
            self.sim.driver.wall, prefetched=self.used, notes=tuple(self.notes),
        )  # fmt: skip

    def _report(self, kind: ReportKind, *nodes: NodeReport) -> Report:
        told = self.delivery
        return Report(kind, told.token, told.run_id, told.step_no, self.worker.name, nodes)
