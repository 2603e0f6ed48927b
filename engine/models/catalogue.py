"""Which models there are, and what is known of them before any was asked.

What ships is in ``catalogue.yaml``, context windows in genai-prices; an installation changes and adds both. No prices
and no calls here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from difflib import get_close_matches
from functools import lru_cache
from importlib import resources
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

import yaml

from engine.errors import UsageError
from settings.economy.models import ModelSection, ModelsSection, ProviderSection

Form = Literal["openai", "anthropic", "google", "local"]
LEVELS = ("none", "low", "medium", "high")
"""Levels of reasoning, rising."""

LOCAL = "local/extractive"
"""The model that is always there: free, offline, without a key."""

_CAUTIOUS_CONTEXT, _CAUTIOUS_OUTPUT, _CAUTIOUS_SPEED, _CAUTIOUS_STRENGTH = 8192, 4096, 40.0, 0.5
_WHERE = "the file that FLYWHEEL_ECONOMY names"


@dataclass(frozen=True, slots=True)
class Provider:
    """Who answers.

    Parameters
    ----------
    name
        As in models' ids; genai-prices' name where it has one.
    form
        How it is spoken to.
    base_url
        Where it is; its key goes to this host alone.
    key
        Name of the secret with its key; ``None`` if it takes none.
    private
        Whether its host may be at an address that is not public.
    streaming, json_schema
        Whether it is asked for pieces, and given schemas.
    stream_options, seed_name
        Whether it is asked to tell a stream's usage, and what it calls a seed: some refuse words they do not know.
    own_api
        Whether it takes the newer arguments that compatible servers do not know.
    batches
        Whether it has a batch interface of its form: half the price, within a day.
    max_parallel, tokens_per_minute
        Limits over all workers; ``None`` means none.
    timeout_s, tries
        Seconds of one try, and tries when it answers 429 or 5xx.
    """

    name: str
    form: Form
    base_url: str = ""
    key: str | None = None
    private: bool = False
    streaming: bool = True
    json_schema: bool = True
    stream_options: bool = True
    seed_name: str = "seed"
    own_api: bool = False
    batches: bool = False
    max_parallel: int = 16
    tokens_per_minute: int | None = None
    timeout_s: float = 300.0
    tries: int = 4

    @property
    def address(self) -> str:
        """Where it is, as it may be shown: without a user, a password or a query."""
        parts = urlsplit(self.base_url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


@dataclass(frozen=True, slots=True)
class Model:
    """A model.

    Parameters
    ----------
    id
        ``provider/name``.
    stated_context
        Tokens of input and output together; ``None`` leaves it to genai-prices.
    output_tokens
        Tokens that it can write.
    reasoning
        ``none``, ``low``, ``medium`` or ``high``.
    speed
        Output tokens a second that it usually writes.
    tools, embedding
        Whether it calls tools; whether it embeds texts.
    temperature
        Whether it takes one.
    strength
        How often it passes checks, in [0, 1], until checks have told: a prior.
    ends
        Day, as ``2027-01-14``, from which its provider serves it no more; ``None`` if none was announced.
    """

    id: str
    provider: Provider
    name: str
    stated_context: int | None = None
    output_tokens: int = _CAUTIOUS_OUTPUT
    reasoning: str = "none"
    speed: float = _CAUTIOUS_SPEED
    tools: bool = False
    embedding: bool = False
    temperature: bool = True
    strength: float = _CAUTIOUS_STRENGTH
    ends: str | None = None

    def ended(self, at: float) -> bool:
        """Whether its provider serves it no more at that epoch second."""
        return self.ends is not None and datetime.fromtimestamp(at, UTC).date() >= date.fromisoformat(self.ends)

    @property
    def base_url(self) -> str:
        """Where it is."""
        return self.provider.base_url

    @property
    def context_tokens(self) -> int:
        """Tokens of input and output together."""
        return self.stated_context or _listed_context(self.provider.name, self.name) or _CAUTIOUS_CONTEXT

    @property
    def local(self) -> bool:
        """Whether it runs in this process and costs nothing."""
        return self.provider.form == "local"


class Catalogue:
    """The models of an installation: what ships, as its settings change and add to it.

    Parameters
    ----------
    said
        Sections ``providers`` and ``models`` of the economy's settings.
    """

    def __init__(self, said: ModelsSection | None = None) -> None:
        said = said or ModelsSection()
        shipped = _shipped()
        self.dated = str(shipped["dated"])
        self._providers = _providers(shipped["providers"], said.providers)
        self._off = {name for name, section in said.models.items() if section.off}
        self._said = said.models
        self._models: dict[str, Model] = {}
        for name in (*shipped["models"], *(each for each in said.models if each not in shipped["models"])):
            if name not in self._off:
                self._models[name] = self._made(name, shipped["models"].get(name, {}))

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models.values())

    @property
    def providers(self) -> tuple[Provider, ...]:
        """All providers, the local one too."""
        return tuple(self._providers.values())

    def provider(self, name: str) -> Provider:
        """The provider of that name; raises ``UsageError``."""
        found = self._providers.get(name)
        if found is None:
            near = get_close_matches(name, self._providers, 1)
            raise UsageError(
                f"there is no provider {name!r}{f', did you mean {near[0]!r}?' if near else ''}; "
                f"declare one in section `providers` of {_WHERE}"
            )
        return found

    def model(self, model_id: str) -> Model:
        """The model of that id.

        One that is not listed is taken as it is if its provider is known, with cautious guesses of its limits:
        providers bring out models faster than lists follow.

        Raises
        ------
        UsageError
            There is no such provider, or the settings turn the model off.
        """
        found = self._models.get(model_id)
        if found is not None:
            return found
        if model_id in self._off:
            raise UsageError(f"the model {model_id} is turned off in section `models` of {_WHERE}")
        provider, slash, name = model_id.partition("/")
        if not (slash and name):
            near = get_close_matches(model_id, [each.partition("/")[2] for each in self._models], 1)
            hint = next((each for each in self._models if near and each.endswith(f"/{near[0]}")), "openai/gpt-6-luna")
            raise UsageError(f"{model_id!r} is no model: an id is provider/name, such as {hint}")
        if self.provider(provider).form == "local":
            raise UsageError(f"there is no model {model_id!r}: the one that runs locally is {LOCAL}")
        return self._made(model_id, {})

    def _made(self, model_id: str, shipped: Mapping[str, Any]) -> Model:
        provider, _, name = model_id.partition("/")
        said = self._said.get(model_id, ModelSection()).model_dump(exclude_none=True, exclude={"off"})
        facts = {**shipped, **said}
        return Model(model_id, self.provider(provider), name, facts.pop("context_tokens", None), **facts)


def _providers(shipped: Mapping[str, Any], said: Mapping[str, ProviderSection]) -> dict[str, Provider]:
    providers = {name: Provider(name, **facts) for name, facts in shipped.items()}
    for name, section in said.items():
        given = section.model_dump(exclude_unset=True, exclude_none=True)
        if name not in providers and "base_url" not in given:
            raise UsageError(f"providers.{name} of {_WHERE} needs `base_url`: no provider of that name ships")
        known = providers.get(name, Provider(name, "openai"))
        if known.form == "local":
            raise UsageError(f"providers.{name} of {_WHERE}: that name is the engine's own")
        if "base_url" in given and given["base_url"] != known.base_url and "key" not in given:
            given["key"] = None  # a key goes to the host it was declared for, never along to another
        providers[name] = replace(known, **given)
    return providers


@lru_cache(maxsize=1)
def _shipped() -> Any:
    return yaml.safe_load(resources.files(__package__).joinpath("catalogue.yaml").read_text("utf-8"))


@lru_cache(maxsize=1024)
def _listed_context(provider: str, name: str) -> int | None:
    """Tokens of context by genai-prices; ``None`` if it does not say."""
    from genai_prices.data_snapshot import get_snapshot  # 0.4 s to load: only who needs the catalogue pays

    try:
        _, found = get_snapshot().find_provider_model(name, None, provider, None)
    except LookupError:
        return None
    return found.context_window
