"""`budget`: calls of recorded sizes against limits of half of what they want; processes killed, Redis emptied."""

from __future__ import annotations

import csv
import multiprocessing
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from engine.budgets.budget import Budget, Till
from engine.budgets.holdings import Holdings
from engine.budgets.scopes import Spender
from engine.clock import SystemClock
from engine.costs.entry import Entry
from engine.errors import BudgetExhausted
from engine.hotstate.budgets import RedisBudgets
from engine.hotstate.scheduler import RedisHotState
from engine.plan.care import Budget as RunBudget
from engine.plan.care import Care, Limits
from engine.runtime.budgets import Accounting, Accounts
from engine.store.approvals import Waiting
from engine.store.budgets import Out, Sums
from settings.economy.budgets import Budgets, Burst, Periods
from settings.economy.budgets import Limits as Amount
from tests.benchmarks.figures import Figure, figure
from tests.benchmarks.measuring import LoadMeter, say
from tests.benchmarks.options import Options
from tests.services.redis import RedisServer, started_redis

_CALLS, _PROCESSES, _THREADS, _MAX_TOKENS = 2_000, 8, 8, 1_024
_IN, _OUT = 2_500, 10_000
"""Nano-dollars a token: 2.50 and 10 USD a million (gpt-4o's list price of 2024-08-06)."""
_CALL_S, _TOKEN_S = 0.01, 0.0002
_RUN, _TENANT, _SESSION = "r_bench", "acme", "nightly"
_ANNOUNCE_S, _LEASE_S = 1.5, 0.6


@dataclass(frozen=True, slots=True)
class _Call:
    ceiling_nusd: int
    cost_nusd: int
    tokens: int
    bound: int
    seconds: float


@dataclass(slots=True)
class _Journal:
    """What the processes said: dispatches, bills of the provider, ends. Stands for SQL; the files outlive them."""

    folder: Path
    calls: list[_Call]
    out_now: dict[int, int] = field(default_factory=dict)
    alive: set[int] = field(default_factory=set)
    entries: dict[str, int] = field(default_factory=dict)
    over: dict[int, int] = field(default_factory=dict)
    bill: list[tuple[float, int]] = field(default_factory=list)
    refused_at: list[tuple[float, bool]] = field(default_factory=list)
    _read: dict[Path, int] = field(default_factory=dict)

    def read(self) -> None:
        for path in self.folder.glob("*.log"):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self._read[path] = self._read.get(path, 0) + len(line)
                    kind, number, at, cost = line.split()
                    self._take(kind.decode(), int(number), float(at), int(cost), int(path.stem))

    def _take(self, kind: str, number: int, at: float, cost: int, pid: int) -> None:
        if kind == "dispatched":
            self.out_now[number] = pid
        elif kind == "billed":
            self.bill.append((at, cost))
        else:
            self.out_now.pop(number, None)
            self.over[number] = cost
            if kind == "ended":
                self.entries[f"c{number}"] = cost
            else:
                self.refused_at.append((at, kind == "refused"))

    # What ``engine.runtime.budgets.Books`` asks.

    def by_step(self) -> list[tuple[str, int, Sums]]:
        return [(_RUN, 0, self._sum())]

    def above(self) -> dict[str, str | None]:
        return {_RUN: None}

    def going(self, run_ids: Iterable[str]) -> set[str]:
        return set(run_ids)

    def by_session(self, since: float | None = None) -> list[tuple[str, str, Sums]]:
        return [(_TENANT, _SESSION, self._sum())]

    def asking(self, shard: int) -> list[Waiting]:
        return []

    def any_out(self) -> bool:
        self.read()
        return bool(self.out_now)

    def out(self) -> list[Out]:
        self.read()
        return [
            Out(_RUN, 0, number, 1, _TENANT, _SESSION, self.calls[number].ceiling_nusd, begun=True)
            for number in self.out_now
        ]

    def stored(self, ids: Iterable[str]) -> set[str]:
        return {each for each in ids if each in self.entries}

    def ended(self, attempts: list[tuple[str, int, int, int]]) -> dict[tuple[str, int, int, int], tuple[Sums, bool]]:
        self.read()
        lost = {number for number, pid in self.out_now.items() if pid not in self.alive}
        told = {key: ((self.over[key[2]], 0, 1, 0), True) for key in attempts if key[2] in self.over}
        return told | {key: ((0, 0, 0, 0), False) for key in attempts if key[2] in lost}

    def _sum(self) -> Sums:
        return sum(self.entries.values()), 0, len(self.entries), 0


