"""One simulated world: real schedulers around a journal, a Redis, a broker and workers that fail.

``simulate(seed)`` runs it twice, undisturbed and disturbed, and raises ``Violation`` with the trace's
end if an invariant does not hold. Everything follows from the seed.
"""

from __future__ import annotations

import contextlib
import random
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import orjson

from engine.budgets import holdings
from engine.dag.compiled import CompiledPlan
from engine.errors import Unavailable
from engine.learning.knowledge import Knowledge
from engine.runtime import budgets, inflight, inspection, leader, learning, newcomers, prefetching, server, service
from engine.runtime import faults as fault_points
from engine.runtime.ports import CommandRow, NewChild, RunRow
from engine.runtime.world import Limits, Pace, Rate
from engine.scheduling.records import AttemptKind, Record, RunState
from engine.scheduling.state import Policy
from engine.wire import Report, ReportKind
from tests.simulation import ahead
from tests.simulation.audit import Audit
from tests.simulation.broker import SimBroker
from tests.simulation.copies import Copies
from tests.simulation.driver import EPOCH, Driver, Violation
from tests.simulation.early import ending_early, with_the_same_below
from tests.simulation.faults import EVENTS, RATES, Faults, SimArtefacts
from tests.simulation.journal import SimJournal
from tests.simulation.plans import QUEUES, plan_with_segments, random_plan, with_bets, with_child_runs
from tests.simulation.redis import Data, SimRedis
from tests.simulation.schedulers import SimScheduler
from tests.simulation.spending import Spending
from tests.simulation.workers import SimWorker

PATIENCE_S = 1800.0
"""Simulated seconds after the last fault within which every run must have ended."""
_AFTERWARDS_S = 40.0


