"""Answers to what the core asks: conditions, fan-outs, and a run's outputs."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import orjson

from engine.errors import TaskError, UsageError
from engine.plan.expressions import evaluate
from engine.plan.templates import lone_reference, render
from engine.runtime.judging import Judge
from engine.runtime.ports import RunRow
from engine.runtime.values import NOTHING, Values
from engine.scheduling.events import (
    ConditionKnown,
    Event,
    GuessKnown,
    ItemsKnown,
    NeedCondition,
    NeedItems,
    NeedMatch,
    NeedOutputs,
    NeedPage,
    NeedVerdict,
    OutputsKnown,
    PageKnown,
    Request,
    VerdictKnown,
)
from engine.scheduling.records import Record, StepFinished, StepState
from engine.scheduling.state import LiveRun
from engine.wire import Value

_WHOLE_INPUT = re.compile(r"^\{\{\s*inputs\.(\w+)\s*\}\}$")
_WHOLE_OUTPUT = re.compile(r"^\{\{\s*steps\.(\w+)\.output\s*\}\}$")


class Answers:
    """Looks up what conditions, fan-outs and outputs refer to.

    Every method may raise ``Unavailable``; what is wrong with the plan itself becomes an answer.
    """

    def __init__(self, values: Values) -> None:
        self._values = values
        self._judge = Judge(values)
        self._items: dict[tuple[str, int], Sequence[Value]] = {}

    def answer(self, request: Request, run: LiveRun, row: RunRow) -> Event:
        """The event that answers ``request``."""
        match request:
            case NeedCondition():
                return self._condition(request, run, row)
            case NeedMatch():
                return self._match(request, run)
            case NeedItems():
                return self._count(request, run, row)
            case NeedPage():
                return self._page(request, run, row)
            case NeedOutputs():
                return self._outputs(run, row)
            case NeedVerdict():
                return self._judge.judge(request, run, row, facts_of(row))

    def items(self, run: LiveRun, row: RunRow, step_no: int) -> Sequence[Value]:
        """The items of a fan-out, as values. Raises ``UsageError`` if it is not over a list."""
        key = (run.id, step_no)
        if key not in self._items:
            self._items[key] = self._find_items(run, row, step_no)
        return self._items[key]

    def take_in(self, records: Iterable[Record]) -> None:
        """Of a step that ended nothing goes out any more: its items need not stay in memory until its run ends."""
        for record in records:
            if isinstance(record, StepFinished):
                self._items.pop((record.run_id, record.step_no), None)

    def forget(self, run_id: str) -> None:
        """A run ended."""
        self._judge.forget(run_id)
        for key in [key for key in self._items if key[0] == run_id]:
            del self._items[key]

    def environment(self, run: LiveRun, row: RunRow, step_no: int | None, text: str) -> dict[str, Any]:
        """What ``text`` may refer to, as data; only the steps that it names are fetched."""
        step = run.step(step_no) if step_no is not None else None
        names = step.names if step is not None else run.plan.names
        steps = {
            name: {key: self._values.data(value) for key, value in self._values.view(run, no).items()}
            for name, no in names.items()
            if re.search(rf"\b{name}\b", text)
        }
        inputs_step = step.inputs_step if step is not None else None
        given: Value = orjson.loads(row.inputs) if inputs_step is None else self._values.output(run, inputs_step)
        inputs = self._values.data(given) if "inputs" in text else {}
        return {"inputs": inputs, "steps": steps, "run": facts_of(row)}

    def given(self, row: RunRow, names: Collection[str]) -> Value:
        """The run's own inputs of those names."""
        whole: Value = orjson.loads(row.inputs)
        if "map" in whole:
            return {"map": {name: whole["map"][name] for name in names if name in whole["map"]}}
        if "v" in whole:
            return {"v": {name: whole["v"][name] for name in names if name in whole["v"]}}
        return whole

    def _condition(self, request: NeedCondition, run: LiveRun, row: RunRow) -> ConditionKnown:
        expression = run.step(request.step_no).when or "True"
        try:
            holds = bool(evaluate(expression, self.environment(run, row, request.step_no, expression)))
        except (UsageError, TaskError) as error:
            return ConditionKnown(run.id, request.step_no, holds=False, error=str(error))
        return ConditionKnown(run.id, request.step_no, holds)

    def _match(self, request: NeedMatch, run: LiveRun) -> GuessKnown:
        """Keys in another order are another text: a template can tell."""
        guesser = run.step(request.step_no).guess
        assert guesser is not None
        guessed, told = self._values.output(run, guesser), self._values.output(run, request.step_no)
        right = guessed == told and orjson.dumps(guessed) == orjson.dumps(told)
        return GuessKnown(run.id, request.step_no, right or self._text(guessed) == self._text(told))

    def _text(self, value: Value) -> bytes:
        return orjson.dumps(self._values.data(value))

    def _count(self, request: NeedItems, run: LiveRun, row: RunRow) -> ItemsKnown:
        try:
            count, step = len(self.items(run, row, request.step_no)), run.step(request.step_no)
            if step.max_items is not None and count > step.max_items:
                raise UsageError(f"for_each of {step.path} has {count:,} items, and may have {step.max_items:,}")
            return ItemsKnown(run.id, request.step_no, count)
        except (UsageError, TaskError) as error:
            return ItemsKnown(run.id, request.step_no, 0, str(error))

    def _page(self, request: NeedPage, run: LiveRun, row: RunRow) -> PageKnown:
        expression = run.step(request.step_no).when or "True"
        try:
            environment = self.environment(run, row, request.step_no, expression)
            items = self.items(run, row, request.step_no)
            skipped = []
            for index in range(request.low, request.high):
                own = {"item": self._values.data(items[index]), "index": index}
                if not evaluate(expression, environment | own):
                    skipped.append(index)
        except (UsageError, TaskError) as error:
            return PageKnown(run.id, request.step_no, request.low, request.high, error=str(error))
        return PageKnown(run.id, request.step_no, request.low, request.high, tuple(skipped))

    def _outputs(self, run: LiveRun, row: RunRow) -> OutputsKnown:
        tree = run.plan.outputs
        if tree is None:
            return OutputsKnown(run.id, None)
        missing = sorted(self._missing(run, tree)) if isinstance(tree, Mapping) else []
        try:
            value = self._resolved(run, row, tree)
        except (UsageError, TaskError) as error:
            return OutputsKnown(run.id, None, (str(error),), produced=False)
        produced = not isinstance(tree, Mapping) or not tree or len(missing) < len(tree)
        return OutputsKnown(run.id, orjson.dumps(value).decode(), tuple(missing), produced)

    def _missing(self, run: LiveRun, tree: Mapping[str, Any]) -> set[str]:
        """Names of the outputs that refer to a step which produced nothing."""
        absent = [
            name
            for name, no in run.plan.names.items()
            if run.steps[run.stand_in(no)].state is not StepState.SUCCEEDED and not run.steps[no].succeeded
        ]
        patterns = [re.compile(rf"\bsteps\.{name}\b") for name in absent]
        return {key for key, leaf in tree.items() if any(p.search(text) for text in _texts(leaf) for p in patterns)}

    def _resolved(self, run: LiveRun, row: RunRow, tree: Any) -> Value:
        if isinstance(tree, Mapping):
            return {"map": {key: self._resolved(run, row, leaf) for key, leaf in tree.items()}}
        if isinstance(tree, list):
            return {"list": [self._resolved(run, row, leaf) for leaf in tree]}
        if not isinstance(tree, str) or lone_reference(tree) is None:
            return {"v": tree}
        whole = _WHOLE_OUTPUT.match(tree)
        if whole and whole[1] in run.plan.names:
            value = self._values.output(run, run.plan.names[whole[1]])
            return {"list": self._values.elements(run, run.plan.names[whole[1]])} if "value" in value else value
        if self._missing(run, {"it": tree}):
            return NOTHING
        return self._values.travelling({"v": render(tree, self.environment(run, row, None, tree))})

    def _paged_input(self, run: LiveRun, row: RunRow, step_no: int) -> Value | None:
        """The list that a fan-out over one of the run's inputs goes over, if it is a paged one."""
        step = run.step(step_no)
        named = _WHOLE_INPUT.match(step.for_each) if step.inputs_step is None else None
        value = _input_named(row, named[1]) if named else None
        return value if value is not None and "pages" in value else None

    def _find_items(self, run: LiveRun, row: RunRow, step_no: int) -> Sequence[Value]:
        step = run.step(step_no)
        if isinstance(step.for_each, list):
            return [{"v": item} for item in step.for_each]
        paged = self._paged_input(run, row, step_no)
        if paged is not None:
            return self._values.rows(paged)
        whole = _WHOLE_OUTPUT.match(step.for_each)
        if whole and whole[1] in step.names and _is_listed(run, step.names[whole[1]]):
            return self._values.elements(run, step.names[whole[1]])
        try:
            items = render(step.for_each, self.environment(run, row, step_no, step.for_each))
        except TaskError as error:
            raise UsageError(f"for_each of {step.path}: {error}") from error
        if not isinstance(items, list):
            raise UsageError(f"for_each of {step.path} must be a list, not {type(items).__name__}: {step.for_each}")
        return [{"v": item} for item in items]


