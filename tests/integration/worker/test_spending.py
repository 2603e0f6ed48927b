"""What a real worker says before a body spends: should it and Redis be lost together, that is what counts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.costs.entry import Entry
from engine.hotstate.budgets import RedisBudgets
from engine.scheduling.records import CEILING
from engine.wire import NodeReport, Outcome, ReportKind
from tests.integration.worker.conftest import settings_for
from tests.services.redis import RedisServer
from tests.services.worker import Bench


@pytest.fixture
def bench(redis_server: RedisServer, tmp_path: Path) -> Iterator[Bench]:
    modules = ("tests.integration.worker.spending_bodies",)
    settings = settings_for(redis_server, tmp_path, task_modules=modules, call_usd={"spend.own": 0.5})
    made = Bench(redis_server, settings)
    made.start()
    made.hot.epoch()
    redis = RedisBudgets(redis_server.url, settings.namespace)
    redis.begin(redis.current())
    assert redis.open(redis.current(), [], {})
    yield made
    redis.close()
    made.close()


def marks(bench: Bench) -> list[NodeReport]:
    return [node for report in bench.read() if report.kind is ReportKind.BEGUN for node in report.nodes if node.notes]


def test_a_body_of_which_nothing_is_said_tells_once_what_it_can_spend_before_it_does(bench: Bench) -> None:
    assert bench.run("spend.own").outcome is Outcome.OK
    [mark] = marks(bench)
    assert mark.notes == ((CEILING, {"nusd": 5_000_000_000}),) and mark.begun_at is not None
    kinds = [report.kind for report in bench.seen]
    assert kinds.index(ReportKind.BEGUN) < kinds.index(ReportKind.DONE)


def test_it_tells_the_limit_of_its_run_where_that_is_less(bench: Bench) -> None:
    bench.run("spend.own", care={"run_budget": {"max_usd": 0.5}})
    assert marks(bench)[0].notes == ((CEILING, {"nusd": 500_000_000}),)


def test_of_a_batch_only_the_node_counts_that_makes_the_call_of_all(bench: Bench) -> None:
    delivery = bench.delivery("spend.own", nodes=3, care={"batch": {"max_items": 3}})
    bench.send(delivery)
    assert [report.outcome for report in bench.ended(delivery)] == [Outcome.OK] * 3
    [mark] = marks(bench)
    assert mark.item == 0


def test_of_a_batch_only_one_node_pays_the_price_of_the_call(bench: Bench) -> None:
    delivery = bench.delivery("spend.own", nodes=3, care={"batch": {"max_items": 3}})
    bench.send(delivery)
    notes = [[data for kind, data in report.notes if kind == "ledger"] for report in bench.ended(delivery)]
    assert [len(each) for each in notes] == [0, 1, 1]
    entry = Entry.from_json(notes[2][0])
    assert (entry.kind, entry.cache, entry.cost_nusd, entry.saved_nusd) == ("tool", "shared", 0, 500_000_000)
