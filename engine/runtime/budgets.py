"""The scheduler's part in budgets: counters made anew after a loss, and what dead workers held, ledgered.

Two things, both beside the loop's own work. When Redis is another or an emptied one, nothing is admitted
until living workers had the time to say what they hold; then the counters are made from the ledger, from
what was said, and from the ceilings of attempts that had begun and for which nobody spoke. And records of
deliveries whose lease is gone are put in the ledger as they are, open ones cut at their ceiling. Limits are
none of its business.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

import orjson
import structlog

from engine.budgets.scopes import (
    Spender,
    attempt_ceiling_nusd,
    bucket_name,
    period_scopes,
    run_scope,
    scopes_of,
    session_scope,
    task_scope,
    tenant_scope,
)
from engine.clock import Clock
from engine.costs.entry import Entry
from engine.dag.compiled import CompiledStep
from engine.errors import Unavailable, UsageError
from engine.hotstate.budgets import Amounts, Bucket, Record, RedisBudgets, Scope
from engine.plan.care import Care
from engine.runtime.bugs import reason_of
from engine.runtime.caring import Caring
from engine.runtime.ports import HotState
from engine.scheduling.events import Verdict
from engine.scheduling.records import Dispatched, Noted
from engine.scheduling.state import LiveRun
from engine.store.approvals import Waiting
from engine.store.budgets import BudgetBooks, Out, Sums
from settings.economy.budgets import Budgets

log = structlog.get_logger(__name__)

_LOCK_S = 30.0
_OVER_LOOK_S, _OVER_KEPT_S = 60.0, 86_400
_ASK_LOOK_S, _ASK_AGAIN_S = 5.0, 3600.0
_MODEL_TASKS = "llm."
LEDGER = "ledger"


class Books(Protocol):
    """What SQL knows; ``engine.store.budgets.BudgetBooks``."""

    def by_step(self) -> list[tuple[str, int, Sums]]: ...
    def going(self, run_ids: Iterable[str]) -> set[str]: ...
    def above(self) -> dict[str, str | None]: ...
    def by_session(self, since: float | None = None) -> list[tuple[str, str, Sums]]: ...
    def asking(self, shard: int) -> list[Waiting]: ...
    def any_out(self) -> bool: ...
    def out(self) -> list[Out]: ...
    def stored(self, ids: Iterable[str]) -> set[str]: ...
    def ended(
        self, attempts: list[tuple[str, int, int, int]]
    ) -> dict[tuple[str, int, int, int], tuple[Sums, bool]]: ...


@dataclass(frozen=True, slots=True)
class Accounts:
    """Where budgets are kept: counters, books, and the installation's limits."""

    redis: RedisBudgets
    books: Books | BudgetBooks
    settings: Budgets


