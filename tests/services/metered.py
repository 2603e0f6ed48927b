"""``Models`` outside a worker: notes, budget and stop flag in memory, the rest as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.costs.entry import Entry
from engine.costs.prices import Prices
from engine.errors import Permanent
from engine.models.batches import Batches
from engine.models.catalogue import Catalogue
from engine.models.ports import CachePort, ThrottlePort
from engine.models.service import Models, Parts
from settings.economy.models import ModelsSection
from settings.economy.prices import Prices as PricesSection


@dataclass
class Reserved:
    """One reservation, and what became of it."""

    ceiling_nusd: int
    tokens: int
    timeout_s: float
    settled_nusd: int | None = None
    released: bool = False

    def settle(self, cost_nusd: int, tokens: int, entry: Entry) -> None:
        assert self.settled_nusd is None and not self.released, "ended twice"
        assert cost_nusd <= self.ceiling_nusd, "costs more than was reserved"
        assert tokens <= self.tokens, "more tokens than were reserved"
        self.settled_nusd = cost_nusd

    def release(self) -> None:
        assert self.settled_nusd is None and not self.released, "ended twice"
        self.released = True


@dataclass
class Metered:
    """What calls left behind.

    Parameters
    ----------
    economy
        Sections as ``SimulatedModels.economy`` gives them.
    secrets
        By name.
    """

    economy: Mapping[str, Any] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    stopped: bool = False
    notes: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    reservations: list[Reserved] = field(default_factory=list)

    owed: dict[str, int] = field(default_factory=dict)
    refunded: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        said = {name: self.economy[name] for name in ("providers", "models") if name in self.economy}
        prices = PricesSection.model_validate(self.economy.get("prices", {}))
        self.parts = Parts(Catalogue(ModelsSection.model_validate(said)), Prices(prices.root))

    def models(
        self, timeout_s: float | None = 60.0, cache: CachePort | None = None, throttle: ThrottlePort | None = None
    ) -> Models:
        """Models that leave everything here."""
        if throttle is not None:
            self.parts.throttle = throttle
        return Models(self.parts, self, self.secret, lambda: self.stopped, timeout_s, self, cache)

    def batches(self, timeout_s: float | None = 60.0) -> Batches:
        """Batches that leave everything here."""
        return Batches(self.parts, self, self.secret, lambda: self.stopped, timeout_s, self)

    def note(self, kind: str, data: dict[str, Any]) -> None:
        self.notes.append((kind, data))

    def secret(self, name: str) -> str:
        if name not in self.secrets:
            raise Permanent(f"there is no secret {name!r}")
        return self.secrets[name]

    def reserve(self, ceiling_nusd: int, tokens: int, facts: Mapping[str, Any]) -> Reserved:
        self.reservations.append(Reserved(ceiling_nusd, tokens, facts["timeout_s"]))
        return self.reservations[-1]

    def owe(self, entry_id: str, ceiling_nusd: int, tokens: int) -> None:
        self.owed[entry_id] = ceiling_nusd

    def refund(self, entry_id: str, cost_nusd: int, tokens: int) -> None:
        if entry_id in self.owed:
            self.refunded[entry_id] = self.owed.pop(entry_id) - cost_nusd

    @property
    def ledger(self) -> list[Entry]:
        """Entries in order."""
        return [Entry.from_json(data) for kind, data in self.notes if kind == "ledger"]

    @property
    def cost_nusd(self) -> int:
        """The ledger's sum."""
        return sum(entry.cost_nusd for entry in self.ledger)
