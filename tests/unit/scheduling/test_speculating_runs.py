"""Whatever the plan, a run that speculates gives what a plain run gives.

Small plans are drawn; a body's output is a number that follows from what it is given; a guesser gives
its guessed step's number, or another. The core is driven alone, and reports come in a drawn order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.dag.compiled import CompiledPlan, CompiledStep, Join, JoinKind
from engine.dag.guesses import with_guesses
from engine.scheduling.core import Core
from engine.scheduling.events import (
    ConditionKnown,
    Event,
    GuessKnown,
    NeedCondition,
    NeedMatch,
    NeedOutputs,
    OutputsKnown,
    Placement,
    Reported,
    Verdict,
)
from engine.scheduling.outstanding import Room
from engine.scheduling.records import AttemptKind, Dispatched, NodeFinished, RunChanged, RunState, StepFinished
from engine.scheduling.snapshot import RunRow, RunSnapshot
from engine.scheduling.state import Policy
from engine.wire import ErrorInfo, NodeReport, Outcome
from tests.unit.scheduling.test_bets import Known

NOW = 1_700_000_000.0
QUEUES = frozenset({"io", "speculative"})
ROOM = Room(dict.fromkeys(QUEUES, 50), workers=[(QUEUES, 50)])


class Sure(Known):
    """Everything is likely."""

    def branch(self, plan: str, path: str) -> tuple[float, int]:
        return 0.9, 50


@dataclass
class Drawn:
    """A plan; ``fails`` are steps whose bodies fail, ``wrong`` guessers that are wrong."""

    plan: CompiledPlan
    fails: frozenset[int]
    wrong: frozenset[int]


@st.composite
def plans(draw: st.DrawFn) -> Drawn:
    steps: list[CompiledStep] = []

    for no in range(draw(st.integers(2, 7))):
        parents = sorted(draw(st.sets(st.sampled_from(range(no)), max_size=3))) if no else []
        join = Join(draw(st.sampled_from((JoinKind.ALL, JoinKind.ALL, JoinKind.ALL_DONE, JoinKind.ANY))))
        if not parents:
            join = Join()
        step = CompiledStep(no, f"s{no}", "t", {}, parents=tuple(parents), reads=tuple(parents), join=join,
                            effects=draw(st.sampled_from(("none", "none", "external"))))  # fmt: skip
        if join.kind is JoinKind.ANY:
            step = replace(step, reads=())  # what it would be given depends on the order of ends
        elif draw(st.booleans()) and parents:
            asked = draw(st.sampled_from(parents))
            reads = tuple(read for read in parents if read != asked)
            step = replace(step, when="asks", reads=reads, condition_parents=(asked,))
        steps.append(step)
    count = len(steps)
    wrong: set[int] = set()
    for no in range(count):
        if draw(st.booleans()):
            steps[no] = replace(steps[no], guess=len(steps))
            if draw(st.booleans()):
                wrong.add(len(steps))
            steps.append(CompiledStep(len(steps), f"g{no}", "t", {}, effects="none"))
    children = {step.no: tuple(each.no for each in steps if step.no in each.parents) for step in steps}
    done = with_guesses(tuple(replace(step, children=children[step.no]) for step in steps))
    plan = CompiledPlan("p", "v", done, value_of_time_usd_per_h=100.0)
    return Drawn(plan, frozenset(draw(st.sets(st.sampled_from(range(count)), max_size=2))), frozenset(wrong))


class Played:
    """One run, played to its end."""

    def __init__(self, drawn: Drawn, order: Any, *, speculate: bool) -> None:
        self.drawn, self.order = drawn, order
        self.values: dict[int, int | None] = {}
        self.states: dict[int, str] = {}
        self.out: list[tuple[Placement, int | None]] = []
        self.ended = self.harmed = False
        self.core = Core(Policy(speculate=speculate, hedge=False, chunk_s=0.0), Sure())
        row = RunRow("r", "t", "s", "p", "v", '{"v":{}}', 0, RunState.PENDING, "", NOW)
        self._keep(self.core.take(RunSnapshot(row), drawn.plan, NOW))
        for _ in range(200):
            chunks, verdict = self.core.dispatch(ROOM, NOW, 100)
            self._keep(verdict)
            self.out += [(placement, self._body(placement)) for chunk in chunks for placement in chunk]
            if self.ended or not self.out:
                break
            self._report(*self.out.pop(order.draw(st.integers(0, len(self.out) - 1))))

    def _body(self, placement: Placement) -> int | None:
        """What the body will give, from what its message holds; ``None`` if it fails."""
        no = placement.step_no
        if no in self.drawn.fails:
            return None
        step = self.drawn.plan.steps[no]
        if step.guesses:
            return self._true(step.guesses[0]) + (no in self.drawn.wrong)
        guessed = self.core.runs["r"].guessing.get(no) if placement.item < 0 else None
        given_ = []
        for read in step.reads:
            source = read if read != guessed else self.drawn.plan.steps[read].guess
            given_.append(self.values.get(source) if source is not None else None)
        return hash((no, *(each if each is not None else -7 for each in given_))) % 1009

    def _true(self, no: int) -> int:
        """What a guessed step gives if all it reads succeeds with what it truly gives."""
        step = self.drawn.plan.steps[no]
        return hash((no, *(self._true(read) for read in step.reads))) % 1009

    def _report(self, placement: Placement, value: int | None) -> None:
        ok = value is not None
        error = None if ok else ErrorInfo("Bad", "it fails")
        report = NodeReport(placement.item, placement.attempt, Outcome.OK if ok else Outcome.FAILED,
                            f'{{"v":{value}}}' if ok else None, error, begun_at=NOW, ended_at=NOW)  # fmt: skip
        self._keep(self.core.decide([Reported("r", placement.step_no, report, "w")], NOW))

    def _keep(self, verdict: Verdict) -> None:
        for record in verdict.records:
            if isinstance(record, NodeFinished):
                assert record.step_no not in self.values, "a node ended twice"
                self.values[record.step_no] = int(record.result[5:-1]) if record.result else None
            elif isinstance(record, StepFinished):
                self.states[record.step_no] = str(record.state)
            elif isinstance(record, RunChanged) and record.state.final:
                self.states[-1], self.ended = str(record.state), True
            elif isinstance(record, Dispatched) and record.kind is AttemptKind.SPECULATIVE:
                self.harmed |= self.drawn.plan.steps[record.step_no].effects != "none"
        for request in verdict.requests:
            self._keep(self.core.decide([self._answer(request)], NOW))

    def _answer(self, request: object) -> Event:
        if isinstance(request, NeedCondition):
            asked = self.drawn.plan.steps[request.step_no].condition_parents[0]
            return ConditionKnown("r", request.step_no, holds=(self.values.get(asked) or 1) % 3 != 1)
        if isinstance(request, NeedMatch):
            guesser = self.drawn.plan.steps[request.step_no].guess
            assert guesser is not None
            return GuessKnown("r", request.step_no, self.values[guesser] == self.values[request.step_no])
        assert isinstance(request, NeedOutputs)
        return OutputsKnown("r", None)


@settings(max_examples=150, deadline=None)
@given(plans(), st.data())
def test_a_speculating_run_gives_what_a_plain_run_gives(drawn: Drawn, order: Any) -> None:
    plain, speculating = Played(drawn, order, speculate=False), Played(drawn, order, speculate=True)
    assert plain.ended
    assert speculating.ended
    assert not speculating.harmed
    assert speculating.states == plain.states
    assert speculating.values == plain.values
