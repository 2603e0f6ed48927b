"""A tree of runs below runs, two levels deep, and what must hold of every run in it."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select

from engine.plan.model import Plan
from engine.scheduling.records import RunState
from engine.store.views import RunView
from engine.store.writing import RUN
from tests.chaos.runs import FIGURES, WITHIN_S, Ledger, Line
from tests.services.stack import Stack, until

GROUPS = [[1, 2, 3], [4, 5, 6]]
ROUNDS = 2
RUNS = 1 + len(GROUPS) + sum(map(len, GROUPS)) + ROUNDS * len(GROUPS)
"""Runs of a whole tree: the root, one below it a group, and below each one a value and one a round."""


def leaf(work_s: float, flag: str = "") -> dict[str, Any]:
    """A plan of one value, which it triples three times and adds up; one that fails while ``flag`` is a file."""
    return {
        "name": "chaos-leaf",
        "inputs": {"value": {"type": "integer"}},
        "steps": {
            "parts": {
                "task": "chaos.idempotent", "for_each": [0, 1, 2],
                "with": {"value": "{{ inputs.value }}", "work_s": work_s},
            },
            "once": {
                "task": "chaos.external", "with": {"value": "{{ inputs.value }}", "work_s": work_s},
                "retry": {"attempts": 10, "wait": "fixed", "delay": 0.05},
            },
            "brittle": {"task": "chaos.brittle", "with": {"value": "{{ inputs.value }}", "flag": flag, "bad": 5}},
            "total": {"task": "chaos.total", "with": {"values": "{{ steps.parts.output }}"}, "after": ["brittle"]},
        },
        "outputs": {"sum": "{{ steps.total.output }}", "once": "{{ steps.once.output }}"},
    }  # fmt: skip


def middle(work_s: float, flag: str = "") -> dict[str, Any]:
    """A plan that runs a leaf for each value, and a loop of two rounds beside them."""
    return {
        "name": "chaos-middle",
        "inputs": {"values": {"type": "list"}},
        "steps": {
            "leaves": {
                "plan": leaf(work_s, flag), "with": {"value": "{{ item }}"}, "for_each": "{{ inputs.values }}",
            },
            "grow": {
                "plan": {
                    "name": "chaos-round",
                    "inputs": {"round": {"type": "integer", "default": 1}, "previous": {"default": {"value": 0}}},
                    "steps": {
                        "add": {
                            "task": "chaos.pure",
                            "with": {"value": "{{ inputs.previous.value }}", "work_s": work_s},
                        },
                    },
                    "outputs": {"value": "{{ steps.add.output }}"},
                },
                "loop": {"until": "output.value >= 3", "max_rounds": 5},
            },
        },
        "outputs": {"leaves": "{{ steps.leaves.output }}", "grown": "{{ steps.grow.output.output.value }}",
                    "rounds": "{{ steps.grow.output.rounds }}"},
    }  # fmt: skip


def root(work_s: float, flag: str = "") -> Plan:
    """A plan that runs a middle plan for each group."""
    step = {"plan": middle(work_s, flag), "with": {"values": "{{ item }}"}, "for_each": GROUPS}
    return Plan.model_validate(
        {"name": "chaos-tree", "steps": {"groups": step}, "outputs": {"groups": "{{ steps.groups.output }}"}}
    )


def outputs_of_group(values: list[int]) -> dict[str, Any]:
    """What a middle run hands back if nothing goes wrong."""
    leaves = [{"sum": 9 * value, "once": value + 100} for value in values]
    return {"leaves": leaves, "grown": 3, "rounds": ROUNDS}


@dataclass(slots=True)
class Tree:
    """A tree of runs under a fault, from its submission to the checks at its end."""

    stack: Stack
    ledger: Ledger
    label: str
    work_s: float = 0.1
    flag: str = ""
    run: str = ""
    within_s: float = WITHIN_S
    started: float = field(default_factory=time.monotonic)

    def submit(self, **options: Any) -> Tree:
        """Hand the root in."""
        self.run = self.stack.client.submit(root(self.work_s, self.flag), **options)
        return self

    def when_begun(self, bodies_begun: int) -> Tree:
        """Wait until so many bodies of the tree have begun, some of them two levels deep."""
        try:
            until(lambda: self._begun_deep() >= bodies_begun, 20.0, f"{bodies_begun} bodies begun")
        except AssertionError:
            self.stack.show(self.run)
            raise
        return self

    def _begun_deep(self) -> int:
        deep = {view.id for view in self.views() if view.depth == 2}
        return sum(line.run in deep for line in self.ledger.lines(event="begin"))

    def views(self) -> list[Any]:
        """Every run of the tree: id, state, depth and when its permits were gone."""
        columns = (RUN.c.id, RUN.c.state, RUN.c.depth, RUN.c.parent_run, RUN.c.reason, RUN.c.partial)
        found: list[Any] = []
        above = [self.run]
        with self.stack.client.store.database.reading("look at a tree") as connection:
            found += connection.execute(select(*columns).where(RUN.c.id == self.run)).all()
            while above:
                below = connection.execute(select(*columns).where(RUN.c.parent_run.in_(above))).all()
                found += below
                above = [row.id for row in below]
        return found

    def lines(self, event: str = "begin") -> list[Line]:
        """What bodies of the tree said."""
        mine = {view.id for view in self.views()}
        return [line for line in self.ledger.lines(event=event) if line.run in mine]

    def check(self, twice: int = 0) -> RunView:
        """The tree ends, well and whole; at most so many bodies were executed more than once."""
        view = self.stack.ended(self.run, self.within_s)
        try:
            assert view.state is RunState.SUCCEEDED, f"{self.label}: {view.state}: {view.reason}"
            assert not view.partial
            wanted = {"groups": [outputs_of_group(values) for values in GROUPS]}
            assert self.stack.client.outputs(self.run) == wanted
            views = self.check_each(RunState.SUCCEEDED)
            assert len(views) == RUNS, f"{self.label}: {len(views)} runs instead of {RUNS}"
            again = sum(count - 1 for count in self.executions().values())
            FIGURES.append(
                f"{self.label}: {again} bodies of {len(views)} runs executed twice (at most {twice}), "
                f"{time.monotonic() - self.started:.1f} s"
            )
            assert again <= twice, f"{self.label}: {self.executions()}"
        except AssertionError:
            self.show()
            raise
        return view

    def check_each(self, *states: RunState) -> list[Any]:
        """Every run of the tree has ended in one of ``states``, and its audit finds nothing."""
        views = self.views()
        wrong = [(view.id, view.depth, view.state, view.reason) for view in views if view.state not in states]
        assert not wrong, f"{self.label}: {wrong}"
        for view in views:
            assert self.stack.client.audit(view.id) == []
        return views

    def executions(self) -> Counter[tuple[str, str]]:
        """How often the body of each node of each run began."""
        return Counter((line.run, line.node) for line in self.lines())

    def show(self) -> None:
        """Print where every run stands."""
        self.stack.show(self.run)
        for view in self.views():
            print(view)
