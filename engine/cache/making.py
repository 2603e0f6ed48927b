"""An entry in the making: one caller makes it, all others that ask for it wait."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from engine.artefacts.values import pack
from engine.cache.entry import UNSAID, Kept
from engine.cache.key import Key
from engine.cache.shelf import Shelf
from engine.cache.tags import scoped
from engine.errors import TaskError, Unavailable
from engine.hotstate.caching import Stamp
from engine.wire import Value

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Making:
    """The right to make one entry, to be ended once by ``keep``, ``refuse`` or ``release``.

    Parameters
    ----------
    begun
        When the making began, by the index's own count of writes; ``None`` where nothing is to be kept, and nobody
        waits: a sensitive call, a cache that is off or out of reach.
    tags
        As the index names them.
    note
        Told of what was kept, for the journal.
    """

    key: Key
    shelf: Shelf
    digest: str = ""
    token: str = ""
    begun: Stamp | None = None
    tags: tuple[str, ...] = ()
    note: Callable[[str, dict[str, Any]], None] | None = None

    @property
    def outcome(self) -> str:
        """For the ledger: ``miss``, or ``none`` if nothing was asked."""
        return "none" if self.begun is None else "miss"

    def keep(self, value: Any, cost_nusd: int, ttl_s: float | None = None, tags: Iterable[str] = ()) -> bool:
        """Keep plain JSON data; whether it was kept. Never raises: what is not kept is made again.

        ``tags`` are what it turned out to depend on besides what was known when it was begun.
        """
        if self.begun is None:
            return False
        try:
            packed = pack(value, self.shelf.artefacts)
        except (TaskError, Unavailable) as error:
            _LOG.warning("a result of %s is not kept: %s", self.key.name, error)
            self.release()
            return False
        return self.keep_value(packed, cost_nusd, ttl_s, tags)

    def keep_value(
        self,
        value: Value,
        cost_nusd: int,
        ttl_s: float | None = None,
        tags: Iterable[str] = (),
        facts: Mapping[str, Any] | None = None,
    ) -> bool:
        """The same for what is written as a value already."""
        rules = self.shelf.rules
        if ttl_s is None:
            ttl_s = rules.ttl_s
        if value.get("bytes", 0) > rules.value_max_bytes:
            self.release()
            return False
        named = tuple(dict.fromkeys((*self.tags, *scoped(self.key.tenant, tags))))
        return self._keep(self._kept(value, cost_nusd, None, facts), min(ttl_s, rules.ttl_max_s), named, journaled=True)

    def refuse(self, error: str, cost_nusd: int = 0, ttl_s: float | None = None) -> bool:
        """Keep for a short time that it cannot be made; whether it was kept. ``error`` must hold no secret."""
        longest = self.shelf.rules.negative_ttl_s
        ttl_s = longest if ttl_s is None else min(ttl_s, longest)
        if self.begun is None or ttl_s <= 0:
            self.release()
            return False
        # Not journaled: it is over before a lost Redis is back.
        return self._keep(self._kept(UNSAID, cost_nusd, error, None), ttl_s, self.tags, journaled=False)

    def release(self) -> None:
        """Nothing came of it: one of those who wait makes it."""
        if self.begun is None:
            return
        self.shelf.leases.let_go(self.digest, self.token)
        try:
            self.shelf.index.release(self.digest, self.token)
        except Unavailable as error:
            _LOG.warning("the lease of a cache entry of %s is not given back: %s", self.key.name, error)

    def _kept(self, value: Value, cost_nusd: int, error: str | None, facts: Mapping[str, Any] | None) -> Kept:
        key, now = self.key, self.shelf.clock.now()
        return Kept(key.kind, key.name, key.tenant, value, cost_nusd, now, error, facts or {})

    def _keep(self, kept: Kept, ttl_s: float, tags: tuple[str, ...], *, journaled: bool) -> bool:
        if self.begun is None:
            return False
        self.shelf.leases.let_go(self.digest, self.token)
        body = kept.to_bytes()
        try:
            held = self.shelf.index.keep(self.digest, self.token, self.begun, ttl_s, body, tags)
        except Unavailable as error:
            _LOG.warning("a result of %s is not kept: %s", self.key.name, error)
            return False
        if held and journaled and self.note is not None:
            self.note("cache", {
                "id": f"{self.digest[:16]}{self.token}", "digest": self.digest, "kind": kept.kind, "name": kept.name,
                "tenant": kept.tenant, "tags": list(tags), "incarnation": self.begun.incarnation,
                "stamp": self.begun.number, "made_at": kept.made_at, "expires_at": kept.made_at + ttl_s,
                "body": body.decode(),
            })  # fmt: skip
        return held
