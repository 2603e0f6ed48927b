"""Prices that the price list has not, or has otherwise: contracts, discounts, models of one's own."""

from __future__ import annotations

from datetime import time
from decimal import Decimal
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, RootModel, model_validator

Usd = Annotated[Decimal | None, Field(default=None, ge=0, allow_inf_nan=False)]
Share = Annotated[Decimal, Field(ge=0, le=1)]


def _clock(value: Any) -> Any:
    # YAML reads an unquoted 16:30 as 16 * 60 + 30.
    return time(*divmod(value, 60)) if isinstance(value, int) and 0 <= value < 24 * 60 else value


class OffPeak(BaseModel):
    """Hours of every day in which calls cost less."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    start: Annotated[time, BeforeValidator(_clock)] = Field(alias="from", description="HH:MM, UTC.")
    end: Annotated[time, BeforeValidator(_clock)] = Field(alias="to", description="HH:MM, UTC; may be past midnight.")
    discount: Share = Field(description="Share of the price that is taken off, 0 to 1.")


class Price(BaseModel):
    """What a model costs, in USD per million tokens: rates of one's own, or what changes of the list's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    like: str | None = Field(
        default=None, description="Model (provider/name) whose rates hold here too, of the list or of this section."
    )
    input_usd: Usd = Field(default=None, description="Input from no cache. With it, no rate of the list holds.")
    output_usd: Usd = Field(default=None, description="Output; reasoning too, unless it has a rate of its own.")
    cache_read_usd: Usd = Field(default=None, description="Input read from the prompt cache; as input if not given.")
    cache_write_usd: Usd = Field(default=None, description="Input written to the prompt cache; as input if not given.")
    cache_write_1h_usd: Usd = Field(
        default=None, description="Input written to be kept for an hour or longer; as the other writes if not given."
    )
    reasoning_usd: Usd = Field(default=None, description="Tokens of reasoning; as output if not given.")
    call_usd: Decimal = Field(default=Decimal(0), ge=0, description="What each call costs besides, in USD.")
    batch_discount: Share | None = Field(
        default=None, description="Share that calls through the batch interface cost less. None: as the list has it."
    )
    off_peak: tuple[OffPeak, ...] = Field(default=(), description="Hours in which calls cost less.")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.input_usd is None) != (self.output_usd is None):
            raise ValueError("input_usd and output_usd belong together; a model without output has output_usd: 0")
        if self.input_usd is None:
            alone = [name for name in _ONLY_WITH_RATES if getattr(self, name) is not None]
            if alone:
                raise ValueError(f"{', '.join(alone)} needs input_usd and output_usd beside it")
        elif self.like is not None:
            raise ValueError("like and input_usd exclude each other")
        return self


_ONLY_WITH_RATES = ("cache_read_usd", "cache_write_usd", "cache_write_1h_usd", "reasoning_usd")
_FREE = Price(input_usd=Decimal(0), output_usd=Decimal(0))


class Prices(RootModel[dict[str, Price]]):
    """Section ``prices``: by model (provider/name); ``*`` stands for any part of a name.

    The model that ships is declared here like any local one, at nothing. A section that is given adds to it.
    """

    model_config = ConfigDict(frozen=True)

    root: dict[str, Price] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _with_local(self) -> Self:
        self.root.setdefault("local/*", _FREE)
        return self