class Simulation:
    """The world of one seed."""

    def __init__(
        self, seed: int, *, disturbed: bool, trace: list[str] | None = None, only: frozenset[str] | None = None
    ) -> None:
        self.seed = seed
        own = random.Random(f"{seed}/world")
        self.driver = Driver(seed, trace)
        self.journal = SimJournal(self.driver, committed=[self._committed], born=self._born)
        self.redis = SimRedis(self.driver, lease_s=10.0)
        self.redis.woken = self._woken
        self.redis.granted = self._granted
        self.artefacts: Any = SimArtefacts(self)
        self.broker = SimBroker(self)
        self.audit = Audit(self)
        self.redis.acknowledged = self.audit.acknowledged
        self.copies = Copies(self)
        self.readings = ahead.Readings(self)
        self.spending = Spending(self)
        self.workers: list[SimWorker] = []
        self.schedulers: list[SimScheduler] = []
        self.plans: dict[str, CompiledPlan] = {}
        self.seeds_of_runs: dict[str, int] = {}
        self.journal_away_until = -1.0
        self.grant_timeout_s = own.choice((5.0, 30.0))
        self.compared = 0
        self.early: Counter[str] = Counter()
        self._numbers = 0
        small = own.random() < 0.4
        self.pace = Pace(batch=3, dispatch=4, held_nodes=2) if small else Pace()
        self.policy, self.durations_known = _policy(seed, small=small)
        self.policy, self.stragglers = _hedging(seed, self.policy)
        self.speculates = random.Random(f"{seed} bets").random() < 0.5
        self.policy, self.reads_ahead = ahead.reads_ahead(seed, self.policy)
        # So each run that speculates, or is read ahead for, is compared with a plain one.
        self.policy = replace(self.policy, speculate=disturbed, prefetch=disturbed)
        self.limits = Limits({"db": 2}, {"t.rated": Rate(4.0, 3)})
        until = own.choice((3.0, 10.0, 30.0))
        drawn = _chosen(own)
        chosen = drawn if only is None else set(only)
        self.faults = Faults(self, chosen if disturbed else set(), until)
        self._submit_runs(own, disturbed)
        if disturbed:
            self.faults.plan()
        for _ in range(own.randint(1, 3)):
            self._start_worker(own.randint(1, 3) + 4 * (self.speculates or self.reads_ahead), own.choice((0, 0, 1, 2)))
        for number in range(2):
            self.schedulers.append(SimScheduler(self, f"scheduler{number}"))

    def run(self) -> None:
        """Until every run is over, and a while more."""
        limit = self.faults.until + 60.0 + PATIENCE_S
        self.driver.run(limit, self._all_over)
        dated = self.journal.epoch > 1 or any((row.budget or {}).get("asked") for row in self.journal.runs.values())
        if dated and "clock_jump" in self.faults.happened:
            # A wait that another scheduler restores is a date, as is the time to answer: it is late by that.
            self.driver.run(limit + 3 * 3600.0, self._all_over)
        if not self._all_over():
            raise Violation(f"invariant 6: open {PATIENCE_S:.0f} s after the last fault: {self._open()}")
        self.driver.run(max(self.driver.now, self.faults.until + 30.0) + _AFTERWARDS_S)
        left = self.redis.left_over()
        if left:
            raise Violation(f"left in Redis after every run is over: {left[:500]}")

    # --- what the parts ask ---------------------------------------------------------------------

    def unique(self, kind: str) -> str:
        self._numbers += 1
        return f"{kind}{self._numbers}"

    def plan_of(self, run_id: str) -> CompiledPlan:
        return self.plans[self.journal.runs[run_id].plan_version]

    def reach_journal(self) -> None:
        if self.driver.now < self.journal_away_until:
            raise Unavailable("the journal is away")

    def redis_goes_away(self) -> None:
        self.redis.down = True
        self._wake_waiting()

    def redis_comes_back(self, kept: Data | None = None) -> None:
        if kept is not None:
            self.redis.restart(kept)
        elif self.redis.down:
            self.redis.down = False
        for worker in self.workers:
            self.driver.after(0.2, worker.pump)

    def replace_worker(self, worker: SimWorker) -> None:
        """SIGKILL, and a supervisor that starts another."""
        worker.die()
        self.workers.remove(worker)
        self._start_worker_in(self.driver.chance.uniform(0.3, 3.0), worker)

    def stop_worker(self, worker: SimWorker) -> None:
        """SIGTERM: what runs may end, what it holds and has not begun goes back."""
        worker.stopping = True
        for message in worker.prefetched:
            self.redis.push(orjson.loads(message)["queue"], message)
        worker.prefetched.clear()
        self.workers.remove(worker)
        self._start_worker_in(0.5, worker)

    def point(self, name: str) -> None:
        """``engine.runtime.faults.point`` of whichever scheduler is running."""
        if self.faults.rate("scheduler_crash"):
            self.driver.note("fault", f"point {name}")
            from tests.simulation.schedulers import Crash

            raise Crash

    def log(self, *arguments: Any, **facts: Any) -> None:
        if self.driver.tracing:
            self.driver.note("log", f"{arguments} {facts}")

    # --- inside ---------------------------------------------------------------------------------

    def _submit_runs(self, own: random.Random, disturbed: bool) -> None:
        for number in range(own.choice((1, 1, 2, 3))):
            run_id, version = f"r_{number}", f"v{number}"
            self.seeds_of_runs[run_id] = self.seed * 10 + number
            chance = random.Random(f"{self.seed}/run/{number}")
            self.plans[version] = random_plan(chance, version)
            self._add_sub_plans(version)
            if self.speculates:
                self.plans[version] = with_bets(random.Random(f"{self.seed}/{version}/bets"), self.plans[version])
            self._end_early(version)
            self._read_ahead(version)
            self._spend(version)
            deadline_at = EPOCH + chance.uniform(1.0, 40.0) if chance.random() < 0.1 else None
            row = RunRow(
                run_id, "default", "main", "random", version, '{"v":{}}', chance.choice((0, 0, 5)), RunState.PENDING,
                "", EPOCH, deadline_at if disturbed else None,
            )  # fmt: skip
            named = random.Random(f"{self.seed}/{version}/named").random() < 0.3  # drawn apart, as below
            self.driver.after(chance.choice((0.0, 0.0, chance.uniform(0.0, 3.0))), self._submit, row, named)
            if disturbed:
                self._submit_commands(chance, run_id)

    def _submit(self, row: RunRow, named: bool) -> None:
        self.journal.submit(row)
        if named:
            self.redis.append(Report(ReportKind.WAKE, run_id=row.id))

    def _add_sub_plans(self, version: str) -> None:
        """Some steps become segments, or runs of plans of their own. Drawn apart, so that other worlds stay."""
        chance = random.Random(f"{self.seed}/{version}/segments")
        if chance.random() < 0.2:
            self.plans[version] = plan_with_segments(chance, version)
            return
        chance = random.Random(f"{self.seed}/{version}/children")
        if chance.random() < 0.6:
            self.plans[version] = with_child_runs(chance, self.plans[version], self.plans)

    def _end_early(self, version: str) -> None:
        """Some plans end something before its time. Drawn apart, so that other worlds stay as they are."""
        chance = random.Random(f"{self.seed}/{version}/early")
        if chance.random() < 0.35:
            for each in [name for name in self.plans if name == version or name.startswith(f"{version}.")]:
                self.plans[each] = ending_early(chance, self.plans[each])
            self.plans[version] = with_the_same_below(self.plans[version], self.plans)

    def _read_ahead(self, version: str) -> None:
        """In some worlds steps can be read ahead for. Drawn apart, so that other worlds stay as they are."""
        if not self.reads_ahead:
            return
        chance = random.Random(f"{self.seed}/{version}/ahead")
        for each in [name for name in self.plans if name == version or name.startswith(f"{version}.")]:
            self.plans[each] = ahead.with_prefetches(chance, self.plans[each])
        self.plans[version] = with_the_same_below(self.plans[version], self.plans)

    def _spend(self, version: str) -> None:
        """In some worlds bodies make calls that cost."""
        if not self.spending.on:
            return
        for each in [name for name in self.plans if name == version or name.startswith(f"{version}.")]:
            self.plans[each] = self.spending.with_budgets(each, self.plans[each])
        self.plans[version] = with_the_same_below(self.plans[version], self.plans)

    def _born(self, child: NewChild) -> None:
        self.seeds_of_runs[child.row.id] = zlib.crc32(child.row.id.encode())
        self.driver.note("journal", f"starts {child.row.id} for {child.row.parent}")

    def _submit_commands(self, chance: random.Random, run_id: str) -> None:
        at_s = chance.choice((chance.uniform(0.0, 1.5), chance.uniform(0.0, 15.0)))
        match chance.choice((None, None, None, "cancel", "pause")):
            case "cancel":
                self.driver.after(at_s, self._command, run_id, "cancel")
            case "pause":
                self.driver.after(at_s, self._command, run_id, "pause")
                self.driver.after(at_s + chance.uniform(0.1, 9.0), self._command, run_id, "resume")

    def _command(self, run_id: str, kind: str) -> None:
        if run_id not in self.journal.runs:
            return
        number = len(self.journal.handled) + len(self.journal.open_commands) + 1
        self.driver.note("operator", f"{kind} {run_id}")
        self.journal.command(CommandRow(number, run_id, kind, {}, self.driver.wall))

    def _start_worker(self, slots: int, prefetch: int) -> None:
        extra = ("speculative", ahead.QUEUE) if self.reads_ahead else ("speculative",)
        self.workers.append(SimWorker(self, self.unique("w"), (*QUEUES, *extra), slots, prefetch))

    def _start_worker_in(self, seconds: float, like: SimWorker) -> None:
        self.driver.after(seconds, self._start_worker, len(like.slots), like._prefetch)
        if not self.workers:
            self._start_worker(len(like.slots), like._prefetch)

    def _committed(self, record: Record) -> None:
        if self.driver.tracing:
            self.driver.note("journal", str(record)[:230])
        self.copies.committed(record)
        self.readings.committed(record)
        self.spending.committed(record)

    def _woken(self) -> None:
        for scheduler in self.schedulers:
            scheduler.wake()

    def _granted(self, token: str) -> None:
        for worker in self.workers:
            for slot in worker.slots:
                if slot.waits_for == token:
                    self.driver.after(0.001, slot.resume, slot.ticket)

    def _wake_waiting(self) -> None:
        for worker in self.workers:
            for slot in worker.slots:
                if slot.waits_for is not None:
                    self.driver.after(0.001, slot.resume, slot.ticket)

    def _all_over(self) -> bool:
        runs = self.journal.runs
        return len(runs) == len(self.seeds_of_runs) and all(  # the seed of a child is known with its row
            row.state.final for row in runs.values()
        )

    def _open(self) -> str:
        return ", ".join(f"{row.id} {row.state}" for row in self.journal.runs.values() if not row.state.final)


