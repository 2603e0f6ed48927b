"""Spending: plans whose bodies make calls that cost, how a worker pays for them, and what must hold (invariant 5).

What calls may have cost never exceeds a limit, whatever dies in between; each is in the ledger once, as it was or
cut at its ceiling; and a run that a limit stops ends in a named state that says so. The gaps that docs/budgets.md
names are allowed for: what was spent with a worker and Redis both lost, before its begin mark was stored or under an
attempt that a later delivery spoke for; and an attempt that was cut at its ceiling and told its calls after all.
"""

from __future__ import annotations

import random
import threading
import zlib
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import orjson

from engine.budgets.budget import _cut, _refused
from engine.budgets.holdings import Holdings
from engine.budgets.scopes import Spender, attempt_ceiling_nusd, buckets_of, scopes_of
from engine.costs.entry import Entry
from engine.dag.compiled import CompiledPlan, CompiledStep
from engine.errors import BudgetExhausted, Unavailable
from engine.hotstate.budgets import EXHAUSTED, OK, Amounts, Record, Scope
from engine.plan.care import Care
from engine.runtime.budgets import Accounts
from engine.runtime.ports import CommandRow
from engine.scheduling.records import CEILING, BudgetChanged, RunState
from engine.scheduling.records import Record as Journaled
from engine.wire import ErrorInfo, NodeReport, Outcome, Report, ReportKind, real_item
from settings.economy.budgets import Budgets, Burst, Limits, Periods, RunLimits
from tests.simulation.budgets import SimBooks, SimBudgets
from tests.simulation.driver import Violation

if TYPE_CHECKING:
    from tests.simulation.executions import Execution
    from tests.simulation.simulation import Simulation
    from tests.simulation.workers import SimWorker

_SHARE = 0.15
UNDECLARED = "undeclared"
_LOOK_S = 0.5
_CALL_S = 20.0
_MARGIN_S = 5.0
_NUSD = 10**9
_POLICY = {"on_exhausted": "stop", "ask_timeout": 30.0, "on_timeout": "stop"}

Attempt = tuple[str, int, int, int]


@dataclass(slots=True)
class Spend:
    """One call that was admitted: what it cost, or the most that it can have cost."""

    id: str
    attempt: Attempt
    nusd: int
    ceiling: int
    scopes: tuple[str, ...]
    made: bool = False
    ended: bool = False
    released: bool = False
    gap: bool = False


def spends(seed: int) -> bool:
    """Whether bodies spend in the world of a seed. Drawn apart from all else."""
    return random.Random(f"{seed} spending").random() < _SHARE


