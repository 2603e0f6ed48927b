"""Scheduler processes: the real ``ShardService`` in a shell that crashes, freezes and loses replies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from engine.errors import Unavailable
from engine.runtime.budgets import Accounts
from engine.runtime.service import ShardService
from engine.runtime.world import World
from tests.simulation.driver import SimClock, Violation

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

_STEP_S = 0.001
IDLE_STEPS_A_SECOND = 130
_NO_RUN_S = ("learned", "keep_learned", "write_outline", "release_pools", "permitted_runs")
"""Calls that no run depends on, of learning and of tidying up.

They fail only while all do, so that worlds of old seeds stay as they are.
"""


class Crash(BaseException):
    """The process is killed here. No ``except Exception`` of the engine may see it."""


class Door:
    """A port as one scheduler sees it: each call may fail before or after it took effect."""

    def __init__(self, scheduler: SimScheduler, target: Any, reach: Callable[[], None]) -> None:
        self._scheduler, self._target, self._reach = scheduler, target, reach

    def __getattr__(self, name: str) -> Any:
        method, scheduler, reach = getattr(self._target, name), self._scheduler, self._reach
        faults = scheduler.sim.faults

        def call(*arguments: Any) -> Any:
            if faults.calm or name in _NO_RUN_S:
                reach()
                return method(*arguments)
            arguments = tuple(list(part) if hasattr(part, "__next__") else part for part in arguments)
            scheduler.between(f"before {name}")
            reach()
            if faults.rate("lost_request"):
                raise Unavailable(f"{name}: the request was lost")
            result = method(*arguments)
            scheduler.between(f"after {name}")
            if faults.rate("lost_reply"):
                raise Unavailable(f"{name}: the reply was lost")
            return result

        return call


class SimScheduler:
    """One process: steps its service, sleeps as long as that wants, dies and comes back."""

    def __init__(self, sim: Simulation, name: str) -> None:
        self.sim, self.name = sim, name
        self.lives = 0
        self.service: ShardService | None = None
        self.freeze_s = 0.0
        self._slept_s = 0.0
        self._ticket = 0
        self._waiting = False
        self._idle_second, self._idle_steps = 0, 0
        self.start()

    def start(self) -> None:
        """A new process."""
        sim = self.sim
        self.lives += 1
        self._ticket += 1
        world = World(
            journal=Door(self, sim.journal, sim.reach_journal), hot=Door(self, sim.redis, sim.redis.reach),
            publisher=Door(self, sim.broker, sim.redis.reach), artefacts=sim.artefacts, clock=SimClock(sim.driver),
            compiled=sim.plans.__getitem__, new_token=lambda: sim.unique("t"), sleep=self._sleep,
            budgets=self._budgets(),
        )  # fmt: skip
        owner = f"{self.name}.{self.lives}"
        self.service = ShardService(0, owner, world, sim.pace, sim.policy, sim.limits)
        sim.driver.after(0.0, self.step, self._ticket)

    def _budgets(self) -> Accounts | None:
        accounts = self.sim.spending.accounts
        if accounts is None:
            return None
        redis = Door(self, accounts.redis, self.sim.redis.reach)
        books = Door(self, accounts.books, self.sim.reach_journal)
        return replace(accounts, redis=redis, books=books)  # type: ignore[arg-type]

    def kill(self) -> None:
        """SIGKILL between two steps."""
        self.service = None
        self._waiting = False
        self._ticket += 1
        self.sim.driver.note(self.name, "is killed")
        self.sim.driver.after(self.sim.driver.chance.uniform(0.05, 4.0), self._restart, self._ticket)

    def wake(self) -> None:
        """A report arrived."""
        if self._waiting:
            self._waiting = False
            self._ticket += 1
            self.sim.driver.after(_STEP_S, self.step, self._ticket)

    def between(self, where: str) -> None:
        """Between two lines: a crash, a slow call, or a freeze long enough for a standby to take over."""
        faults = self.sim.faults
        if faults.rate("scheduler_crash"):
            self.sim.driver.note(self.name, f"crashes {where}")
            raise Crash
        if faults.rate("slow_call"):
            self.sim.driver.pause(self.sim.driver.chance.uniform(0.0, 0.05))
        if self.freeze_s and self.sim.driver.odds(0.5 if where == "before write_permits" else 0.02):
            seconds, self.freeze_s = self.freeze_s, 0.0
            self.sim.driver.note(self.name, f"freezes {where} for {seconds:.1f} s")
            self.sim.driver.pause(seconds)
            self.sim.driver.note(self.name, "goes on")

    def step(self, ticket: int) -> None:
        """One step of the service, then wait as it wants."""
        if ticket != self._ticket or self.service is None:
            return
        driver = self.sim.driver
        self._waiting, self._slept_s = False, 0.0
        before = (self.sim.journal.commits, self.sim.broker.published, len(self.sim.redis.data.stream))
        try:
            self.service.step()
        except Crash:
            self.kill()
            return
        if before == (self.sim.journal.commits, self.sim.broker.published, len(self.sim.redis.data.stream)):
            self._count_idle()
        leader = self.service._leader
        if self._slept_s or leader is None:
            wait_s = self._slept_s
        else:
            wait_s = leader._idle_s()
            unread = self.sim.redis.read_reports(0, leader._intake.read_after, 1, 0.0)
            self._waiting = not unread and not self.sim.redis.down
            wait_s = 0.0 if unread and not self.sim.redis.down else wait_s
        driver.after(max(_STEP_S, wait_s), self.step, ticket)

    def _restart(self, ticket: int) -> None:
        if ticket == self._ticket:
            self.start()

    def _sleep(self, seconds: float) -> None:
        self._slept_s += seconds

    def _count_idle(self) -> None:
        second = int(self.sim.driver.now)
        if second != self._idle_second:
            self._idle_second, self._idle_steps = second, 0
        self._idle_steps += 1
        if self._idle_steps > IDLE_STEPS_A_SECOND:
            raise Violation(f"busy loop: {self._idle_steps} idle steps of {self.name} within second {second}")
