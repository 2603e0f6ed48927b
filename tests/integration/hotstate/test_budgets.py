"""Budgets on a real Redis: nothing is admitted beyond a limit, and nothing that was held is forgotten."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

import pytest

from engine.budgets.budget import Budget, Till
from engine.budgets.holdings import Holdings
from engine.budgets.scopes import Spender, run_scope
from engine.clock import SystemClock
from engine.costs.entry import Entry
from engine.errors import BudgetExhausted
from engine.hotstate.budgets import Amounts, Bucket, Limit, Record, RedisBudgets, Scope
from engine.hotstate.scheduler import RedisHotState
from engine.plan.care import Budget as BudgetClause
from engine.plan.care import Care
from settings.economy.budgets import Budgets, Burst, Periods
from tests.services.redis import RedisServer

CENT = 10_000_000


class Installation:
    """One process of workers, and as much of a scheduler as opens the counters."""

    def __init__(self, server: RedisServer, settings: Budgets) -> None:
        self.hot = RedisHotState(server.url, "t")
        self.redis = RedisBudgets(server.url, "t")
        self.till = Till(self.redis, Holdings(self.redis), settings, SystemClock())

    def begin(self) -> str:
        self.hot.epoch()
        gen = self.redis.current()
        self.redis.begin(gen)
        return gen

    def open(self) -> None:
        assert self.redis.open(self.begin(), [], {})

    def budget(self, item: int = 0, max_usd: float | None = 1.0, run: str = "r_1", tenant: str = "acme") -> Budget:
        care = Care(run_budget=BudgetClause(max_usd=max_usd) if max_usd else None)
        return Budget(self.till, Spender(run, 0, item, 1, tenant, "s", f"tok{item}"), care)

    def run_spending(self) -> tuple[int, int]:
        used = self.redis.used([run_scope("r_1")])
        assert used is not None
        settled, reserved = used[run_scope("r_1")]
        return settled.nusd, reserved.nusd

    def close(self) -> None:
        for item in range(3):
            self.till.holdings.reported(f"tok{item}")  # or its thread would speak up in the next test
        self.hot.close()
        self.redis.close()


@pytest.fixture
def here(redis_server: RedisServer) -> Iterator[Installation]:
    installation = Installation(redis_server, Budgets(wait_s=0.05))
    installation.open()
    yield installation
    installation.close()


def test_what_a_batch_did_not_cost_comes_back_once_to_whoever_collects_it(here: Installation) -> None:
    making, collecting = here.budget(item=0), here.budget(item=1)
    held = making.reserve(50 * CENT, 1000, {"id": "batch-1"})
    making.owe("batch-1", 50 * CENT, 1000)
    held.settle(50 * CENT, 1000, entry(50 * CENT))
    assert here.run_spending() == (50 * CENT, 0)
    for _ in range(2):
        collecting.refund("batch-1", 20 * CENT, 400)
        collecting.refund("never made", 0, 0)
        assert here.run_spending() == (20 * CENT, 0)


def test_after_a_lost_redis_nothing_is_owed(here: Installation, redis_server: RedisServer) -> None:
    making = here.budget()
    making.owe("batch-1", 50 * CENT, 1000)
    making.reserve(50 * CENT, 1000, {"id": "batch-1"}).settle(50 * CENT, 1000, entry(50 * CENT))
    redis_server.flush()
    here.open()
    here.budget(item=1).refund("batch-1", 0, 0)
    assert here.run_spending()[0] in (0, 50 * CENT)


def entry(cost_nusd: int) -> Entry:
    return Entry("e", "model", "local/extractive", cost_nusd=cost_nusd)


def test_what_a_call_did_not_cost_comes_back(here: Installation) -> None:
    held = here.budget().reserve(30 * CENT, 100, {"id": "a"})
    assert here.run_spending() == (0, 30 * CENT)
    held.settle(10 * CENT, 40, entry(10 * CENT))
    held.settle(20 * CENT, 40, entry(20 * CENT))
    held.release()
    assert here.run_spending() == (10 * CENT, 0)


def test_a_released_call_leaves_nothing_behind(here: Installation) -> None:
    here.budget().reserve(30 * CENT, 100, {"id": "a"}).release()
    assert here.run_spending() == (0, 0)
    assert here.redis.tokens(0) == []


def test_one_full_scope_keeps_a_call_out_of_all_of_them(here: Installation) -> None:
    here.budget().reserve(90 * CENT, 0, {"id": "a"}).settle(90 * CENT, 0, entry(90 * CENT))
    with pytest.raises(BudgetExhausted, match=r"run r_1 is used up: .*0.9.* of .*1.00 spent") as refused:
        here.budget(1).reserve(11 * CENT, 0, {"id": "b"})
    assert not refused.value.passing
    assert here.run_spending() == (90 * CENT, 0)
    here.budget(1).reserve(10 * CENT, 0, {"id": "c"})


def test_a_call_waits_for_what_others_merely_hold(redis_server: RedisServer) -> None:
    here = Installation(redis_server, Budgets(wait_s=20))
    here.open()
    held = here.budget().reserve(90 * CENT, 0, {"id": "a"})
    admitted = threading.Event()

    def ask() -> None:
        here.budget(1).reserve(20 * CENT, 0, {"id": "b"})
        admitted.set()

    thread = threading.Thread(target=ask)
    thread.start()
    assert not admitted.wait(0.1)
    held.settle(1 * CENT, 0, entry(CENT))
    assert admitted.wait(20)
    thread.join()
    here.close()


def test_who_waits_in_vain_is_told_to_come_again(here: Installation) -> None:
    here.budget().reserve(90 * CENT, 0, {"id": "a"})
    with pytest.raises(BudgetExhausted) as refused:
        here.budget(1).reserve(20 * CENT, 0, {"id": "b"})
    assert refused.value.passing


def test_an_expired_reservation_counts_as_spent_until_it_is_settled(here: Installation) -> None:
    node = Spender("r_1", 0, 0, 1, "acme", "s", "tok").attempt_name
    record = Record("a", "o", 0, Amounts(60 * CENT, 0, 1, 0), (run_scope("r_1"),), (), 0, node, "{}")
    assert here.redis.reserve("tok", record, 0, (), ()).verdict == "ok"
    here.budget(2, run="r_2").reserve(CENT, 0, {"id": "other"})
    # Nothing names a scope in that first call, so the record has none: what counts is that its state is kept.
    [kept] = here.redis.held("tok")
    assert kept.state == "x"
    assert here.redis.settle(here.redis.generation(), "tok", "a", Amounts(CENT, 0, 1, 0), "{}") == "ok"
    assert here.redis.held("tok")[0].state == "s"


def test_a_burst_is_bounded_and_flows_back_in(redis_server: RedisServer) -> None:
    burst = Burst(usd=Decimal("0.5"), refill_usd_per_h=Decimal(3600))
    here = Installation(redis_server, Budgets(wait_s=10, tenant=Periods(burst=burst)))
    here.open()
    budget = here.budget(max_usd=None)
    began = time.monotonic()
    for number in range(4):
        budget.reserve(50 * CENT, 0, {"id": f"c{number}"}).settle(50 * CENT, 0, entry(50 * CENT))
    assert time.monotonic() - began >= 1.4, "a dollar flows in a second, and the bucket began with half of one"
    with pytest.raises(BudgetExhausted, match="burst bucket of tenant acme"):
        budget.reserve(51 * CENT, 0, {"id": "more than it can ever hold"})
    here.close()


def test_nothing_is_admitted_before_the_counters_hold(redis_server: RedisServer, here: Installation) -> None:
    redis_server.flush()
    with pytest.raises(BudgetExhausted, match="counted anew") as refused:
        here.budget().reserve(CENT, 0, {"id": "a"})
    assert refused.value.passing


def test_what_a_process_holds_is_told_again_after_a_flush(redis_server: RedisServer, here: Installation) -> None:
    budget = here.budget()
    budget.reserve(20 * CENT, 0, {"id": "a"}).settle(7 * CENT, 0, entry(7 * CENT))
    held = budget.reserve(30 * CENT, 0, {"id": "b"})
    redis_server.flush()
    gen = here.begin()
    deadline = time.monotonic() + 20
    while not here.redis.announced(gen) >= {"a", "b"}:
        assert time.monotonic() < deadline, "the process did not announce what it holds"
    assert here.redis.open(gen, [], {})
    assert here.run_spending() == (7 * CENT, 30 * CENT)
    held.settle(2 * CENT, 0, entry(2 * CENT))
    assert here.run_spending() == (9 * CENT, 0)


def test_what_the_ledger_has_counts_once_though_it_is_told_again(redis_server: RedisServer, here: Installation) -> None:
    here.budget().reserve(20 * CENT, 0, {"id": "a"}).settle(7 * CENT, 0, entry(7 * CENT))
    redis_server.flush()
    gen = here.begin()
    deadline = time.monotonic() + 20
    while "a" not in here.redis.announced(gen):
        assert time.monotonic() < deadline
    assert here.redis.open(gen, ["a"], {})
    assert here.run_spending() == (0, 0)  # its sum was to be written before, as any other entry's


def test_an_attempt_that_nobody_speaks_for_counts_at_its_ceiling(redis_server: RedisServer, here: Installation) -> None:
    node = Spender("r_1", 0, 9, 1, "acme", "s", "gone").attempt_name
    unknown = Record("?", "o", 0, Amounts(50 * CENT), (run_scope("r_1"),), (), 0, node)
    redis_server.flush()
    gen = here.begin()
    assert here.redis.open(gen, [], {node: unknown})
    assert here.run_spending() == (0, 50 * CENT)
    assert list(here.redis.unknown(gen)) == [node]
    here.redis.known(node, Amounts(3 * CENT))
    here.redis.known(node, Amounts(3 * CENT))
    assert here.run_spending() == (3 * CENT, 0)


def test_an_attempt_that_speaks_late_counts_by_what_it_says(redis_server: RedisServer, here: Installation) -> None:
    budget = here.budget()
    budget.reserve(20 * CENT, 0, {"id": "a"})
    node = Spender("r_1", 0, 0, 1, "acme", "s", "tok0").attempt_name
    unknown = Record("?", "o", 0, Amounts(50 * CENT), (run_scope("r_1"),), (), 0, node)
    [record] = here.redis.held("tok0")
    here.till.holdings.reported("tok0")  # so that its own thread does not speak first
    redis_server.flush()
    gen = here.begin()
    assert here.redis.open(gen, [], {node: unknown})
    assert here.redis.announce(gen, "tok0", node, [(record, 1000)]) == "ok"
    assert here.run_spending() == (0, 20 * CENT)


def test_what_the_ledger_took_at_its_ceiling_stays_spent(here: Installation) -> None:
    held = here.budget().reserve(20 * CENT, 0, {"id": "a"})
    [record] = here.redis.held("tok0")
    assert '"outcome":"cut"' in record.entry and '"settled":false' in record.entry
    assert here.redis.ledgered(0, "tok0", ["a"])
    assert here.run_spending() == (20 * CENT, 0)
    held.settle(CENT, 0, entry(CENT))
    assert here.run_spending() == (20 * CENT, 0)
    assert here.redis.tokens(0) == []


def test_a_reported_delivery_leaves_its_sums_and_no_records(here: Installation) -> None:
    here.budget().reserve(20 * CENT, 0, {"id": "a"}).settle(CENT, 0, entry(CENT))
    assert here.redis.tokens(0) == ["tok0"]
    here.till.holdings.reported("tok0")
    assert here.redis.tokens(0) == []
    assert here.run_spending() == (CENT, 0)


def test_a_server_that_restarted_on_its_file_is_not_believed(fragile_redis: RedisServer) -> None:
    here = Installation(fragile_redis, Budgets(wait_s=0.05))
    here.open()
    here.budget().reserve(20 * CENT, 0, {"id": "a"}).settle(CENT, 0, entry(CENT))
    fragile_redis.restart()
    with pytest.raises(BudgetExhausted, match="counted anew"):
        here.budget(1).reserve(CENT, 0, {"id": "b"})
    here.close()


def test_an_attempt_cannot_spend_more_than_counts_for_it_when_it_is_lost(redis_server: RedisServer) -> None:
    here = Installation(redis_server, Budgets(wait_s=0.05, attempt_max_usd=Decimal("0.25")))
    here.open()
    budget = here.budget(max_usd=None)
    budget.reserve(20 * CENT, 0, {"id": "a"})
    with pytest.raises(BudgetExhausted, match="this attempt is used up"):
        budget.reserve(6 * CENT, 0, {"id": "b"})
    here.close()


def test_a_body_sees_what_is_left_of_the_tightest_limit(redis_server: RedisServer) -> None:
    here = Installation(redis_server, Budgets(tenants={"acme": Periods(max_tokens=1000)}))
    here.open()
    budget = here.budget()
    budget.reserve(40 * CENT, 300, {"id": "a"}).settle(10 * CENT, 200, entry(10 * CENT))
    left = budget.left()
    assert (left.usd, left.tokens, left.calls) == (0.9, 800, None)
    here.close()


def test_who_waits_is_spoken_for_though_it_holds_nothing(redis_server: RedisServer) -> None:
    """Otherwise each waiting attempt would count at its ceiling after a loss, and keep itself out."""
    here = Installation(redis_server, Budgets(wait_s=60))
    here.open()
    held = here.budget().reserve(90 * CENT, 0, {"id": "a"})
    admitted = threading.Event()

    def ask() -> None:
        here.budget(1).reserve(20 * CENT, 0, {"id": "b"})
        admitted.set()

    thread = threading.Thread(target=ask)
    thread.start()
    redis_server.flush()
    gen = here.begin()
    node = Spender("r_1", 0, 1, 1, "acme", "s", "tok1").attempt_name
    unknown = Record("?", "o", 0, Amounts(99 * CENT), (run_scope("r_1"),), (), 0, node)
    assert here.redis.open(gen, [], {node: unknown})
    held.settle(CENT, 0, entry(CENT))
    assert admitted.wait(30)
    thread.join()
    here.close()


def test_a_call_that_takes_longer_than_it_said_stays_held_while_its_process_lives(redis_server: RedisServer) -> None:
    here = Installation(redis_server, Budgets(wait_s=0))
    here.open()
    clock = [0.0]
    holdings = Holdings(here.redis, lambda: clock[0])
    node = Spender("r_1", 0, 0, 1, "acme", "s", "tok0").attempt_name
    record = Record("a", "o", 0, Amounts(60 * CENT, 0, 1, 0), (run_scope("r_1"),), (), 0, node, "{}")
    scope = Scope(run_scope("r_1"), Limit(100 * CENT))
    gen = here.redis.reserve("tok0", record, 50, [scope], ()).gen
    holdings.added(holdings.of(("tok0", node)), gen, record, 100.0)
    holdings.look()
    until_counted_as_spent(here, CENT)  # nobody renews what has time left by its own clock
    assert here.run_spending() == (60 * CENT, 0)
    clock[0] = 90.0
    holdings.look()
    assert here.run_spending() == (0, 60 * CENT)
    [held] = here.redis.held("tok0")
    assert held.expiry_ms > time.time() * 1000 + 30_000
    holdings.reported("tok0")
    clock[0] = 1000.0
    holdings.look()
    assert here.redis.held("tok0") == [held], "once its delivery has reported nobody speaks for it"
    here.close()


def until_counted_as_spent(here: Installation, cent: int) -> None:
    deadline = time.monotonic() + 20
    while here.run_spending()[1]:
        assert time.monotonic() < deadline
        here.budget(2, run="r_2").reserve(cent, 0, {"id": f"look{time.monotonic()}"}).release()


def test_no_counter_is_without_a_time_at_which_it_goes(redis_server: RedisServer, here: Installation) -> None:
    budget = here.budget()
    budget.reserve(20 * CENT, 0, {"id": "a"}).settle(CENT, 0, entry(CENT))
    [record] = here.redis.held("tok0")
    here.till.holdings.reported("tok0")
    redis_server.flush()
    gen = here.begin()
    assert here.redis.announce(gen, "tok0", record.node, [(record, 1000)]) == "ok"
    unknown = replace(record, id="?", scopes=("run/r_9", "task/r_9/1"), node="r_9/1/0/1")
    here.redis.write_sums(gen, {Scope("run/r_8"): Amounts(1)}, {Bucket("burst", 5, 5): 5})
    assert here.redis.open(gen, [], {unknown.node: unknown})
    here.redis.known(unknown.node, Amounts(2))
    for name in redis_server.client.scan_iter("*:s:*"):
        assert redis_server.client.ttl(name) > 0, name
    assert {"run/r_1", "task/r_1/0", "run/r_8", "run/r_9", "task/r_9/1"} == here.redis.of_runs(gen)


def test_what_ends_after_its_run_is_forgotten_brings_no_counter_back(
    redis_server: RedisServer, here: Installation
) -> None:
    held = here.budget().reserve(20 * CENT, 0, {"id": "a"})
    gen = here.redis.generation()
    here.redis.forget(gen, here.redis.of_runs(gen), 3600)
    assert here.redis.of_runs(gen) == set()
    names = [f"t:budget:{gen}:s:run/r_1", f"t:budget:{gen}:s:task/r_1/0"]
    names = [name.encode() for name in names if redis_server.client.exists(name)]
    assert len(names) == 2 and all(0 < redis_server.client.ttl(name) <= 3600 for name in names)
    late = here.budget(1).reserve(CENT, 0, {"id": "b"})
    assert here.redis.of_runs(gen) == {"run/r_1", "task/r_1/0"}, "what is used again is looked at again"
    late.settle(CENT, 0, entry(CENT))
    here.redis.forget(gen, here.redis.of_runs(gen), 3600)
    held.settle(3 * CENT, 0, entry(3 * CENT))
    assert here.run_spending() == (4 * CENT, 0)
    other = here.budget(2).reserve(20 * CENT, 0, {"id": "c"})
    redis_server.client.delete(*names)  # as they are gone a day after
    other.settle(3 * CENT, 0, entry(3 * CENT))
    assert not redis_server.client.exists(*names)


def test_what_a_file_brings_back_of_an_earlier_server_is_deleted(fragile_redis: RedisServer) -> None:
    here = Installation(fragile_redis, Budgets(wait_s=0.05))
    here.open()
    gen = here.redis.generation()
    here.budget().reserve(20 * CENT, 0, {"id": "a"})
    here.till.holdings.reported("tok0")
    fragile_redis.restart()
    here.open()
    left = {name.decode().partition(gen)[2] for name in fragile_redis.client.scan_iter(f"*{gen}*")}
    assert not [name for name in left if name.startswith((":h:", ":s:run/", ":s:task/", ":tokens", ":open", ":runs"))]
    here.close()
