"""Model responses in the cache: the port of ``ports`` over ``engine.cache``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from engine.cache.cache import Cache
from engine.cache.key import Key
from engine.models.ports import Found, Made


class ModelCache:
    """Earlier answers of models to one tenant.

    Parameters
    ----------
    scope
        Who within the tenant is served, as ``Key`` says it.
    ttl_s
        Seconds an answer may serve; ``None`` for the installation's own.
    """

    def __init__(
        self, cache: Cache, tenant: str, scope: str = "", ttl_s: float | None = None, *, sensitive: bool = False
    ) -> None:
        self._cache, self._tenant, self._scope = cache, tenant, scope
        self._ttl_s, self._sensitive = ttl_s, sensitive

    def fetch(self, asked: Mapping[str, Any], make: Callable[[], Made]) -> Found:
        """The answer to ``asked``, made by ``make`` if there is none."""
        key = Key(
            "model", "ask", self._tenant, params=asked["params"], model=asked["model"],
            prompt_version=asked["prompt_version"], tools=asked["tools"], scope=self._scope,
        )  # fmt: skip
        # A refusal is not told again: the next key, or the next minute, may be let in.
        found = self._cache.fetch(key, make, self._ttl_s, negative_ttl_s=0.0, sensitive=self._sensitive)
        return Found(found.value, found.outcome, found.saved_nusd)
