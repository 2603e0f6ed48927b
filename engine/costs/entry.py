"""A ledger entry: what one model call or tool invocation used, cost, saved and took.

It is what a worker knows. Run, node, attempt, phase, skill, tenant and session are known where it is
stored. Made where the call was made, also when the call failed or was cut off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from engine.costs.usage import Usage

KINDS = ("model", "tool", "coordination")
CACHES = ("none", "miss", "hit", "shared", "negative")
OUTCOMES = ("ok", "failed", "invalid", "cut")
BATCH = "batch-"
"""How the id of an entry begins that is a provider's batch of calls; what follows is the key it was made under."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the ledger.

    Parameters
    ----------
    id
        Its own, so that what is told twice is stored once.
    kind
        ``model``, ``tool`` or ``coordination``.
    name
        The model's id (``provider/name``), or the tool's task type.
    purpose
        What a model was asked for: ``answer``, ``check``, ``judge``, ``repair``, ``plan``, ``summary``,
        ``embed``, ``vote`` and the like.
    cost_nusd, saved_nusd
        Nano-dollars; what was saved is against the same call without cache and discount, below 0 where a
        write to the cache cost more than it has brought so far.
    at
        When it ended, in epoch seconds.
    queue_s, call_s
        Seconds it waited to be admitted, and seconds of the call itself.
    first_token_s
        Seconds of the call before its first token; ``None`` if not streamed.
    cache
        ``none`` (not asked), ``miss``, ``hit``, ``shared`` (waited for another's call) or ``negative``.
    settled
        Whether the cost is known; otherwise it is what was seen, or had been reserved.
    outcome
        ``ok``, ``failed``, ``invalid`` (an answer that did not pass its schema) or ``cut``.
    context_tokens, cited_tokens
        Tokens of the pieces of context that were given, and of those that the answer cites or overlaps;
        ``None`` if nobody looked.
    score
        What a check or judge gave, 0 to 1; ``None`` if nobody looked.
    facts
        Anything else, as JSON data.
    """

    id: str
    kind: str
    name: str
    provider: str = ""
    purpose: str = ""
    usage: Usage = field(default_factory=Usage)
    cost_nusd: int = 0
    saved_nusd: int = 0
    at: float = 0.0
    queue_s: float = 0.0
    call_s: float = 0.0
    first_token_s: float | None = None
    cache: str = "none"
    settled: bool = True
    outcome: str = "ok"
    context_tokens: int = 0
    cited_tokens: int | None = None
    score: float | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, allowed in (("kind", KINDS), ("cache", CACHES), ("outcome", OUTCOMES)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} of entry {self.id} is {getattr(self, name)!r}, not {', '.join(allowed)}")
        if self.cost_nusd < 0:
            raise ValueError(f"entry {self.id} costs {self.cost_nusd} nano-dollars; nothing costs less than 0")

    def to_json(self) -> dict[str, Any]:
        """JSON data, without fields that have their default."""
        data = {name: value for name in _NAMES if (value := getattr(self, name)) != _DEFAULTS[name]}
        if "usage" in data:
            data["usage"] = self.usage.to_json()
        return data | ({"facts": dict(self.facts)} if self.facts else {})

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Entry:
        """What ``to_json`` gave; names of a newer engine are passed over. Raises ``ValueError``."""
        known = {name: data[name] for name in _NAMES if name in data}
        if "usage" in known:
            known["usage"] = Usage.from_json(known["usage"])
        try:
            return cls(**known)
        except TypeError as error:
            raise ValueError(f"no ledger entry: {error}") from error


_NAMES = tuple(each.name for each in fields(Entry))
_DEFAULTS: Mapping[str, Any] = dict.fromkeys(("id", "kind", "name")) | {
    name: getattr(Entry("", "model", ""), name) for name in _NAMES[3:]
}
