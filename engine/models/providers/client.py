"""What every provider's client offers, and how one is opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

from engine.errors import Permanent
from engine.models.catalogue import Model, Provider
from engine.models.progress import Progress
from engine.models.refusals import no_api
from engine.models.request import Request, ToolCall

_HOMES = {
    "openai": ("openai_form", "openai", "models"),
    "anthropic": ("anthropic_form", "anthropic", "anthropic"),
    "google": ("google_form", "httpx", ""),
    "local": ("extractive", "numpy", ""),
}


@dataclass(frozen=True, slots=True)
class Reply:
    """What a provider answered: text, its own usage, ``finish`` (``stop``, ``length``, ``tools``, ``filtered``)."""

    text: str
    usage: Mapping[str, Any]
    finish: str = "stop"
    calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True, slots=True)
class Vectors:
    """Embeddings in the order of the texts, and the provider's own usage."""

    vectors: list[list[float]] = field(repr=False)
    usage: Mapping[str, Any]


class Client(Protocol):
    """One provider. Safe for several threads. ``ProviderFailure`` is the only failure it raises, and ``CallCut``."""

    usage_form: str
    """The form of ``engine.costs.usage.usage_of`` that its usage has."""

    def ask(self, model: Model, request: Request, progress: Progress) -> Reply:
        """Put ``request`` to ``model``; what arrives is in ``progress`` at once."""

    def embed(self, model: Model, texts: Sequence[str], progress: Progress) -> Vectors:
        """A vector for each text."""

    def close(self) -> None:
        """Close its connections."""


PAGE_MAX_BYTES = 64 * 1024


def no_page(provider: Provider) -> Callable[[Any], None]:
    """What refuses a page for people that comes with a status of success, before anything is read as an answer.

    For the hooks of httpx and of its successor; raises ``ProviderFailure``.
    """

    def look(response: Any) -> None:
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if response.status_code < 300 and kind in ("text/html", "application/xhtml+xml"):
            page = next(iter(response.iter_bytes(PAGE_MAX_BYTES)), b"")
            raise no_api(provider, kind, page.decode("utf-8", "replace"))

    return look


def open_client(provider: Provider, key: str | None) -> Client:
    """A client of ``provider`` that sends ``key`` to its host alone.

    Raises
    ------
    Permanent
        The library that speaks its form is not installed; names the extra.
    """
    home, library, extra = _HOMES[provider.form]
    if find_spec(library) is None:
        raise Permanent(
            f"{provider.name} is spoken to with the library {library}, which is not installed where workers run: "
            f"install the extra {extra!r}, as in pip install 'flywheel-engine[{extra}]'"
        )
    client: Client = import_module(f"engine.models.providers.{home}").open_client(provider, key)
    return client
