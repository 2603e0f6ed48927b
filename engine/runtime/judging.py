"""Judges, for the core, whether something may end before its time: goals, joins, samples, votes.

An expression over steps of which some have not ended is asked again later, whatever is wrong with it
now; once all of them succeeded, what is wrong with it is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from engine.errors import TaskError, UsageError
from engine.plan.expressions import evaluate, references
from engine.runtime.ports import RunRow
from engine.runtime.values import Values
from engine.scheduling.events import NeedVerdict, Question, VerdictKnown
from engine.scheduling.records import StepState
from engine.scheduling.state import LiveRun
from engine.wire import Value


class Judge:
    """Looks up what is asked about. Every method may raise ``Unavailable``."""

    def __init__(self, values: Values) -> None:
        self._values = values
        self._data: dict[tuple[str, int], dict[str, Any]] = {}
        self._samples: dict[tuple[str, int], dict[int, Any]] = {}

    def forget(self, run_id: str) -> None:
        """A run ended."""
        for kept in (self._data, self._samples):
            for key in [key for key in kept if key[0] == run_id]:
                del kept[key]

    def judge(self, request: NeedVerdict, run: LiveRun, row: RunRow, facts: Mapping[str, Any]) -> VerdictKnown:
        """The answer; ``facts`` are what ``run`` is in expressions."""
        no, ending = request.step_no, run.plan.ending
        match request.question:
            case Question.ENOUGH:
                return self._enough(run, row, no)
            case Question.VOTE:
                return self._vote(run, no)
            case Question.UNTIL:
                step = run.step(no)
                return self._condition(request, run, row, step.join.until, step.names, facts)
            case Question.GOAL:
                assert ending is not None and ending.goal is not None
                return self._condition(request, run, row, ending.goal, ending.goal_names, facts)
            case Question.IMPOSSIBLE:
                assert ending is not None and ending.impossible is not None
                return self._condition(request, run, row, ending.impossible, ending.impossible_names, facts)

    def _condition(
        self, request: NeedVerdict, run: LiveRun, row: RunRow, expression: str, names: Mapping[str, int],
        facts: Mapping[str, Any],
    ) -> VerdictKnown:  # fmt: skip
        named = [no for name, no in names.items() if name in references(expression).steps]
        environment = {
            "inputs": self._inputs(run, row, request.step_no, expression),
            "steps": {name: self._facts(run, no) for name, no in names.items() if no in named},
            "run": facts,
        }
        try:
            holds = bool(evaluate(expression, environment))
        except (UsageError, TaskError) as error:
            all_there = all(run.steps[no].state is StepState.SUCCEEDED for no in named)
            return VerdictKnown(
                run.id, request.question, request.step_no, holds=False, error=str(error) if all_there else None
            )
        return VerdictKnown(run.id, request.question, request.step_no, holds, reason=expression)

    def _facts(self, run: LiveRun, no: int) -> dict[str, Any]:
        """What ``steps.NAME`` is: of a step that has not ended only how far it is."""
        progress = run.steps[no]
        if not progress.state.final:
            return {
                "output": None, "state": str(progress.state), "error": None, "count": progress.count or 0,
                "failed": progress.failed,
            }  # fmt: skip
        key = (run.id, no)
        if key not in self._data:
            view = self._values.view(run, no)
            self._data[key] = {name: self._values.data(value) for name, value in view.items()}
        return self._data[key]

    def _inputs(self, run: LiveRun, row: RunRow, step_no: int, expression: str) -> Any:
        if "inputs" not in expression:
            return {}
        enters = run.step(step_no).inputs_step if step_no >= 0 else None
        given: Value = orjson.loads(row.inputs) if enters is None else self._values.output(run, enters)
        return self._values.data(given)

    def _enough(self, run: LiveRun, row: RunRow, no: int) -> VerdictKnown:
        expression, progress = run.step(no).enough, run.steps[no]
        assert expression is not None
        samples = self._samples.setdefault((run.id, no), {})
        texts = self._values.texts(run, no)
        for item in texts.keys() - samples.keys():
            samples[item] = self._values.data(orjson.loads(texts[item]))
        environment = {
            "outputs": [samples[item] for item in sorted(samples)], "count": len(samples), "failed": progress.failed,
            "inputs": self._inputs(run, row, no, expression),
        }  # fmt: skip
        try:
            holds = bool(evaluate(expression, environment))
        except (UsageError, TaskError) as error:
            return VerdictKnown(run.id, Question.ENOUGH, no, holds=False, error=str(error) if samples else None)
        reason = f"{expression}, after {len(samples)} of {progress.count}"
        return VerdictKnown(run.id, Question.ENOUGH, no, holds, reason=reason)

    def _vote(self, run: LiveRun, no: int) -> VerdictKnown:
        try:
            standing = self._values.ballots.standing(run, no)
        except (UsageError, TaskError) as error:
            return VerdictKnown(run.id, Question.VOTE, no, holds=False, error=str(error))
        return VerdictKnown(
            run.id, Question.VOTE, no, bool(standing.by), reason=standing.in_words(), figures=standing.figures()
        )
