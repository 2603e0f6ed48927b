"""Runs for tests of the core alone: a plan, a journal in memory, and reports of bodies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from engine.dag.compiled import CompiledPlan, CompiledStep, Join, JoinKind
from engine.learning.knowledge import Knowledge
from engine.plan.retry import RetryPolicy, Wait
from engine.scheduling.core import Core
from engine.scheduling.events import (
    AttemptsStopped,
    Chunk,
    Event,
    NeedOutputs,
    NeedVerdict,
    NodeId,
    OutputsKnown,
    PermitsRevoked,
    Placement,
    Question,
    Reported,
    RevokeRun,
    StopAttempts,
    Verdict,
    VerdictKnown,
)
from engine.scheduling.outstanding import Room
from engine.scheduling.records import AttemptEnded, Record, RunState
from engine.scheduling.snapshot import RunRow, RunSnapshot
from engine.scheduling.state import LiveRun, Policy
from engine.wire import ErrorInfo, NodeReport, Outcome
from tests.simulation.driver import Driver
from tests.simulation.journal import SimJournal

NOW = 1_700_000_000.0
ROOM = Room(slots={"io": 10})


def plan_of(*steps: CompiledStep) -> CompiledPlan:
    """A plan whose steps know their children."""
    children = {step.no: tuple(other.no for other in steps if step.no in other.parents) for step in steps}
    return CompiledPlan("p", "v", tuple(replace(step, children=children[step.no]) for step in steps))


def step(no: int, *parents: int, join: JoinKind = JoinKind.ALL, count: int = 0, share: float = 0.0) -> CompiledStep:
    """A plain step that does no harm when repeated."""
    return CompiledStep(no, f"s{no}", "t", {}, parents=parents, join=Join(join, count, share), effects="none")


def retried(no: int, attempts: int, delay_s: float = 5.0, effects: str = "none") -> CompiledStep:
    """A step whose failures are tried again after ``delay_s``."""
    policy = RetryPolicy(attempts=attempts, wait=Wait.FIXED, delay_s=delay_s)
    return replace(step(no), retry=policy, effects=effects)


class OneRun:
    """A core with one run, whose records are kept in a journal."""

    def __init__(self, plan: CompiledPlan, policy: Policy | None = None) -> None:
        self.plan, self.policy, self.now = plan, policy or Policy(), NOW
        self.journal = SimJournal(Driver(0), epoch=1)
        self.journal.submit(RunRow("r", "t", "s", "p", "v", '{"v":{}}', 0, RunState.PENDING, "", NOW))
        self.odds = Knowledge()
        self.core = Core(self.policy, self.odds)
        self.answers: dict[tuple[Question, int], Callable[[LiveRun], bool]] = {}
        self.asked: list[tuple[Question, int]] = []
        self.stops: tuple[NodeId, ...] = ()
        self.revokes = False
        self._keep(self.core.take(self.journal.load("r"), plan, self.now))

    def restart(self) -> None:
        """Another scheduler takes the run up from the journal."""
        self.core = Core(self.policy, self.odds)
        row = self.journal.load("r")
        if not row.run.state.final:
            self._keep(self.core.take(row, self.plan, self.now))

    def snapshot(self) -> RunSnapshot:
        return self.journal.load("r")

    def send(self, room: Room = ROOM, most: int = 1000) -> list[Placement]:
        """What goes out now, one by one."""
        return [placement for chunk in self.send_chunks(room, most) for placement in chunk]

    def send_chunks(self, room: Room = ROOM, most: int = 1000) -> list[Chunk]:
        """What goes out now, a chunk a message."""
        chunks, verdict = self.core.dispatch(room, self.now, most)
        self._keep(verdict)
        return chunks

    def tell(self, *events: Event) -> list[Record]:
        """What the core records when it is told ``events``."""
        return self._keep(self.core.decide(events, self.now))

    def end(self, placement: Placement, outcome: Outcome = Outcome.OK, error: ErrorInfo | None = None) -> list[Record]:
        """The body of an attempt ended."""
        result = '{"v":1}' if outcome is Outcome.OK else None
        node = NodeReport(
            placement.item, placement.attempt, outcome, result, error, begun_at=self.now, ended_at=self.now
        )
        return self.tell(Reported("r", placement.step_no, node, "w"))

    def fail(self, placement: Placement) -> list[Record]:
        return self.end(placement, Outcome.FAILED, ErrorInfo("Flaky", "no luck"))

    def states(self) -> list[str]:
        """The journaled state of each step."""
        rows = {row.step_no: str(row.state) for row in self.snapshot().steps}
        return [rows.get(step.no, "waiting") for step in self.plan.steps]

    @property
    def state(self) -> RunState:
        return self.journal.runs["r"].state

    def _keep(self, verdict: Verdict) -> list[Record]:
        self.journal.commit(0, 1, verdict.records)
        records = list(verdict.records)
        for record in records:
            if isinstance(record, AttemptEnded) and record.begun_at is not None and record.ended_at is not None:
                step, seconds = self.plan.steps[record.step_no], record.ended_at - record.begun_at
                self.odds.observe_bodies(self.plan.name, step.path, step.task, [seconds], self.now)
        for request in verdict.requests:
            if isinstance(request, NeedOutputs):
                records += self._keep(self.core.decide([OutputsKnown("r", None)], self.now))
            elif isinstance(request, NeedVerdict):
                records += self._keep(self.core.decide([self.judge(request)], self.now))
        for effect in verdict.effects:
            if isinstance(effect, StopAttempts):
                self.stops += effect.nodes
                if effect.awaited:
                    records += self._keep(self.core.decide([AttemptsStopped("r")], self.now))
            elif isinstance(effect, RevokeRun) and self.revokes:
                records += self._keep(self.core.decide([PermitsRevoked("r", frozenset())], self.now))
        return records

    def judge(self, request: NeedVerdict) -> VerdictKnown:
        """The answer of ``answers`` to a question; no, if it has none."""
        self.asked.append((request.question, request.step_no))
        answer = self.answers.get((request.question, request.step_no), lambda run: False)
        holds = answer(self.core.runs["r"])
        return VerdictKnown("r", request.question, request.step_no, holds, reason="so it is")
