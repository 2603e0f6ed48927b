"""Which providers of models an installation uses and what it says of their models: the sections of that name.

What ships is in the catalogue; here a provider is changed or added, such as a server of one's own.
"""

from __future__ import annotations

from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Form = Literal["openai", "anthropic", "google"]
Level = Literal["none", "low", "medium", "high"]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ProviderSection(_Section):
    """A provider. One that ships may be named to change some of its fields; a new one needs ``base_url``."""

    form: Form | None = Field(
        default=None, description="How it is spoken to. None: as it ships, and `openai` for a new one."
    )
    base_url: str | None = Field(
        default=None,
        description="Where it is, such as http://localhost:11434/v1 for Ollama. The key goes to this host alone. "
        "None: as it ships.",
    )
    key: str | None = Field(
        default=None,
        description="Name of the secret with its key. None: as it ships, and no key for a new one.",
    )
    private: bool = Field(
        default=False,
        description="Whether its host may be at an address that is not public. Loopback is open to a provider "
        "whose address names it.",
    )
    streaming: bool = Field(
        default=True,
        description="Whether answers come piece by piece, so that a stopped call ends at once and costs less.",
    )
    json_schema: bool | None = Field(
        default=None,
        description="Whether it takes a JSON Schema for answers. None: as it ships, and yes for a new one. Without, "
        "the schema is told in words; answers are checked either way.",
    )
    stream_options: bool | None = Field(
        default=None,
        description="Whether a stream's usage is asked for by `stream_options`. None: as it ships, and yes for a new "
        "one. A server that refuses the word answers 400 or 422.",
    )
    seed_name: str | None = Field(
        default=None, description="What it calls a seed. None: as it ships, and `seed` for a new one."
    )
    batches: bool | None = Field(
        default=None,
        description="Whether it has a batch interface, at half the price within a day. None: as it ships, and no for a "
        "new one.",
    )
    max_parallel: int = Field(default=16, ge=1, description="Calls that all workers together may have open at it.")
    tokens_per_minute: int | None = Field(
        default=None, ge=1, description="Tokens a minute of all workers together, input and output. None: no limit."
    )
    timeout_s: float = Field(default=300.0, gt=0, le=86_400, description="Seconds that one call may take.")
    tries: int = Field(default=4, ge=1, le=20, description="Tries of one call when it answers 429 or 5xx.")

    @field_validator("base_url")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must begin with http:// or https:// and name a host")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("must hold no user, password or query: a key is the name of a secret, under `key`")
        return value.rstrip("/")


class ModelSection(_Section):
    """A model. One that ships may be named to change some of its fields; what is None stays as it ships."""

    context_tokens: int | None = Field(
        default=None, ge=1, description="Tokens that input and output may have together."
    )
    output_tokens: int | None = Field(default=None, ge=1, description="Tokens that it can write.")
    reasoning: Level | None = Field(default=None, description="How well it reasons.")
    speed: float | None = Field(default=None, gt=0, description="Output tokens a second that it usually writes.")
    tools: bool | None = Field(default=None, description="Whether it calls tools.")
    embedding: bool | None = Field(default=None, description="Whether it embeds texts rather than answering.")
    strength: float | None = Field(
        default=None, ge=0, le=1, description="How often it passes checks, until checks have told."
    )
    temperature: bool | None = Field(default=None, description="Whether it takes a temperature.")
    off: bool = Field(default=False, description="Never use it.")


class ModelsSection(_Section):
    """Providers by name, and models by id, ``provider/name``."""

    providers: dict[str, ProviderSection] = Field(
        default_factory=dict, description="Providers by name: those that ship, changed, and your own."
    )
    models: dict[str, ModelSection] = Field(
        default_factory=dict, description="Models by id, provider/name: those that ship, changed, and your own."
    )

    @model_validator(mode="after")
    def _ids_have_providers(self) -> Self:
        for name in self.models:
            provider, slash, rest = name.partition("/")
            if not (provider and slash and rest):
                raise ValueError(f"models.{name}: an id is provider/name")
        return self
