"""What may be spent by whom and when: limits of the installation, its tenants, sessions and runs."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, field_validator

Usd = Annotated[Decimal, Field(gt=0, le=9_000_000, allow_inf_nan=False)]
"""Counted exactly up to nine million."""
Count = Annotated[int, Field(strict=True, ge=1, le=9_000_000_000_000_000)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Limits(_Section):
    """What may be spent; whatever is left out has no limit."""

    max_usd: Usd | None = Field(default=None, description="Dollars.")
    max_tokens: Count | None = Field(default=None, description="Tokens, input and output.")
    max_calls: Count | None = Field(default=None, description="Model calls.")
    max_time_s: float | None = Field(default=None, gt=0, le=9e12, description="Seconds of model calls, summed.")


class RunLimits(Limits):
    """What a run may spend whose plan states no budget, and what becomes of it then."""

    on_exhausted: Literal["stop", "ask", "cheaper"] = Field(
        default="stop", description="Stop with what is there, ask an operator, or go on cheaper."
    )
    ask_timeout_s: float | None = Field(
        default=86_400.0, gt=0, description="Seconds that an operator has to answer. None: for ever."
    )
    on_timeout: Literal["stop", "cheaper"] = Field(default="stop", description="What becomes of it without an answer.")


class Burst(_Section):
    """A bucket that bounds how much is spent at once: full at first, it is drained by calls and fills by the hour."""

    usd: Usd = Field(description="Dollars that it holds.")
    refill_usd_per_h: Usd = Field(description="Dollars that flow in within an hour.")


class Periods(Limits):
    """Limits in all and by calendar period, of one tenant or of the whole installation."""

    day: Limits = Field(default_factory=Limits, description="In a day of the time zone.")
    week: Limits = Field(default_factory=Limits, description="In a week, from Monday on.")
    month: Limits = Field(default_factory=Limits, description="In a calendar month.")
    burst: Burst | None = Field(default=None, description="At once. None: no bound.")


class Budgets(_Section):
    """Limits of the installation. A plan's own are beside these; the one with less left holds."""

    time_zone: str = Field(default="UTC", description="Whose days, weeks and months count, such as Europe/Berlin.")
    all: Periods = Field(default_factory=Periods, description="Of all tenants together.")
    tenant: Periods = Field(default_factory=Periods, description="Of each tenant that is not listed.")
    tenants: dict[str, Periods] = Field(default_factory=dict, description="Of tenants by name.")
    session: Limits = Field(default_factory=Limits, description="Of each session that is not listed.")
    sessions: dict[str, Limits] = Field(default_factory=dict, description="Of sessions by name, or by tenant/name.")
    run: RunLimits = Field(default_factory=RunLimits, description="Of each run whose plan states no budget.")
    ask_timeout_s: float | None = Field(
        default=None,
        gt=0,
        description="Seconds that an operator has to answer where a plan asks and states no `ask_timeout`. None: for "
        "ever; such runs are told in the log once an hour.",
    )
    attempt_max_usd: Usd = Field(
        default=Decimal(5),
        description="Dollars that one attempt at a node may spend. So much counts for an attempt of which nobody can "
        "tell what it spent, after Redis and its worker were lost together.",
    )
    call_time_s: float = Field(
        default=900.0, gt=0, le=86_400, description="Seconds that a reservation holds whose call states no timeout."
    )
    wait_s: float = Field(
        default=30.0,
        ge=0,
        le=3600,
        description="Seconds that a call waits, in its slot, for what other calls hold back; then its node gives the "
        "slot back and comes again.",
    )

    off_peak_poll_s: float = Field(
        default=60.0,
        gt=0,
        le=3600,
        description="Seconds until a node whose question waits in a provider's batch looks for its answer, at first; "
        "later the longer it has waited, up to a quarter of an hour.",
    )

    @field_validator("time_zone")
    @classmethod
    def _is_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"{value!r} is no time zone such as Europe/Berlin") from error
        return value
