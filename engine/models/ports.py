"""What a model call is given to reach the rest of the engine: budget, cache, throttle, prices, notes.

Protocols only. Each has a stand-in that admits everything and keeps nothing, for calls outside an installation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from engine.costs.entry import Entry
from engine.costs.usage import Usage


class Reservation(Protocol):
    """What a budget holds back for one call. Ended exactly once."""

    def settle(self, cost_nusd: int, tokens: int, entry: Entry) -> None:
        """The call cost this much; the rest is given back. ``entry`` is its line in the ledger."""

    def release(self) -> None:
        """Nothing was spent."""


class BudgetPort(Protocol):
    """The budgets that a call counts against, all scopes at once."""

    def reserve(self, ceiling_nusd: int, tokens: int, facts: Mapping[str, Any]) -> Reservation:
        """Hold back the most that a call can cost; raises ``BudgetExhausted`` if one scope has less left.

        Parameters
        ----------
        ceiling_nusd
            Nano-dollars that it cannot exceed.
        tokens
            Input and output tokens that it cannot exceed.
        facts
            ``model``, ``provider``, ``purpose`` and ``id``, the ledger entry's.
        """


class LateBudgetPort(BudgetPort, Protocol):
    """Budgets for work whose cost is known long after the attempt that began it."""

    def owe(self, entry_id: str, ceiling_nusd: int, tokens: int) -> None:
        """What is reserved under ``entry_id`` will be settled at its ceiling; once, a part of it may come back."""

    def refund(self, entry_id: str, cost_nusd: int, tokens: int) -> None:
        """It cost this much: give the rest of what is owed back. Again, or where nothing is owed, it does nothing."""


class HandedPort(Protocol):
    """Which questions are handed to batches, by key, with JSON data of the caller's; may forget."""

    def claim(self, key: str, handed: Mapping[str, Any]) -> bool:
        """Whether nobody had it: whoever is told so hands it in."""

    def get(self, key: str) -> Mapping[str, Any] | None:
        """What is known of it."""

    def put(self, key: str, handed: Mapping[str, Any]) -> None:
        """More is known of it."""

    def forget(self, key: str) -> None:
        """It was not handed in."""


@dataclass(frozen=True, slots=True)
class Made:
    """A fresh value for the cache: plain JSON data, what it cost, and whether it may be kept."""

    value: Any
    cost_nusd: int
    keep: bool = True


@dataclass(frozen=True, slots=True)
class Found:
    """What the cache gave: ``outcome`` is ``miss`` (made here), ``hit`` or ``shared`` (made by another meanwhile)."""

    value: Any
    outcome: str
    saved_nusd: int = 0


class CachePort(Protocol):
    """Earlier answers to the same question, of this tenant only."""

    def fetch(self, asked: Mapping[str, Any], make: Callable[[], Made]) -> Found:
        """The value for ``asked``, made by ``make`` if there is none.

        ``asked`` is plain JSON data with ``model``, ``prompt_version``, ``tools`` and ``params``: whatever the answer
        depends on, and never a key or a secret.
        """


class Admission(Protocol):
    """Room at a provider. Ended exactly once."""

    @property
    def waited_s(self) -> float:
        """Seconds until there was room."""

    def leave(self, tokens: int | None, alone_s: float = 0.0) -> None:
        """The call ended and used so many tokens; ``None`` leaves what was asked for.

        ``alone_s`` is how long its provider asks to be left alone with that model: nobody enters until then.
        """


class ThrottlePort(Protocol):
    """Concurrency and tokens a minute of each provider, held across workers."""

    def admit(
        self,
        provider: str,
        tokens: int,
        until: float,
        stop: Callable[[], bool],
        model: str = "",
        say: Callable[[str], None] | None = None,
    ) -> Admission:
        """Wait for room: ``Retryable`` if there is none by the monotonic time ``until``, ``Cancelled`` if stopped.

        ``say`` is told once what a long wait is for.
        """


class PricesPort(Protocol):
    """What calls cost, in nano-dollars; raises ``UnknownPrice``."""

    def cost(self, provider: str, model: str, usage: Usage, at: float, batch: bool = False) -> int:
        """What this usage costs at the epoch second ``at``."""

    def ceiling(
        self, provider: str, model: str, input_tokens: int, output_tokens: int, at: float, batch: bool = False
    ) -> int:
        """The most that a call within these bounds can cost."""


class NotesPort(Protocol):
    """What travels with the completion of the attempt."""

    def note(self, kind: str, data: dict[str, Any]) -> None:
        """Leave a note, such as a ``ledger`` entry."""


class NoReservation:
    """Of a budget without limits."""

    def settle(self, cost_nusd: int, tokens: int, entry: Entry) -> None:
        """Nothing was held back."""

    def release(self) -> None:
        """Nothing was held back."""


class NoBudget:
    """No limits."""

    def reserve(self, ceiling_nusd: int, tokens: int, facts: Mapping[str, Any]) -> Reservation:  # noqa: ARG002 - the port
        """Always."""
        return NoReservation()

    def owe(self, entry_id: str, ceiling_nusd: int, tokens: int) -> None:
        """Nothing is."""

    def refund(self, entry_id: str, cost_nusd: int, tokens: int) -> None:
        """Nothing was owed."""


class OwnHanded:
    """What one process knows alone."""

    def __init__(self) -> None:
        self.known: dict[str, Mapping[str, Any]] = {}

    def claim(self, key: str, handed: Mapping[str, Any]) -> bool:
        """See ``HandedPort``."""
        return self.known.setdefault(key, handed) is handed

    def get(self, key: str) -> Mapping[str, Any] | None:
        """See ``HandedPort``."""
        return self.known.get(key)

    def put(self, key: str, handed: Mapping[str, Any]) -> None:
        """See ``HandedPort``."""
        self.known[key] = handed

    def forget(self, key: str) -> None:
        """See ``HandedPort``."""
        self.known.pop(key, None)


class NoCache:
    """Keeps nothing."""

    def fetch(self, asked: Mapping[str, Any], make: Callable[[], Made]) -> Found:  # noqa: ARG002 - the port
        """Always made."""
        return Found(make().value, "none")


class NoAdmission:
    """Of a throttle without limits."""

    waited_s = 0.0

    def leave(self, tokens: int | None, alone_s: float = 0.0) -> None:
        """Nothing was taken."""


class NoThrottle:
    """Everybody enters."""

    def admit(
        self,
        provider: str,  # noqa: ARG002 - the port
        tokens: int,  # noqa: ARG002 - the port
        until: float,  # noqa: ARG002 - the port
        stop: Callable[[], bool],  # noqa: ARG002 - the port
        model: str = "",  # noqa: ARG002 - the port
        say: Callable[[str], None] | None = None,  # noqa: ARG002 - the port
    ) -> Admission:
        """At once."""
        return NoAdmission()