class Spending:
    """What one simulation spends. ``on`` says whether anything does."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim
        self.chance = random.Random(f"{sim.seed} spending")
        self.chance.random()
        self.on = spends(sim.seed)
        self.settings = _settings(self.chance)
        self.policy = _POLICY | {"on_exhausted": self.chance.choice(("stop", "ask", "cheaper"))}
        self.told: Counter[str] = Counter()
        self._spent: dict[str, Spend] = {}
        self._sums: Counter[str] = Counter()
        self._holdings: dict[str, Holdings] = {}
        self._answered: set[tuple[str, float]] = set()
        self.redis = _Watched(self)

    @property
    def accounts(self) -> Accounts | None:
        """What a scheduler is given."""
        return None if not self.on else Accounts(self.redis, SimBooks(self._sim.journal), self.settings)  # type: ignore[arg-type]

    def with_budgets(self, version: str, plan: CompiledPlan) -> CompiledPlan:
        """``plan`` with steps that spend, some of them, and the whole, within limits."""
        if not self.on:
            return plan
        chance = random.Random(f"{self._sim.seed}/{version}/budgets")
        clause: dict[str, Any] | None = None
        if chance.random() < 0.6:
            clause = {"max_usd": chance.randint(300, 6000) / _NUSD, **self.policy}
        steps = []
        for step in plan.steps:
            care: dict[str, Any] = {"quality": 0.5} | ({"run_budget": clause} if clause else {})
            if chance.random() < 0.2:
                care["budget"] = {"max_usd": chance.randint(100, 2000) / _NUSD}
            spends = step.child is None and chance.random() < 0.7
            if spends and chance.random() < 0.25:  # a body of somebody's own, of which nothing is said
                steps.append(replace(step, prefetch=None, skill=UNDECLARED))
            else:
                steps.append(replace(step, care=care, prefetch=None) if spends else step)
        return replace(plan, steps=tuple(steps), budget=clause)

    def by(self, step: CompiledStep) -> bool:
        """Whether the bodies of a step spend."""
        return self.on and (step.care is not None or step.skill == UNDECLARED)

    # --- of a worker ------------------------------------------------------------------------------

    def calls(self, execution: Execution) -> Generator[float, None, tuple[Outcome, ErrorInfo] | None]:
        """The calls of one body, each reserved and settled, and how the body ends if one is refused or cut."""
        told, call = execution.delivery, execution.call
        run = self._sim.journal.runs[told.run_id]
        who = Spender(
            told.run_id, told.step_no, real_item(call.item), call.attempt, run.tenant, run.session, told.token
        )
        care, chance = Care.from_json(told.care), self.chance
        many = zlib.crc32(f"{self._sim.seed}/{who.attempt_name}/calls".encode()) % 4
        for number in range(many):
            record_id = f"{told.token}/{who.attempt_name}/{self._sim.unique('c')}"
            ceiling = chance.choice((60, 150, 400))
            if number == 0 and not self._begun(execution, care):
                return Outcome.INFRASTRUCTURE, ErrorInfo("Unavailable", "Redis is away")
            holdings = self._of(execution.worker)
            holds = holdings.of((told.token, who.attempt_name))
            try:
                record = yield from self._reserve(execution, who, care, record_id, ceiling)
            except BudgetExhausted as error:
                self.told["refused"] += 1
                delay_s = error.facts.get("delay_s")
                return Outcome.OVER_BUDGET, ErrorInfo("BudgetExhausted", str(error), facts=error.facts, delay_s=delay_s)
            except Unavailable as error:
                return Outcome.INFRASTRUCTURE, ErrorInfo("Unavailable", str(error))
            if record is None:
                return Outcome.CANCELLED, ErrorInfo("Cancelled", "told to stop")
            spend = self._spent[record_id]
            spend.made = True
            yield chance.choice((0.01, 0.1, 0.8, 3.0))
            spend.ended = True
            if chance.random() < 0.1:
                spend.released = True
                self._now_costs(spend, 0)
                holdings.settle((told.token, who.attempt_name), holds, record_id, Amounts(), "")
                continue
            cut = execution._told_to_stop()
            cost = ceiling if cut else chance.randint(0, ceiling)
            self._now_costs(spend, cost)
            entry = Entry(
                record_id, "model", "sim/model", cost_nusd=cost, at=self._sim.driver.wall, settled=not cut,
                outcome="cut" if cut else "ok",
            ).to_json()  # fmt: skip
            execution.notes.append(("ledger", entry))
            spent = Amounts(cost, 0, 1, 0)
            holdings.settle((told.token, who.attempt_name), holds, record_id, spent, orjson.dumps(entry).decode())
            if cut:
                return Outcome.CANCELLED, ErrorInfo("Cancelled", "told to stop")
        return None

    def reported(self, worker: SimWorker, token: str) -> None:
        """The last report of a delivery is on its way."""
        if self.on:
            self._of(worker).reported(token)

    def child_lost(self, worker: SimWorker, token: str) -> None:
        """A child's process is gone, with what it knew."""
        if worker.name in self._holdings:
            attempts = self._holdings[worker.name]._attempts
            for key in [key for key in attempts if key[0] == token]:
                del attempts[key]

    def _of(self, worker: SimWorker) -> Holdings:
        if worker.name not in self._holdings:
            driver = self._sim.driver
            made = Holdings(_Line(self, worker), lambda: driver.now)  # type: ignore[arg-type]
            made._thread = threading.current_thread()  # none of its own: the driver looks after it, below
            self._holdings[worker.name] = made
            self._look(worker)
        return self._holdings[worker.name]

    def _look(self, worker: SimWorker) -> None:
        if not worker.alive:
            return
        if worker.frozen_until <= self._sim.driver.now:
            self._holdings[worker.name].look()
        self._sim.driver.after(_LOOK_S, self._look, worker)

    def _begun(self, execution: Execution, care: Care) -> bool:
        ceiling = attempt_ceiling_nusd(care.budget, care.run_budget, self.settings, care.above)
        mark = NodeReport(
            execution.call.item, execution.call.attempt, Outcome.NOT_BEGUN, begun_at=self._sim.driver.wall,
            step_no=execution.delivery.step_no, notes=((CEILING, {"nusd": ceiling}),),
        )  # fmt: skip
        told = execution.delivery
        said = Report(ReportKind.BEGIN, told.token, told.run_id, told.step_no, execution.worker.name, (mark,))
        try:
            execution.worker.redis(lambda: self._sim.redis.append(said))
        except Unavailable:
            return False
        return True

    def _reserve(
        self, execution: Execution, who: Spender, care: Care, record_id: str, ceiling: int
    ) -> Generator[float, None, Record | None]:
        """As ``engine.budgets.budget.Budget.reserve`` does it; ``None`` if it is told to stop while it waits."""
        sim, holdings = self._sim, self._of(execution.worker)
        wanted, live_s = Amounts(ceiling, 0, 1, 0), _CALL_S + _MARGIN_S
        entry = orjson.dumps(_cut(record_id, ceiling, {"model": "sim/model"}, sim.driver.wall).to_json()).decode()
        over = sim.driver.now + self.settings.wait_s
        key = (who.token, who.attempt_name)
        holds = holdings.of(key)
        while True:
            scopes = scopes_of(who, care.budget, care.run_budget, self.settings, sim.driver.wall, care.above)
            buckets = buckets_of(who, self.settings)
            names = tuple(f"{bucket.name}={bucket.capacity_nusd}" for bucket in buckets)
            record = Record(
                record_id, "o", 0, wanted, tuple(scope.name for scope in scopes), names, 0, who.attempt_name, entry
            )
            try:
                answer = _Line(self, execution.worker).reserve(who.token, record, int(live_s * 1000), scopes, buckets)
            except Unavailable:
                if sim.driver.now >= over or execution._told_to_stop():
                    raise
                yield 0.1
                continue
            if answer.verdict == OK:
                holdings.added(holds, answer.gen, record, live_s)
                return record
            if answer.verdict == EXHAUSTED:
                raise _refused(answer, wanted, None)
            if execution._told_to_stop():
                return None
            left_s = over - sim.driver.now
            if left_s <= 0 or (answer.wait_s is not None and answer.wait_s > left_s):
                raise _refused(answer, wanted, answer.wait_s or 5.0)
            yield min(left_s, max(0.05, answer.wait_s or 0.0))

    # --- what is watched --------------------------------------------------------------------------

    def admitted(self, record: Record, scopes: tuple[Scope, ...]) -> None:
        """Redis holds it back. Invariant 5: all that may have been spent fits."""
        self.told["calls"] += 1
        run_id, no, item, attempt = record.node.rsplit("/", 3)
        spend = Spend(
            record.id, (run_id, int(no), int(item), int(attempt)), 0, record.amounts.nusd,
            tuple(scope.name for scope in scopes),
        )  # fmt: skip
        self._spent[record.id] = spend
        self._now_costs(spend, record.amounts.nusd)
        for scope in scopes:
            if scope.limit.nusd is not None and self._sums[scope.name] > scope.limit.nusd:
                raise Violation(
                    f"invariant 5: {self._sums[scope.name]} nano-dollars of {scope.name} are spent or held back, "
                    f"and its limit is {scope.limit.nusd}"
                )

    def _now_costs(self, spend: Spend, nusd: int) -> None:
        if not spend.gap:
            for scope in spend.scopes:
                self._sums[scope] += nusd - spend.nusd
        spend.nusd = nusd

    def opened(self) -> None:
        """The counters were made anew: each call is in them, unless nobody could know that its attempt spends."""
        self.told["counted_anew"] += 1
        journal, held = self._sim.journal, self.redis._here()
        known = {record_id for records in held.held.values() for record_id in records}
        for spend in self._spent.values():
            if spend.released or spend.gap or spend.id in known or spend.id in journal.ledger:
                continue
            name = "/".join(map(str, spend.attempt))
            if name in held.unknown or f"unknown/{name}" in journal.ledger:
                continue
            row = journal.attempts[spend.attempt[:3]].get(spend.attempt[3])
            final = journal.runs[spend.attempt[0]].state.final
            # Else its worker never heard that it may, its ceiling was lost on its way with Redis and the worker,
            # or a later delivery of the attempt spoke for itself.
            marked = row is not None and row.begun_at is not None and row.ceiling_nusd is not None
            known_to_spend = marked and row is not None and row.outcome is None and not final
            if known_to_spend and spend.made and name not in held.announced:
                raise Violation(f"invariant 5: {spend.id} of an attempt that had begun is in no count")
            self.told["gap"] += 1
            self._now_costs(spend, 0)
            spend.gap = True

    def committed(self, record: Journaled) -> None:
        """A record is in the journal: perhaps an operator is asked, who answers, or does not."""
        if not isinstance(record, BudgetChanged) or not (asked := record.budget.get("asked")):
            return
        if (record.run_id, asked["at"]) in self._answered:
            return
        self._answered.add((record.run_id, asked["at"]))
        self.told["asked"] += 1
        kind = self.chance.choice(("approve", "approve", "reject", ""))
        most = int(asked["limit"] * self.chance.choice((1.5, 4.0)))
        arguments = {"max_nusd": most} if kind == "approve" and self.chance.random() < 0.8 else {}
        if kind:
            self._sim.driver.after(self.chance.uniform(0.1, 20.0), self._answer, record.run_id, kind, arguments)

    def _answer(self, run_id: str, kind: str, arguments: dict[str, Any]) -> None:
        journal = self._sim.journal
        number = len(journal.handled) + len(journal.open_commands) + 1
        self._sim.driver.note("operator", f"{kind} {run_id} {arguments}")
        journal.command(CommandRow(number, run_id, kind, arguments, self._sim.driver.wall))

    # --- at the end -------------------------------------------------------------------------------

    def was_short(self, run_id: str) -> bool:
        """Whether money, or waiting for it, shaped the run."""
        journal = self._sim.journal
        return self.on and (
            run_id not in journal.runs
            or bool(journal.runs[run_id].budget)
            or any(
                row.outcome is Outcome.OVER_BUDGET
                for key, rows in journal.attempts.items()
                if key[0] == run_id
                for row in rows.values()
            )
        )

    def ended(self) -> None:
        """Every run is over: the books say what was spent."""
        if not self.on:
            return
        journal = self._sim.journal
        for spend in self._spent.values():
            if not spend.gap:
                self._check_ledgered(spend)
        for record_id in journal.ledger:
            if record_id not in self._spent and not record_id.startswith("unknown/"):
                raise Violation(f"invariant 5: {record_id} is in the ledger and was never spent")
        for row in [each for each in journal.runs.values() if (each.budget or {}).get("stopped")]:
            stopped, self.told["stopped"] = (row.budget or {})["stopped"], self.told["stopped"] + 1
            if not row.state.final or not row.reason or not row.partial:
                raise Violation(f"invariant 5: {row.id} was stopped for money and is {row.state} ({row.reason})")
            if row.state is RunState.SUCCEEDED and stopped not in row.reason and not row.reason.startswith("goal"):
                raise Violation(f"invariant 5: {row.id} was stopped for money and says {row.reason}")

    def _check_ledgered(self, spend: Spend) -> None:
        found = self._sim.journal.ledger.get(spend.id)
        if found is not None:
            told = found[1].get("cost_nusd", 0)
            whole = told == spend.ceiling and not found[1].get("settled", True)
            if found[0] != spend.attempt or not (whole or (spend.ended and told == spend.nusd)):
                raise Violation(f"invariant 5: {spend} is in the ledger as {found}")
            self.told["cut"] += whole
        elif not spend.released and f"unknown/{'/'.join(map(str, spend.attempt))}" not in self._sim.journal.ledger:
            raise Violation(f"invariant 5: {spend} is not in the ledger")


