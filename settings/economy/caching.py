"""What the installation says of its caches: the section `caches`."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class CachesSection(BaseModel):
    """How much is kept, for how long, and how long others wait for what is being made."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    enabled: bool = Field(default=True, description="Whether anything is kept or served. Off, every call is made.")
    max_bytes: int = Field(
        default=64 * 1024 * 1024,
        ge=64 * 1024,
        description="Bytes of Redis that the index may take, small values included; what was used least lately makes "
        "room. Values above 16 KiB are artefacts.",
    )
    value_max_bytes: int = Field(
        default=8 * 1024 * 1024, ge=1024, description="Largest value that is kept, in bytes of JSON."
    )
    ttl_s: float = Field(default=86_400.0, gt=0, description="Seconds an entry may serve where its step does not say.")
    ttl_max_s: float = Field(
        default=30 * 86_400.0, gt=0, description="Seconds an entry may serve at most, whatever its step says."
    )
    negative_ttl_s: float = Field(
        default=30.0,
        ge=0,
        le=3600,
        description="Seconds for which a failure that is known to last (`Permanent`) is told again without a try. "
        "0: not at all.",
    )
    lease_s: float = Field(
        default=10.0,
        ge=0.5,
        le=600,
        description="Seconds without a sign of life after which who makes an entry counts as gone, and one of those "
        "who wait for it makes it.",
    )
    write_max_s: float = Field(
        default=3600.0,
        gt=0,
        le=7 * 86_400,
        description="Seconds for which nothing is kept under the tags of a write whose end nobody told, where its step "
        "has no timeout.",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.ttl_s > self.ttl_max_s:
            raise ValueError(f"ttl_s={self.ttl_s} must be at most ttl_max_s={self.ttl_max_s}")
        return self