class Accounting:
    """One shard's. Every method may raise ``Unavailable``; without accounts none does anything."""

    def __init__(
        self, accounts: Accounts | None, shard: int, owner: str, hot: HotState, clock: Clock, announce_s: float
    ) -> None:
        self._accounts, self._shard, self._owner = accounts, shard, owner
        self._hot, self._clock, self._announce_s = hot, clock, announce_s
        self._opened = ""
        self._open_at = 0.0
        self._over_look_at = self._ask_look_at = float("-inf")
        self._asked: dict[str, float] = {}
        self._unknown: dict[str, Record] = {}
        self._known: dict[str, Amounts] = {}
        self._suspects: set[str] = set()
        self._ledgered: dict[str, list[str]] = {}

    def with_ceilings(self, verdict: Verdict, runs: Mapping[str, LiveRun], caring: Caring) -> None:
        """Journal, with each attempt that is known to spend, the most that it can; others say so before they do."""
        if self._accounts is None:
            return
        for place, record in enumerate(verdict.records):
            if isinstance(record, Dispatched) and record.run_id in runs:
                run = runs[record.run_id]
                step = run.step(record.step_no)
                if spends(step):
                    try:
                        care = Care.from_json(caring.care(run, step))
                        limits = (care.budget, care.run_budget, self._accounts.settings, care.above)
                        verdict.records[place] = replace(record, ceiling_nusd=attempt_ceiling_nusd(*limits))
                    except UsageError:
                        continue  # refused before: no delivery is made, and nothing spent
                    except Exception as error:  # noqa: BLE001 - it ends that step's nodes, and no other run
                        why = reason_of(error, run.id, f"the limits of {step.path} were read")
                        caring.refuse(run.id, step.no, why)

    def look(self, caught_up: bool) -> list[Noted]:
        """Open the counters if they can be, and find what nobody will report any more, to be journaled now."""
        if self._accounts is None:
            return []
        self._tell_asking(self._accounts)
        gen = self._accounts.redis.current()
        if not gen:
            return []
        if gen != self._opened:
            self._try_to_open(self._accounts, gen)
            return []
        self._let_go(self._accounts, gen)
        notes = self._settle_unknown(self._accounts) if self._unknown else []
        return notes + (self._found(self._accounts) if caught_up else [])

    def committed(self) -> None:
        """What ``look`` found is in the ledger: end it in Redis."""
        if self._accounts is None:
            return
        for token, ids in list(self._ledgered.items()):
            self._accounts.redis.ledgered(self._shard, token, ids)
            del self._ledgered[token]
        for name, spent in list(self._known.items()):
            self._accounts.redis.known(name, spent)
            del self._known[name]
            self._unknown.pop(name, None)

    def _tell_asking(self, accounts: Accounts) -> None:
        """Say in the log which runs wait for an operator: at once, and every hour for as long as nobody answers."""
        now = self._clock.monotonic()
        if now < self._ask_look_at:
            return
        self._ask_look_at = now + _ASK_LOOK_S
        asking = accounts.books.asking(self._shard)
        told, self._asked = self._asked, {}
        for each in asking:
            key = f"{each.run_id} {each.asked.get('at')}"
            self._asked[key] = told.get(key, now)
            if key not in told or now - told[key] >= _ASK_AGAIN_S:
                self._asked[key] = now
                said = each.data(self._clock.now())
                until = said["until"] or "for ever"
                log.warning("budget.asks", run=each.run_id, age_s=said["age_s"], until=until, why=said.get("why"))

    def _let_go(self, accounts: Accounts, gen: str) -> None:
        """Give counters of runs that are over a day to live; whoever led when they ended may have died in that turn."""
        now = self._clock.monotonic()
        if now < self._over_look_at:
            return
        self._over_look_at = now + _OVER_LOOK_S
        if not accounts.redis.looks(gen, self._owner, _OVER_LOOK_S / 2):
            return
        scopes = {name: name.split("/")[1] for name in accounts.redis.of_runs(gen)}
        going = accounts.books.going(scopes.values()) if scopes else set()
        if over := sorted(name for name, run_id in scopes.items() if run_id not in going):
            accounts.redis.forget(gen, over, _OVER_KEPT_S)

    # --- after a loss ---------------------------------------------------------------------------

    def _try_to_open(self, accounts: Accounts, gen: str) -> None:
        now = self._clock.monotonic()
        if accounts.redis.is_open(gen):
            self._opened, self._unknown = gen, accounts.redis.unknown(gen)
            return
        if accounts.redis.generation() != gen:
            accounts.redis.begin(gen)
            # Nobody to wait for: a new installation, or nothing out that could hold anything.
            waits = accounts.books.any_out()
            self._open_at = now + (self._announce_s if waits else 0.0)
        if now >= self._open_at and accounts.redis.lock(gen, self._owner, _LOCK_S):
            self._count_anew(accounts, gen)

    def _count_anew(self, accounts: Accounts, gen: str) -> None:
        now = self._clock.now()
        out = {_name(each): each for each in accounts.books.out() if each.begun}
        accounts.redis.write_sums(gen, self._sums(accounts, now), self._levels(accounts, now))
        stored = accounts.books.stored(accounts.redis.announced(gen))
        above = accounts.books.above()
        unknown = {name: self._at_ceiling(accounts, each, now, above) for name, each in out.items()}
        if accounts.redis.open(gen, stored, unknown):
            self._opened, self._unknown = gen, accounts.redis.unknown(gen)
            log.info("budgets.counted", shard=self._shard, unknown=len(self._unknown))

    def _sums(self, accounts: Accounts, now: float) -> dict[Scope, Amounts]:
        sums: dict[str, Amounts] = {}

        def count(name: str, spent: Sums) -> None:
            sums[name] = sums.get(name, Amounts()).plus(Amounts(*spent))

        above = accounts.books.above()
        for run_id, step_no, spent in accounts.books.by_step():
            count(task_scope(run_id, step_no), spent)
            for each in _line(run_id, above):
                count(run_scope(each), spent)
        for tenant, session, spent in accounts.books.by_session():
            count(session_scope(tenant, session), spent)
            count(tenant_scope(tenant), spent)
            count("all", spent)
        zone, kept = accounts.settings.time_zone, {}
        for number, since in enumerate(_period_starts(now, zone)):
            for tenant, _, spent in accounts.books.by_session(since):
                for owner in (tenant, None):
                    scope = period_scopes(owner, now, zone)[number]
                    kept[scope.name] = scope.kept_s
                    count(scope.name, spent)
        return {Scope(name, kept_s=kept.get(name, Scope("").kept_s)): spent for name, spent in sums.items()}

    def _levels(self, accounts: Accounts, now: float) -> dict[Bucket, int]:
        """Each bucket less all that was spent in the time it takes to fill: never more than is in it."""
        settings, levels = accounts.settings, {}
        tenants = {tenant for tenant, _, _ in accounts.books.by_session()}
        for owner, periods in [
            *((tenant, settings.tenants.get(tenant, settings.tenant)) for tenant in sorted(tenants)),
            (None, settings.all),
        ]:
            burst = periods.burst
            if burst is None:
                continue
            hours = float(burst.usd / burst.refill_usd_per_h)
            recent = accounts.books.by_session(now - hours * 3600)
            spent = sum(sums[0] for tenant, _, sums in recent if owner in (None, tenant))
            capacity = int(burst.usd * 10**9)
            levels[Bucket(bucket_name(owner), capacity, int(burst.refill_usd_per_h * 10**9))] = capacity - spent
        return levels

    def _at_ceiling(self, accounts: Accounts, out: Out, now: float, above: Mapping[str, str | None]) -> Record:
        who = Spender(out.run_id, out.step_no, out.item, out.attempt, out.tenant, out.session, "", self._shard)
        runs = [(run_id, None) for run_id in _line(out.run_id, above)[1:]]
        scopes = tuple(scope.name for scope in scopes_of(who, None, None, accounts.settings, now, runs))
        return Record("?", "o", 0, Amounts(out.ceiling_nusd), scopes, (), self._shard, who.attempt_name)

    def _settle_unknown(self, accounts: Accounts) -> list[Noted]:
        """Attempts that nobody spoke for and that are over by now: what they told, else all that they could spend."""
        notes: list[Noted] = []
        self._unknown = accounts.redis.unknown(self._opened)
        waiting = [_key(name) for name in self._unknown if name not in self._known]
        for key, (spent, told) in accounts.books.ended(waiting).items():
            name = "/".join(map(str, key))
            most = self._unknown[name].amounts
            self._known[name] = Amounts(*spent) if told else most
            if not told and most.nusd:
                entry = Entry(
                    f"unknown/{name}",
                    "model",
                    "",
                    cost_nusd=most.nusd,
                    at=self._clock.now(),
                    settled=False,
                    outcome="cut",
                )
                notes.append(Noted(*key, ((LEDGER, entry.to_json()),)))
        return notes

    # --- of dead workers ------------------------------------------------------------------------

    def _found(self, accounts: Accounts) -> list[Noted]:
        tokens = accounts.redis.tokens(self._shard)
        if not tokens:
            self._suspects = set()
            return []
        leased = self._hot.leases(self._shard)
        silent = {token for token in tokens if token not in leased and token not in self._ledgered}
        notes: list[Noted] = []
        for token in silent & self._suspects:
            records = accounts.redis.held(token)
            for record in records:
                run_id, step_no, item, attempt = _key(record.node)
                entry = orjson.loads(record.entry)
                notes.append(Noted(run_id, step_no, item, attempt, ((LEDGER, entry),)))
            self._ledgered[token] = [record.id for record in records]
            log.info("budgets.ledgered", token=token, records=len(records), shard=self._shard)
        # Seen twice, with all reports read in between: a report on its way would bring them itself.
        self._suspects = silent
        return notes


