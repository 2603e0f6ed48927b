"""The broker between publisher and workers: messages get lost, doubled, delayed and reordered on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import orjson

from engine.errors import Unavailable
from engine.wire import Delivery

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation


class SimBroker:
    """``ports.Publisher``, and what becomes of messages."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim
        self.published = 0

    def publish(self, deliveries: Sequence[Delivery], priority: Mapping[str, int] | None = None) -> None:
        """Send deliveries; on error any part of them may have been sent."""
        sim = self._sim
        sim.redis.reach()
        for delivery in deliveries:
            if sim.faults.rate("lost_request"):
                raise Unavailable("the connection broke while publishing")
            self.published += 1
            sim.audit.published(delivery)
            message = orjson.dumps(delivery.to_json())
            if sim.faults.rate("lost_message"):
                sim.driver.note("broker", f"loses {delivery.token}")
                continue
            self._send(delivery.queue, message)
            if sim.faults.rate("doubled_message"):
                sim.driver.after(sim.driver.chance.uniform(0.0, 20.0), self._arrive, delivery.queue, message)

    def come_back(self, message: bytes) -> None:
        """A worker died with this message: it is lost, or redelivered after a while."""
        chance = self._sim.driver.chance
        if chance.random() < 0.5:
            queue = orjson.loads(message)["queue"]
            self._sim.driver.after(chance.uniform(0.1, 20.0), self._arrive, queue, message)

    def _send(self, queue: str, message: bytes) -> None:
        chance = self._sim.driver.chance
        delay_s = chance.uniform(5.0, 60.0) if self._sim.faults.rate("late_message") else chance.uniform(0.0, 0.01)
        if delay_s < 0.002:
            self._arrive(queue, message)
        else:
            self._sim.driver.after(delay_s, self._arrive, queue, message)

    def _arrive(self, queue: str, message: bytes) -> None:
        if self._sim.redis.down:
            return
        self._sim.redis.push(queue, message)
        for worker in self._sim.workers:
            if queue in worker.queues:
                worker.pump()