class _Leases:
    """The leases of deliveries whose process lives."""

    def __init__(self, journal: _Journal) -> None:
        self.journal = journal

    def leases(self, _shard: int) -> dict[str, float]:
        return {f"t{number}": 0.0 for number, pid in self.journal.out_now.items() if pid in self.journal.alive}


def budget(options: Options) -> Iterator[Figure]:
    """2,000 calls with recorded sizes, 64 at once, against half of what they want at every scope and a burst bucket.

    ``overshoot_usd`` is what the provider billed over any limit, ``usable_share`` what it billed of the limit. In
    the second case processes are killed in the middle of calls, and Redis is emptied. SQL and leases are the
    bench's own stand-ins; counters, their recount, and what becomes of the killed is the engine's.
    """
    load = LoadMeter()
    calls = _recorded(options)
    for case in ("undisturbed", "killed and flushed"):
        shares, overshoots, notes = [], [], ""
        for _ in range(max(1, options.repeats // 2)):
            share, overshoot, notes = _one(calls, disturbed=case != "undisturbed")
            shares.append(share)
            overshoots.append(overshoot)
        say(f"  budget, {case}: {notes}")
        yield figure("budget", "overshoot_usd", "USD", overshoots, load.read(), case=case, note=notes)
        yield figure("budget", "usable_share", "of the limit", shares, load.read(), case=case, note=notes)


def _recorded(options: Options) -> list[_Call]:
    path = options.folder("azure_llm") / "AzureLLMInferenceTrace_code.csv"
    calls = []
    with path.open() as file:
        for row in list(csv.DictReader(file))[: options.size(_CALLS)]:
            given, made = int(row["ContextTokens"]), min(_MAX_TOKENS, int(row["GeneratedTokens"]))
            ceiling = given * _IN + _MAX_TOKENS * _OUT
            seconds = _CALL_S + made * _TOKEN_S
            calls.append(_Call(ceiling, given * _IN + made * _OUT, given + made, given + _MAX_TOKENS, seconds))
    return calls


def _settings(limit_nusd: int, calls: int) -> Budgets:
    usd = Decimal(limit_nusd) / 10**9
    most = Amount(max_usd=usd)
    # A tenth of the limit at once, and the rest within about three seconds.
    burst = Burst(usd=usd / 10, refill_usd_per_h=usd * 1200)
    periods = Periods(max_usd=usd, max_calls=calls, day=most, week=most, month=most, burst=burst)
    return Budgets(all=periods, tenant=periods, session=most, attempt_max_usd=Decimal(5), wait_s=60)


def _one(calls: list[_Call], *, disturbed: bool) -> tuple[float, float, str]:
    limit = sum(call.cost_nusd for call in calls) // 2
    settings = _settings(limit, len(calls))
    server = started_redis()
    with tempfile.TemporaryDirectory() as name:
        journal = _Journal(Path(name), calls)
        try:
            notes = _drive(server, journal, settings, limit, disturbed=disturbed)
        finally:
            server.close()
        journal.read()
    spent = sum(cost for _, cost in journal.bill)
    burst = settings.all.burst
    assert burst is not None
    over_bucket = _over_bucket(journal.bill, int(burst.usd * 10**9), float(burst.refill_usd_per_h) * 10**9 / 3600)
    overshoot = max(0, spent - limit, over_bucket)
    final = [at for at, for_good in journal.refused_at if for_good]
    at_first = sum(cost for at, cost in journal.bill if final and at <= min(final)) / limit
    return spent / limit, overshoot / 1e9, (
        f"{len(journal.bill)} calls, {spent / limit:.1%} of the limit of ${limit / 1e9:.2f} billed, {at_first:.1%} "
        f"when the first call was refused for good; {notes}"
    )  # fmt: skip


def _over_bucket(bill: list[tuple[float, int]], capacity: int, per_s: float) -> int:
    """The most that was spent within any time over what the bucket holds and what flowed in during it."""
    level, last, worst = float(capacity), None, 0.0
    for at, cost in sorted(bill):
        if last is not None:
            level = min(float(capacity), level + (at - last) * per_s)
        level, last = level - cost, at
        worst = max(worst, -level)
    # Clocks of the bill and of Redis are read a moment apart: half a second of inflow is no overshoot.
    return max(0, int(worst - per_s / 2))


def _drive(server: RedisServer, journal: _Journal, settings: Budgets, limit: int, *, disturbed: bool) -> str:
    hot, redis = RedisHotState(server.url, "b"), RedisBudgets(server.url, "b")
    hot.epoch()
    leases = _Leases(journal)
    accounting = Accounting(
        Accounts(redis, journal, settings), 0, "bench", leases, SystemClock(), _ANNOUNCE_S  # type: ignore[arg-type]
    )  # fmt: skip
    accounting.look(caught_up=True)
    context = multiprocessing.get_context("fork")
    taken = context.Value("i", 0)
    running: list[Any] = []

    def start() -> None:
        arguments = (server.url, journal.folder, journal.calls, taken, settings, limit)
        process = context.Process(target=_work, args=arguments, daemon=True)
        process.start()
        running.append(process)
        journal.alive.add(process.pid)

    for _ in range(_PROCESSES):
        start()
    kills, flushed, cut, expected = 0, False, 0, (0.25, 0.55)
    look_at, deadline = 0.0, time.monotonic() + 300
    while any(process.is_alive() for process in running):
        assert time.monotonic() < deadline, "the calls do not come to an end"
        time.sleep(0.02)
        journal.read()
        share = sum(cost for _, cost in journal.bill) / limit
        if disturbed and kills < len(expected) and share > expected[kills]:
            victim = next(process for process in running if process.is_alive())
            os.kill(victim.pid, signal.SIGKILL)
            victim.join()
            kills += 1
            journal.read()
            journal.alive.discard(victim.pid)
            start()
        if disturbed and not flushed and share > 0.4:
            server.flush()
            hot.epoch()
            flushed = True
        if time.monotonic() >= look_at:
            look_at = time.monotonic() + _LEASE_S / 2
            for noted in accounting.look(caught_up=True):
                [(_, entry)] = noted.notes
                if entry["id"] not in journal.entries:
                    cut += entry.get("outcome") == "cut"
                    journal.entries[entry["id"]] = entry.get("cost_nusd", 0)
                journal.over.setdefault(noted.item, entry.get("cost_nusd", 0))
                journal.out_now.pop(noted.item, None)
            accounting.committed()
    for process in running:
        process.join()
    hot.close()
    redis.close()
    return f"{kills} processes killed, {cut} calls cut at their ceiling, Redis emptied {int(flushed)} times"


def _work(url: str, folder: Path, calls: list[_Call], taken: Any, settings: Budgets, limit: int) -> None:
    """One process: threads that make calls, one after the other."""
    redis = RedisBudgets(url, "b")
    till = Till(redis, Holdings(redis), settings, SystemClock())
    # ``max_usd`` is written in dollars; what is lost in the last nano-dollar is lost downwards.
    care = Care(budget=Limits(max_usd=limit / 1e9), run_budget=RunBudget(max_usd=(limit - 1) / 1e9))
    log = os.open(folder / f"{os.getpid()}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def tell(kind: str, number: int, cost: int) -> None:
        os.write(log, f"{kind} {number} {time.time():.6f} {cost}\n".encode())

    def turn() -> None:
        while True:
            with taken.get_lock():
                number, taken.value = taken.value, taken.value + 1
            if number >= len(calls):
                return
            call, token = calls[number], f"t{number}"
            tell("dispatched", number, 0)
            mine = Budget(till, Spender(_RUN, 0, number, 1, _TENANT, _SESSION, token), care)
            held = None
            while held is None:
                try:
                    held = mine.reserve(call.ceiling_nusd, call.bound, {"id": f"c{number}", "model": "m/m"})
                except BudgetExhausted as refused:
                    if not refused.passing:
                        tell("refused", number, 0)
                        till.holdings.reported(token)
                        break
                    time.sleep(0.05)
            if held is None:
                continue
            tell("billed", number, call.cost_nusd)  # the provider's side: whatever happens here now, it is due
            time.sleep(call.seconds)
            entry = Entry(f"c{number}", "model", "m/m", cost_nusd=call.cost_nusd, call_s=call.seconds, at=time.time())
            held.settle(call.cost_nusd, call.tokens, entry)
            tell("ended", number, call.cost_nusd)
            till.holdings.reported(token)

    threads = [threading.Thread(target=turn) for _ in range(_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.close(log)
    os._exit(0)
