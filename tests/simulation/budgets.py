"""Budgets in the simulated Redis, verb by verb as ``engine/hotstate/scripts/budget.lua`` has them, and the books.

A test drives both through the same calls and compares (tests/integration/hotstate/test_budgets_as_simulated.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from engine.hotstate.budgets import (
    CLOSED,
    EXHAUSTED,
    GONE,
    MOVED,
    OK,
    WAIT,
    Amounts,
    Answer,
    Bucket,
    Record,
    Scope,
    settled,
)
from engine.store.approvals import Waiting
from engine.store.budgets import Out, Sums
from engine.wire import Outcome

_TOLD = (Outcome.OK, Outcome.FAILED, Outcome.OVER_BUDGET)
_SETTLED, _RESERVED = 0, 4
Node = tuple[str, int, int, int]


@dataclass(slots=True)
class Generation:
    """What Redis holds under one server and content."""

    sums: dict[str, list[int]] = field(default_factory=dict)
    levels: dict[str, tuple[int, float]] = field(default_factory=dict)
    held: dict[str, dict[str, Record]] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    announced: set[str] = field(default_factory=set)
    unknown: dict[str, Record] = field(default_factory=dict)
    lock: tuple[str, float] = ("", -1.0)


@dataclass(slots=True)
class BudgetData:
    """All that Redis holds of budgets."""

    gen: str = ""
    ready: str = ""
    of: dict[str, Generation] = field(default_factory=dict)


class SimBudgets:
    """``engine.hotstate.budgets.RedisBudgets`` on plain data.

    Parameters
    ----------
    data
        What is held now; it may be another at each call, or an empty one.
    server
        Run id and marker of the server, the marker empty if it was lost.
    now
        The server's clock in seconds.
    """

    def __init__(
        self, data: Callable[[], BudgetData], server: Callable[[], tuple[str, str]], now: Callable[[], float]
    ) -> None:
        self._get, self._server, self._now = data, server, now

    # --- of a worker ------------------------------------------------------------------------------

    def reserve(
        self, token: str, record: Record, live_ms: int, scopes: Sequence[Scope], buckets: Sequence[Bucket]
    ) -> Answer:
        if not self._ready():
            return Answer(CLOSED)
        held = self._here()
        if record.id in held.held.get(token, {}):
            return Answer(OK, self._get().gen)
        self._expire(held)
        wait: Answer | None = None
        for scope in scopes:
            sums = held.sums.get(scope.name, [0] * 8)
            for number, (limit, want) in enumerate(zip(scope.limit, record.amounts, strict=True)):
                spent, out = sums[number], sums[number + 4]
                if limit is not None and want > 0 and spent + want > limit:
                    return Answer(EXHAUSTED, "", scope.name, number, limit, spent, out)
                if limit is not None and want > 0 and spent + out + want > limit and wait is None:
                    wait = Answer(WAIT, "", scope.name, number, limit, spent, out)
        levels: dict[str, int] = {}
        for bucket in buckets:
            has, want = self._level(held, bucket), record.amounts.nusd
            used = bucket.capacity_nusd - has
            if want > bucket.capacity_nusd:
                return Answer(EXHAUSTED, "", bucket.name, 0, bucket.capacity_nusd, 0, used)
            if has < want and wait is None:
                ms = math.ceil((want - has) / bucket.refill_nusd_per_h * 3_600_000)
                wait = Answer(WAIT, "", bucket.name, 0, bucket.capacity_nusd, 0, used, ms / 1000)
            levels[bucket.name] = has
        if wait is not None:
            return wait
        kept = replace(record, state="o", expiry_ms=self._now_ms() + live_ms)
        _add(held, kept.scopes, _RESERVED, kept.amounts, 1)
        for name, has in levels.items():
            held.levels[name] = (has - kept.amounts.nusd, self._now())
        self._keep(held, token, kept)
        return Answer(OK, self._get().gen)

    def settle(self, gen: str, token: str, record_id: str, spent: Amounts, entry: str) -> str:
        if not self._is(gen):
            return MOVED
        held = self._here()
        record = held.held.get(token, {}).get(record_id)
        if record is None:
            return GONE
        if record.state == "s":
            return OK
        if self._ready():
            self._count(held, record, -1)
        if entry == "":
            self._drop(held, token, record_id)
            return OK
        ended = settled(record, spent, entry)
        if self._ready():
            self._count(held, ended, 1)
        held.held[token][record_id] = ended
        return OK

    def announce(self, gen: str, token: str, node: str, told: Iterable[tuple[Record, int]]) -> str:
        if not self._is(gen):
            return MOVED
        held = self._here()
        if self._ready():
            self._uncount(held, node)
        for record, live_ms in told:
            if record.id not in held.held.get(token, {}):
                again = replace(record, expiry_ms=self._now_ms() + live_ms)
                if self._ready():
                    self._count(held, again, 1)
                self._keep(held, token, again)
        held.announced.add(node)
        return OK

    def renew(self, gen: str, token: str, ids: Iterable[str], live_ms: int) -> str:
        if not self._is(gen):
            return MOVED
        held = self._here()
        for record_id in ids:
            record = held.held.get(token, {}).get(record_id)
            if record is not None and record.state != "s":
                if record.state == "x" and self._ready():
                    _add(held, record.scopes, _SETTLED, record.amounts, -1)
                    _add(held, record.scopes, _RESERVED, record.amounts, 1)
                held.held[token][record_id] = replace(record, state="o", expiry_ms=self._now_ms() + live_ms)
        return OK

    def reported(self, token: str) -> bool:
        if not self._ready():
            return False
        held = self._here()
        if any(record.state != "s" for record in held.held.get(token, {}).values()):
            return False
        held.held.pop(token, None)
        held.tokens.pop(token, None)
        return True

    def generation(self) -> str:
        return self._get().gen

    # --- of a scheduler ---------------------------------------------------------------------------

    def current(self) -> str:
        run_id, marker = self._server()
        return f"{run_id}-{marker}" if marker else ""

    def is_open(self, gen: str) -> bool:
        return self._get().ready == gen

    def begin(self, gen: str) -> None:
        self._get().gen = gen

    def lock(self, gen: str, owner: str, seconds: float) -> bool:
        held = self._get().of.setdefault(gen, Generation())
        if held.lock[1] <= self._now():
            held.lock = (owner, self._now() + seconds)
        return held.lock[0] == owner

    def announced(self, gen: str) -> set[str]:
        return {name for records in self._get().of.setdefault(gen, Generation()).held.values() for name in records}

    def write_sums(self, gen: str, sums: Mapping[Scope, Amounts], levels: Mapping[Bucket, int]) -> None:
        held = self._get().of.setdefault(gen, Generation())
        for scope, spent in sums.items():
            held.sums.setdefault(scope.name, [0] * 8)[:4] = spent
        for bucket, nusd in levels.items():
            held.levels[bucket.name] = (nusd, self._now())

    def open(self, gen: str, stored: Iterable[str], unknown: Mapping[str, Record]) -> bool:
        if not self._is(gen):
            return False
        if self._ready():
            return True
        held, known = self._here(), set(stored)
        for records in held.held.values():
            for record in records.values():
                if record.id not in known:
                    self._count(held, record, 1)
        for node, record in unknown.items():
            if node not in held.announced:
                self._count(held, record, 1)
                held.unknown[node] = record
        self._get().ready = gen
        return True

    def unknown(self, gen: str) -> dict[str, Record]:
        return dict(self._get().of.setdefault(gen, Generation()).unknown)

    def known(self, node: str, spent: Amounts) -> None:
        held = self._here()
        record = held.unknown.get(node) if self._ready() else None
        if record is not None:
            self._uncount(held, node)
            self._count(held, replace(record, state="s", amounts=spent), 1)

    def looks(self, gen: str, owner: str, seconds: float) -> bool:
        return True

    def of_runs(self, gen: str) -> set[str]:
        return {name for name in self._get().of.setdefault(gen, Generation()).sums if name[:4] in ("run/", "task")}

    def forget(self, gen: str, scopes: Iterable[str], seconds: int) -> None:
        """Takes longer than a simulation."""

    def tokens(self, shard: int) -> list[str]:
        return list(self._here().tokens)

    def held(self, token: str) -> list[Record]:
        return list(self._here().held.get(token, {}).values())

    def ledgered(self, shard: int, token: str, ids: Iterable[str]) -> bool:
        if not self._ready():
            return False
        held = self._here()
        for record_id in ids:
            record = held.held.get(token, {}).get(record_id)
            if record is not None and record.state == "o":
                _add(held, record.scopes, _RESERVED, record.amounts, -1)
                _add(held, record.scopes, _SETTLED, record.amounts, 1)
            self._drop(held, token, record_id)
        if not held.held.get(token):
            held.tokens.pop(token, None)
        return True

    # --- inside -----------------------------------------------------------------------------------

    def _here(self) -> Generation:
        data = self._get()
        return data.of.setdefault(data.gen, Generation())

    def _is(self, gen: str) -> bool:
        mine = self._get().gen
        return bool(mine) and mine == gen and mine.partition("-")[0] == self._server()[0]

    def _ready(self) -> bool:
        data = self._get()
        return self._is(data.gen) and data.ready == data.gen

    def _now_ms(self) -> int:
        return int(self._now() * 1000)

    def _level(self, held: Generation, bucket: Bucket) -> int:
        if bucket.name not in held.levels:
            return bucket.capacity_nusd
        level, at = held.levels[bucket.name]
        flowed = math.floor(max(0.0, self._now() - at) / 3600 * bucket.refill_nusd_per_h)
        return min(bucket.capacity_nusd, level + flowed)

    def _count(self, held: Generation, record: Record, sign: int) -> None:
        _add(held, record.scopes, _RESERVED if record.state == "o" else _SETTLED, record.amounts, sign)
        for text in record.buckets:
            name, _, capacity = text.rpartition("=")
            if name in held.levels:
                level, at = held.levels[name]
                held.levels[name] = (min(int(capacity), level - sign * record.amounts.nusd), at)

    def _uncount(self, held: Generation, node: str) -> None:
        record = held.unknown.pop(node, None)
        if record is not None:
            self._count(held, record, -1)

    def _keep(self, held: Generation, token: str, record: Record) -> None:
        held.held.setdefault(token, {})[record.id] = record
        held.tokens.setdefault(token, record.shard)

    def _drop(self, held: Generation, token: str, record_id: str) -> None:
        records = held.held.get(token, {})
        records.pop(record_id, None)
        if not records:
            held.held.pop(token, None)
            held.tokens.pop(token, None)

    def _expire(self, held: Generation) -> None:
        for records in held.held.values():
            for record in records.values():
                if record.state == "o" and record.expiry_ms <= self._now_ms():
                    _add(held, record.scopes, _RESERVED, record.amounts, -1)
                    _add(held, record.scopes, _SETTLED, record.amounts, 1)
                    records[record.id] = replace(record, state="x")


def _add(held: Generation, scopes: Iterable[str], place: int, amounts: Amounts, sign: int) -> None:
    for scope in scopes:
        sums = held.sums.setdefault(scope, [0] * 8)
        for number, amount in enumerate(amounts):
            sums[place + number] += sign * amount


class SimBooks:
    """``engine.store.budgets.BudgetBooks`` over the simulated journal."""

    def __init__(self, journal: Any) -> None:
        self._journal = journal

    def by_step(self) -> list[tuple[str, int, Sums]]:
        live = self.above()
        sums: dict[tuple[str, int], Amounts] = {}
        for (run_id, step_no, _, _), entry in self._journal.ledger.values():
            if run_id in live:
                sums[run_id, step_no] = sums.get((run_id, step_no), Amounts()).plus(_amounts(entry))
        return [(run_id, step_no, _sums(spent)) for (run_id, step_no), spent in sums.items()]

    def above(self) -> dict[str, str | None]:
        runs = self._journal.runs
        found: dict[str, str | None] = {}
        for row in runs.values():
            line = [row]
            while line[-1].parent is not None:
                line.append(runs[line[-1].parent.run_id])
            if any(not each.state.final for each in line):
                found[row.id] = row.parent.run_id if row.parent is not None else None
        return found

    def going(self, run_ids: Iterable[str]) -> set[str]:
        runs = self._journal.runs
        return {run_id for run_id in run_ids if run_id in runs and not runs[run_id].state.final}

    def by_session(self, since: float | None = None) -> list[tuple[str, str, Sums]]:
        sums: dict[tuple[str, str], Amounts] = {}
        for (run_id, _, _, _), entry in self._journal.ledger.values():
            if since is None or entry.get("at", 0.0) >= since:
                row = self._journal.runs[run_id]
                sums[row.tenant, row.session] = sums.get((row.tenant, row.session), Amounts()).plus(_amounts(entry))
        return [(tenant, session, _sums(spent)) for (tenant, session), spent in sums.items()]

    def asking(self, shard: int) -> list[Waiting]:
        return [
            Waiting(row.id, row.plan_name, row.tenant, row.session, row.budget["asked"])
            for row in self._journal.runs.values()
            if not row.state.final and row.budget and row.budget.get("asked")
        ]

    def any_out(self) -> bool:
        return any(
            row.outcome is None and not self._journal.runs[run_id].state.final
            for (run_id, _, _), rows in self._journal.attempts.items()
            for row in rows.values()
        )

    def out(self) -> list[Out]:
        found = []
        for (run_id, no, item), rows in self._journal.attempts.items():
            run = self._journal.runs[run_id]
            for row in rows.values():
                if row.outcome is None and row.ceiling_nusd is not None and not run.state.final:
                    begun = row.begun_at is not None
                    who = (run_id, no, item, row.attempt, run.tenant, run.session)
                    found.append(Out(*who, row.ceiling_nusd, begun=begun))
        return found

    def stored(self, ids: Iterable[str]) -> set[str]:
        return {each for each in ids if each in self._journal.ledger}

    def ended(self, attempts: Sequence[Node]) -> dict[Node, tuple[Sums, bool]]:
        found: dict[Node, tuple[Sums, bool]] = {}
        for key in attempts:
            row = self._journal.attempts[key[:3]].get(key[3])
            if row is None or row.outcome is None:
                continue
            mine = [entry for node, entry in self._journal.ledger.values() if node == key]
            spent = Amounts()
            for entry in mine:
                spent = spent.plus(_amounts(entry))
            found[key] = _sums(spent), bool(mine) or row.outcome in _TOLD
        return found


def _sums(spent: Amounts) -> Sums:
    return spent.nusd, spent.tokens, spent.calls, spent.ms


def _amounts(entry: Mapping[str, Any]) -> Amounts:
    return Amounts(entry.get("cost_nusd", 0), 0, 1, round(entry.get("call_s", 0.0) * 1000))