def _chosen(own: random.Random) -> set[str]:
    """The kinds of faults of one world: none, one, some, or nearly all."""
    kinds = [*sorted(RATES), *EVENTS]
    amount = own.choice((0, 1, 1, 2, 3, 4, 6, 10, len(kinds)))
    return set(own.sample(kinds, amount))


def _policy(seed: int, *, small: bool) -> tuple[Policy, bool]:
    """The core's numbers, and whether durations are known from the start, as after earlier runs.

    Nodes travel alone in half of the worlds, in chunks of a few or of all at hand in the others.
    Drawn apart from all else, so that the other half stays as it is.
    """
    chance = random.Random(f"{seed} chunks")
    chunks = {"chunk_s": 20.0, "chunks_a_slot": chance.choice((0, 2))} if chance.random() < 0.5 else {"chunk_s": 0.0}
    policy = Policy(page=2, chunk_max=3, children_max=2, **chunks) if small else Policy(**chunks)
    return policy, policy.chunk_s > 0 and chance.random() < 0.8


def _hedging(seed: int, policy: Policy) -> tuple[Policy, bool]:
    """The core's numbers, and whether bodies straggle and what is usual is known from the start.

    Drawn apart from all else.
    """
    chance = random.Random(f"{seed} stragglers")
    return replace(policy, hedge_share=chance.choice((0.05, 0.3))), chance.random() < 0.5


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a simulation came to, in figures."""

    seed: int
    faults: dict[str, int]
    nodes: int
    bodies: int
    repeated: int
    messages: int
    chunked: int
    copies: int
    followed: int
    bets: int
    adopted: int
    read_ahead: dict[str, int]
    compared: int
    runs: int
    states: tuple[str, ...]
    early: dict[str, int]
    spent: dict[str, int]


def _adopted(journal: SimJournal) -> int:
    """Nodes that have a bet's result."""
    named = ((journal.attempts[key], node.attempt) for key, node in journal.nodes.items() if node.attempt)
    return sum(rows[no].kind is AttemptKind.SPECULATIVE for rows, no in named if no in rows)


