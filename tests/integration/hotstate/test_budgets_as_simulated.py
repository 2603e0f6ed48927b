"""The budgets of the simulation do what the script does: both are driven through the same calls, and compared."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest

from engine.hotstate.budgets import Amounts, Bucket, Limit, Record, RedisBudgets, Scope
from engine.hotstate.scheduler import RedisHotState
from tests.services.redis import RedisServer
from tests.simulation.budgets import BudgetData, SimBudgets

SCOPES = (Scope("run/r", Limit(nusd=150)), Scope("all", Limit(nusd=350, calls=9)), Scope("task/r/0"))
BUCKET = Bucket("burst", 500, 1)
TOKENS = ("t0", "t1", "t2")


class Both:
    """A real server and the simulated one, told the same."""

    def __init__(self, server: RedisServer) -> None:
        self.server, self.hot, self.real = server, RedisHotState(server.url, "t"), RedisBudgets(server.url, "t")
        self.data, self.gen = BudgetData(), ""
        self.sim = SimBudgets(lambda: self.data, self._server, time.time)

    def _server(self) -> tuple[str, str]:
        run_id, _, marker = self.gen.partition("-")
        return run_id, marker

    def lose(self) -> None:
        self.server.flush()
        self.hot.epoch()
        self.data, self.gen = BudgetData(), self.real.current()
        assert self.sim.current() == self.gen

    def call(self, verb: str, *arguments: Any) -> Any:
        real, simulated = getattr(self.real, verb)(*arguments), getattr(self.sim, verb)(*arguments)
        assert simulated == real, (verb, arguments)
        return real

    def compare(self) -> None:
        used = self.real.used([scope.name for scope in SCOPES])
        if used is not None:
            here = self.data.of[self.gen].sums
            sums = {name: here.get(name, [0] * 8) for name in used}
            assert {name: [*spent, *out] for name, (spent, out) in used.items()} == sums
        for token in TOKENS:
            real, simulated = self.real.held(token), self.sim.held(token)
            assert {each.id: (each.state, each.amounts) for each in simulated} == {
                each.id: (each.state, each.amounts) for each in real
            }
        assert sorted(self.sim.tokens(0)) == sorted(self.real.tokens(0))
        assert set(self.sim.unknown(self.gen)) == set(self.real.unknown(self.gen))

    def close(self) -> None:
        self.hot.close()
        self.real.close()


@pytest.mark.parametrize("seed", range(8))
def test_any_calls_come_to_the_same_on_both(redis_server: RedisServer, seed: int) -> None:
    chance, both = random.Random(seed), Both(redis_server)
    lose_and_count_anew(both, chance)
    verdicts: set[str] = set()
    made: list[tuple[str, str]] = []
    for number in range(200):
        token = chance.choice(TOKENS)
        known = [record_id for told, record_id in made if told == token] or ["none"]
        match chance.choice(
            ("reserve",) * 12 + ("settle",) * 6 + ("again", "renew", "reported", "ledgered", "known", "lose")
        ):
            case "reserve":
                record = a_record(chance, f"c{number}", token)
                scopes = [scope for scope in SCOPES if scope.name in record.scopes]
                buckets = [BUCKET] if record.buckets else []
                live_ms = chance.choice((0, 10**7, 10**7))
                verdict = both.call("reserve", token, record, live_ms, scopes, buckets).verdict
                verdicts.add(verdict)
                if verdict == "ok":
                    made.append((token, record.id))
            case "settle":
                spent = Amounts(chance.randint(0, 40), 0, 1, 5)
                both.call("settle", both.gen, token, chance.choice(known), spent, chance.choice(("", "{}", "{}")))
            case "again":
                both.call("settle", "another-generation", token, chance.choice(known), Amounts(), "{}")
            case "renew":
                both.call("renew", both.gen, token, known[-2:], 10**7)
            case "reported":
                both.call("reported", token)
            case "ledgered":
                both.call("ledgered", 0, token, chance.sample(known, 1))
            case "known":
                both.call("known", f"lost{token}", Amounts(chance.randint(0, 20)))
            case "lose":
                lose_and_count_anew(both, chance)
        both.compare()
    assert {"ok", "wait", "exhausted"} <= verdicts
    both.close()


def lose_and_count_anew(both: Both, chance: random.Random) -> None:
    both.lose()
    both.call("begin", both.gen)
    for token in chance.sample(TOKENS, 2):
        told = [(a_record(chance, f"{token}-{both.gen[-4:]}-{n}", token), 10**7) for n in range(chance.randint(0, 2))]
        both.call("announce", both.gen, token, f"lost{token}", told)
    stored = [each for each in sorted(both.call("announced", both.gen)) if chance.random() < 0.3]
    sums = {scope: Amounts(chance.randint(0, 40)) for scope in SCOPES[:2]}
    for each in (both.real, both.sim):
        each.write_sums(both.gen, sums, {BUCKET: 400})
    unknown = {f"lost{token}": a_record(chance, "?", token) for token in TOKENS}
    both.call("open", both.gen, stored, unknown)
    both.call("is_open", both.gen)


def a_record(chance: random.Random, record_id: str, token: str) -> Record:
    names = tuple(scope.name for scope in SCOPES if chance.random() < 0.7) or ("all",)
    buckets = (f"{BUCKET.name}={BUCKET.capacity_nusd}",) if chance.random() < 0.3 else ()
    return Record(record_id, "o", 0, Amounts(chance.randint(1, 120), 0, 1, 0), names, buckets, 0, f"lost{token}", "{}")
