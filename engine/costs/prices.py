"""What model calls cost: the price list, and what an installation says of it.

No call is free because nobody knows its price: an unknown price is an error that names the setting which
declares it. A model of one's own is declared, at 0 if so be it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Protocol

from engine.costs.price_list import listed
from engine.costs.rates import Rates
from engine.costs.usage import Usage
from engine.errors import UsageError

if TYPE_CHECKING:
    from settings.economy.prices import OffPeak, Price

_LIKES_MAX = 8


class UnknownPrice(UsageError):  # noqa: N818 - reads better without Error, as those of engine.errors do
    """Nobody said what a model costs."""

    def __init__(self, provider: str, model: str, why: str = "is in neither the price list nor the settings") -> None:
        super().__init__(
            f"the price of {provider}/{model} is unknown: it {why}; declare it in section `prices` of the file that "
            f"FLYWHEEL_ECONOMY names: {provider}/{model}: {{input_usd: …, output_usd: …}}, USD per million tokens"
        )


class _Source(Protocol):
    def rates(self, at: datetime, input_tokens: int, batch: bool) -> Rates: ...

    def ceiling(self, at: datetime, input_tokens: int, batch: bool) -> Rates: ...


class Prices:
    """Prices of models by provider and name.

    Parameters
    ----------
    overrides
        Section ``prices`` of the economy's settings: what an installation declares, by ``provider/name``,
        in which ``*`` stands for anything; an exact name comes before a pattern, a longer pattern before a
        shorter one.
    """

    def __init__(self, overrides: Mapping[str, Price] | None = None) -> None:
        self._declared = dict(overrides or {})
        self._patterns = sorted((name for name in self._declared if "*" in name), key=len, reverse=True)
        self._sources: dict[tuple[str, str], _Source] = {}

    def cost(self, provider: str, model: str, usage: Usage, at: float, batch: bool = False) -> int:
        """What a call at ``at`` (epoch seconds) cost, in nano-dollars, rounded up.

        A batch call of a model whose batch price is not known is billed as any other, which is never too
        little. Raises ``UnknownPrice``.
        """
        return self._cost(provider, model, usage, at, batch)[0]

    def ceiling(
        self, provider: str, model: str, input_tokens: int, output_tokens: int, at: float, batch: bool = False
    ) -> int:
        """The most that a call begun at ``at`` and ended within a day may cost, in nano-dollars.

        Never less than a cost within these tokens, reasoning counted as output: all input at its dearest
        rate, with the cache's writes, outside all hours that are cheaper. Raises ``UnknownPrice``.
        """
        rates = self._source(provider, model).ceiling(_moment(at), input_tokens, batch)
        found = rates.ceiling_nusd(input_tokens, output_tokens)
        if found is None:
            raise UnknownPrice(provider, model, "has no price for output")
        return found

    def saved(self, provider: str, model: str, usage: Usage, at: float, batch: bool = False) -> int:
        """What the prompt cache and the batch interface took off a call's cost, in nano-dollars.

        Below 0 where a write to the cache cost more than it has brought so far. Raises ``UnknownPrice``.
        """
        cost, source = self._cost(provider, model, usage, at, batch)
        usual = source.rates(_moment(at), usage.input_total, batch=False).uncached().cost_nusd(usage)
        return (cost if usual is None else usual) - cost

    def known(self, provider: str, model: str) -> bool:
        """Whether anybody said what the model costs."""
        try:
            self._source(provider, model)
        except UnknownPrice:
            return False
        return True

    def _cost(self, provider: str, model: str, usage: Usage, at: float, batch: bool) -> tuple[int, _Source]:
        source = self._source(provider, model)
        cost = source.rates(_moment(at), usage.input_total, batch).cost_nusd(usage)
        if cost is None:
            raise UnknownPrice(provider, model, "has no price for output")
        return cost, source

    def _source(self, provider: str, model: str) -> _Source:
        source = self._sources.get((provider, model))
        if source is None:
            source = self._sources[provider, model] = self._find(provider, model, _LIKES_MAX)
        return source

    def _find(self, provider: str, model: str, likes: int) -> _Source:
        said = self._said(f"{provider}/{model}")
        base: _Source | None
        if said is None:
            base = listed(provider, model)
        elif said.input_usd is not None:
            base = _Fixed(_rates_of(said))
        elif said.like is not None:
            if not likes:
                raise UnknownPrice(provider, model, "is like a model that is like it")
            base = self._find(*_named(said.like), likes - 1)
        else:
            base = listed(provider, model)
        if base is None:
            raise UnknownPrice(provider, model)
        if said is None or (said.batch_discount is None and not said.off_peak):
            return base
        return _Discounted(base, said.batch_discount, said.off_peak)

    def _said(self, name: str) -> Price | None:
        if name in self._declared:
            return self._declared[name]
        return next((self._declared[each] for each in self._patterns if fnmatchcase(name, each)), None)


class _Fixed:
    """Rates that the settings state."""

    def __init__(self, rates: Rates) -> None:
        self._rates = rates

    def rates(self, at: datetime, input_tokens: int, batch: bool) -> Rates:  # noqa: ARG002 - as any source
        return self._rates

    ceiling = rates


class _Discounted:
    """Rates with what the settings take off."""

    def __init__(self, base: _Source, batch_discount: Decimal | None, off_peak: tuple[OffPeak, ...]) -> None:
        self._base = base
        self._batch = None if batch_discount is None else 1 - batch_discount
        self._off_peak = off_peak

    def rates(self, at: datetime, input_tokens: int, batch: bool) -> Rates:
        found = self._base.rates(at, input_tokens, batch and self._batch is None)
        for hours in self._off_peak:
            if _within(hours, at):
                found = found.times(1 - hours.discount)
        return found.times(self._batch) if batch and self._batch is not None else found

    def ceiling(self, at: datetime, input_tokens: int, batch: bool) -> Rates:
        found = self._base.ceiling(at, input_tokens, batch and self._batch is None)
        return found.times(self._batch) if batch and self._batch is not None else found


def _rates_of(said: Price) -> Rates:
    read, written, long = said.cache_read_usd, said.cache_write_usd, said.cache_write_1h_usd
    written = said.input_usd if written is None else written
    return Rates(
        input=said.input_usd,
        cache_read=said.input_usd if read is None else read,
        cache_write_5m=written,
        cache_write_1h=written if long is None else long,
        output=said.output_usd,
        reasoning=said.output_usd if said.reasoning_usd is None else said.reasoning_usd,
        call=said.call_usd,
    )


def _within(hours: OffPeak, at: datetime) -> bool:
    now = at.time()
    if hours.start <= hours.end:
        return hours.start <= now < hours.end
    return now >= hours.start or now < hours.end


def _named(model_id: str) -> tuple[str, str]:
    provider, _, model = model_id.partition("/")
    return provider, model


def _moment(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
