"""What is kept under a key, and how it is written: one line of JSON, in Redis and in SQL alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from engine.wire import Value

UNSAID: Value = {"v": None}


@dataclass(frozen=True, slots=True)
class Kept:
    """One entry.

    Parameters
    ----------
    kind, name, tenant
        As its key has them.
    value
        What was made, as ``engine.wire`` writes values.
    cost_nusd
        What it cost when it was made, in nano-dollars: what a hit saves.
    made_at
        Epoch seconds.
    error
        Why it cannot be made, as text; ``None`` for a value.
    facts
        What its boundary wants to know again at a hit, as JSON data.
    """

    kind: str
    name: str
    tenant: str
    value: Value = field(default_factory=lambda: UNSAID)
    cost_nusd: int = 0
    made_at: float = 0.0
    error: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """As JSON text. Raises ``orjson.JSONEncodeError`` where the facts are no JSON data."""
        told: dict[str, Any] = {"kind": self.kind, "name": self.name, "tenant": self.tenant, "made_at": self.made_at}
        told |= {"cost": self.cost_nusd, "value": self.value}
        if self.error is not None:
            told["error"] = self.error
        if self.facts:
            told["facts"] = dict(self.facts)
        return orjson.dumps(told)

    @classmethod
    def from_bytes(cls, text: bytes) -> Kept:
        """What ``to_bytes`` gave. Raises ``ValueError`` or ``KeyError`` for anything else."""
        told = orjson.loads(text)
        return cls(
            told["kind"], told["name"], told["tenant"], told["value"], told["cost"], told["made_at"],
            told.get("error"), told.get("facts", {}),
        )  # fmt: skip
