"""What a token of each kind costs at one moment, and the arithmetic from tokens to money."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from decimal import Decimal
from functools import reduce
from typing import Any

from engine.costs.money import nusd
from engine.costs.usage import Usage

_PER = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class Rates:
    """Prices of one model, in USD per million tokens; ``None`` where none is known.

    ``call`` is what a call costs whatever its tokens, in USD.
    """

    input: Decimal | None
    cache_read: Decimal | None
    cache_write_5m: Decimal | None
    cache_write_1h: Decimal | None
    output: Decimal | None
    reasoning: Decimal | None
    call: Decimal = Decimal(0)

    def cost_nusd(self, usage: Usage) -> int | None:
        """What ``usage`` costs, in nano-dollars, rounded up; ``None`` if a price that it needs is not known."""
        total = Decimal(0)
        for tokens, rate in zip(usage.to_json(), astuple(self), strict=False):
            if tokens and rate is None:
                return None
            total += tokens * rate if tokens else 0
        return nusd(total / _PER + self.call)

    def ceiling_nusd(self, input_tokens: int, output_tokens: int) -> int | None:
        """No cost of at most so many tokens is above this; ``None`` if a price that it needs is not known."""
        into = [rate for rate in (self.input, self.cache_read, self.cache_write_5m, self.cache_write_1h) if rate]
        out = [rate for rate in (self.output, self.reasoning) if rate]
        if (input_tokens and self.input is None) or (output_tokens and self.output is None):
            return None
        total = input_tokens * max(into, default=Decimal(0)) + output_tokens * max(out, default=Decimal(0))
        return nusd(total / _PER + self.call)

    def uncached(self) -> Rates:
        """The same without a prompt cache: all input at the rate of input."""
        return Rates(self.input, self.input, self.input, self.input, self.output, self.reasoning, self.call)

    def times(self, factor: Decimal) -> Rates:
        """Every price times ``factor``."""
        scaled: list[Any] = [None if rate is None else rate * factor for rate in astuple(self)]
        return Rates(*scaled)


def dearest(several: Iterable[Rates]) -> Rates:
    """Of each price the highest; one that is known nowhere stays unknown."""
    return reduce(_dearer, several)


def _dearer(one: Rates, other: Rates) -> Rates:
    pairs = zip(astuple(one), astuple(other), strict=True)
    higher: list[Any] = [max((rate for rate in pair if rate is not None), default=None) for pair in pairs]
    return Rates(*higher)