@contextlib.contextmanager
def _engine_in(sim: Simulation) -> Iterator[None]:
    """The engine's fault points and logs lead into ``sim``."""
    quiet = _Log(sim)
    loud: tuple[Any, ...] = leader, inflight, service, inspection, server, learning, newcomers, prefetching, budgets
    kept, logs = fault_points.point, [module.log for module in loud]
    typical_s, branch = Knowledge.typical_s, Knowledge.branch
    fault_points.point = sim.point
    for module in loud:
        module.log = quiet
    if sim.durations_known:
        Knowledge.typical_s = lambda self, *kind: typical_s(self, *kind) or 0.01  # type: ignore[method-assign]
    if sim.speculates:
        Knowledge.typical_s = lambda self, *kind: typical_s(self, *kind) or 0.5  # type: ignore[method-assign]
        Knowledge.branch = lambda self, *kind: (0.8, 20)  # type: ignore[method-assign]
    told_by, holdings._LOG = holdings._LOG, quiet  # type: ignore[assignment]
    bodies, quantile_s = Knowledge.bodies, Knowledge.quantile_s
    if sim.stragglers:
        Knowledge.bodies = lambda self, *kind: 100  # type: ignore[method-assign]
        Knowledge.quantile_s = lambda self, *kind: 0.12  # type: ignore[method-assign]
    try:
        yield
    finally:
        Knowledge.bodies, Knowledge.quantile_s = bodies, quantile_s  # type: ignore[method-assign]
        fault_points.point, holdings._LOG = kept, told_by
        for module, log in zip(loud, logs, strict=True):
            module.log = log
        Knowledge.typical_s, Knowledge.branch = typical_s, branch  # type: ignore[method-assign]


class _Log:
    def __init__(self, sim: Simulation) -> None:
        self.info = self.warning = self.error = sim.log


def simulate(seed: int, *, trace: list[str] | None = None, only: frozenset[str] | None = None) -> Outcome:
    """Run the world of ``seed``. Raises ``Violation``, which names the seed and how to replay it.

    Parameters
    ----------
    trace
        Gets the lines of the trace, if given.
    only
        The kinds of faults, instead of those that follow from the seed.
    """
    calm = sim = Simulation(seed, disturbed=False)
    try:
        with _engine_in(calm):
            calm.run()
            calm.audit.ended(None)
            calm.spending.ended()
        sim = Simulation(seed, disturbed=True, trace=trace, only=only)
        with _engine_in(sim):
            sim.run()
            sim.audit.ended(calm)
            sim.spending.ended()
    except Exception as error:
        where = "undisturbed" if sim is calm else f"disturbed by {sorted(sim.faults.enabled)}"
        raise Violation(
            f"seed {seed}, {where}, at {sim.driver.now:.3f} s: {type(error).__name__}: {error}\n"
            f"replay: scripts/soak simulation --seed {seed}"
        ) from error
    journal = sim.journal
    return Outcome(
        seed, sim.faults.happened, len(journal.nodes), sum(sim.audit.begins.values()),
        sum(count - 1 for count in sim.audit.begins.values() if count > 1), sim.broker.published,
        sim.audit.chunked, sim.copies.launched, sim.audit.followed, sim.audit.bets, _adopted(journal),
        dict(sim.readings.told), sim.compared,
        len(journal.runs), tuple(str(row.state) for row in journal.runs.values()),
        dict(sim.early), dict(sim.spending.told),
    )  # fmt: skip
