"""`overhead`: what the engine itself takes for a model call, in a warm process on a real Redis."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from statistics import quantiles
from typing import Any

from engine.artefacts.store import ArtefactStore
from engine.budgets.budget import Budget, Till
from engine.budgets.holdings import Holdings
from engine.budgets.scopes import Spender
from engine.cache.cache import Cache
from engine.cache.shelf import open_shelf
from engine.clock import SystemClock
from engine.costs.prices import Prices
from engine.hotstate.budgets import RedisBudgets
from engine.hotstate.scheduler import RedisHotState
from engine.hotstate.throttle import RedisThrottle, Room
from engine.models.caching import ModelCache
from engine.models.catalogue import Catalogue, Model
from engine.models.progress import Progress
from engine.models.providers.client import Reply, Vectors
from engine.models.request import Message, Request
from engine.models.service import Models, Parts
from engine.plan.care import Budget as RunBudget
from engine.plan.care import Care, Limits
from engine.runtime.budgets import Accounting, Accounts
from settings.economy.budgets import Budgets, Burst, Periods
from settings.economy.budgets import Limits as Amount
from settings.economy.caching import CachesSection
from settings.economy.models import ModelsSection
from settings.economy.prices import Prices as PricesSection
from tests.benchmarks.figures import Figure, figure
from tests.benchmarks.measuring import LoadMeter, say
from tests.benchmarks.options import Options
from tests.benchmarks.ours import check, started_redis

_CALLS, _WARM = 400, 60
_INPUT, _OUTPUT = 4_000, 300
"""Words that go in and come out; what is looked at and counted grows with them."""
_SAID = {
    "providers": {"instant": {"base_url": "http://127.0.0.1:9/v1", "max_parallel": 64, "tokens_per_minute": 10**9}},
    "models": {"instant/model": {"context_tokens": 128_000, "output_tokens": 16_000}},
}
_PRICES = {"instant/model": {"input_usd": 1, "cache_read_usd": 0.1, "output_usd": 4}}


class _Instant:
    """A provider that has answered before it was asked; what it takes is counted as its own."""

    usage_form = "openai"
    taken_s = 0.0

    def ask(self, model: Model, request: Request, progress: Progress) -> Reply:
        started = time.perf_counter()
        text = "word " * _OUTPUT
        progress.wrote(text)
        usage = {"prompt_tokens": _INPUT, "completion_tokens": _OUTPUT, "total_tokens": _INPUT + _OUTPUT}
        self.taken_s = time.perf_counter() - started
        return Reply(text, usage)

    def embed(self, model: Model, texts: Sequence[str], progress: Progress) -> Vectors:
        raise NotImplementedError

    def close(self) -> None:
        """Nothing is open."""


class _Notes:
    """The ledger's notes of all calls."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []

    def note(self, kind: str, data: dict[str, Any]) -> None:
        self.entries.append(data)


def overhead(options: Options) -> Iterator[Figure]:
    """Seconds of a model call that are the engine's: key, cache, room, reservation, price, settlement, ledger.

    One call after the other, each in an attempt of its own, with limits at every scope and a burst bucket, and a
    provider that answers at once: all but its own time counts. ``hit`` is a call whose answer is kept.
    """
    load = LoadMeter()
    calls = options.size(_CALLS)
    server = started_redis()
    try:
        with tempfile.TemporaryDirectory(prefix="bench-overhead-") as folder:
            missed, hit = _measured(server.url, folder, calls)
    finally:
        server.close()
    for case, times in ((None, missed), ("hit", hit)):
        cuts = quantiles(times, n=20)
        note = f"{len(times)} calls of {_INPUT:,} words in; p95 {cuts[18]:.2f} ms, least {min(times):.2f} ms"
        say(f"  overhead{' ' + case if case else ''}: {note}")
        bar = {} if case is None else {"bar": None}
        yield figure("overhead", "p50_ms", "ms", times, load.read(), case=case, note=note, **bar)


def _measured(url: str, folder: str, calls: int) -> tuple[list[float], list[float]]:
    limits = _limits()
    redis, shelf = RedisBudgets(url, "b"), open_shelf(url, "b", ArtefactStore(f"file://{folder}"), CachesSection())
    hot = RedisHotState(url, "b")
    hot.epoch()
    accounts = Accounts(redis, _Nothing(), limits)  # type: ignore[arg-type]  # books without a line
    Accounting(accounts, 0, "bench", _Nothing(), SystemClock(), 0.0).look(caught_up=True)  # type: ignore[arg-type]
    till = Till(redis, Holdings(redis), limits, SystemClock())
    throttle = RedisThrottle(url, "b", {"instant": Room(64, 10**9)})
    parts = Parts(Catalogue(ModelsSection.model_validate(_SAID)), Prices(PricesSection.model_validate(_PRICES).root))
    parts.throttle = throttle
    instant, notes = _Instant(), _Notes()
    (provider,) = (each for each in parts.catalogue.providers if each.name == "instant")
    parts._clients[(provider, None)] = instant
    care = Care(budget=Limits(max_usd=1e6), run_budget=RunBudget(max_usd=1e6))

    def one(number: int, text: int) -> float:
        request = _request(text)
        started = time.perf_counter()
        cache = Cache(shelf, "acme", notes.note)
        budget = Budget(till, Spender("r_bench", 0, number, 1, "acme", "nightly", f"t{number}"), care)
        models = Models(parts, notes, str, lambda: False, 60.0, budget, ModelCache(cache, "acme"))
        answer = models.ask(request)
        seconds = time.perf_counter() - started - (instant.taken_s if answer.cached == "miss" else 0.0)
        till.holdings.reported(f"t{number}")
        return seconds * 1000

    try:
        for number in range(_WARM):
            one(number, number)
        missed = [one(number, number) for number in range(_WARM, _WARM + calls)]
        hit = [one(number, number - calls) for number in range(_WARM + calls, _WARM + 2 * calls)]
    finally:
        for each in (parts, throttle, shelf, redis, hot):
            each.close()
    outcomes = [entry.get("cache", "none") for entry in notes.entries if entry.get("kind", "model") == "model"]
    check(outcomes.count("hit") == calls, f"{outcomes.count('hit')} of {calls} answers came out of the cache")
    return missed, hit


def _limits() -> Budgets:
    most = Amount(max_usd=10**6)
    burst = Burst(usd=10**6, refill_usd_per_h=10**6)
    periods = Periods(max_usd=10**6, max_calls=10**9, day=most, week=most, month=most, burst=burst)
    return Budgets(all=periods, tenant=periods, session=most)


def _request(number: int) -> Request:
    shared = " ".join(f"w{place % 997}" for place in range(_INPUT * 3 // 4))
    own = f"{number} " + " ".join(f"o{place % 991}" for place in range(_INPUT // 4))
    messages = (Message("system", shared, stable=True), Message("user", own))
    return Request(messages, "instant/model", _OUTPUT * 2, prompt_version="1", prefix_key="r_bench")


class _Nothing:
    """Books in which nothing was spent, and no leases."""

    def __getattr__(self, _name: str) -> Any:
        return lambda *_args, **_named: {} if _name in ("leases", "ended") else set() if _name == "stored" else []