def _input_named(row: RunRow, name: str) -> Value | None:
    whole: Value = orjson.loads(row.inputs)
    found = whole.get("map", {}).get(name)
    return found if isinstance(found, dict) else None


def _is_listed(run: LiveRun, no: int) -> bool:
    """Whether a step's output is the list of its nodes' outputs."""
    return run.step(no).fanned and run.step(no).voting is None


def unanswered(request: Request, why: str) -> Event:
    """The event that says of ``request`` that it cannot be answered; a guess counts as wrong then."""
    match request:
        case NeedCondition():
            return ConditionKnown(request.run_id, request.step_no, holds=False, error=why)
        case NeedMatch():
            return GuessKnown(request.run_id, request.step_no, right=False)
        case NeedItems():
            return ItemsKnown(request.run_id, request.step_no, 0, why)
        case NeedPage():
            return PageKnown(request.run_id, request.step_no, request.low, request.high, error=why)
        case NeedOutputs():
            return OutputsKnown(request.run_id, None, (why,), produced=False)
        case NeedVerdict():
            return VerdictKnown(request.run_id, request.question, request.step_no, holds=False, error=why)


def facts_of(row: RunRow) -> dict[str, Any]:
    """What ``run`` is in templates and expressions."""
    return {
        "id": row.id,
        "plan": row.plan_name,
        "session": row.session,
        "tenant": row.tenant,
        "scheduled_for": row.created_at,
    }


def _texts(tree: Any) -> list[str]:
    if isinstance(tree, str):
        return [tree]
    if isinstance(tree, Mapping):
        return [text for leaf in tree.values() for text in _texts(leaf)]
    if isinstance(tree, list):
        return [text for leaf in tree for text in _texts(leaf)]
    return []
