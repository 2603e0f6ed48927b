"""What every provider's batch interface offers: many requests handed in at once, answered within a day, cheaper.

Asked of a client that ``open_client`` gave. No prices, budgets or waiting here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from engine.errors import Permanent
from engine.models.catalogue import Model, Provider
from engine.models.progress import Progress
from engine.models.providers.client import Client, Reply
from engine.models.request import Request

_HOMES = {"openai": "openai_batches", "anthropic": "anthropic_batches"}


KEEP_KEYS = frozenset({"openai"})
"""Forms whose batches carry the key that they were made under: found again at any time."""


class NotYetKnown(Exception):  # noqa: N818 - it is no failure
    """Whether a batch that runs is the one that is looked for shows once it has ended."""


@dataclass(frozen=True, slots=True)
class BatchState:
    """How far a batch is.

    Parameters
    ----------
    state
        ``running``, ``completed``, ``expired``, ``cancelled``, or ``failed`` if nothing of it was taken up.
    done, total
        Requests that are answered, well or not, and all of them.
    created_at
        Epoch seconds.
    why
        The provider's word for a failure.
    cancelling
        Whether it runs and was told to end.
    model
        The id of the model that it was made for, where it says so.
    """

    state: str
    done: int
    total: int
    created_at: float
    why: str = ""
    cancelling: bool = False
    model: str = ""


@dataclass(frozen=True, slots=True)
class Returned:
    """What became of one request, by its own id: an answer, or what was wrong."""

    id: str
    reply: Reply | None
    error: str = ""


class BatchClient(Protocol):
    """One provider's batches. ``ProviderFailure`` is the only failure it raises."""

    def create(self, model: Model, requests: Mapping[str, Request], key: str, progress: Progress) -> str:
        """Hand in ``requests`` by their ids under ``key``; the batch's id."""

    def find(self, key: str, count: int, since: float, progress: Progress) -> str | None:
        """The batch of ``count`` requests made under ``key`` after the epoch second ``since``, or ``None``.

        Raises
        ------
        NotYetKnown
            The provider keeps no key with a batch, and one that might be it runs.
        """

    def state(self, batch: str, key: str, progress: Progress) -> BatchState:
        """How far it is. Raises ``Permanent`` if it was not made under ``key``, as far as that can be told."""

    def results(self, batch: str, key: str, progress: Progress) -> Iterator[Returned]:
        """What became of its requests, in any order; those never begun, or not made under ``key``, may be missing."""

    def cancel(self, batch: str, progress: Progress) -> None:
        """End it; what is answered by then stays, and is paid."""


def open_batches(provider: Provider, client: Client) -> BatchClient:
    """The batches of ``provider``, over ``client``. Raises ``Permanent`` if it has none."""
    home: Any = _HOMES.get(provider.form)
    if home is None or not provider.batches:
        raise Permanent(f"{provider.name} has no batch interface; a provider of your own says `batches: true`")
    made: BatchClient = import_module(f"engine.models.providers.{home}").open_batches(client)
    return made
