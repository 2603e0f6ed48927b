"""Which code made a step's results is kept with the step, in runs below runs too."""

from __future__ import annotations

from engine.dag.compile import compile_plan
from engine.dag.compiled import CompiledStep
from engine.plan.model import Plan, plan_data
from engine.runtime.ports import ChildOf, NewChild, RunRow
from engine.scheduling.records import RunState
from engine.store.journal import SqlJournal
from engine.store.runs import RunStore
from tests.contract.samples import NOW, new_run

DEEP = {"name": "deep", "steps": {"leaf": {"task": "c.d"}}}
BELOW = {"name": "below", "steps": {"one": {"task": "a.b"}, "more": {"plan": DEEP, "for_each": [1]}}}
ABOVE = Plan.model_validate({"name": "above", "steps": {"each": {"plan": BELOW, "for_each": [1, 2]}}})
CODE = {"a.b": "hash-a", "c.d": "hash-c"}


def started(journal: SqlJournal, epoch: int, above: str, step: CompiledStep) -> str:
    """A run for the first node of ``step`` of the run ``above``."""
    assert step.child is not None
    assert step.child.plan is not None
    row = RunRow(
        id=f"{above}-{step.no}", tenant="default", session="main", plan_name=step.child.plan.name,
        plan_version=step.child.plan.version, inputs='{"v":{}}', priority=0, state=RunState.PENDING, reason="",
        created_at=NOW, deadline_at=None, parent=ChildOf(above, step.no, 0, 1, 1, 1),
    )  # fmt: skip
    journal.start_children(0, epoch, [NewChild(row, step.child.plan, dict(step.child.source or {}))])
    return row.id


def test_a_step_keeps_the_hash_of_its_tasks_code(runs: RunStore) -> None:
    run_id, _ = runs.submit(new_run(code={"files.find": "f1", "python.call": "p1"}))
    assert [step.code_hash for step in runs.steps(run_id)] == ["f1", "p1", None]


def test_runs_below_get_the_hashes_of_the_run_above(runs: RunStore, journal: SqlJournal, epoch: int) -> None:
    compiled = compile_plan(ABOVE)
    top, _ = runs.submit(new_run(plan=compiled, plan_source=plan_data(ABOVE), code=CODE))
    each = compiled.steps[-1]
    below = started(journal, epoch, top, each)
    hashes = {step.path: step.code_hash for step in runs.steps(below)}
    assert hashes["one"] == "hash-a"
    assert hashes["more"] is not None
    assert each.child is not None
    assert each.child.plan is not None
    deep = started(journal, epoch, below, each.child.plan.steps[-1])
    assert [step.code_hash for step in runs.steps(deep)] == ["hash-c"]
