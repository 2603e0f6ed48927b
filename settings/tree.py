"""The tree itself: every setting in one frozen object, and the rules that join several of them."""

from __future__ import annotations

from typing import Any, Self

from pydantic import model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from settings.faces import Faces, Rights
from settings.masking import masked
from settings.places import Places
from settings.reach import Reach
from settings.running import Scheduling, Working

PREFIX = "FLYWHEEL_"


class Settings(Faces, Reach, Rights, Working, Scheduling, Places, BaseSettings):
    """All settings of an installation. Get one from ``settings.load()`` and pass it down.

    Each field is the environment variable ``FLYWHEEL_`` and its name in capitals, or a line of a
    ``.env`` file in the current folder; the environment wins.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        frozen=True,
        extra="ignore",  # .env is shared with compose and others; likely_misspellings() names what is close to ours
        hide_input_in_errors=True,
        validate_default=True,
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.heartbeat_s * 2 > self.worker_lease_s:
            raise ValueError(
                f"heartbeat_s={self.heartbeat_s} must be at most half of worker_lease_s={self.worker_lease_s}"
            )
        if self.shards > 1 and self.database_url.startswith("sqlite"):
            raise ValueError(f"shards={self.shards} needs Postgres: SQLite has one writer")
        return self

    def __repr_args__(self) -> list[tuple[str | None, Any]]:
        return list(masked(self).items())
