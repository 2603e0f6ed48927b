"""From the settings to a scheduler's world: the real journal, Redis, broker and artefact store."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from engine.artefacts.store import ArtefactStore
from engine.broker.app import make_app
from engine.broker.publisher import CeleryPublisher
from engine.clock import SystemClock
from engine.dag.compile import compile_plan
from engine.dag.compiled import CompiledPlan
from engine.errors import UsageError
from engine.hotstate.budgets import RedisBudgets
from engine.hotstate.scheduler import RedisHotState
from engine.ids import new_token
from engine.plan.files import stored_plan
from engine.runtime.budgets import Accounts
from engine.runtime.ports import Journal
from engine.runtime.world import Limits, Pace, World
from engine.scheduling.state import Policy
from engine.store.budgets import BudgetBooks
from engine.store.journal import SqlJournal
from settings import Settings
from settings.economy import load_economy
from settings.economy.budgets import Budgets

_PLANS_KEPT = 256


class StoredPlans:
    """Plans by version, compiled once. A stored plan has its task types' defaults written into it."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._compiled: dict[str, CompiledPlan] = {}

    def compiled(self, version: str) -> CompiledPlan:
        """The plan of that version. Raises ``PlanError``, ``NotFound`` or ``Unavailable``."""
        if version not in self._compiled:
            if len(self._compiled) >= _PLANS_KEPT:
                del self._compiled[next(iter(self._compiled))]
            self._compiled[version] = compile_plan(stored_plan(self._journal.plan_source(version)), None)
        return self._compiled[version]


@contextmanager
def connected(settings: Settings, stop: threading.Event) -> Iterator[World]:
    """The world of one shard's scheduler; closed on the way out."""
    if settings.redis_url is None:
        raise UsageError("a scheduler needs FLYWHEEL_REDIS_URL; `flywheel up` starts a Redis and everything else")
    economy = load_economy(settings.economy)
    journal = SqlJournal(settings.database_url)
    hot = RedisHotState(settings.redis_url, settings.namespace)
    counters = RedisBudgets(settings.redis_url, settings.namespace)
    publisher = CeleryPublisher(make_app(settings), settings.grant_timeout_s)
    try:
        yield World(
            journal=journal,
            hot=hot,
            publisher=publisher,
            artefacts=ArtefactStore(settings.artefact_url),
            clock=SystemClock(),
            compiled=StoredPlans(journal).compiled,
            new_token=new_token,
            sleep=lambda seconds: _wait(stop, seconds),
            budgets=Accounts(counters, BudgetBooks(journal.database), economy.budgets),
        )
    finally:
        publisher.close()
        counters.close()
        hot.close()
        journal.close()


def pace_of(settings: Settings) -> Pace:
    """The loop's beats, as set."""
    return Pace(
        lease_s=settings.scheduler_lease_s,
        poll_s=settings.poll_s,
        # Two looks have to fit in it: a look that comes later than that takes itself for deaf, and gives nothing up.
        announce_s=max(settings.heartbeat_s * 1.5, Pace().inspect_s * 2),
        worker_lease_s=settings.worker_lease_s,
        retry_in_worker_max_s=settings.retry_in_worker_max_s,
        batch=settings.batch_max,
    )


def policy_of(settings: Settings) -> Policy:
    """The core's numbers, as set."""
    return Policy(
        losses_max=settings.losses_max, window_s=settings.window_s, chunk_s=settings.chunk_s,
        children_max=settings.children_max, hedge=settings.hedge, hedge_multiple=settings.hedge_multiple,
        hedge_share=settings.hedge_share, speculate=settings.speculate, worker_usd_per_h=settings.worker_usd_per_h,
        call_usd=settings.call_usd, prefetch=settings.prefetch, prefetch_max=settings.prefetch_max,
        prefetch_max_bytes=settings.prefetch_max_bytes, prefetch_fresh_s=settings.prefetch_fresh_s,
        run_budget=_run_budget(load_economy(settings.economy).budgets),
    )  # fmt: skip


def _run_budget(budgets: Budgets) -> dict[str, Any]:
    said = budgets.run
    return {
        "on_exhausted": said.on_exhausted, "ask_timeout": said.ask_timeout_s, "on_timeout": said.on_timeout,
        "plan_ask_timeout": budgets.ask_timeout_s,
    }  # fmt: skip


def limits_of(settings: Settings) -> Limits:
    """Pools and rates, as set."""
    rates = {task: rate for task in settings.rate_limits if (rate := settings.rate(task)) is not None}
    return Limits(settings.pools, rates, settings.shards)


def _wait(stop: threading.Event, seconds: float) -> None:
    stop.wait(seconds)
