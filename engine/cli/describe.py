"""Rows of the store as plain JSON data, in the form that `-o json` promises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.cli.times import stamp

if TYPE_CHECKING:
    from collections.abc import Iterable

    from engine.store.views import AttemptView, NodeView, RunView, StepProgress, StepView


def run_row(run: RunView) -> dict[str, Any]:
    """A run: ``flywheel.run/1`` without its steps."""
    ended = run.finished_at
    begun = run.started_at or run.created_at
    return {
        "run": run.id,
        "plan": run.plan_name,
        "state": run.state.value,
        "partial": run.partial,
        "reason": run.reason,
        "tenant": run.tenant,
        "session": run.session,
        "priority": run.priority,
        "tags": list(run.tags),
        "plan_version": run.plan_version,
        "idempotency_key": run.idempotency_key,
        "created_at": stamp(run.created_at),
        "started_at": stamp(run.started_at),
        "finished_at": stamp(ended),
        "deadline_at": stamp(run.deadline_at),
        "permits_gone_at": stamp(run.permits_gone_at),
        "duration_s": None if ended is None else round(ended - begun, 3),
    }


def step_row(step: StepView, now: StepProgress | None = None) -> dict[str, Any]:
    """A step, with live counts where ``now`` is given."""
    counts = now if now is not None else step
    ended = step.finished_at
    return {
        "step": step.path,
        "task": step.task,
        "queue": step.queue,
        "state": step.state.value,
        "reason": step.reason,
        "nodes": step.count,
        "succeeded": counts.succeeded,
        "failed": counts.failed,
        "skipped": counts.skipped,
        "out": now.out if now is not None else 0,
        "retrying": now.retrying if now is not None else 0,
        "tolerated": step.tolerated,
        "fanned": step.fanned,
        "phase": step.phase,
        "effects": step.effects,
        "expanded_at": stamp(step.expanded_at),
        "finished_at": stamp(ended),
        "duration_s": None if ended is None or step.expanded_at is None else round(ended - step.expanded_at, 3),
    }


def node_row(node: NodeView) -> dict[str, Any]:
    """A node with its latest attempt."""
    return {
        "node": node.key,
        "state": node.state,
        "attempt": node.attempt,
        "outcome": None if node.outcome is None else node.outcome.value,
        "worker": node.worker,
        "dispatched_at": stamp(node.dispatched_at),
        "begun_at": stamp(node.begun_at),
        "finished_at": stamp(node.finished_at),
        "retry_at": stamp(node.retry_at),
        "progress": node.progress,
        "reason": node.reason,
        "error": None if node.error is None else f"{node.error.type}: {node.error.message}",
    }


def failed_step_row(step: StepView) -> dict[str, Any]:
    """A step that failed before it had nodes, in the form of a node: its condition or its items did not hold."""
    of_a_node = dict.fromkeys(("attempt", "outcome", "dispatched_at", "begun_at", "retry_at", "progress", "error"))
    return {
        "node": step.path, "state": step.state.value, **of_a_node, "worker": "",
        "finished_at": stamp(step.finished_at), "reason": step.reason,
    }  # fmt: skip


def attempt_row(attempt: AttemptView) -> dict[str, Any]:
    """One try at a node."""
    ended, begun = attempt.ended_at, attempt.begun_at
    return {
        "attempt": attempt.attempt,
        "kind": attempt.kind,
        "outcome": None if attempt.outcome is None else attempt.outcome.value,
        "worker": attempt.worker,
        "queue": attempt.queue,
        "dispatched_at": stamp(attempt.dispatched_at),
        "begun_at": stamp(begun),
        "ended_at": stamp(ended),
        "duration_s": None if ended is None or begun is None else round(ended - begun, 3),
        "error": None if attempt.error is None else f"{attempt.error.type}: {attempt.error.message}",
    }


def tally(steps: Iterable[StepProgress]) -> dict[str, int]:
    """Nodes by how they ended. A step that never became nodes counts as one."""
    counts = {"OK": 0, "FAILED": 0, "SKIPPED": 0, "CANCELLED": 0, "TOTAL": 0}
    for step in steps:
        ended = {"OK": step.succeeded, "FAILED": step.failed, "SKIPPED": step.skipped, "CANCELLED": step.cancelled}
        if not any(ended.values()) and step.state.value in ("failed", "skipped", "cancelled"):
            ended[step.state.value.upper()] = max(1, step.count or 0)
        for name, count in ended.items():
            counts[name] += count
        counts["TOTAL"] += max(step.count or 0, sum(ended.values())) or (step.count is None)
    return counts
