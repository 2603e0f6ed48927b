"""The budget of one attempt: hold back the most that a call can cost, then settle what it did cost.

All scopes at once, in one step in Redis, before the call; so settled and reserved spending together never
exceed a limit, whatever else runs. A limit that only the ceilings of other calls fill up is waited for. What
becomes of a limit that is used up is the scheduler's to decide: bodies let ``BudgetExhausted`` pass.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from engine.budgets.holdings import AttemptHolds, Holdings
from engine.budgets.scopes import ATTEMPT, Spender, attempt_ceiling_nusd, buckets_of, scopes_of, told
from engine.clock import Clock
from engine.costs.entry import Entry
from engine.costs.money import shown, usd
from engine.errors import BudgetExhausted, Cancelled, Unavailable
from engine.hotstate.budgets import CLOSED, DIMENSIONS, EXHAUSTED, OK, Amounts, Answer, Record, RedisBudgets, Scope
from engine.plan.care import NO_CARE, Care
from settings.economy.budgets import Budgets

_WAIT_S = 0.005
_WAIT_MAX_S = 0.1
_AGAIN_S = 5.0
_MARGIN_S = 30.0


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Till:
    """What all budgets of a process share."""

    redis: RedisBudgets
    holdings: Holdings
    settings: Budgets
    clock: Clock


@dataclass(frozen=True, slots=True)
class Left:
    """What may still be spent, by the tightest scope; ``None``: no limit."""

    usd: float | None = None
    tokens: int | None = None
    calls: int | None = None
    time_s: float | None = None


class Reservation:
    """What is held back for one call. End it once, by ``settle`` or ``release``; again changes nothing."""

    def __init__(self, budget: Budget, holds: AttemptHolds, record: Record) -> None:
        self._budget, self._holds, self._record = budget, holds, record
        self.id = record.id

    def settle(self, cost_nusd: int, tokens: int, entry: Entry) -> None:
        """The call cost this much; the rest is given back. ``entry`` is its line in the ledger."""
        spent = Amounts(cost_nusd, tokens, 1, round(entry.call_s * 1000))
        self._budget._end(self._holds, self._record, spent, orjson.dumps(entry.to_json()).decode())

    def release(self) -> None:
        """Nothing was spent."""
        self._budget._end(self._holds, self._record, Amounts(), "")


class Budget:
    """What one attempt may spend.

    Parameters
    ----------
    begun
        Called once, before the attempt's first reservation, with the nano-dollars that it can spend at most: from
        then on it may have spent something.
    stop
        Whether the attempt was told to stop; asked while it waits.
    """

    def __init__(
        self,
        till: Till,
        who: Spender,
        care: Care = NO_CARE,
        stop: Callable[[], bool] = _never,
        begun: Callable[[int], None] | None = None,
    ) -> None:
        self._till, self._who, self._care, self._stop, self._begun = till, who, care, stop, begun
        self._key = (who.token, who.attempt_name)
        self._ceiling_nusd = attempt_ceiling_nusd(care.budget, care.run_budget, till.settings, care.above)
        self._count = 0

    def reserve(self, ceiling_nusd: int, tokens: int, facts: Mapping[str, Any]) -> Reservation:
        """Hold back the most that a call can cost, in every scope or in none.

        Parameters
        ----------
        ceiling_nusd
            Nano-dollars that it cannot exceed.
        tokens
            Input and output tokens that it cannot exceed.
        facts
            ``id`` (the ledger entry's), ``model``, ``provider``, ``purpose`` and ``timeout_s``, as far as they are
            known; ``items`` and ``node`` of a batch.

        Raises
        ------
        BudgetExhausted
            A scope has less left, or what others hold back did not come back in ``budgets.wait_s``.
        Cancelled
            The attempt was told to stop while it waited.
        """
        call_s = float(facts.get("timeout_s") or self._till.settings.call_time_s)
        wanted = Amounts(ceiling_nusd, tokens, 1, int(call_s * 1000))
        held = self._till.holdings.spent(self._key).nusd
        most = int(self._till.settings.attempt_max_usd * 10**9)
        if held + ceiling_nusd > most:  # limits of its step and run are Redis' to refuse, and named so
            raise _refused(Answer(EXHAUSTED, "", ATTEMPT, 0, most, held, 0), wanted, None)
        if self._count == 0 and self._begun is not None:
            self._begun(self._ceiling_nusd)
        self._count += 1
        record_id = str(facts.get("id") or f"{self._who.token}/{self._who.attempt_name}/{self._count}")
        entry = orjson.dumps(_cut(record_id, ceiling_nusd, facts, self._till.clock.now()).to_json()).decode()
        live_s = call_s + _MARGIN_S
        over = time.monotonic() + self._till.settings.wait_s
        pause_s = _WAIT_S
        # From here on its process speaks for it, also while it holds nothing: so it counts by what it says.
        holds = self._till.holdings.of(self._key)
        while True:
            now = self._till.clock.now()
            scopes = self._scopes(now)
            buckets = buckets_of(self._who, self._till.settings)
            names = tuple(bucket.name + f"={bucket.capacity_nusd}" for bucket in buckets)
            record = Record(
                record_id, "o", int((now + live_s) * 1000), wanted, tuple(scope.name for scope in scopes), names,
                self._who.shard, self._who.attempt_name, entry,
            )  # fmt: skip
            try:
                answer = self._till.redis.reserve(self._who.token, record, int(live_s * 1000), scopes, buckets)
            except Unavailable:
                if time.monotonic() >= over or self._stop():
                    raise
                time.sleep(_WAIT_MAX_S)  # the same reservation again: if it was made, it is the same
                continue
            if answer.verdict == OK:
                self._till.holdings.added(holds, answer.gen, record, live_s)
                return Reservation(self, holds, record)
            if answer.verdict == EXHAUSTED:
                raise _refused(answer, wanted, None)
            if self._stop():
                raise Cancelled("was told to stop while it waited for its budget")
            left_s = over - time.monotonic()
            if left_s <= 0 or (answer.wait_s is not None and answer.wait_s > left_s):
                raise _refused(answer, wanted, answer.wait_s or _AGAIN_S)
            time.sleep(min(left_s, max(pause_s, answer.wait_s or 0.0)) * random.uniform(0.7, 1.3))  # noqa: S311 - jitter
            pause_s = min(_WAIT_MAX_S, pause_s * 1.5)

    def owe(self, entry_id: str, ceiling_nusd: int, tokens: int) -> None:
        """What is reserved under ``entry_id`` will be settled at its ceiling, and its cost is known much later.

        Kept in Redis alone: where it is lost, nothing comes back until budgets are counted anew from the ledger, which
        has the cost by then. Nothing in a plan says how much comes back.
        """
        scopes = self._scopes(self._till.clock.now())
        record = Record(
            entry_id, "s", 0, Amounts(ceiling_nusd, tokens), tuple(scope.name for scope in scopes), (),
            self._who.shard, self._who.attempt_name,
        )  # fmt: skip
        self._till.redis.owe(record)

    def refund(self, entry_id: str, cost_nusd: int, tokens: int) -> None:
        """It cost this much: the rest of what is owed comes back, once. Raises ``Unavailable``."""
        self._till.redis.refund(entry_id, Amounts(cost_nusd, tokens))

    def left(self) -> Left:
        """What may still be reserved, by the scope that has least left; prompts may be told. Raises ``Unavailable``."""
        scopes = self._scopes(self._till.clock.now())
        limited = [scope for scope in scopes if any(part is not None for part in scope.limit)]
        used = self._till.redis.used([scope.name for scope in limited])
        least: list[int | None] = [self._ceiling_nusd - self._till.holdings.spent(self._key).nusd, None, None, None]
        for scope in limited:
            spent, held = (used or {}).get(scope.name, (Amounts(), Amounts()))
            for number, limit in enumerate(scope.limit):
                if limit is not None:
                    left = max(0, limit - spent[number] - held[number])
                    before = least[number]
                    least[number] = left if before is None else min(before, left)
        nusd, tokens, calls, ms = least
        return Left(None if nusd is None else usd(nusd), tokens, calls, None if ms is None else ms / 1000)

    def _scopes(self, at: float) -> tuple[Scope, ...]:
        care = self._care
        return scopes_of(self._who, care.budget, care.run_budget, self._till.settings, at, care.above)

    def _end(self, holds: AttemptHolds, record: Record, spent: Amounts, entry: str) -> None:
        self._till.holdings.settle(self._key, holds, record.id, spent, entry)


def _cut(record_id: str, ceiling_nusd: int, facts: Mapping[str, Any], now: float) -> Entry:
    """The ledger's line of a call of whose end nothing is heard: at its ceiling."""
    return Entry(
        id=record_id, kind="model", name=str(facts.get("model", "")), provider=str(facts.get("provider", "")),
        purpose=str(facts.get("purpose", "")), cost_nusd=ceiling_nusd, at=now, settled=False, outcome="cut",
        facts={name: facts[name] for name in ("items", "node") if name in facts},
    )  # fmt: skip


def _refused(answer: Answer, wanted: Amounts, again_s: float | None) -> BudgetExhausted:
    if answer.verdict == CLOSED:
        facts = {"passing": True, "delay_s": _AGAIN_S, "scope": "all"}
        return BudgetExhausted(
            "budgets are being counted anew after Redis was lost; nothing is admitted until then", facts
        )
    number, want = answer.dimension, wanted[answer.dimension]
    facts = {
        "scope": answer.scope, "dimension": DIMENSIONS[number], "limit": answer.limit, "settled": answer.settled,
        "reserved": answer.reserved, "wanted": want, "passing": again_s is not None,
    }  # fmt: skip
    if again_s is not None:
        facts["delay_s"] = round(again_s, 3)
    name = "this attempt" if answer.scope == ATTEMPT else told(answer.scope)
    held = f", {_told(number, answer.reserved)} held by calls that run" if answer.reserved else ""
    message = (
        f"the budget of {name} is used up: {_told(number, answer.settled)} of {_told(number, answer.limit)} spent"
        f"{held}, and this call may take {_told(number, want)}"
    )
    return BudgetExhausted(message, facts)


def _told(number: int, amount: int) -> str:
    return (shown(amount), f"{amount:,} tokens", f"{amount:,} calls", f"{amount / 1000:,.3g} s")[number]
