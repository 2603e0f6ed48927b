"""The price list of the genai-prices package, as rates; nobody else reads prices off it.

The list travels in the package and is as old as the release that is installed: it is never fetched, so
that the same usage costs the same on every machine of an installation. Loaded at the first look, which
takes half a second of CPU time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache, lru_cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from engine.costs.rates import Rates, dearest

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider

LIST_OF = {"0.2.3": "2026-11"}
"""Month in which each release that was looked at was published; its prices are as known then."""

_BATCH = {"processing": "batch"}
_ALL_DAY = [timedelta(minutes=30 * half) for half in range(51)]


def listed_as() -> str:
    """Name and date of the list, such as ``genai-prices 0.2.3 (2026-11)``."""
    release = version("genai-prices")
    return f"genai-prices {release} ({LIST_OF.get(release, 'date not noted')})"


class Listed:
    """A model of the list."""

    def __init__(self, model: ModelInfo, own: bool) -> None:
        self._model = model
        # Variants of a model that a provider only passes on are another provider's terms.
        self._own = own
        self._days: dict[tuple[datetime, bool], list[ModelPrice]] = {}

    def rates(self, at: datetime, input_tokens: int, batch: bool) -> Rates:
        """Rates of a call at ``at`` with so many input tokens; without a batch price, the usual ones."""
        return _rates(self._prices(at, batch), [input_tokens])

    def ceiling(self, at: datetime, input_tokens: int, batch: bool) -> Rates:
        """The dearest rates of a call at ``at`` or up to a day later with at most so many input tokens."""
        hour = at.replace(minute=0, second=0, microsecond=0)
        found = self._days.get((hour, batch))
        if found is None:
            found = self._day(hour, batch) if isinstance(self._model.prices, list) else [self._prices(at, batch)]
            self._days = {(hour, batch): found}  # the last one asked for is the next one asked for
        return dearest(_rates(prices, _thresholds(prices, input_tokens)) for prices in found)

    def _day(self, hour: datetime, batch: bool) -> list[ModelPrice]:
        """The different prices in the day after ``hour``."""
        different: list[ModelPrice] = []
        for later in _ALL_DAY:
            prices = self._prices(hour + later, batch)
            if prices not in different:
                different.append(prices)
        return different

    def _prices(self, at: datetime, batch: bool) -> ModelPrice:
        return self._model.get_prices(at, _BATCH if batch and self._own else None)


@lru_cache(maxsize=1024)
def listed(provider: str, model: str) -> Listed | None:
    """The entry of ``model`` under exactly that provider; ``None`` if the list has none with token prices."""
    found = _providers().get(provider)
    info = found.find_model(model, all_providers=list(_providers().values())) if found is not None else None
    if info is None or found is None:
        return None
    entry = Listed(info, any(info is each for each in found.models))
    return entry if entry.rates(datetime(2020, 1, 1, tzinfo=UTC), 0, batch=False).input is not None else None


@cache
def _providers() -> dict[str, Provider]:
    from genai_prices.data import providers  # lazy: it builds 2,300 models

    return {provider.id: provider for provider in providers}


def _thresholds(prices: ModelPrice, input_tokens: int) -> list[int]:
    """Input sizes up to ``input_tokens``, one in each of the sizes that are priced apart."""
    starts = {tier.start for price in prices.__dict__.values() for tier in getattr(price, "tiers", ())}
    return [0, input_tokens, *(start + 1 for start in starts if start < input_tokens)]


def _rates(prices: ModelPrice, sizes: Iterable[int]) -> Rates:
    return dearest(_at_size(prices.__dict__, size) for size in sizes)


def _at_size(prices: dict[str, Any], size: int) -> Rates:
    into, out = _first(prices, size, "input"), _first(prices, size, "output")
    calls = prices.get("requests_kcount") or Decimal(0)
    return Rates(
        input=into,
        cache_read=_first(prices, size, "cache_read", "input"),
        cache_write_5m=_first(prices, size, "cache_write_5m", "cache_write", "input"),
        cache_write_1h=_first(prices, size, "cache_write_1h", "cache_write", "input"),
        output=out,
        reasoning=_first(prices, size, "output_reasoning", "output"),
        call=(calls if isinstance(calls, Decimal) else calls.base) / 1000,
    )


def _first(prices: dict[str, Any], size: int, *kinds: str) -> Decimal | None:
    """The price of the first of ``kinds`` that has one: a kind without is billed as the kind it is part of."""
    return next(_known(prices, size, kinds), None)


def _known(prices: dict[str, Any], size: int, kinds: Iterable[str]) -> Iterator[Decimal]:
    for kind in kinds:
        price = prices.get(f"{kind}_mtok")
        if price is not None:
            # Above a threshold all tokens cost the higher price, not only those beyond it.
            over = [tier.price for tier in getattr(price, "tiers", ()) if size > tier.start]
            yield over[-1] if over else getattr(price, "base", price)