class _Watched(SimBudgets):
    """The server, and an eye on what it admits."""

    def __init__(self, spending: Spending) -> None:
        sim = spending._sim
        super().__init__(
            lambda: sim.redis.data.budgets, lambda: (sim.redis.run_id, sim.redis.data.marker), lambda: sim.driver.now
        )
        self._spending = spending

    def reserve(self, token: str, record: Record, live_ms: int, scopes: Any, buckets: Any) -> Any:
        answer = super().reserve(token, record, live_ms, scopes, buckets)
        if answer.verdict == OK and record.id not in self._spending._spent:
            self._spending.admitted(record, tuple(scopes))
        return answer

    def open(self, gen: str, stored: Any, unknown: Any) -> bool:
        before = self._ready()
        done = super().open(gen, stored, unknown)
        if done and not before:
            self._spending.opened()
        return done


class _Line:
    """The way from one worker to the server."""

    def __init__(self, spending: Spending, worker: SimWorker) -> None:
        self._spending, self._worker = spending, worker

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._spending.redis, name)
        return lambda *arguments: self._worker.redis(lambda: method(*arguments))


def _settings(chance: random.Random) -> Budgets:
    """The installation's limits: some, seldom tight ones, and now and then a bucket that soon fills again."""
    burst = None
    if chance.random() < 0.3:
        burst = Burst(usd=Decimal(2000) / _NUSD, refill_usd_per_h=Decimal(2000 * 3600) / _NUSD)
    most = Decimal(chance.randint(2000, 60_000)) / _NUSD if chance.random() < 0.5 else None
    session = Limits(max_usd=Decimal(chance.randint(2000, 20_000)) / _NUSD) if chance.random() < 0.3 else Limits()
    return Budgets(
        all=Periods(max_usd=most, burst=burst), session=session,
        run=RunLimits(max_usd=Decimal(8000) / _NUSD if chance.random() < 0.5 else None),
        attempt_max_usd=Decimal(2000) / _NUSD, wait_s=chance.choice((0.0, 1.0, 5.0)), call_time_s=_CALL_S,
    )  # fmt: skip
