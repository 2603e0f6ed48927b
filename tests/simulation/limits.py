"""How many bodies run at once, held against the limits of steps and pools."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.dag.compiled import CompiledStep
from engine.wire import Delivery, NodeCall, real_item
from tests.simulation.driver import Violation

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

_NodeKey = tuple[str, int, int]


class RunningBodies:
    """The bodies that run now in one simulation."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim
        self._limits: dict[tuple[str, _NodeKey, int], list[str]] = {}

    def began(self, delivery: Delivery, call: NodeCall, step: CompiledStep) -> None:
        """A body began. Undisturbed, no limit is ever passed."""
        self._limits[self._key(delivery, call)] = [_of_step(delivery), *map(_of_pool, step.pools)]
        if self._sim.faults.enabled:
            return
        if step.max_parallel is not None and self._under(_of_step(delivery)) > step.max_parallel:
            raise Violation(f"more than {step.max_parallel} nodes of {step.path} run at once")
        for pool in step.pools:
            if self._under(_of_pool(pool)) > self._sim.limits.pools[pool]:
                raise Violation(f"pool {pool} is overdrawn")

    def ended(self, delivery: Delivery, call: NodeCall) -> None:
        """A body is over, or its process is."""
        self._limits.pop(self._key(delivery, call), None)

    def _under(self, limit: str) -> int:
        """Bodies that a limit holds for: one that was ended early gave its slot up, and hears it soon."""
        return sum(limit in limits and not self._is_over(node, no) for (_, node, no), limits in self._limits.items())

    def _is_over(self, node: _NodeKey, attempt: int) -> bool:
        journal = self._sim.journal
        return node in journal.nodes or journal.attempts[node][attempt].outcome is not None

    def _key(self, delivery: Delivery, call: NodeCall) -> tuple[str, _NodeKey, int]:
        return delivery.token, (delivery.run_id, delivery.step_no, real_item(call.item)), call.attempt


def _of_step(delivery: Delivery) -> str:
    return f"step {delivery.run_id} {delivery.step_no}"


def _of_pool(pool: str) -> str:
    return f"pool {pool}"
