"""What goes wrong, when, and how often; after ``until`` nothing does any more."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from engine.errors import Unavailable

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

RATES = {
    "lost_message": (0.02, 0.2), "doubled_message": (0.02, 0.2), "late_message": (0.01, 0.1),
    "lost_request": (0.001, 0.02), "lost_reply": (0.001, 0.02), "scheduler_crash": (0.0005, 0.01),
    "slow_call": (0.01, 0.2),
}  # fmt: skip
EVENTS = (
    "kill_worker", "lose_child", "freeze_worker", "cut_worker", "stop_worker", "redis_away", "redis_restart",
    "redis_emptied", "redis_flush", "journal_away", "artefacts_away", "kill_scheduler", "freeze_scheduler",
    "kill_everything", "clock_jump",
)  # fmt: skip
HARM_WORKERS = {"kill_worker", "lose_child", "freeze_worker", "cut_worker", "kill_everything"}
HARM_SCHEDULERS = {"kill_scheduler", "freeze_scheduler", "scheduler_crash", "kill_everything"}
MESSAGES = {"lost_message", "doubled_message", "late_message", "lost_request", "lost_reply"}


class Faults:
    """The faults of one simulation."""

    def __init__(self, sim: Simulation, enabled: set[str], until: float) -> None:
        self._sim = sim
        self.enabled, self.until = enabled, until
        chance = sim.driver.chance
        self._rates = {name: chance.uniform(*RATES[name]) for name in sorted(enabled & RATES.keys())}
        self.happened: dict[str, int] = {}
        self.calm = not enabled

    def plan(self) -> None:
        """Put the events of the enabled kinds on the queue."""
        chance, driver = self._sim.driver.chance, self._sim.driver
        for name in sorted(self.enabled & set(EVENTS)):
            for _ in range(chance.randint(1, 3)):
                driver.after(
                    chance.uniform(0.0, self.until) if chance.random() < 0.5 else chance.uniform(0.0, 2.0),
                    self._happen,
                    name,
                )
        driver.after(self.until, self._end)

    def rate(self, name: str) -> bool:
        """Whether a fault that has a rate happens now."""
        probability = self._rates.get(name)
        if probability is None or self._sim.driver.chance.random() >= probability:
            return False
        self.happened[name] = self.happened.get(name, 0) + 1
        return True

    def _end(self) -> None:
        self._rates = {}
        self.calm = True
        for scheduler in self._sim.schedulers:
            scheduler.freeze_s = 0.0

    def _happen(self, name: str) -> None:
        if self._sim.driver.now > self.until:
            return
        self.happened[name] = self.happened.get(name, 0) + 1
        self._sim.driver.note("fault", name)
        getattr(self, f"_{name}")()

    def _some_s(self, most: float) -> float:
        return min(self._sim.driver.chance.choice((0.3, 2.0, 6.0, 15.0)), most) * self._sim.driver.chance.uniform(
            0.3, 1.3
        )

    def _kill_worker(self) -> None:
        self._sim.replace_worker(self._sim.driver.chance.choice(self._sim.workers))

    def _lose_child(self) -> None:
        worker = self._sim.driver.chance.choice(self._sim.workers)
        busy = [slot for slot in worker.slots if slot.delivery is not None] or worker.slots
        worker.lose_child(self._sim.driver.chance.choice(busy))

    def _freeze_worker(self) -> None:
        worker = self._sim.driver.chance.choice(self._sim.workers)
        worker.frozen_until = self._sim.driver.now + self._some_s(15.0) * 1.5

    def _cut_worker(self) -> None:
        worker = self._sim.driver.chance.choice(self._sim.workers)
        worker.cut_until = self._sim.driver.now + self._some_s(15.0) * 1.5

    def _stop_worker(self) -> None:
        self._sim.stop_worker(self._sim.driver.chance.choice(self._sim.workers))

    def _redis_away(self) -> None:
        self._sim.redis_goes_away()
        self._sim.driver.after(self._some_s(15.0), self._sim.redis_comes_back)

    def _redis_restart(self) -> None:
        """Back with what its file kept: all of it, or all but the last second."""
        sim = self._sim
        kept = sim.redis.copy()
        behind_s = sim.driver.chance.choice((0.0, 0.2, 1.0))
        sim.driver.after(behind_s, self._restart_with, kept, self._some_s(6.0))

    def _restart_with(self, kept: object, away_s: float) -> None:
        sim = self._sim
        if sim.redis.down:
            return
        sim.redis_goes_away()
        sim.driver.after(away_s, sim.redis_comes_back, kept)

    def _redis_emptied(self) -> None:
        from tests.simulation.redis import Data

        self._restart_with(Data(), self._some_s(2.0))

    def _redis_flush(self) -> None:
        if not self._sim.redis.down:
            self._sim.redis.flush()

    def _journal_away(self) -> None:
        self._sim.journal_away_until = self._sim.driver.now + self._some_s(15.0)

    def _artefacts_away(self) -> None:
        self._sim.artefacts.away_until = self._sim.driver.now + self._some_s(6.0)

    def _kill_scheduler(self) -> None:
        scheduler = self._sim.driver.chance.choice(self._sim.schedulers)
        if scheduler.service is not None and not self._sim.driver.pausing:
            scheduler.kill()

    def _freeze_scheduler(self) -> None:
        self._sim.driver.chance.choice(self._sim.schedulers).freeze_s = self._some_s(6.0)

    def _kill_everything(self) -> None:
        for worker in list(self._sim.workers):
            self._sim.replace_worker(worker)
        for scheduler in self._sim.schedulers:
            if scheduler.service is not None and not self._sim.driver.pausing:
                scheduler.kill()
        if self._sim.driver.chance.random() < 0.5:
            self._redis_restart()

    def _clock_jump(self) -> None:
        self._sim.driver.wall_offset += self._sim.driver.chance.choice((-3600.0, -30.0, -2.0, 2.0, 30.0, 3600.0))


class SimArtefacts:
    """An artefact store in memory, which may be away."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim
        self._texts: dict[str, bytes] = {}
        self.away_until = -1.0

    def put(self, text: bytes) -> str:
        self._reach()
        digest = hashlib.sha256(text).hexdigest()
        self._texts[digest] = text
        return digest

    def get(self, digest: str) -> bytes:
        self._reach()
        return self._texts[digest]

    def _reach(self) -> None:
        if self._sim.driver.now < self.away_until:
            raise Unavailable("artefacts are away")
