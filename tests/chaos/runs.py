"""Runs for chaos tests: plans with bodies of every kind of effect, and what must hold when they have ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from engine.plan.model import Plan
from engine.scheduling.records import NodeState, RunState
from engine.store.views import RunView
from engine.store.writing import DUPLICATE, NODE
from settings import as_environment
from tests.chaos import bodies
from tests.services.stack import Stack, until

WITHIN_S = 45.0
FIGURES: list[str] = []
"""One line for each case: how often a body was executed twice. Printed at the end of the session."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the ledger."""

    run: str
    node: str
    attempt: int
    pid: int
    event: str
    mono: float
    wall: float

    @property
    def step(self) -> str:
        return self.node.partition("[")[0]


class Ledger:
    """What bodies said of themselves."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def lines(self, run: str | None = None, event: str | None = None) -> list[Line]:
        """Whole lines so far, in order."""
        text = self.path.read_text()
        lines = [Line(**json.loads(line)) for line in text.splitlines(keepends=True) if line.endswith("\n")]
        return [line for line in lines if run in (None, line.run) and event in (None, line.event)]

    def begun(self, run: str) -> int:
        """How many bodies of a run have begun."""
        return len(self.lines(run, "begin"))

    def executions(self, run: str) -> Counter[str]:
        """How often the body of each node began."""
        return Counter(line.node for line in self.lines(run, "begin"))


@dataclass(frozen=True, slots=True)
class Mixed:
    """A plan with every kind of effect and both pools, and what it must come to."""

    width: int = 24
    work_s: float = 0.05
    name: str = "chaos-mixed"

    def plan(self) -> Plan:
        items = list(range(self.width))
        with_ = {"value": "{{ item }}", "work_s": self.work_s}
        return Plan.model_validate({
            "name": self.name,
            "steps": {
                "pure": {"task": "chaos.pure", "for_each": items, "with": with_},
                "idem": {"task": "chaos.idempotent", "for_each": "{{ steps.pure.output }}", "with": with_},
                "once": {"task": "chaos.external", "for_each": items, "with": with_, "on_failure": "continue"},
                "again": {
                    "task": "chaos.external_cpu", "for_each": items[: self.width // 2], "with": with_,
                    "retry": {"attempts": 10, "wait": "fixed", "delay": 0.05},
                },
                "total": {"task": "chaos.total", "with": {"values": "{{ steps.idem.output }}"}},
            },
            "outputs": {
                "idem": "{{ steps.idem.output }}", "once": "{{ steps.once.output }}",
                "again": "{{ steps.again.output }}", "total": "{{ steps.total.output }}",
            },
        })  # fmt: skip

    def outputs(self) -> dict[str, Any]:
        """What an undisturbed run hands back."""
        idem = [(value * 2 + 1) * 3 for value in range(self.width)]
        return {
            "idem": idem,
            "once": [value + 100 for value in range(self.width)],
            "again": [value + 200 for value in range(self.width // 2)],
            "total": sum(idem),
        }


def steps_plan(name: str, steps: dict[str, Any], outputs: dict[str, Any] | None = None) -> Plan:
    """A plan of these steps."""
    return Plan.model_validate({"name": name, "steps": steps} | ({"outputs": outputs} if outputs else {}))


Recorded = dict[tuple[int, int], tuple[str, int, str | None]]


@dataclass(slots=True)
class Disturbed:
    """One run under a fault, from its submission to the checks at its end.

    Parameters
    ----------
    unknown
        Most nodes of the step ``once`` whose outcome may be unknown in the end.
    twice
        Most bodies that may have been executed more than once: what was in flight at the faults.
    """

    stack: Stack
    ledger: Ledger
    label: str
    twice: int
    unknown: int = 0
    mixed: Mixed = field(default_factory=Mixed)
    run: str = ""
    before: Recorded = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    def submit(self) -> Disturbed:
        """Hand the run in."""
        self.run = self.stack.client.submit(self.mixed.plan())
        return self

    def when_begun(self, bodies_begun: int, timeout_s: float = 20.0) -> Disturbed:
        """Wait until so many bodies have begun; keep what is recorded by then."""
        try:
            until(lambda: self.ledger.begun(self.run) >= bodies_begun, timeout_s, f"{bodies_begun} bodies begun")
        except AssertionError:
            self.stack.show(self.run)
            raise
        self.before |= self.recorded()
        return self

    def recorded(self) -> Recorded:
        """Every node with a final state: state, attempt and result."""
        columns = (NODE.c.step_no, NODE.c.item, NODE.c.state, NODE.c.attempt, NODE.c.result)
        with self.stack.client.store.database.reading("look at the nodes") as connection:
            rows = connection.execute(select(*columns).where(NODE.c.run_id == self.run)).all()
        return {(row.step_no, row.item): (row.state, row.attempt, row.result) for row in rows}

    def check(self, within_s: float = WITHIN_S) -> RunView:
        """The run ends, well, and nothing that was recorded is lost."""
        view = self.stack.ended(self.run, within_s)
        try:
            self._check(view)
        except AssertionError:
            self.stack.show(self.run)
            print(self.story())
            raise
        return view

    def story(self) -> str:
        """What bodies that began more than once said."""
        repeated = {node for node, count in self.ledger.executions(self.run).items() if count > 1}
        lines = [line for line in self.ledger.lines(self.run) if line.node in repeated]
        return "\n".join(
            f"{line.wall:.3f} {line.node} {line.event} attempt {line.attempt} {line.pid}" for line in lines
        )

    def _check(self, view: RunView) -> None:
        assert view.state is RunState.SUCCEEDED, f"{self.label}: {view.state}: {view.reason}"
        assert self.stack.client.audit(self.run) == []
        after = self.recorded()
        lost = {node: (was, after.get(node)) for node, was in self.before.items() if after.get(node) != was}
        assert not lost, f"{self.label}: recorded and lost: {lost}"
        unknown = self._compare(after)
        executions = self.ledger.executions(self.run)
        repeated = {node: count for node, count in executions.items() if count > 1}
        took_s = time.monotonic() - self.started
        FIGURES.append(
            f"{self.label}: {sum(count - 1 for count in repeated.values())} bodies executed twice "
            f"(at most {self.twice}), {unknown} outcomes unknown (at most {self.unknown}), {took_s:.1f} s"
        )
        print(FIGURES[-1])
        assert not [node for node in repeated if node.startswith("once[")], f"an external body was repeated: {repeated}"
        assert sum(count - 1 for count in repeated.values()) <= self.twice, f"{self.label}: {repeated}"
        assert unknown <= self.unknown, f"{self.label}: {unknown} outcomes unknown"
        ran = {line.node for line in self.ledger.lines(self.run, "end")}
        never = [row for row in self._succeeded_nodes(after) if row not in ran]
        assert not never, f"{self.label}: nodes succeeded and their bodies never ended: {never}"

    def _compare(self, after: Recorded) -> int:
        """How many outcomes are unknown; everything else must be as in an undisturbed run."""
        outputs, expected = self.stack.client.outputs(self.run), self.mixed.outputs()
        steps = {step.path: step.step_no for step in self.stack.client.store.steps(self.run)}
        unknown = 0
        for item, value in enumerate(outputs["once"]):
            if value is None:
                node = next(
                    node
                    for node in self.stack.client.store.nodes(self.run, steps["once"], after=item - 1, limit=1)
                    if node.item == item
                )
                assert "outcome unknown" in node.reason, node
                expected["once"][item] = None
                unknown += 1
        assert outputs == expected, f"{self.label}: {outputs} instead of {expected}"
        return unknown

    def _succeeded_nodes(self, after: Recorded) -> list[str]:
        steps = {step.step_no: step for step in self.stack.client.store.steps(self.run)}
        return [
            f"{steps[no].path}[{item}]" if steps[no].fanned else steps[no].path
            for (no, item), (state, _, _) in after.items()
            if state == NodeState.SUCCEEDED.value
        ]


def duplicates(stack: Stack, run: str) -> int:
    """How many reports came too late to count, and were kept."""
    with stack.client.store.database.reading("count duplicates") as connection:
        return int(connection.scalar(select(func.count()).where(DUPLICATE.c.run_id == run)) or 0)


def flywheel(stack: Stack, *arguments: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
    """The command line against a stack."""
    root = Path(__file__).resolve().parents[2]
    environment = as_environment(stack.settings) | {"PYTHONPATH": str(root), bodies.LEDGER: os.devnull}
    return subprocess.run(
        [sys.executable, "-m", "engine.cli.main", *arguments],
        env=environment, cwd=root, capture_output=True, text=True, timeout=timeout_s, check=False,
    )  # fmt: skip
