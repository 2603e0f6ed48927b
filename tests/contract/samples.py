"""A small plan, runs of it, and the records of a node's whole life."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import Any

from engine.dag.compiled import CompiledPlan, CompiledStep
from engine.plan.retry import RetryPolicy
from engine.scheduling.records import AttemptEnded, AttemptKind, Dispatched, NodeFinished, NodeState, Record
from engine.store.runs import NewRun
from engine.wire import Outcome

NOW = 1_700_000_000.0
_numbers = count(1)

PLAN = CompiledPlan(
    name="audit",
    version="v-audit",
    steps=(
        CompiledStep(no=0, path="find", task="files.find", with_={}, children=(1,)),
        CompiledStep(
            no=1, path="inspect", task="python.call", with_={}, parents=(0,), children=(2,),
            for_each="{{ steps.find.output }}", retry=RetryPolicy(attempts=3), queue="cpu",
        ),
        CompiledStep(no=2, path="report", task="files.write", with_={}, parents=(1,)),
    ),
)  # fmt: skip


def new_run(**changes: Any) -> NewRun:
    """A run of ``PLAN`` with an id of its own."""
    number = next(_numbers)
    run = NewRun(
        id=f"r_{number:016d}", tenant="default", session="main", shard=0, plan=PLAN,
        plan_source={"name": "audit", "steps": {"find": {}}, "outputs": {}}, inputs='{"v":{"path":"/"}}',
        created_at=NOW + number,
    )  # fmt: skip
    return replace(run, **changes)


def dispatched(run_id: str, step_no: int, item: int = 0, attempt: int = 1, at: float = NOW) -> Dispatched:
    return Dispatched(
        run_id, step_no, item, attempt, AttemptKind.PRIMARY if attempt == 1 else AttemptKind.RETRY, "io", at
    )


def ended(
    run_id: str, step_no: int, item: int = 0, attempt: int = 1, outcome: Outcome = Outcome.OK, **more: Any
) -> AttemptEnded:
    at = more.pop("at", NOW + 2)
    return AttemptEnded(run_id, step_no, item, attempt, outcome, at, worker="w1", begun_at=at - 1, ended_at=at, **more)


def node_done(run_id: str, step_no: int, item: int = 0, attempt: int = 1, at: float = NOW) -> list[Record]:
    """All records of a node that succeeded at its first try, in one batch."""
    result = f'{{"v":{item}}}'
    return [
        dispatched(run_id, step_no, item, attempt, at),
        ended(run_id, step_no, item, attempt, at=at + 2),
        NodeFinished(run_id, step_no, item, NodeState.SUCCEEDED, attempt, at + 2, result),
    ]
