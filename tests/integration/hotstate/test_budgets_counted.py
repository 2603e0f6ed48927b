"""The scheduler's part in budgets on a real Redis and a real database: what is counted, and when it goes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from engine.budgets.scopes import run_scope
from engine.hotstate.budgets import Amounts, Limit, Record, RedisBudgets, Scope
from engine.hotstate.scheduler import RedisHotState
from engine.runtime.budgets import Accounting, Accounts
from engine.scheduling.records import BudgetChanged, RunChanged, RunState
from engine.store.budgets import BudgetBooks
from engine.store.journal import SqlJournal
from engine.store.runs import RunStore
from settings.economy.budgets import Budgets
from tests.contract.samples import new_run
from tests.services.redis import RedisServer

AT = 1_700_000_000.0


@dataclass
class Clock:
    """Turned by hand."""

    seconds: float = 100.0

    def now(self) -> float:
        return AT + self.seconds

    def monotonic(self) -> float:
        return self.seconds


@dataclass
class Shard:
    """A shard's accounting and what it stands on."""

    server: RedisServer
    runs: RunStore
    journal: SqlJournal
    epoch: int
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.hot = RedisHotState(self.server.url, "t")
        self.redis = RedisBudgets(self.server.url, "t")
        self.accounting = self.anew()

    def anew(self) -> Accounting:
        """As the next scheduler of the shard has it."""
        accounts = Accounts(self.redis, BudgetBooks(self.journal.database), Budgets())
        self.hot.epoch()
        return Accounting(accounts, 0, "me", self.hot, self.clock, 1.0)

    def look(self, after_s: float = 61.0) -> None:
        self.clock.seconds += after_s
        self.server.client.delete(f"t:budget:{self.redis.generation()}:looks")  # its time is the server's own
        self.accounting.look(caught_up=True)
        self.accounting.committed()

    def spend(self, run_id: str, nusd: int) -> None:
        scope = Scope(run_scope(run_id), Limit(10**9))
        record = Record(f"c{nusd}/{run_id}", "o", 0, Amounts(nusd), (scope.name,), (), 0, f"{run_id}/1/0/1", "{}")
        answer = self.redis.reserve("tok", record, 10**6, [scope], ())
        assert answer.verdict == "ok"

    def goes_in_s(self, run_id: str) -> int:
        return int(self.server.client.ttl(f"t:budget:{self.redis.generation()}:s:{run_scope(run_id)}"))

    def end(self, run_id: str) -> None:
        self.journal.commit(0, self.epoch, [RunChanged(run_id, RunState.SUCCEEDED, "complete", AT)])

    def close(self) -> None:
        self.hot.close()
        self.redis.close()


@pytest.fixture
def shard(redis_server: RedisServer, tmp_path: Path) -> Iterator[Shard]:
    url = f"sqlite:///{tmp_path}/flywheel.db"
    runs, journal = RunStore(url), SqlJournal(url)
    epoch = journal.acquire(0, "test", 600.0)
    assert epoch is not None
    made = Shard(redis_server, runs, journal, epoch)
    yield made
    made.close()
    journal.close()
    runs.close()


def test_counters_of_a_run_go_a_day_after_it_is_over(shard: Shard) -> None:
    shard.look()
    ended, going = (shard.runs.submit(new_run())[0] for _ in range(2))
    shard.look()
    for run_id in (ended, going):
        shard.spend(run_id, 5)
    shard.end(ended)
    shard.look()
    assert 0 < shard.goes_in_s(ended) <= 86_400
    assert shard.goes_in_s(going) > 300 * 86_400


def test_the_next_scheduler_finds_runs_whose_end_the_one_before_did_not_see(shard: Shard) -> None:
    shard.look()
    run_id = shard.runs.submit(new_run())[0]
    shard.spend(run_id, 5)
    shard.end(run_id)
    shard.accounting = shard.anew()
    shard.look()
    shard.look()
    assert 0 < shard.goes_in_s(run_id) <= 86_400


def test_a_deleted_run_leaves_no_counter_behind(shard: Shard) -> None:
    shard.look()
    shard.spend("r_deleted", 5)
    shard.look()
    assert 0 < shard.goes_in_s("r_deleted") <= 86_400


def test_runs_that_wait_for_an_answer_are_told_at_once_and_every_hour(shard: Shard) -> None:
    shard.look()
    run_id = shard.runs.submit(new_run())[0]
    asked = {"at": shard.clock.now(), "until": None, "why": "too dear"}
    shard.journal.commit(0, shard.epoch, [BudgetChanged(run_id, {"asked": asked})])

    def told(after_s: float) -> list[tuple[str, float, str]]:
        with capture_logs() as logs:
            shard.look(after_s)
        return [(line["run"], line["age_s"], line["until"]) for line in logs if line["event"] == "budget.asks"]

    assert told(10.0) == [(run_id, 10.0, "for ever")]
    assert told(1800.0) == []
    assert told(1800.0) == [(run_id, 3610.0, "for ever")]
    shard.journal.commit(0, shard.epoch, [BudgetChanged(run_id, {"max_nusd": 5})])
    assert told(3600.0) == []
