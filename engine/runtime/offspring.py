"""What a run that stands for a node is made of: its plan, its inputs, and what a loop makes of its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from engine.clock import Clock
from engine.dag.compiled import ChildKind, ChildRuns, CompiledPlan, CompiledStep
from engine.dag.expansion import expanded
from engine.errors import UsageError
from engine.ids import child_run_id
from engine.plan.expressions import evaluate
from engine.plan.given import fitting
from engine.runtime.answers import Answers
from engine.runtime.ports import ChildEnd, ChildOf, NewChild, RunRow
from engine.runtime.values import NOTHING, Values
from engine.scheduling.records import RunState
from engine.scheduling.state import LiveRun
from engine.wire import Value

DEPTH_LIMIT = 8
"""Runs above a run that stands for a node."""


@dataclass(slots=True)
class Birth:
    """A run that is to be started for an attempt at a node. ``previous`` is what the last round handed back."""

    attempt: int
    round: int = 1
    previous: Value | None = None
    not_before: float = 0.0


class Offspring:
    """Makes them. Every method may raise ``Unavailable``, and ``UsageError`` where it can never be made."""

    def __init__(self, values: Values, answers: Answers, clock: Clock) -> None:
        self._values, self._answers, self._clock = values, answers, clock

    def child(self, run: LiveRun, row: RunRow, no: int, item: int, birth: Birth) -> NewChild:
        """The run that ``birth`` asks for.

        Raises
        ------
        PlanError
            An earlier step made the plan, and it does not hold; every problem is named.
        """
        step = run.step(no)
        assert step.child is not None
        if run.depth >= DEPTH_LIMIT:
            raise UsageError(f"{step.path}: runs lie more than {DEPTH_LIMIT} deep")
        given = self._given(run, row, step, item)
        plan, source, inputs = self._plan(step, given, birth)
        now = self._clock.now()
        child = RunRow(
            id=child_run_id(run.id, no, item, birth.attempt, birth.round), tenant=row.tenant, session=row.session,
            plan_name=plan.name, plan_version=plan.version, inputs=orjson.dumps(inputs).decode(), priority=row.priority,
            state=RunState.PENDING, reason="", created_at=now, deadline_at=_deadline(step, source, now),
            parent=ChildOf(run.id, no, item, birth.attempt, birth.round, run.depth + 1),
        )  # fmt: skip
        return NewChild(child, plan, source)

    def score(self, child: ChildRuns, end: ChildEnd) -> float:
        """What a round is worth, by the loop's own measure. Raises ``UsageError`` if that is no number."""
        parent, enough = end.row.parent, child.enough
        assert parent is not None and enough is not None
        output: Value = orjson.loads(end.outputs) if end.outputs is not None else NOTHING
        environment = {"output": self._values.data(output), "round": parent.round, "inputs": self._inputs_of(end.row)}
        score = evaluate(enough.score, environment)
        if not isinstance(score, int | float):
            raise UsageError(f"{enough.score}: the score of a round must be a number, not {type(score).__name__}")
        return float(score)

    def after_round(
        self, child: ChildRuns, end: ChildEnd, elapsed_s: float, scores: Sequence[float] = ()
    ) -> Birth | tuple[str, bool]:
        """What follows a round that ended well: the next, or the node's result and whether a bound cut it short.

        ``scores`` are those of all rounds so far, where the loop ends once they gain no more. Raises
        ``UsageError`` if the loop's condition cannot be evaluated.
        """
        parent = end.row.parent
        assert parent is not None
        output: Value = orjson.loads(end.outputs) if end.outputs is not None else NOTHING
        environment = {"output": self._values.data(output), "round": parent.round, "inputs": self._inputs_of(end.row)}
        if child.until is not None and evaluate(child.until, environment):
            stopped_by = "until"
        elif child.enough is not None and gained_too_little(scores, child.enough.rounds, child.enough.gain):
            stopped_by = "enough"
        elif parent.round >= child.rounds_max:
            stopped_by = "max_rounds"
        elif child.time_max_s is not None and elapsed_s >= child.time_max_s:
            stopped_by = "max_time"
        else:
            return Birth(parent.attempt, parent.round + 1, output)
        facts = {"output": output, "rounds": {"v": parent.round}, "stopped_by": {"v": stopped_by}}
        return orjson.dumps({"map": facts}).decode(), stopped_by not in ("until", "enough") or end.row.partial

    def _given(self, run: LiveRun, row: RunRow, step: CompiledStep, item: int) -> Value:
        assert step.child is not None
        if not step.fanned:
            if run.steps[step.child.given].failed:
                error = self._values.data(self._values.view(run, step.child.given)["error"])
                raise UsageError(f"its inputs could not be made: {error}")
            return self._values.output(run, step.child.given)
        items = self._answers.items(run, row, step.no)
        if item >= len(items):
            raise UsageError(f"{step.path} has {len(items)} items now, and had more when it was expanded")
        return items[item]

    def _plan(self, step: CompiledStep, given: Value, birth: Birth) -> tuple[CompiledPlan, dict[str, Any], Value]:
        child = step.child
        assert child is not None
        if child.kind is ChildKind.EXPAND:
            told = self._values.data(given)
            plan, source = expanded(told["plan"], tuple(told["inputs"]), child, step.path)
            return plan, source, self._values.travelling({"v": told["inputs"]})
        assert child.plan is not None and child.source is not None
        declared = child.source.get("inputs", {})
        if child.kind is ChildKind.MAP or not {"previous", "round"} & declared.keys():
            return child.plan, dict(child.source), given
        entries: dict[str, Value] = {name: {"v": value} for name, value in self._values.data(given).items()}
        if "round" in declared:
            entries["round"] = {"v": birth.round}
        if birth.previous is not None and "previous" in declared:
            fitting({"previous": self._values.data(birth.previous)}, {"previous": declared["previous"]})
            entries["previous"] = birth.previous
        return (
            child.plan, dict(child.source),
            {"map": {name: self._values.travelling(value) for name, value in entries.items()}},
        )  # fmt: skip

    def _inputs_of(self, row: RunRow) -> Any:
        return self._values.data(orjson.loads(row.inputs))


def gained_too_little(scores: Sequence[float], rounds: int, gain: float) -> bool:
    """Whether each of the last ``rounds`` gained less than ``gain`` (or nothing) over the best before it."""
    if len(scores) <= rounds:
        return False
    for place in range(len(scores) - rounds, len(scores)):
        gained = scores[place] - max(scores[:place])
        if gained >= gain and gained > 0:
            return False
    return True


def _deadline(step: CompiledStep, source: dict[str, Any], now: float) -> float | None:
    spans = [span for span in (step.timeout_s, source.get("deadline")) if isinstance(span, int | float)]
    return now + min(spans) if spans else None