def looked(accounting: Accounting, caught_up: bool) -> list[Noted]:
    """What ``Accounting.look`` finds; nothing while Redis or SQL is away."""
    try:
        return accounting.look(caught_up)
    except Unavailable as error:
        log.warning("budgets.unavailable", why=str(error))
        return []


def spends(step: CompiledStep) -> bool:
    """Whether each body of a step is known to make calls that cost; of a batch, one body calls for all."""
    return step.batch_items == 1 and (step.care is not None or step.task.startswith(_MODEL_TASKS))


def _line(run_id: str, above: Mapping[str, str | None]) -> list[str]:
    """A run and those above it, the nearest first."""
    line = [run_id]
    while (parent := above.get(line[-1])) is not None:
        line.append(parent)
    return line


def _period_starts(now: float, zone: str) -> tuple[float, float, float]:
    """Epoch seconds at which the day, the week and the month of ``now`` began."""
    day = datetime.fromtimestamp(now, ZoneInfo(zone)).replace(hour=0, minute=0, second=0, microsecond=0)
    return day.timestamp(), (day - timedelta(days=day.weekday())).timestamp(), day.replace(day=1).timestamp()


def _name(out: Out) -> str:
    return f"{out.run_id}/{out.step_no}/{out.item}/{out.attempt}"


def _key(name: str) -> tuple[str, int, int, int]:
    run_id, step_no, item, attempt = name.rsplit("/", 3)
    return run_id, int(step_no), int(item), int(attempt)
