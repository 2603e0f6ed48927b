"""Second copies of stragglers, judged by the journal: whether they may be, how many, and at whose cost.

Invariant 8: a copy keeps to the effects rule, is one of a bounded share, and never goes out while a
primary attempt waits for the slot that it takes.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from engine.dag.compiled import CompiledStep
from engine.scheduling.hedges import FIRST
from engine.scheduling.records import AttemptKind, Dispatched, Record, RunState, StepState
from tests.simulation.driver import Violation
from tests.simulation.faults import HARM_WORKERS

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation


class Copies:
    """Watches what is dispatched in one simulation."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim
        self.launched = 0
        self._seen: set[tuple[str, int, int, int]] = set()
        self._own: Counter[int] = Counter()
        self._copies: Counter[int] = Counter()

    def committed(self, record: Record) -> None:
        """A record is in the journal."""
        if not isinstance(record, Dispatched):
            return
        key = record.run_id, record.step_no, record.item, record.attempt
        if key in self._seen:
            return  # the reply to its commit was lost, so it is committed again
        self._seen.add(key)
        epoch = self._sim.journal.epoch
        if record.kind is not AttemptKind.HEDGE:
            self._own[epoch] += not record.kind.extra
            return
        self.launched += 1
        self._copies[epoch] += 1
        self._check_node(record)
        most = FIRST + self._sim.policy.hedge_share * self._own[epoch]
        if self._copies[epoch] > most + 1e-6:
            raise Violation(f"invariant 8: {self._copies[epoch]} copies of {self._own[epoch]} attempts, at most {most}")
        if not (HARM_WORKERS | {"stop_worker"}) & self._sim.faults.happened.keys():
            self._check_slots(record)
        self._check_waiting(record)

    def _check_node(self, record: Dispatched) -> None:
        """Its step allows a copy, it has no result, and it is out once besides."""
        journal, node = self._sim.journal, (record.run_id, record.step_no, record.item)
        step = self._sim.plan_of(record.run_id).steps[record.step_no]
        if step.effects == "external":
            raise Violation(f"invariant 8: external {node} gets a copy")
        if self._is_limited(step):
            raise Violation(f"invariant 8: {node} is limited and gets a copy")
        if node in journal.nodes:
            raise Violation(f"invariant 8: {node} has ended and gets a copy")
        out = [row.kind for row in journal.attempts[node].values() if row.outcome is None]
        if len(out) != 2 or sum(kind.extra for kind in out) != 1:
            raise Violation(f"invariant 8: {node} has {out} out with its copy")

    def _check_slots(self, record: Dispatched) -> None:
        """Everything that is out, and the copy, has a slot."""
        slots = sum(len(worker.slots) for worker in self._sim.workers)
        rows = [row for rows in self._sim.journal.attempts.values() for row in rows.values()]
        out = sum(row.outcome is None and row.queue == record.queue and row.dispatched_at is not None for row in rows)
        if out > slots:
            raise Violation(f"invariant 8: a copy is attempt number {out} on {slots} slots")

    def _check_waiting(self, record: Dispatched) -> None:
        """Nothing that no limit holds back is ready for the copy's queue."""
        waiting = self.waiting(record.queue)
        if waiting:
            raise Violation(f"invariant 8: {waiting} wait while a copy of another goes out")

    def waiting(self, queue: str) -> list[tuple[str, int, int]]:
        """Nodes of a step that are ready for ``queue``, were never sent, and are held back by no limit."""
        journal = self._sim.journal
        for (run_id, no), row in journal.steps.items():
            step = self._sim.plan_of(run_id).steps[no]
            going = journal.runs[run_id].state is RunState.RUNNING and row.state is StepState.RUNNING
            free = not (self._is_limited(step) or step.when_per_item or step.child is not None)
            if not going or not free or step.queue != queue:
                continue
            nodes = [(run_id, no, item) for item in range(row.count or 0)]
            waiting = [node for node in nodes if node not in journal.nodes and not journal.attempts.get(node)]
            if waiting:
                return waiting
        return []

    def _is_limited(self, step: CompiledStep) -> bool:
        return step.max_parallel is not None or bool(step.pools) or step.task in self._sim.limits.rates
